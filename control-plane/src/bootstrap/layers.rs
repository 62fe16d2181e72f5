//! Command line over environment over file. What the lower layers say is put in front of the command line, flag by flag and
//! only where the upper ones are silent; each such value is parsed alone first, so that an error can say where it stands.

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::de::{DeTable, DeValue};

use super::BootstrapError;

/// Largest accepted bootstrap file, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where a setting stands that is not on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A variable of the environment.
    Variable(String),
    /// A line of the bootstrap file.
    File {
        /// Which file.
        path: PathBuf,
        /// Counts from 1.
        line: usize,
    },
}

/// What is wrong with the bootstrap file as a whole.
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
    #[error("the bootstrap file {} (--config) is larger than {FILE_BYTES_MAX} bytes: is it the right one?", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// It isn't TOML.
    #[error("the bootstrap file {} (--config) is not TOML", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
}

struct Setting {
    flag: String,
    values: Vec<OsString>,
    origin: Origin,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => formatter.write_str(name),
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
        }
    }
}

/// All layers in one: `arguments` with what environment and file say put in front, parsed as `command` says.
pub(super) fn matches(
    command: &Command,
    arguments: Vec<OsString>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<ArgMatches, BootstrapError> {
    // The environment is a layer of its own here, and what is missing on the command line may come from one below.
    let command = command.clone().mut_args(|argument| argument.env(None::<&'static str>));
    let typed = match optional(&command).try_get_matches_from(&arguments) {
        // Two flags that need each other may stand in different layers; the last look is at all of them.
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
            optional(&command).ignore_errors(true).try_get_matches_from(&arguments)?
        }
        typed => typed?,
    };
    let is_typed = |flag: &str| typed.value_source(&id(flag)) == Some(ValueSource::CommandLine);
    let mut settings = Vec::new();
    for flag in command.get_arguments().filter_map(Arg::get_long) {
        let name = format!("OUTRIGGER_{}", id(flag).to_ascii_uppercase());
        if let (false, Some(value)) = (is_typed(flag), variable(&name)) {
            let origin = Origin::Variable(name);
            settings.push(Setting { flag: flag.to_owned(), values: vec![value], origin });
        }
    }
    let from_environment = settings.iter().find(|setting| setting.flag == "config");
    let from_environment = from_environment.and_then(|setting| setting.values.first().map(PathBuf::from));
    if let Some(path) = typed.get_one::<PathBuf>("config").cloned().or(from_environment) {
        for setting in read_file(&path)? {
            check_key(&command, &setting)?;
            let is_set = is_typed(&setting.flag) || settings.iter().any(|upper| upper.flag == setting.flag);
            if !is_set {
                settings.push(setting);
            }
        }
    }
    let mut rest = arguments.into_iter();
    let mut all: Vec<OsString> = rest.next().into_iter().collect();
    for setting in settings {
        all.extend(alone(&command, setting)?);
    }
    all.extend(rest);
    Ok(command.try_get_matches_from(all)?)
}

/// What `clap` calls a flag.
fn id(flag: &str) -> String {
    flag.replace('-', "_")
}

/// The same flags, none of them required.
fn optional(command: &Command) -> Command {
    command.clone().mut_args(|argument| argument.required(false))
}

/// The setting as it would be typed, if that makes sense by itself.
fn alone(command: &Command, setting: Setting) -> Result<Vec<OsString>, BootstrapError> {
    let typed = typed(command, &setting)?;
    let arguments = std::iter::once(OsString::from(command.get_name())).chain(typed.iter().cloned());
    match optional(command).try_get_matches_from(arguments) {
        Err(error) if error.kind() != ErrorKind::MissingRequiredArgument => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let problem = first.strip_prefix("error: ").unwrap_or(first).to_owned();
            Err(BootstrapError::Setting { origin: setting.origin, problem })
        }
        _ => Ok(typed),
    }
}

fn typed(command: &Command, setting: &Setting) -> Result<Vec<OsString>, BootstrapError> {
    let flag = format!("--{}", setting.flag);
    let is_switch = command.get_arguments().any(|argument| {
        argument.get_long() == Some(&setting.flag) && matches!(argument.get_action(), ArgAction::SetTrue)
    });
    if !is_switch {
        let with_value = |value: &OsString| {
            let mut typed = OsString::from(format!("{flag}="));
            typed.push(value);
            typed
        };
        return Ok(setting.values.iter().map(with_value).collect());
    }
    match setting.values.first().and_then(|value| value.to_str()) {
        Some("true" | "1") => Ok(vec![flag.into()]),
        Some("false" | "0") => Ok(Vec::new()),
        _ => {
            let problem = format!("{flag} is a switch: expected true or false");
            Err(BootstrapError::Setting { origin: setting.origin.clone(), problem })
        }
    }
}

fn check_key(command: &Command, setting: &Setting) -> Result<(), BootstrapError> {
    let forbidden = ["config", "help", "version"].contains(&setting.flag.as_str());
    if !forbidden && command.get_arguments().any(|argument| argument.get_long() == Some(&setting.flag)) {
        return Ok(());
    }
    let arguments = [command.get_name().to_owned(), format!("--{}", setting.flag)];
    let suggestion = optional(command).try_get_matches_from(arguments).err().and_then(|error| {
        match error.get(ContextKind::SuggestedArg) {
            Some(ContextValue::String(flag)) => Some(flag.trim_start_matches('-').to_owned()),
            _ => None,
        }
    });
    let nearest = suggestion.filter(|_| !forbidden);
    Err(BootstrapError::UnknownKey { origin: setting.origin.clone(), key: setting.flag.clone(), nearest })
}

fn read_file(path: &Path) -> Result<Vec<Setting>, BootstrapError> {
    let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    std::fs::File::open(path)
        .map_err(unreadable)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLarge { path: path.to_owned() }.into());
    }
    let table = DeTable::parse(&text)
        .map_err(|source| FileError::Syntax { path: path.to_owned(), source: Box::new(source) })?;
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let line = text[..key.span().start].matches('\n').count() + 1;
        let origin = Origin::File { path: path.to_owned(), line };
        let values = values(value.get_ref()).ok_or_else(|| BootstrapError::Setting {
            origin: origin.clone(),
            problem: format!(
                "{:?} can't have such a value: expected a text, a number, true, false or a list of texts",
                key.get_ref()
            ),
        })?;
        settings.push(Setting { flag: key.get_ref().clone().into_owned(), values, origin });
    }
    Ok(settings)
}

fn values(value: &DeValue<'_>) -> Option<Vec<OsString>> {
    match value {
        DeValue::Array(values) => values.iter().map(|value| scalar(value.get_ref())).collect(),
        single => Some(vec![scalar(single)?]),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<OsString> {
    match value {
        DeValue::String(text) => Some(text.as_ref().into()),
        DeValue::Integer(number) => Some(number.as_str().into()),
        DeValue::Boolean(value) => Some(value.to_string().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
