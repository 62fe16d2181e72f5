//! Where connections go that are not looked into. Wire types, as in [`crate::policy`].

use serde::{Deserialize, Serialize};

use crate::name::ServiceName;

/// The rule of a `TCPRoute` or a `TLSRoute`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionRule {
    /// `NAMESPACE/ROUTE#RULE`, where RULE is the rule's name or its position: what people see in metrics and `explain`.
    pub name: String,
    /// Hosts that the client may ask for (RFC 6066 §3), in lower case; `*.example` stands for all below it. On a port of TLS at least
    /// one, on one of TCP none.
    pub hostnames: Vec<String>,
    /// Where they go. If it is empty, or no weight is above 0, the connection is refused.
    pub backends: Vec<ConnectionBackend>,
}

/// A cluster and its share of connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionBackend {
    /// The service.
    pub service: ServiceName,
    /// Its port.
    pub port: u16,
    /// Share of the sum of all weights of the rule; 0 gets nothing.
    pub weight: u32,
}
