//! Where traces go: `--otlp`, and the variables that OpenTelemetry names.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::ConfigError;
use super::flags::Flags;
use crate::traces::Choice;
use crate::traces::context::Propagators;
use crate::traces::sampler::Sampler;

/// The share of traces that are told of where nobody says another.
const SHARE: f64 = 0.01;
/// `OTEL_EXPORTER_OTLP_TIMEOUT` where none is given.
const TIMEOUT: Duration = Duration::from_secs(10);
/// `OTEL_BSP_SCHEDULE_DELAY` where none is given.
const DELAY: Duration = Duration::from_secs(5);
/// `OTEL_BSP_MAX_QUEUE_SIZE` where none is given, in requests.
const QUEUE: usize = 2_048;
/// The largest.
const QUEUE_MAX: usize = 65_536;
/// `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` where none is given, in requests.
const BATCH: usize = 512;
/// The port that collectors take gRPC on.
const GRPC_PORT: u16 = 4317;

/// Traces, as they are told to a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// Where the collector is; over HTTP, with the path.
    pub endpoint: String,
    /// How it is spoken to.
    pub protocol: Otlp,
    /// Certificates of the authorities that may have signed its own; none: the system's.
    pub ca_file: Option<PathBuf>,
    /// The name that this proxy goes by, in place of its service's.
    pub service_name: Option<String>,
    /// Which requests are told of.
    pub choice: Choice,
    /// How long an export may take.
    pub timeout: Duration,
    /// How long a request may wait for others before it is exported.
    pub delay: Duration,
    /// Requests that wait at most.
    pub queue: usize,
    /// Requests that are exported at a time.
    pub batch: usize,
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otlp {
    /// gRPC.
    Grpc,
    /// Protocol buffers over HTTP.
    Http,
}

type Environment<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// What flags and variables say of traces; `None`: they are not told.
pub(super) fn traces(flags: &Flags, environment: &Environment<'_>) -> Result<Option<Traces>, ConfigError> {
    // What is empty is not set (OpenTelemetry, "Environment Variable Specification").
    let said = |name: &str| environment(name)?.into_string().ok().filter(|value| !value.is_empty());
    let off = said("OTEL_SDK_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true"));
    let of_signal = |name: &str| {
        said(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
            .or_else(|| said(&format!("OTEL_EXPORTER_OTLP_{name}")))
    };
    let own = said("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let base = flags.otlp.clone().filter(|url| !url.is_empty()).or_else(|| own.clone());
    let whole = own.is_some() && base == own;
    let Some(url) = base.or_else(|| said("OTEL_EXPORTER_OTLP_ENDPOINT")) else { return Ok(None) };
    match said("OTEL_TRACES_EXPORTER").as_deref() {
        Some("none") => return Ok(None),
        None | Some("otlp") => {}
        Some(other) => {
            return wrong(format!("OTEL_TRACES_EXPORTER is {other:?}, expected otlp or none"));
        }
    }
    if off {
        return Ok(None);
    }
    if let Some(compression) = of_signal("COMPRESSION") {
        return wrong(format!(
            "OTEL_EXPORTER_OTLP_COMPRESSION is {compression:?}: traces are sent as they are, leave it out"
        ));
    }
    let (endpoint, port) = endpoint(&url)?;
    let protocol = match of_signal("PROTOCOL").as_deref() {
        Some("grpc") => Otlp::Grpc,
        Some("http/protobuf") => Otlp::Http,
        None if port == Some(GRPC_PORT) => Otlp::Grpc,
        None => Otlp::Http,
        Some(other) => {
            return wrong(format!(
                "OTEL_EXPORTER_OTLP_PROTOCOL is {other:?}, expected grpc or http/protobuf"
            ));
        }
    };
    // Of an endpoint for all signals, the path says which this is ("OpenTelemetry Protocol Exporter", "Endpoint URLs for OTLP/HTTP").
    let endpoint = match protocol {
        Otlp::Http if !whole => format!("{}/v1/traces", endpoint.trim_end_matches('/')),
        _ => endpoint,
    };
    let sampler = match said("OTEL_TRACES_SAMPLER") {
        None => Sampler::ratio(SHARE, true),
        Some(name) => Sampler::read(&name, said("OTEL_TRACES_SAMPLER_ARG").as_deref()).or_else(wrong)?,
    };
    let propagators = match said("OTEL_PROPAGATORS") {
        None => Propagators::default(),
        Some(names) => Propagators::read_names(&names).or_else(wrong)?,
    };
    let queue = number(&said, "OTEL_BSP_MAX_QUEUE_SIZE", QUEUE, QUEUE_MAX)?;
    let delay_ms = number(&said, "OTEL_BSP_SCHEDULE_DELAY", DELAY.as_millis() as usize, 3_600_000)?;
    let timeout = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
    let timeout = timeout.into_iter().find(|name| said(name).is_some()).unwrap_or(timeout[0]);
    let timeout_ms = number(&said, timeout, TIMEOUT.as_millis() as usize, 600_000)?;
    let slow_ns = flags.trace_slow.as_nanos() as u64;
    Ok(Some(Traces {
        endpoint,
        protocol,
        ca_file: of_signal("CERTIFICATE").map(PathBuf::from),
        service_name: said("OTEL_SERVICE_NAME"),
        choice: Choice { sampler, slow_ns, propagators },
        timeout: Duration::from_millis(timeout_ms as u64),
        delay: Duration::from_millis(delay_ms as u64),
        queue,
        batch: number(&said, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH, QUEUE_MAX)?.min(queue),
    }))
}

/// A number of a variable, from 1 to `most`.
fn number(
    said: &dyn Fn(&str) -> Option<String>,
    name: &str,
    usual: usize,
    most: usize,
) -> Result<usize, ConfigError> {
    let Some(text) = said(name) else { return Ok(usual) };
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.map_or_else(|| wrong(format!("{name} is {text:?}, expected a number from 1 to {most}")), Ok)
}

fn wrong<T>(problem: String) -> Result<T, ConfigError> {
    Err(ConfigError::Combination(problem))
}

/// A URL that a collector can be at, and its port.
fn endpoint(url: &str) -> Result<(String, Option<u16>), ConfigError> {
    let parsed = url.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    let Some(uri) = parsed else {
        return wrong(format!(
            "{url:?} is no URL of a collector (--otlp, OTEL_EXPORTER_OTLP_ENDPOINT): expected http[s]://HOST:PORT"
        ));
    };
    Ok((url.to_owned(), uri.port_u16()))
}

#[cfg(test)]
mod tests;
