//! Everything that can end a request without an upstream's response. What each means to the client is decided in
//! [`crate::local_reply`] alone.

use outrigger_filters::context::Refused;
use outrigger_snapshot::head::AuthorityError;

use crate::connect::TlsFailure;
use crate::http::failure::WireError;
use crate::overload::Shed;

/// What the client did wrong in a request head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Neither `Host` nor `:authority` (RFC 9112 §3.2).
    #[error("the request names no host")]
    HostMissing,
    /// More than one `Host` (RFC 9112 §3.2).
    #[error("the request has more than one Host")]
    HostTwice,
    /// The host is none.
    #[error("the Host is invalid: {0}")]
    Host(AuthorityError),
    /// `Host` and `:authority` differ (RFC 9113 §8.3.1).
    #[error(":authority and Host differ")]
    HostDiffers,
    /// The target has none of the forms of RFC 9112 §3.2, or one that its method may not have.
    #[error("the request target is invalid for its method")]
    Target,
    /// An escaped NUL in the path: some servers end the path there, and no rule would see what they do.
    #[error("the path of the request target has an escaped NUL (%00)")]
    Nul,
    /// An absolute target whose scheme is not `http`.
    #[error("the scheme of the request target is not http")]
    Scheme,
    /// Anything but one `chunked` (RFC 9112 §6.1): what others may frame differently is smuggling.
    #[error("Transfer-Encoding is not exactly one \"chunked\"")]
    TransferEncoding,
    /// Both framings at once (RFC 9112 §6.3).
    #[error("both Transfer-Encoding and Content-Length")]
    TwoFramings,
    /// An `Upgrade` that cannot be passed on: with a body, or without the connection option.
    #[error("the Upgrade is invalid")]
    Upgrade,
    /// The body broke the rules of its framing.
    #[error("the request body is malformed")]
    Body,
}

/// Which limit of a cluster was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Limit {
    /// Requests in flight.
    Requests,
    /// Requests in flight to each endpoint that could serve.
    EndpointRequests,
    /// Requests waiting for a connection.
    Pending,
    /// The time for which a request waits for a place among the connections.
    PendingTime,
}

/// Every [`Limit`] as metrics spell it.
pub const LIMITS: [&str; 4] = ["requests", "endpoint_requests", "pending", "pending_time"];

/// Which time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// For the whole request.
    Request,
    /// The caller's deadline.
    Deadline,
    /// For one try.
    Try,
    /// For the response head.
    FirstByte,
    /// For opening an upstream connection.
    Connect,
    /// For the client to send the next piece of the request body.
    RequestBody,
    /// For the upstream to take the next piece of the request body.
    UpstreamBody,
}

/// Why a request was not answered by an upstream. Closed: a new cause is a new row of the table in `docs/ERRORS.md`.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The client's request cannot be understood.
    #[error("malformed request: {0}")]
    Malformed(#[from] Malformed),
    /// `CONNECT` is not supported.
    #[error("CONNECT is not supported")]
    Connect,
    /// No plan yet.
    #[error("no snapshot has been applied yet")]
    NoPlan,
    /// Nothing is called by this host.
    #[error("no service is called by this host")]
    NoHost,
    /// The service lacks the port.
    #[error("the service has no HTTP port of this number")]
    NoPort,
    /// No rule matches.
    #[error("no rule of the service matches the request")]
    NoRule,
    /// The rule sends traffic nowhere: all weights are 0, or the cluster is unknown.
    #[error("the rule has no backend that takes traffic")]
    NoBackend,
    /// The cluster is empty.
    #[error("the cluster {0} has no endpoint")]
    NoEndpoint(std::sync::Arc<str>),
    /// The cluster's breaker is open.
    #[error(
        "nearly every request to the cluster {cluster} fails, so it is left alone for {retry_after_ms} ms"
    )]
    BreakerOpen {
        /// The cluster.
        cluster: std::sync::Arc<str>,
        /// When it will be asked again.
        retry_after_ms: u64,
    },
    /// A limit of the cluster.
    #[error("a limit of the cluster was reached: {0:?}")]
    Limit(Limit),
    /// The application has as much to do as it can.
    #[error("the application has {} of {} requests that it can work on at a time ({})", shed.in_flight, shed.limit, shed.cause.as_str())]
    Shed {
        /// What was found.
        shed: Shed,
        /// When to try again.
        retry_after_ms: u32,
    },
    /// A filter refused it.
    #[error(transparent)]
    Filter(#[from] Refused),
    /// A time limit.
    #[error("a time limit was reached: {0:?}")]
    Timeout(Timeout),
    /// No connection.
    #[error("cannot connect to {address}")]
    ConnectFailed {
        /// The endpoint.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// No TLS with the endpoint.
    #[error("no TLS with the endpoint: {failure}")]
    Tls {
        /// Why.
        failure: TlsFailure,
    },
    /// The service asks every caller to prove its identity.
    #[error("the service takes only callers that prove their identity by mutual TLS")]
    IdentityRequired,
    /// A port takes only requests inside TLS.
    #[error("this port takes HTTPS, and the request came in the clear")]
    TlsRequired,
    /// An access rule, or the lack of one.
    #[error("{}", denied(rule.as_deref()))]
    Denied {
        /// The rule that denies; `None`: no rule allows.
        rule: Option<String>,
    },
    /// The connection broke before the response head.
    #[error("the upstream closed the connection before it answered")]
    Reset(#[source] WireError),
    /// The upstream refused the stream unprocessed.
    #[error("the upstream refused the stream")]
    Refused(#[source] WireError),
    /// The response is no HTTP.
    #[error("the upstream's response is malformed")]
    MalformedResponse(#[source] WireError),
    /// A 101 that nobody asked for, or to another protocol.
    #[error("the upstream switched to a protocol that was not asked for")]
    UnexpectedUpgrade,
    /// The client left; nobody reads the reply.
    #[error("the client closed the connection")]
    ClientGone,
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Downstream,
    /// The configuration's, or this proxy's limits.
    Proxy,
    /// The upstream's, or the way there.
    Upstream,
}

impl ProxyError {
    /// Whose fault it is.
    pub fn side(&self) -> Side {
        match self {
            Self::Malformed(_)
            | Self::Connect
            | Self::ClientGone
            | Self::Timeout(Timeout::RequestBody)
            | Self::IdentityRequired
            | Self::TlsRequired
            | Self::Denied { .. } => Side::Downstream,
            Self::NoPlan
            | Self::NoHost
            | Self::NoPort
            | Self::NoRule
            | Self::NoBackend
            | Self::Limit(_)
            | Self::Shed { .. }
            | Self::Tls { failure: TlsFailure::NoIdentity }
            | Self::Filter(_) => Side::Proxy,
            Self::NoEndpoint(_)
            | Self::BreakerOpen { .. }
            | Self::Timeout(
                Timeout::Request
                | Timeout::Deadline
                | Timeout::Try
                | Timeout::FirstByte
                | Timeout::Connect
                | Timeout::UpstreamBody,
            )
            | Self::ConnectFailed { .. }
            | Self::Tls { .. }
            | Self::Reset(_)
            | Self::Refused(_)
            | Self::MalformedResponse(_)
            | Self::UnexpectedUpgrade => Side::Upstream,
        }
    }

    /// Whether the same request may be sent again although its method is not idempotent: the upstream has not processed it
    /// (RFC 9110 §9.2.2, RFC 9113 §8.7).
    pub fn unprocessed(&self) -> bool {
        matches!(
            self,
            Self::ConnectFailed { .. }
                | Self::Tls { .. }
                | Self::Refused(_)
                | Self::Timeout(Timeout::Connect)
        )
    }
}

fn denied(rule: Option<&str>) -> String {
    match rule {
        Some(rule) => format!("the access rule {rule:?} of the service denies it"),
        None => "no access rule of the service allows it".to_owned(),
    }
}
