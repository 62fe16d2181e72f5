//! Endpoints from DNS.
//!
//! DNS says where things are, but it is not allowed to take them away by failing: what happens to the last answer when there is no
//! new one is decided by [`state`], a table without sockets and clocks, written out in `docs/DNS.md`. [`Resolver`] asks, and feeds it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::policy::OnEmpty;
use serde::{Deserialize, Serialize};

pub use self::driver::Resolver;
pub use self::metrics::{Metrics, NameMetrics};

pub mod answer;
mod driver;
mod lookup;
mod metrics;
pub mod state;

/// How long "no such name" and "no records" are not believed, unless the cluster says that they are to be.
pub const STALE_TTL: Duration = Duration::from_secs(3_600);

/// How a [`Resolver`] asks.
#[derive(Debug, Clone)]
pub struct ResolverConfig {
    /// The servers to ask. Empty: those of `/etc/resolv.conf`, as it is when the resolver is made.
    pub nameservers: Vec<SocketAddr>,
    /// How long "no such name" and "no records" are not believed.
    pub stale_ttl: Duration,
    /// An answer is used for at least this long, whatever its TTL says.
    pub ttl_min: Duration,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        Self { nameservers: Vec::new(), stale_ttl: STALE_TTL, ttl_min: state::TTL_MIN }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// The A and AAAA records of a name; each is dialled at this port.
    Addresses {
        /// Fully qualified; the trailing dot may be left out.
        name: String,
        /// The port to dial.
        port: u16,
    },
    /// The SRV records of a name (RFC 2782), then the A and AAAA records of their targets.
    Srv {
        /// Fully qualified; the trailing dot may be left out.
        name: String,
    },
}

/// A cluster whose endpoints come from DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What is asked.
    pub query: Query,
    /// What "nothing there" means.
    pub on_empty: OnEmpty,
}

/// An endpoint as DNS describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResolvedEndpoint {
    /// What to dial.
    pub address: SocketAddr,
    /// Its share, relative to the others of the same answer; at least 1.
    pub weight: u32,
}

/// The last endpoints of a name, as they are kept on disk. They count only for the query that they answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The cluster.
    pub cluster: ClusterName,
    /// What was asked.
    pub query: Query,
    /// What is in use; never empty.
    pub endpoints: Vec<ResolvedEndpoint>,
}

/// A cluster's endpoints are others now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The cluster.
    pub cluster: ClusterName,
    /// All its endpoints, by address.
    pub endpoints: Arc<[ResolvedEndpoint]>,
}

/// The DNS client cannot be made from its configuration.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a DNS client; check /etc/resolv.conf, or name a server with --dns-server ADDR")]
pub struct ResolveError(#[from] hickory_resolver::net::NetError);
