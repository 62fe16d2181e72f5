//! `--access-log` and what goes with it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use outrigger_snapshot::policy::SHARE_WHOLE;

use super::ConfigError;
use super::flags::Flags;
use super::otlp::{Otlp, Signal, Variables, wrong};
use crate::access_log::writer::Target;
use crate::access_log::{Choice, Format};

/// `OTEL_BLRP_SCHEDULE_DELAY` where none is given.
const DELAY: Duration = Duration::from_secs(1);
/// `OTEL_BLRP_MAX_EXPORT_BATCH_SIZE` where none is given.
const BATCH: usize = 512;
/// The largest.
const BATCH_MAX: usize = 4_096;
const SIGNAL: Signal = Signal { name: "LOGS", path: "/v1/logs" };

/// The access log, as it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where it goes.
    pub target: Target,
    /// Which requests have a line.
    pub choice: Choice,
}

/// The access log, as it is told to a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpLog {
    /// Where it is.
    pub to: Otlp,
    /// How long a line may wait for others before it is exported.
    pub delay: Duration,
    /// Lines that are exported at a time.
    pub batch: usize,
}

/// What flags and variables say of it; `None`: there is none.
pub(super) fn access_log(
    flags: &Flags,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<AccessLog>, ConfigError> {
    let target = flags.access_log.as_ref().filter(|target| !target.as_os_str().is_empty());
    let Some(target) = target else {
        return match (flags.access_log_format, flags.access_log_sampling) {
            (None, None) => Ok(None),
            _ => wrong(
                "--access-log-format and --access-log-sampling go with --access-log, which says where it goes"
                    .to_owned(),
            ),
        };
    };
    let share = flags.access_log_sampling.unwrap_or(SHARE_WHOLE);
    let written = flags.access_log_format.unwrap_or(Format::Json);
    let (target, format) = match target.to_str() {
        Some("otlp") => match otlp(flags, Variables(environment))? {
            Some(told) => (Target::Otlp(Box::new(told)), Format::Otlp),
            None => return Ok(None),
        },
        Some("stdout") => (Target::Stdout, written),
        _ => (Target::File(target.clone()), written),
    };
    Ok(Some(AccessLog { target, choice: Choice { format, share } }))
}

fn otlp(flags: &Flags, variables: Variables<'_>) -> Result<Option<OtlpLog>, ConfigError> {
    if flags.access_log_format.is_some() {
        return wrong(
            "--access-log-format says how a line is written; --access-log otlp writes none".to_owned(),
        );
    }
    if variables.turns_off(SIGNAL)? {
        return Ok(None);
    }
    let Some(to) = variables.collector(flags.otlp.as_deref(), SIGNAL)? else {
        return wrong(
            "--access-log otlp goes to the collector that --otlp or OTEL_EXPORTER_OTLP_ENDPOINT names: there is none"
                .to_owned(),
        );
    };
    let delay_ms = variables.number("OTEL_BLRP_SCHEDULE_DELAY", DELAY.as_millis() as usize, 3_600_000)?;
    let batch = variables.number("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", BATCH, BATCH_MAX)?;
    Ok(Some(OtlpLog { to, delay: Duration::from_millis(delay_ms as u64), batch }))
}

/// Parses `--access-log-sampling`: a percentage, to the hundredth.
pub(super) fn percentage(text: &str) -> Result<u32, String> {
    let percent =
        text.trim_end_matches('%').parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
    let share = percent.map(|percent| percent * 100.0);
    // What is finer would be rounded to something else than was asked for, perhaps to nothing at all.
    let share = share.filter(|share| (share - share.round()).abs() < 1e-6).map(|share| share.round() as u32);
    share.ok_or_else(|| {
        "expected a percentage from 0 to 100, to the hundredth, such as 0.5 or 0.01".to_owned()
    })
}

/// Parses `--access-log`.
pub(super) fn target(text: &str) -> Result<PathBuf, String> {
    if text == "stderr" || text.contains("://") {
        return Err("expected stdout, otlp, or the path of a file".to_owned());
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests;
