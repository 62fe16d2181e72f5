//! `--access-log` and what goes with it.

use std::path::PathBuf;

use outrigger_snapshot::policy::SHARE_WHOLE;

use super::ConfigError;
use super::flags::Flags;
use crate::access_log::writer::Target;
use crate::access_log::{Choice, Format};

/// The access log, as it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where it goes.
    pub target: Target,
    /// Which requests have a line.
    pub choice: Choice,
}

/// What flags say of it; `None`: there is none.
pub(super) fn access_log(flags: &Flags) -> Result<Option<AccessLog>, ConfigError> {
    let target = flags.access_log.as_ref().filter(|target| !target.as_os_str().is_empty());
    let Some(target) = target else {
        return match (flags.access_log_format, flags.access_log_sampling) {
            (None, None) => Ok(None),
            _ => Err(ConfigError::Combination(
                "--access-log-format and --access-log-sampling go with --access-log, which says where it goes"
                    .to_owned(),
            )),
        };
    };
    let target = if target.as_os_str() == "stdout" { Target::Stdout } else { Target::File(target.clone()) };
    let share = flags.access_log_sampling.unwrap_or(SHARE_WHOLE);
    let choice = Choice { format: flags.access_log_format.unwrap_or(Format::Json), share };
    Ok(Some(AccessLog { target, choice }))
}

/// Parses `--access-log-sampling`: a percentage, to the hundredth.
pub(super) fn percentage(text: &str) -> Result<u32, String> {
    let percent =
        text.trim_end_matches('%').parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
    let share = percent.map(|percent| (percent * 100.0).round() as u32);
    share.ok_or_else(|| "expected a percentage from 0 to 100, such as 0.5".to_owned())
}

/// Parses `--access-log`.
pub(super) fn target(text: &str) -> Result<PathBuf, String> {
    if text == "stderr" || text == "otlp" || text.contains("://") {
        return Err("expected stdout, or the path of a file".to_owned());
    }
    Ok(text.into())
}
