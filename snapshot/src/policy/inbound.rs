//! What is done about requests that come to a port, before the application sees them, and what a rule may hold against its requests. Wire
//! types, as in [`crate::policy`].

use super::{Authorization, PriorityRule, Termination};
use serde::{Deserialize, Serialize};

/// What protects the application behind a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inbound {
    /// When load is shed; `None`: never.
    pub shed: Option<Shed>,
    /// Limits of rate; a request must pass all of them.
    pub rate_limits: Vec<RateLimit>,
    /// Addresses and networks (`10.1.0.0/16`) of callers whose `outrigger-*` fields are believed.
    pub trusted: Vec<String>,
    /// Who may call; `None`: everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// How much requests matter, whatever their callers say; the first rule about a request holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub priorities: Vec<PriorityRule>,
    /// How TLS with clients outside the mesh is ended; `None`: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<InboundTls>,
}

/// TLS with clients outside the mesh that a sidecar ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundTls {
    /// What is shown, and asked.
    pub termination: Termination,
    /// Whether requests that come in the clear are let in, too.
    pub cleartext: bool,
}

/// An adaptive limit of requests in flight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shed {
    /// Latency up to this multiple of the normal is normal, per cent; `None`: by the number of cores.
    pub tolerance_percent: Option<u32>,
    /// Paths that are never shed, beside that of the port's health check and gRPC's health service.
    pub exempt: Vec<String>,
}

/// A limit of rate, by GCRA: `requests` per `period_ms` sustained, and bursts of up to `burst`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// What people see, in `RateLimit` fields and metrics.
    pub name: String,
    /// Requests per period.
    pub requests: u32,
    /// The period.
    pub period_ms: u64,
    /// Requests that may come at once.
    pub burst: u32,
    /// What each bucket is for; empty: one for all requests.
    pub key: Vec<RateKey>,
    /// Counted over all sidecars of the service, through the store of `--rate-limit-store`; where there is none, by this sidecar alone.
    pub global: bool,
}

/// One part of a rate limit's key. A request that lacks it counts with all others that lack it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateKey {
    /// The value of a header (lower-case name).
    Header(String),
    /// The address of the downstream peer.
    Source,
    /// The identity that the downstream peer has proved.
    Identity,
    /// An element of the path, from 0.
    PathElement(u32),
}

/// Faults that users inject to drill for those that come by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Requests that are held up.
    pub delay: Option<Delay>,
    /// Requests that are answered in place of the upstream, at once.
    pub abort: Option<Abort>,
}

/// Holding up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// Of the requests.
    pub percent: u32,
    /// For how long.
    pub delay_ms: u64,
}

/// Answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// Of the requests.
    pub percent: u32,
    /// With this status.
    pub status: u16,
    /// And this one, where the caller speaks gRPC.
    pub grpc_status: u16,
}

impl Default for Inbound {
    /// Shedding is on.
    fn default() -> Self {
        Self {
            shed: Some(Shed::default()),
            rate_limits: Vec::new(),
            trusted: Vec::new(),
            authorization: None,
            priorities: Vec::new(),
            tls: None,
        }
    }
}

impl RateLimit {
    /// The burst where none is written: a tenth of what a period allows. With a burst of a whole period, twice the limit could pass
    /// within one.
    pub fn default_burst(requests: u32) -> u32 {
        (requests / 10).max(1)
    }
}
