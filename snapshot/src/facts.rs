//! The `facts` object of a scope: where things are. Published at once and never rolled back. Wire types, as in [`crate::policy`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::identity::TrustDomain;
use crate::name::ClusterName;
use crate::policy::CertificateName;
use crate::seats::Seats;

/// Callers of a service that is not counted yet.
pub const PEERS_DEFAULT: u32 = 16;

/// How many proxies call each cluster, where that is known, and which, where they share it out. An object of its own, so that any replica
/// goes on from what another has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerCounts {
    /// Powers of two.
    pub clusters: BTreeMap<ClusterName, u32>,
    /// The callers themselves, where callers × endpoints are many.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seats: BTreeMap<ClusterName, Seats>,
}

impl PeerCounts {
    /// Proxies that call `cluster`: [`PEERS_DEFAULT`] if nobody has counted them.
    pub fn of(&self, cluster: &ClusterName) -> u32 {
        let counted = self.clusters.get(cluster).and_then(|count| count.checked_next_power_of_two());
        counted.unwrap_or(PEERS_DEFAULT)
    }

    /// The seats of those that call `cluster`: none unless all of them are among its callers.
    pub fn seats_of(&self, cluster: &ClusterName) -> Seats {
        let seats = self.seats.get(cluster).filter(|seats| seats.len() <= self.of(cluster) as usize);
        seats.cloned().unwrap_or_default()
    }
}

/// Endpoints and other facts of the clusters that can be called from a scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Schema number of this object.
    pub schema: u32,
    /// Features that the content uses beyond the schema's first version.
    pub features: BTreeSet<String>,
    /// Each cluster's facts. A cluster that is missing here has no endpoints.
    pub clusters: BTreeMap<ClusterName, Cluster>,
    /// Who is believed about identities; `None`: the mesh has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    /// Other authorities that policy and clusters name: their certificates, in PEM.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authorities: BTreeMap<CertificateName, String>,
}

/// Authorities of a mesh. Facts, since what is taken back must count at once and must not come back with a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Whose identities they vouch for.
    pub domain: TrustDomain,
    /// Their certificates, in PEM.
    pub bundle: String,
    /// Revocation lists, in PEM; may be empty.
    pub revocations: String,
}

/// Facts of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// Proxies that call this cluster, rounded to a power of two: shares of per-service budgets.
    pub peers: u32,
    /// Which of its callers sits where; empty: nobody has a seat.
    #[serde(default, skip_serializing_if = "Seats::is_empty")]
    pub seats: Seats,
    /// What is asked of its endpoints, where they are dialled by [`TlsMode::Tls`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
}

/// What is asked of a server outside the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// The name that it is asked for (RFC 6066 §3), and that its certificate must be for, unless `names` are given.
    pub hostname: String,
    /// Its certificate must be for one of these; empty: for `hostname`.
    pub names: Vec<AltName>,
    /// Who is believed about it.
    pub authorities: Authorities,
}

/// A name in a certificate (RFC 5280 §4.2.1.6).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AltName {
    /// Of a host.
    Dns(String),
    /// A URI, such as a SPIFFE ID.
    Uri(String),
}

/// Who is believed about a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authorities {
    /// Whom the proxy's system believes.
    System,
    /// These, from [`Facts::authorities`].
    Listed(Vec<CertificateName>),
}

/// Where endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discovery {
    /// They are listed here.
    Static(Vec<Endpoint>),
    /// A and AAAA records of a name.
    Dns(DnsName),
    /// SRV records of a name, then A and AAAA of their targets.
    Srv(SrvName),
}

/// One address of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// What callers dial: the sidecar where there is one.
    pub address: SocketAddr,
    /// Relative share, at least 1.
    pub weight: u32,
    /// The zone it runs in.
    pub zone: Option<String>,
    /// How it is dialled.
    pub tls: TlsMode,
}

/// How an endpoint is dialled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    /// In clear text.
    #[default]
    None,
    /// By mutual TLS between sidecars, where the caller has an identity; in clear text where it has none.
    Mesh,
    /// By TLS, as [`Cluster::tls`] says.
    Tls,
}

/// A name with A or AAAA records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsName {
    /// Fully qualified, without the trailing dot.
    pub name: String,
    /// The port to dial.
    pub port: u16,
    /// How each address is dialled.
    pub tls: TlsMode,
}

/// A name with SRV records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SrvName {
    /// Fully qualified, without the trailing dot.
    pub name: String,
    /// How each address is dialled.
    pub tls: TlsMode,
}
