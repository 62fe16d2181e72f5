//! What a gateway takes, and where it goes. Wire types, as in [`crate::policy`].

use serde::{Deserialize, Serialize};

use super::{ConnectionRule, Inbound, Rule};
use crate::name::ServiceName;

/// Names a pair of certificate and key, or the certificates of authorities: by namespace and name, two labels as a service has.
pub type CertificateName = ServiceName;

/// What stands between strangers and the mesh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// In the order of the `Gateway`. Those of one port have one protocol, and differ in their hostname.
    pub listeners: Vec<Listener>,
}

/// What is taken on a port for some host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Its name, unique in the gateway.
    pub name: String,
    /// The port.
    pub port: u16,
    /// What is spoken on it.
    pub protocol: ListenerProtocol,
    /// The host that it is for, in lower case; `*.example` stands for all below it. `None`: every host.
    pub hostname: Option<String>,
    /// How its TLS is ended: for [`ListenerProtocol::Https`] and no other.
    pub tls: Option<Termination>,
    /// Where requests go, in tie-break order: by namespace and name of the route.
    pub routes: Vec<GatewayRoute>,
    /// Where connections go that are not looked into.
    pub connections: Vec<ConnectionRule>,
    /// What is done about what comes to it, without shedding and without anyone who is trusted; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Inbound>,
}

/// What is spoken with a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerProtocol {
    /// HTTP in the clear.
    Http,
    /// HTTP inside TLS that ends here.
    Https,
    /// TLS that does not end here.
    Tls,
    /// Bytes that are not parsed.
    Tcp,
}

impl ListenerProtocol {
    /// As a `Gateway` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
        }
    }

    /// Whether requests on it are routed by host and rule.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// How TLS with clients outside the mesh is ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Termination {
    /// The pairs that may be shown, the preferred first. At least one.
    pub certificates: Vec<CertificateName>,
    /// Whether TLS 1.2 is refused.
    pub only_tls13: bool,
    /// What is asked of clients; `None`: nothing.
    pub clients: Option<ClientCertificates>,
}

/// Certificates that clients show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificates {
    /// Who is believed about them, from [`crate::facts::Facts::authorities`]. At least one.
    pub authorities: Vec<CertificateName>,
    /// Whether clients without a valid one are refused. If not, they count as clients without any.
    pub required: bool,
}

/// A route as one listener sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayRoute {
    /// The hosts that it is for, all of them the listener's too. Empty: every host.
    pub hostnames: Vec<String>,
    /// What is done with which requests.
    pub rules: Vec<Rule>,
}
