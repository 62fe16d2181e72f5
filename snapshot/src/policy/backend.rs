//! How a cluster is used. Wire types, as in [`crate::policy`].

use serde::{Deserialize, Serialize};

use super::{Breaker, CertificateName, Ejection, HealthCheck, Hedge, Protocol, Retry, Telemetry};

/// The fewest endpoints that a caller has: with fewer, the better of two is often the worse of all.
pub const SUBSET_ENDPOINTS_MIN: u32 = 12;

/// How a cluster is used: complete, the compiler has filled in every default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// How an endpoint is picked.
    pub balance: Balance,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Caps.
    pub limits: Limits,
    /// What an empty DNS answer means.
    pub on_empty: OnEmpty,
    /// When a request is sent again.
    pub retry: Retry,
    /// When a second try is sent beside the first; `None`: never.
    pub hedge: Option<Hedge>,
    /// When an endpoint is left alone.
    pub ejection: Ejection,
    /// When the cluster is left alone.
    pub breaker: Breaker,
    /// How endpoints are asked whether they are well; `None`: they are not.
    pub health_check: Option<HealthCheck>,
    /// A new or recovered endpoint's share grows to its own over this; 0: at once.
    pub slow_start_ms: u64,
    /// How far requests stay in the proxy's own zone; `None`: zones are not looked at.
    pub zone_preference: Option<ZonePreference>,
    /// How many endpoints each of many callers has; `None`: all.
    #[serde(default = "Subset::by_default", skip_serializing_if = "Subset::is_default")]
    pub subset: Option<Subset>,
    /// What is shown to endpoints that are dialled by TLS and ask for a certificate; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<CertificateName>,
    /// What is told of its requests; `None`: what each proxy was started to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
}

/// Requests stay in the zone that they come from, as far as every endpoint keeps its share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZonePreference {
    /// With fewer healthy endpoints than this, zones are not looked at.
    pub endpoints_min: u32,
}

/// Where callers and endpoints are many, each caller has some of the endpoints. Of no effect where a key decides on the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subset {
    /// So many at the least.
    pub endpoints_min: u32,
}

impl Subset {
    #[expect(clippy::unnecessary_wraps, reason = "it stands for the whole field")]
    fn by_default() -> Option<Self> {
        Some(Self { endpoints_min: SUBSET_ENDPOINTS_MIN })
    }

    /// Whether `subset` is what holds where nothing is said.
    pub fn is_default(subset: &Option<Self>) -> bool {
        *subset == Self::by_default()
    }
}

/// How an endpoint is picked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Power of two choices on in-flight × peak EWMA of latency.
    #[default]
    PeakEwma,
    /// Power of two choices on in-flight.
    LeastRequest,
    /// In turn, smoothly by weight.
    RoundRobin,
    /// At random, by weight.
    Random,
    /// The same key goes to the same endpoint while it is there.
    ConsistentHash(HashKey),
    /// The same key goes to the same few endpoints, by power of two choices.
    ShuffleShard(ShuffleShard),
}

/// Each key has some of the endpoints, and hardly two keys have the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShuffleShard {
    /// How many endpoints a key has.
    pub size: u32,
    /// Whose they are. Requests without it share a shard.
    pub key: HashKey,
}

/// What a request is hashed by. With [`Balance::ConsistentHash`], a request without it is balanced at random.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// The value of a header (lower-case name).
    Header(String),
    /// The value of a cookie.
    Cookie(String),
    /// The address of the downstream peer.
    Source,
}

/// Time limits in milliseconds; 0 is "none" where it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// For opening an upstream connection.
    pub connect_ms: u64,
    /// For the whole request, until the last byte of the response; 0: none.
    pub request_ms: u64,
    /// For one try, until the last byte of its response; 0: none.
    pub try_ms: u64,
    /// From the end of the request until the response head; 0: none.
    pub first_byte_ms: u64,
    /// For an upstream connection without a request.
    pub idle_ms: u64,
    /// Between two pieces of a body, in either direction; 0: none.
    pub body_stall_ms: u64,
    /// For a tunnel through which nothing moves; 0: none.
    pub tunnel_idle_ms: u64,
}

/// Caps of one cluster in one proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Upstream connections.
    pub connections: u32,
    /// Requests waiting for a connection.
    pub pending: u32,
    /// Requests in flight.
    pub requests: u32,
    /// Requests in flight to one endpoint; 0: no such cap.
    pub endpoint_requests: u32,
}

/// What an empty or "no such name" DNS answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnEmpty {
    /// Keep the last endpoints for the stale time.
    Keep,
    /// Believe it.
    Drain,
}

impl Backend {
    /// What holds where no policy says otherwise. A gRPC stream may send its response head with its first message, however
    /// late that is: only there is the wait for it unlimited.
    pub fn defaults_for(protocol: Protocol) -> Self {
        let mut timeouts = Timeouts::default();
        if protocol == Protocol::Grpc {
            timeouts.first_byte_ms = 0;
        }
        Self {
            balance: Balance::default(),
            timeouts,
            limits: Limits::default(),
            on_empty: OnEmpty::Keep,
            retry: Retry::default(),
            hedge: None,
            ejection: Ejection::default(),
            breaker: Breaker::default(),
            health_check: None,
            slow_start_ms: 0,
            zone_preference: None,
            subset: Subset::by_default(),
            client_certificate: None,
            telemetry: None,
        }
    }
}

impl Default for Timeouts {
    /// Bounded where a stuck peer would hold resources; the whole request is not limited, so that streams live.
    fn default() -> Self {
        Self {
            connect_ms: 1_000,
            request_ms: 0,
            try_ms: 0,
            first_byte_ms: 60_000,
            idle_ms: 60_000,
            body_stall_ms: 300_000,
            tunnel_idle_ms: 3_600_000,
        }
    }
}

impl Balance {
    /// What requests are told apart by, where that decides on the endpoint.
    pub fn key(&self) -> Option<&HashKey> {
        match self {
            Self::ConsistentHash(key) | Self::ShuffleShard(ShuffleShard { key, .. }) => Some(key),
            Self::PeakEwma | Self::LeastRequest | Self::RoundRobin | Self::Random => None,
        }
    }
}

impl Default for Limits {
    /// No cap for an endpoint: streams may be open for days, and any number of them that fits a small request is wrong for those.
    fn default() -> Self {
        Self { connections: 1_024, pending: 1_024, requests: 16_384, endpoint_requests: 0 }
    }
}
