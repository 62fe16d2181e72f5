//! Where a proxy stands.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use outrigger_snapshot::facts;
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::seats;

use crate::cluster::balance::aperture::Seat;
use crate::cluster::balance::subset::Caller;
use crate::cluster::hash_ring::stable_hash;
use crate::telemetry::detail::Detail;

/// Where this proxy stands.
#[derive(Debug, Clone)]
pub struct Local {
    /// The service beside which it runs.
    pub service: ServiceName,
    /// What it is called among its like.
    pub node: Arc<str>,
    /// The zone that it runs in.
    pub zone: Option<Arc<str>>,
    /// The workload, if calls to it come through here.
    pub app: Option<App>,
    /// Whether this proxy was given an identity.
    pub identity: bool,
    /// Whether connections are intercepted.
    pub transparent: bool,
    /// How finely metrics are told apart, where no policy says so.
    pub detail: Detail,
}

impl Local {
    /// By what callers of a cluster know this one.
    pub(super) fn names(&self) -> Names {
        let service = self.service.to_string();
        Names {
            listed: seats::caller(&service, &self.node),
            // Nodes of two services may have the same name.
            own: stable_hash(format!("{service} {}", self.node).as_bytes()),
        }
    }
}

/// What this proxy goes by among the callers of a cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    listed: u64,
    own: u64,
}

impl Names {
    /// Which caller of `cluster` this is. One that is too new for a seat has about what it would have if nobody had any.
    pub(super) fn caller(self, cluster: Option<&facts::Cluster>) -> Caller {
        let seats = cluster.map(|cluster| &cluster.seats);
        let seat = seats.and_then(|seats| {
            let ordinal = seats.ordinal(self.listed)?;
            Seat::new(u32::try_from(ordinal).ok()?, u32::try_from(seats.len()).ok()?)
        });
        seat.map_or(Caller::Named(self.own), Caller::Seated)
    }
}

/// The workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum App {
    /// At an address.
    At {
        /// Which.
        host: IpAddr,
        /// Its port, if it is not the target port of its service.
        port: Option<u16>,
    },
    /// At a socket of the machine.
    Socket(Arc<Path>),
}

impl App {
    /// Its port, if it is not the target port of its service.
    pub(super) fn port(&self) -> Option<u16> {
        match self {
            Self::At { port, .. } => *port,
            Self::Socket(_) => None,
        }
    }

    /// Where it is; of a socket, what it goes by where there are only addresses.
    pub(super) fn address(&self, target_port: u16) -> SocketAddr {
        match self {
            Self::At { host, port } => SocketAddr::new(*host, port.unwrap_or(target_port)),
            Self::Socket(_) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), target_port),
        }
    }

    /// The path of its socket, if that is where it is.
    pub(super) fn socket(&self) -> Option<Arc<Path>> {
        match self {
            Self::At { .. } => None,
            Self::Socket(path) => Some(path.clone()),
        }
    }
}
