//! The `policy` object of a scope: routes and settings. It never names an endpoint; those are [`crate::facts`].
//!
//! These are wire types: strict (an unknown field or variant is an error), without defaults that could change between
//! versions, and meaningless until [`crate::validate`] has accepted them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::name::ServiceName;

pub use authorization::{Access, AccessRule, Authorization, Conditions, PriorityRule, Subject};
pub use backend::{
    Backend, Balance, HashKey, Limits, OnEmpty, SUBSET_ENDPOINTS_MIN, ShuffleShard, Subset, Timeouts,
    ZonePreference,
};
pub use connection::{ConnectionBackend, ConnectionRule};
pub use gateway::{
    CertificateName, ClientCertificates, Gateway, GatewayRoute, Listener, ListenerProtocol, Termination,
};
pub use inbound::{Abort, Delay, Fault, Inbound, InboundTls, RateKey, RateLimit, Shed};
pub use resilience::{
    Breaker, BreakerWindow, Ejection, HealthCheck, Hedge, Probe, Retry, RetryBudget, RuleRetry,
};
pub use telemetry::{
    LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, Label, LabelError, LabelSource, SHARE_WHOLE,
    Telemetry,
};

mod authorization;
mod backend;
mod connection;
mod gateway;
mod inbound;
mod resilience;
mod telemetry;

/// The schema this build writes and reads.
pub const SCHEMA: u32 = 1;

/// The feature of a policy that has [`Port::connections`].
pub const CONNECTION_RULES: &str = "connection_rules";

/// Everything a sidecar needs to decide where a request goes and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Schema number of this object.
    pub schema: u32,
    /// Features that the content uses beyond the schema's first version. A reader that does not know one refuses the object.
    pub features: BTreeSet<String>,
    /// Every service that can be called from this scope.
    pub services: BTreeMap<ServiceName, Service>,
    /// What a gateway takes, in the scope of one; `None`: this is the scope of a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
}

/// One service, as its callers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Further host names (lower case, no port) under which this service is called, beside those made from its name.
    pub hosts: Vec<String>,
    /// At least one.
    pub ports: Vec<Port>,
    /// What its sidecars ask of callers; `None`: they have no identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Mtls>,
}

/// What the sidecars of a service ask of whoever calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mtls {
    /// Callers with an identity prove it; those without may call in clear text.
    Permissive,
    /// Every caller proves its identity.
    Strict,
}

impl Mtls {
    /// As `Service` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Permissive => "Permissive",
            Self::Strict => "Strict",
        }
    }
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its name, unique in the service.
    pub name: String,
    /// The port that callers use.
    pub port: u16,
    /// The port that the application listens on.
    pub target_port: u16,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Routes attached to this port, in tie-break order (route by namespace and name, then rule by position). Empty: every
    /// request goes to this port's own cluster.
    pub rules: Vec<Rule>,
    /// The same for connections that are not looked into: those of TCP and TLS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<ConnectionRule>,
    /// How this port's own cluster is used.
    pub backend: Backend,
    /// What protects the application behind it; `None`: the default, [`Inbound::default`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Inbound>,
    /// The header that the application expects before the first byte of each connection; `None`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// A header of the PROXY protocol, and who writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocol {
    /// How it is written.
    pub version: ProxyVersion,
    /// By whom.
    pub written_by: ProxyWriter,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

/// Who tells the application between whom a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyWriter {
    /// The sidecar beside it.
    Sidecar,
    /// The sidecars of its callers, since there is none beside it.
    Callers,
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1 upstream.
    Http,
    /// HTTP/2 upstream, by prior knowledge where there is no TLS.
    Http2,
    /// HTTP/2 whose local replies carry a gRPC status.
    Grpc,
    /// Bytes that are not parsed.
    Tcp,
    /// TLS that is not terminated here.
    Tls,
}

impl Protocol {
    /// As `Service` ports spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Http2 => "HTTP2",
            Self::Grpc => "GRPC",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// Whether requests on it are routed by host and rule.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }
}

/// One rule of a route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `NAMESPACE/ROUTE#RULE`, where RULE is the rule's name or its position: what people see in metrics and `explain`.
    pub name: String,
    /// Whether it is of a `GRPCRoute`: an `HTTPRoute` may have the same name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grpc: bool,
    /// The rule applies if any of them matches. Never empty: "everything" is a path prefix `/`.
    pub matches: Vec<RouteMatch>,
    /// In the order the operator wrote.
    pub filters: Vec<Filter>,
    /// Milliseconds for the whole request; `None`: the destination cluster's.
    pub request_timeout_ms: Option<u64>,
    /// Milliseconds for one try; `None`: the destination cluster's.
    pub try_timeout_ms: Option<u64>,
    /// When it is sent again; `None`: as the destination cluster says.
    pub retry: Option<RuleRetry>,
    /// Where it goes. If it is empty, or no weight is above 0, and no filter answers, the proxy answers 500.
    pub backends: Vec<WeightedBackend>,
}

impl Rule {
    /// What belongs to this rule and no other: its name, and the kind of its route where that is not `HTTPRoute`.
    pub fn scope(&self) -> String {
        if self.grpc { format!("GRPCRoute {}", self.name) } else { self.name.clone() }
    }
}

/// Conditions that must all hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteMatch {
    /// On the path, without the query.
    pub path: PathMatch,
    /// The method, upper case.
    pub method: Option<String>,
    /// On headers; names lower case, each at most once.
    pub headers: Vec<ValueMatch>,
    /// On query parameters; names case-sensitive, each at most once.
    pub query: Vec<ValueMatch>,
}

/// A condition on the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// The path itself, byte by byte.
    Exact(String),
    /// The path or a path below it, element by element.
    Prefix(String),
    /// A regular expression that must match the whole path.
    Regex(String),
}

/// A condition on a named value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueMatch {
    /// The header's or the parameter's name.
    pub name: String,
    /// What its value must be.
    pub value: TextMatch,
}

/// A condition on a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextMatch {
    /// Equal, byte by byte.
    Exact(String),
    /// A regular expression that must match the whole value.
    Regex(String),
}

/// A cluster and its share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightedBackend {
    /// The service.
    pub service: ServiceName,
    /// Its port.
    pub port: u16,
    /// Share of the sum of all weights of the rule; 0 gets nothing.
    pub weight: u32,
    /// Applied only to requests that go here, after the rule's.
    pub filters: Vec<Filter>,
}

/// What a rule does to a request or its response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Edits request headers.
    RequestHeaders(HeaderEdit),
    /// Edits response headers.
    ResponseHeaders(HeaderEdit),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Rewrites host or path before forwarding.
    Rewrite(Rewrite),
    /// Refuses what exceeds a rate.
    RateLimit(RateLimit),
    /// Injects faults.
    Fault(Fault),
}

/// Header changes: removed first, then set, then added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderEdit {
    /// Replaced or added.
    pub set: Vec<(String, String)>,
    /// Added beside what is there.
    pub add: Vec<(String, String)>,
    /// Removed. Lower case.
    pub remove: Vec<String>,
}

/// A redirect; what is `None` stays as in the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host without port.
    pub host: Option<String>,
    /// The path.
    pub path: Option<PathEdit>,
    /// The port. `None`: the scheme's own where `scheme` is given, else the one the request came to.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// A rewrite; what is `None` stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// The `Host` that the upstream sees.
    pub host: Option<String>,
    /// The path that the upstream sees.
    pub path: Option<PathEdit>,
}

/// A change of the path; the query stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathEdit {
    /// Replaces the whole path.
    Full(String),
    /// Replaces the prefix that the rule matched. Only in a rule all of whose matches are prefixes.
    Prefix(String),
}
