//! Where traces go: `--otlp`, and the variables that OpenTelemetry names.

use std::ffi::OsString;
use std::time::Duration;

use super::ConfigError;
use super::flags::Flags;
use super::otlp::{Otlp, Signal, Variables, wrong};
use crate::traces::Choice;
use crate::traces::context::Propagators;
use crate::traces::sampler::Sampler;

/// The share of traces that are told of where nobody says another.
const SHARE: f64 = 0.01;
/// `OTEL_BSP_SCHEDULE_DELAY` where none is given.
const DELAY: Duration = Duration::from_secs(5);
/// `OTEL_BSP_MAX_QUEUE_SIZE` where none is given, in requests.
const QUEUE: usize = 2_048;
/// The largest.
const QUEUE_MAX: usize = 65_536;
/// `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` where none is given, in requests.
const BATCH: usize = 512;
const SIGNAL: Signal = Signal { name: "TRACES", path: "/v1/traces" };

/// Traces, as they are told to a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// Where it is.
    pub to: Otlp,
    /// Which requests are told of.
    pub choice: Choice,
    /// How long a request may wait for others before it is exported.
    pub delay: Duration,
    /// Requests that wait at most.
    pub queue: usize,
    /// Requests that are exported at a time.
    pub batch: usize,
}

/// What flags and variables say of traces; `None`: they are not told.
pub(super) fn traces(
    flags: &Flags,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<Traces>, ConfigError> {
    let variables = Variables(environment);
    let Some(to) = variables.collector(flags.otlp.as_deref(), SIGNAL)? else { return Ok(None) };
    let sampler = match variables.said("OTEL_TRACES_SAMPLER") {
        None => Sampler::ratio(SHARE, true),
        Some(name) => {
            Sampler::read(&name, variables.said("OTEL_TRACES_SAMPLER_ARG").as_deref()).or_else(wrong)?
        }
    };
    let propagators = match variables.said("OTEL_PROPAGATORS") {
        None => Propagators::default(),
        Some(names) => Propagators::read_names(&names).or_else(wrong)?,
    };
    let queue = variables.number("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE, QUEUE_MAX)?;
    let delay_ms = variables.number("OTEL_BSP_SCHEDULE_DELAY", DELAY.as_millis() as usize, 3_600_000)?;
    let batch = variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH, QUEUE_MAX)?;
    let slow_ns = flags.trace_slow.as_nanos() as u64;
    Ok(Some(Traces {
        to,
        choice: Choice { sampler, slow_ns, propagators },
        delay: Duration::from_millis(delay_ms as u64),
        queue,
        batch: batch.min(queue),
    }))
}

#[cfg(test)]
mod tests;
