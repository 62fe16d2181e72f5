//! Ways to get nowhere.

use outrigger_snapshot::router::RouterError;

/// Why a request would go nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoRoute {
    /// The policy makes no router.
    #[error("the policy can't be used")]
    Policy(#[source] RouterError),
    /// Nothing is called by this host.
    #[error("no service is called by the host {host:?}; from this scope these can be called: {known}")]
    Host {
        /// What was asked for.
        host: String,
        /// What there is.
        known: String,
    },
    /// The gateway takes no such connection.
    #[error("no listener for connections is for {host} on port {port}; the gateway has {known}")]
    OpaqueListener {
        /// What was asked for.
        host: String,
        /// The port.
        port: String,
        /// What there is.
        known: String,
    },
    /// The gateway takes nothing for this host on this port.
    #[error("no listener for requests is for {host:?} on port {port}; the gateway has {known}")]
    Listener {
        /// What was asked for.
        host: String,
        /// The port.
        port: u16,
        /// What there is.
        known: String,
    },
    /// The service has no such port.
    #[error("{service} has no HTTP port {port}; it has {known}")]
    Port {
        /// Which service.
        service: String,
        /// What was asked for.
        port: String,
        /// What there is.
        known: String,
    },
    /// The service has no such port that is not HTTP's.
    #[error("{service} has no TCP or TLS port {port}; it has {known}")]
    OpaquePort {
        /// Which service.
        service: String,
        /// What was asked for.
        port: String,
        /// What there is.
        known: String,
    },
    /// No rule is for the host that the client asks for.
    #[error(
        "no rule of {service} is for {host} (--server-name); the proxy would refuse the connection. Its rules:\n{rules}"
    )]
    ServerName {
        /// Which cluster.
        service: String,
        /// What was asked for.
        host: String,
        /// A line each.
        rules: String,
    },
    /// No rule matches.
    #[error("no rule of {service} matches {method} {path}; the proxy would answer 404. Its rules:\n{rules}")]
    Rule {
        /// Which service.
        service: String,
        /// The request's.
        method: String,
        /// The request's.
        path: String,
        /// A line each.
        rules: String,
    },
}
