//! What filters know of a request beside its head, and what they can say.

use http::StatusCode;
use http::header::HeaderValue;

/// Facts about one request that filters read.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Bytes of the path that the rule's prefix matched, without a trailing slash; `None`: it was not matched by prefix.
    pub prefix_bytes: Option<usize>,
    /// Whether the downstream connection is TLS.
    pub tls: bool,
}

/// What happens after a filter.
#[derive(Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next filter, or the cluster.
    Continue,
    /// This answer instead.
    Answer(Answer),
}

/// A response that a filter gives in place of an upstream. It has no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The `Location` field.
    pub location: Option<HeaderValue>,
}
