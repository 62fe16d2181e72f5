//! Collectors that are told by OTLP: `--otlp`, and the variables that OpenTelemetry names for every signal.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::ConfigError;

/// `OTEL_EXPORTER_OTLP_TIMEOUT` where none is given.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest, in milliseconds.
const TIMEOUT_MS_MAX: usize = 600_000;
/// The port that collectors take gRPC on.
const GRPC_PORT: u16 = 4317;

/// A collector, as one signal is told to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    /// Where it is; over HTTP, with the path.
    pub endpoint: String,
    /// How it is spoken to.
    pub protocol: OtlpProtocol,
    /// Certificates of the authorities that may have signed its own; none: the system's.
    pub ca_file: Option<PathBuf>,
    /// What proves to it who this proxy is, if anything does.
    pub client: Option<ClientFiles>,
    /// The name that this proxy goes by, in place of its service's.
    pub service_name: Option<String>,
    /// Further fields of what is sent to it, which may be secrets.
    pub headers: HeaderMap,
    /// How long an export may take.
    pub timeout: Duration,
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// Protocol buffers over HTTP.
    Http,
}

/// A certificate and its key, each a file of PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`.
    pub certificate: PathBuf,
    /// `OTEL_EXPORTER_OTLP_CLIENT_KEY`.
    pub key: PathBuf,
}

/// What a collector is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signal {
    /// As variables spell it.
    pub(super) name: &'static str,
    /// Where it goes over HTTP, below an endpoint for all signals ("OpenTelemetry Protocol Exporter", "Endpoint URLs for OTLP/HTTP").
    pub(super) path: &'static str,
}

/// The variables that a process was started with.
#[derive(Clone, Copy)]
pub(super) struct Variables<'a>(pub(super) &'a dyn Fn(&str) -> Option<OsString>);

impl Variables<'_> {
    /// What one of them says. What is empty is not set (OpenTelemetry, "Environment Variable Specification").
    pub(super) fn said(&self, name: &str) -> Option<String> {
        (self.0)(name)?.into_string().ok().filter(|value| !value.is_empty())
    }

    /// Whether a signal is told to nobody, whoever is named elsewhere.
    pub(super) fn turns_off(&self, signal: Signal) -> Result<bool, ConfigError> {
        let name = format!("OTEL_{}_EXPORTER", signal.name);
        let off = match self.said(&name).as_deref() {
            Some("none") => true,
            None | Some("otlp") => false,
            Some(other) => return wrong(format!("{name} is {other:?}, expected otlp or none")),
        };
        Ok(off || self.said("OTEL_SDK_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true")))
    }

    /// A number, from 1 to `most`.
    pub(super) fn number(&self, name: &str, usual: usize, most: usize) -> Result<usize, ConfigError> {
        let Some(text) = self.said(name) else { return Ok(usual) };
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.map_or_else(|| wrong(format!("{name} is {text:?}, expected a number from 1 to {most}")), Ok)
    }

    /// The collector of a signal that `flag` or a variable names; `None`: there is none, or the signal is told to nobody.
    pub(super) fn collector(&self, flag: Option<&str>, signal: Signal) -> Result<Option<Otlp>, ConfigError> {
        let name_of = |what: &str| {
            let own = format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.name);
            if self.said(&own).is_some() { own } else { format!("OTEL_EXPORTER_OTLP_{what}") }
        };
        let of_signal = |what: &str| self.said(&name_of(what));
        let own = self.said(&format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.name));
        let base = flag.filter(|url| !url.is_empty()).map(str::to_owned).or_else(|| own.clone());
        let whole = own.is_some() && base == own;
        let Some(url) = base.or_else(|| self.said("OTEL_EXPORTER_OTLP_ENDPOINT")) else { return Ok(None) };
        if self.turns_off(signal)? {
            return Ok(None);
        }
        if let Some(compression) = of_signal("COMPRESSION") {
            return wrong(format!(
                "OTEL_EXPORTER_OTLP_COMPRESSION is {compression:?}: what is told is sent as it is, leave it out"
            ));
        }
        let (endpoint, port) = endpoint(&url)?;
        let protocol = match of_signal("PROTOCOL").as_deref() {
            Some("grpc") => OtlpProtocol::Grpc,
            Some("http/protobuf") => OtlpProtocol::Http,
            None if port == Some(GRPC_PORT) => OtlpProtocol::Grpc,
            None => OtlpProtocol::Http,
            Some(other) => {
                return wrong(format!(
                    "OTEL_EXPORTER_OTLP_PROTOCOL is {other:?}, expected grpc or http/protobuf"
                ));
            }
        };
        let endpoint = match protocol {
            OtlpProtocol::Http if !whole => format!("{}{}", endpoint.trim_end_matches('/'), signal.path),
            _ => endpoint,
        };
        let timeout_ms = self.number(&name_of("TIMEOUT"), TIMEOUT.as_millis() as usize, TIMEOUT_MS_MAX)?;
        let client = match (of_signal("CLIENT_CERTIFICATE"), of_signal("CLIENT_KEY")) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                Some(ClientFiles { certificate: certificate.into(), key: key.into() })
            }
            _ => {
                return wrong(
                    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY go together"
                        .to_owned(),
                );
            }
        };
        Ok(Some(Otlp {
            endpoint,
            protocol,
            ca_file: of_signal("CERTIFICATE").map(PathBuf::from),
            client,
            service_name: self.said("OTEL_SERVICE_NAME"),
            headers: headers(of_signal("HEADERS").as_deref().unwrap_or_default(), &name_of("HEADERS"))?,
            timeout: Duration::from_millis(timeout_ms as u64),
        }))
    }
}

pub(super) fn wrong<T>(problem: String) -> Result<T, ConfigError> {
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

/// `name=value`, percent-encoded, with commas between ("OpenTelemetry Protocol Exporter", "Specifying headers via environment variables").
fn headers(text: &str, variable: &str) -> Result<HeaderMap, ConfigError> {
    let read = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value: Vec<u8> = percent_decode_str(value.trim()).collect();
        let mut value = HeaderValue::from_bytes(&value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
    };
    let pairs = text.split(',').enumerate().filter(|(_, pair)| !pair.trim().is_empty());
    let mut headers = HeaderMap::new();
    for (index, pair) in pairs {
        // It may be a secret: which one it is, is all that is said.
        let Some((name, value)) = read(pair) else {
            return wrong(format!("{variable}: number {} is no name=value of a header", index + 1));
        };
        headers.try_append(name, value).or_else(|_| wrong(format!("{variable} has too many headers")))?;
    }
    Ok(headers)
}
