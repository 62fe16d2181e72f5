//! The bootstrap file: a TOML table whose keys are flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Command;

/// Largest accepted bootstrap file, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What is wrong with the bootstrap file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It can't be read.
    #[error("can't read the bootstrap file {} (--config)", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is larger than 64 KiB.
    #[error("the bootstrap file {} is larger than {FILE_BYTES_MAX} bytes: is it the right one?", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// It isn't TOML.
    #[error("the bootstrap file {} is not TOML", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// It sets something that isn't a flag.
    #[error("the bootstrap file {} sets {key:?}, which is no flag; it can set {known}", path.display())]
    UnknownKey {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: String,
        /// All that there are.
        known: String,
    },
    /// A table or a date where a flag's value should be.
    #[error("the bootstrap file {}: the value of {key:?} can't be a flag's; expected a text, a number, true or a list of them", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: String,
    },
}

/// `arguments` with what the bootstrap file says put in front, so that later ones override it. A key whose variable is set
/// is left out: the environment wins over the file.
pub(super) fn with_file(
    command: &Command,
    arguments: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<OsString>, FileError> {
    let Some(path) = named_file(&arguments).or_else(|| variable("OUTRIGGER_CONFIG").map(PathBuf::from))
    else {
        return Ok(arguments);
    };
    let table = read_table(&path)?;
    let mut rest = arguments.into_iter();
    let mut all: Vec<OsString> = rest.next().into_iter().collect();
    for (key, value) in &table {
        let id = key.replace('-', "_");
        let known = |argument: &&clap::Arg| argument.get_long() == Some(key) && id != "config";
        let Some(argument) = command.get_arguments().find(known) else {
            return Err(unknown_key(command, &path, key));
        };
        let overridden = argument.get_env().and_then(|name| name.to_str()).and_then(&variable).is_some();
        if !overridden {
            push_flag(&mut all, key, value)
                .ok_or_else(|| FileError::Value { path: path.clone(), key: key.clone() })?;
        }
    }
    all.extend(rest);
    Ok(all)
}

/// The value of `--config`, read before the other flags can be.
fn named_file(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = argument.to_str().and_then(|text| text.strip_prefix("--config=")) {
            return Some(PathBuf::from(path));
        }
    }
    None
}

fn read_table(path: &Path) -> Result<toml::Table, FileError> {
    let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    text.parse().map_err(|source| FileError::Syntax { path: path.to_owned(), source: Box::new(source) })
}

fn unknown_key(command: &Command, path: &Path, key: &str) -> FileError {
    let mut known: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    known.retain(|name| *name != "config");
    FileError::UnknownKey { path: path.to_owned(), key: key.to_owned(), known: known.join(", ") }
}

fn push_flag(arguments: &mut Vec<OsString>, key: &str, value: &toml::Value) -> Option<()> {
    match value {
        toml::Value::Boolean(true) => arguments.push(format!("--{key}").into()),
        toml::Value::Boolean(false) => {}
        toml::Value::Array(values) => {
            for value in values {
                arguments.push(format!("--{key}={}", scalar(value)?).into());
            }
        }
        scalar_value => arguments.push(format!("--{key}={}", scalar(scalar_value)?).into()),
    }
    Some(())
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}
