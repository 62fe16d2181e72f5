//! Command line over environment over file. What the lower layers say is put in front of the command line, flag by flag and
//! only where the upper ones are silent; each such value is parsed alone first, so that an error can say where it stands.

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, CommandFactory, FromArgMatches};
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::flags::Flags;

/// Largest bootstrap file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

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

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => formatter.write_str(name),
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
        }
    }
}

struct Setting {
    flag: String,
    values: Vec<OsString>,
    origin: Origin,
}

/// All layers in one.
pub(super) fn flags(
    arguments: Vec<OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Flags, ConfigError> {
    let typed = Flags::command().try_get_matches_from(&arguments)?;
    let is_typed = |id: &str| typed.value_source(id) == Some(ValueSource::CommandLine);
    let mut settings = Vec::new();
    let command = Flags::command();
    for argument in command.get_arguments() {
        let id = argument.get_id().as_str();
        let name = variable(id);
        if let (false, Some(flag), Some(value)) = (is_typed(id), argument.get_long(), environment(&name)) {
            settings.push(Setting {
                flag: flag.to_owned(),
                values: vec![value],
                origin: Origin::Variable(name),
            });
        }
    }
    let from_environment = settings
        .iter()
        .find(|setting| setting.flag == "config")
        .and_then(|setting| setting.values.first().map(PathBuf::from));
    let file = typed.get_one::<PathBuf>("config").cloned().or(from_environment);
    if let Some(path) = file {
        for setting in read_file(&path)? {
            check_key(&command, &setting)?;
            let id = setting.flag.replace('-', "_");
            let is_set = is_typed(&id) || settings.iter().any(|upper| upper.flag == setting.flag);
            if !is_set {
                settings.push(setting);
            }
        }
    }
    merged(&command, arguments, settings)
}

/// `OUTRIGGER_` and the flag in capitals.
fn variable(id: &str) -> String {
    format!("OUTRIGGER_{}", id.to_ascii_uppercase())
}

fn merged(
    command: &clap::Command,
    arguments: Vec<OsString>,
    settings: Vec<Setting>,
) -> Result<Flags, ConfigError> {
    let mut rest = arguments.into_iter();
    let mut all: Vec<OsString> = rest.next().into_iter().collect();
    for setting in settings {
        let is_switch = command
            .get_arguments()
            .find(|argument| argument.get_long() == Some(&setting.flag))
            .is_some_and(switch);
        let typed = typed(&setting, is_switch)?;
        let alone = std::iter::once(OsString::from("outrigger-proxy")).chain(typed.iter().cloned());
        if let Err(error) = Flags::command().try_get_matches_from(alone) {
            return Err(problem(&error, setting));
        }
        all.extend(typed);
    }
    all.extend(rest);
    Ok(Flags::from_arg_matches(&Flags::command().try_get_matches_from(all)?)?)
}

fn switch(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::SetTrue)
}

/// The setting as it would be typed.
fn typed(setting: &Setting, is_switch: bool) -> Result<Vec<OsString>, ConfigError> {
    let flag = format!("--{}", setting.flag);
    if !is_switch {
        let with_value = |value: &OsString| {
            let mut typed = OsString::from(format!("{flag}="));
            typed.push(value);
            typed
        };
        return Ok(setting.values.iter().map(with_value).collect());
    }
    let value = setting.values.first().and_then(|value| value.to_str());
    match value {
        Some("true" | "1") => Ok(vec![flag.into()]),
        Some("false" | "0") => Ok(Vec::new()),
        _ => Err(ConfigError::Setting {
            origin: setting.origin.clone(),
            problem: format!("{flag} is a switch: expected true or false"),
        }),
    }
}

fn problem(error: &clap::Error, setting: Setting) -> ConfigError {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    ConfigError::Setting {
        origin: setting.origin,
        problem: first.strip_prefix("error: ").unwrap_or(first).to_owned(),
    }
}

fn check_key(command: &clap::Command, setting: &Setting) -> Result<(), ConfigError> {
    let is_flag = |argument: &Arg| argument.get_long() == Some(&setting.flag);
    let forbidden = ["config", "help", "version"].contains(&setting.flag.as_str());
    if command.get_arguments().any(is_flag) && !forbidden {
        return Ok(());
    }
    let alone = ["outrigger-proxy".to_owned(), format!("--{}", setting.flag)];
    let suggestion = Flags::command().try_get_matches_from(alone).err().and_then(|error| {
        match error.get(ContextKind::SuggestedArg) {
            Some(ContextValue::String(flag)) => Some(flag.trim_start_matches('-').to_owned()),
            _ => None,
        }
    });
    Err(ConfigError::UnknownKey {
        origin: setting.origin.clone(),
        key: setting.flag.clone(),
        nearest: suggestion.filter(|_| !forbidden),
    })
}

fn read_file(path: &Path) -> Result<Vec<Setting>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    std::fs::File::open(path)
        .map_err(unreadable)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned(), max: FILE_BYTES_MAX });
    }
    let table = DeTable::parse(&text)
        .map_err(|source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) })?;
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let before = &text[..key.span().start];
        let origin = Origin::File { path: path.to_owned(), line: before.matches('\n').count() + 1 };
        let values = values(value.get_ref()).ok_or_else(|| ConfigError::Setting {
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
