//! What an upstream says about being asked again.

use http::HeaderMap;
use http::header::{HeaderName, RETRY_AFTER};

/// Longest wait that is honoured; who asks for more is not asked again, and the client is told.
pub const WAIT_MAX_MS: u64 = 3_000;

const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const SHED: HeaderName = HeaderName::from_static("outrigger-shed");
/// Of a response: it failed in spite of retries further down. Of a request: its application retries by itself.
pub const NO_RETRY: HeaderName = HeaderName::from_static("outrigger-no-retry");

/// When it may be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushback {
    /// It does not say.
    Unsaid,
    /// Not before so many milliseconds.
    Wait(u64),
    /// Not at all, or later than anybody waits.
    Never,
}

impl Pushback {
    /// Reads `grpc-retry-pushback-ms` (gRFC A6) and `Retry-After` in seconds (RFC 9110 §10.2.3). A date is not waited for: by whose
    /// clock?
    pub fn of(headers: &HeaderMap) -> Self {
        if headers.contains_key(&NO_RETRY) {
            return Self::Never;
        }
        if let Some(value) = headers.get(&GRPC_PUSHBACK) {
            return Self::milliseconds(value.to_str().ok().and_then(|text| text.trim().parse().ok()));
        }
        let Some(value) = headers.get(RETRY_AFTER) else { return Self::Unsaid };
        let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
        Self::milliseconds(seconds.map(|seconds| seconds.saturating_mul(1_000)))
    }

    fn milliseconds(wait_ms: Option<u64>) -> Self {
        match wait_ms {
            Some(wait_ms) if wait_ms <= WAIT_MAX_MS => Self::Wait(wait_ms),
            Some(_) | None => Self::Never,
        }
    }
}

/// Whether a sidecar refused the request unprocessed, to protect its application.
pub fn was_shed(headers: &HeaderMap) -> bool {
    headers.contains_key(&SHED)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_said_is_honoured_within_reason() {
        for (name, value, pushback) in [
            ("retry-after", "0", Pushback::Wait(0)),
            ("retry-after", " 2 ", Pushback::Wait(2_000)),
            ("retry-after", "4", Pushback::Never),
            ("retry-after", "1000000000000000000000000000000", Pushback::Never),
            ("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT", Pushback::Never),
            ("retry-after", "-1", Pushback::Never),
            ("grpc-retry-pushback-ms", "25", Pushback::Wait(25)),
            ("grpc-retry-pushback-ms", "-1", Pushback::Never),
            ("grpc-retry-pushback-ms", "soon", Pushback::Never),
            ("outrigger-no-retry", "1", Pushback::Never),
            ("x-other", "1", Pushback::Unsaid),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            assert_eq!(Pushback::of(&headers), pushback, "{name}: {value}");
        }
    }
}
