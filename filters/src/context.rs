//! What filters know of a request beside its head, and what they can say.

use std::sync::Arc;

use http::StatusCode;
use http::header::HeaderValue;
use outrigger_snapshot::identity::SpiffeId;

/// Facts about one request that filters read.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Bytes of the path that the rule's prefix matched, without a trailing slash; `None`: it was not matched by prefix.
    pub prefix_bytes: Option<usize>,
    /// Whether the downstream connection is TLS.
    pub tls: bool,
    /// The address of the downstream peer.
    pub source: Option<HeaderValue>,
    /// The identity that the downstream peer has proved.
    pub identity: Option<Arc<SpiffeId>>,
    /// Nanoseconds on a clock that never goes back.
    pub now_ns: u64,
    /// Random bits; [`Context::percent`] makes the next of them.
    pub random: u64,
    /// For how long a filter wants the request held up, in milliseconds.
    pub delay_ms: u64,
}

impl Context {
    /// A random number from 0 to 99, another each time.
    pub fn percent(&mut self) -> u32 {
        // Knuth's 64-bit linear congruence; the high bits are the good ones.
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) % 100) as u32
    }
}

/// What happens after a filter.
#[derive(Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next filter, or the cluster.
    Continue,
    /// This answer instead.
    Answer(Answer),
    /// A refusal, which the proxy answers in the caller's protocol.
    Refuse(Refused),
}

/// Why a filter refuses a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A rate.
    #[error("the rate limit {:?} allows {} requests per {} s", .0.limit, .0.requests, .0.period_s())]
    RateLimited(Exceeded),
    /// A fault that was asked for.
    #[error("a fault was injected, as the rule says")]
    Fault {
        /// The status to answer with.
        status: StatusCode,
        /// The gRPC status.
        grpc_status: u16,
    },
}

/// A rate limit that a request exceeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// Its name.
    pub limit: Arc<str>,
    /// What it allows per period.
    pub requests: u32,
    /// The period.
    pub period_ms: u64,
    /// When the same request would be let through.
    pub retry_after_ns: u64,
}

impl Exceeded {
    /// The period, in whole seconds.
    pub fn period_s(&self) -> u64 {
        self.period_ms.div_ceil(1_000)
    }

    /// When the same request would be let through, in whole seconds.
    pub fn retry_after_s(&self) -> u64 {
        self.retry_after_ns.div_ceil(1_000_000_000)
    }
}

/// A response that a filter gives in place of an upstream. It has no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The `Location` field.
    pub location: Option<HeaderValue>,
}
