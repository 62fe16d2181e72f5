//! What is told of requests. Wire types, as in [`crate::policy`].

use serde::{Deserialize, Serialize};

/// What a share is of.
pub const SHARE_WHOLE: u32 = 10_000;

/// Labels of one port.
pub const LABELS_MAX: usize = 8;
/// Longest name of a label, in bytes.
pub const LABEL_NAME_BYTES_MAX: usize = 64;
/// Longest value of a label, in bytes: a longer one of a header is cut, a longer constant refused.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;

/// Names, and beginnings of names, that spans and lines of the access log have of their own, or that collectors give a meaning to.
const OWN_NAMES: [&str; 20] = [
    "body",
    "caller",
    "cluster",
    "duration_ms",
    "error",
    "event",
    "from",
    "id",
    "in",
    "out",
    "reason",
    "route",
    "severity",
    "span_id",
    "time",
    "timestamp",
    "to",
    "trace",
    "trace_id",
    "tries",
];
const OWN_ROOTS: [&str; 14] = [
    "client",
    "cloud",
    "error",
    "exception",
    "http",
    "network",
    "otel",
    "outrigger",
    "rpc",
    "server",
    "service",
    "telemetry",
    "url",
    "user_agent",
];

/// What the names of headers have in them that hold secrets: those that HTTP names (RFC 9110 §11, RFC 6265), and those of everybody's invention.
const SECRETS: [&str; 12] = [
    "apikey",
    "api-key",
    "authentic",
    "authoriz",
    "cookie",
    "credential",
    "jwt",
    "passwd",
    "password",
    "secret",
    "session",
    "token",
];

/// What is told of requests to a port, by the sidecar beside it and by those of its callers. What is `None` is as each of them was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// Of [`SHARE_WHOLE`] traces about which nobody has decided before, so many are told of.
    pub traces: Option<u32>,
    /// Milliseconds: what takes longer is told of in a trace in any case.
    pub slow_ms: Option<u64>,
    /// Whether requests have lines in the access log, where there is one.
    pub access_log: Option<bool>,
    /// Of [`SHARE_WHOLE`] requests that did not fail, so many have.
    pub access_log_share: Option<u32>,
    /// What is said of each beside that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

/// What is said of requests under a name of the operator's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The name.
    pub name: String,
    /// Where its value comes from.
    pub from: LabelSource,
}

/// Where the value of a label comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelSource {
    /// It is this, always.
    Value(String),
    /// The request has it under this name, in lower case; what has none has no such label.
    Header(String),
}

/// Why a label cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The name is not spelt as one.
    #[error("is no name of a label")]
    Name,
    /// The name means something else.
    #[error("is a name that spans or lines of the access log have already")]
    Taken,
    /// The value is too long, or could not stand in a header.
    #[error("is no value of a label")]
    Value,
    /// The header has no name, or none in lower case.
    #[error("is no name of a header in lower case")]
    Header,
    /// The header may hold what nobody should read.
    #[error("is a header that holds a secret")]
    Secret,
}

impl Label {
    /// Whether it can be.
    pub fn check(&self) -> Result<(), LabelError> {
        check_name(&self.name)?;
        match &self.from {
            LabelSource::Value(value) => check_value(value),
            LabelSource::Header(header) => check_header(header),
        }
    }
}

fn check_name(name: &str) -> Result<(), LabelError> {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    if name.len() > LABEL_NAME_BYTES_MAX || !name.split('.').all(word) {
        return Err(LabelError::Name);
    }
    let root = name.split('.').next().unwrap_or(name);
    let taken = OWN_NAMES.contains(&name) || OWN_ROOTS.contains(&root);
    if taken { Err(LabelError::Taken) } else { Ok(()) }
}

fn check_value(value: &str) -> Result<(), LabelError> {
    let visible = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let whole = !value.is_empty() && value.len() <= LABEL_VALUE_BYTES_MAX && visible;
    if whole { Ok(()) } else { Err(LabelError::Value) }
}

fn check_header(header: &str) -> Result<(), LabelError> {
    let named = http::HeaderName::from_bytes(header.as_bytes());
    if !named.is_ok_and(|named| named.as_str() == header) {
        return Err(LabelError::Header);
    }
    let secret =
        SECRETS.iter().any(|part| header.contains(part)) || header.split('-').any(|word| word == "auth");
    if secret { Err(LabelError::Secret) } else { Ok(()) }
}
