//! Why a connection is not carried. There is no response that could say so: the client sees a reset, and the reason is counted.

use outrigger_snapshot::name::ClusterName;

use super::answer::Answer;
use crate::detect::client_hello::HelloError;
use crate::error::ProxyError;
use crate::local_reply::{ROWS, row_index};
use crate::proxy_protocol::HeaderError;

/// Closed: a new cause is a new row of the second table in `docs/ERRORS.md`.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The client left before it had said what is needed.
    #[error("the client closed the connection before it had sent a ClientHello")]
    ClientGone,
    /// The client took too long.
    #[error("the client sent no whole ClientHello in time")]
    HelloTimeout,
    /// The port has routes by host, and this is not TLS.
    #[error("the connection does not begin with TLS, whose ClientHello names the host")]
    NotTls,
    /// The ClientHello cannot be read.
    #[error("the connection does not begin with a usable ClientHello")]
    ClientHello(#[source] HelloError),
    /// The snapshot has no such port.
    #[error("there is no port {0} of protocol TCP or TLS")]
    NoPort(ClusterName),
    /// No route of the port is for this host.
    #[error("no route of {port} is for {}", host.as_deref().unwrap_or("clients that ask for no host"))]
    NoRule {
        /// The port.
        port: ClusterName,
        /// What the client asked for.
        host: Option<Box<str>>,
    },
    /// As many connections as may be.
    #[error("limits.connections of the cluster {0} are open")]
    LimitConnections(std::sync::Arc<str>),
    /// What came in is no port's: neither HTTP nor a caller that names a port, and there is not exactly one port of TCP or TLS.
    #[error(
        "the connection is not HTTP, names no port, and the service has not exactly one port of protocol TCP or TLS"
    )]
    NoInboundPort,
    /// A caller of the mesh asks for a connection to a port that carries requests.
    #[error("port {0} carries requests, and the caller does not speak HTTP")]
    WrongProtocol(u16),
    /// The endpoint's sidecar does not carry it.
    #[error("the sidecar of the endpoint answers: {0:?}")]
    Turned(Answer),
    /// A peer that is to say for whom it connects does not.
    #[error(transparent)]
    ProxyHeader(#[from] HeaderError),
    /// It leads out of the mesh.
    #[error("nothing of the mesh is at {0}, and connections may not leave it (--unknown-destinations)")]
    UnknownDestination(std::net::SocketAddr),
    /// It is for a port of the workload that its service does not name.
    #[error(
        "the service has no port whose workload listens on {0}, and takes only callers that prove their identity"
    )]
    UnnamedPort(u16),
    /// It comes from this very proxy, or leads to it.
    #[error(
        "a connection to {0} leads back to this proxy: does it run as the user that `outrigger intercept install` was given?"
    )]
    Loop(std::net::SocketAddr),
    /// What requests may meet, too.
    #[error(transparent)]
    Request(#[from] ProxyError),
}

/// The codes of those that requests do not meet, as metrics spell them. The others have the code that they have there.
const OWN_REASONS: [&str; 17] = [
    "client_gone",
    "hello_timeout",
    "not_tls",
    "client_hello",
    "no_port",
    "no_rule",
    "limit_connections",
    "no_inbound_port",
    "wrong_protocol",
    "upstream_denied",
    "upstream_no_port",
    "upstream_unreachable",
    "upstream_busy",
    "proxy_header",
    "unknown_destination",
    "unnamed_port",
    "loop",
];

/// How many codes there are.
pub const REASONS: usize = OWN_REASONS.len() + ROWS.len();

/// A code by its index.
pub fn reason(index: usize) -> Option<&'static str> {
    OWN_REASONS.iter().copied().chain(ROWS.iter().map(|row| row.reason)).nth(index)
}

impl Refusal {
    /// The index of its code.
    pub fn index(&self) -> usize {
        match self {
            Self::ClientGone => 0,
            Self::HelloTimeout => 1,
            Self::NotTls => 2,
            Self::ClientHello(_) => 3,
            Self::NoPort(_) => 4,
            Self::NoRule { .. } => 5,
            Self::LimitConnections(_) => 6,
            Self::NoInboundPort => 7,
            Self::WrongProtocol(_) => 8,
            Self::Turned(Answer::Denied) => 9,
            Self::Turned(Answer::NoPort) => 10,
            Self::Turned(Answer::Carried | Answer::Unreachable) => 11,
            Self::Turned(Answer::Busy) => 12,
            Self::ProxyHeader(_) => 13,
            Self::UnknownDestination(_) => 14,
            Self::UnnamedPort(_) => 15,
            Self::Loop(_) => 16,
            Self::Request(error) => OWN_REASONS.len() + row_index(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_its_own_is_documented_in_order() {
        let document = include_str!("../../../docs/ERRORS.md");
        let (_, table) = document.split_once("## Connections that").expect("there is such a section");
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        assert_eq!(rows.collect::<Vec<_>>(), OWN_REASONS);
    }
}
