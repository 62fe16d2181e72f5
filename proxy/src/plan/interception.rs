//! What a plan knows of connections that are intercepted.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_snapshot::name::ClusterName;

use super::Plan;
use super::addresses::{Addresses, Table};
use crate::cluster::Cluster;
use crate::telemetry::connections::ConnectionStats;
use crate::telemetry::metrics::Direction;

/// See the module.
#[derive(Debug)]
pub struct Interception {
    /// Which port of a service is at an address.
    pub(super) addresses: Addresses,
    /// Clusters whose endpoints DNS names.
    pub(super) named: Vec<ClusterName>,
    /// Ports of the own service: where the workload listens, and what callers know.
    pub(super) own_ports: Vec<(u16, u16)>,
    /// Whether the own service takes nobody without identity.
    pub strict: bool,
    /// Counts what leads out of the mesh, or to a port of the workload that its service does not name.
    pub(super) passthrough: [Arc<ConnectionStats>; 2],
}

/// What is at an address that the workload has dialled.
#[derive(Debug, Clone)]
pub enum Addressed {
    /// A port that carries requests.
    Requests(Arc<ClusterName>),
    /// A port of protocol TCP or TLS.
    Opaque(Arc<ClusterName>),
}

impl Plan {
    /// What is at an address, if it is of the mesh.
    pub fn addressed(&self, dialled: SocketAddr) -> Option<Addressed> {
        let name = self.interception.as_ref()?.addresses.find(dialled)?;
        let opaque = self.connections.contains_key(&name);
        Some(if opaque { Addressed::Opaque(name) } else { Addressed::Requests(name) })
    }
}

impl Interception {
    /// Counts connections that are carried to where they were going.
    pub fn passthrough(&self, direction: Direction) -> &Arc<ConnectionStats> {
        &self.passthrough[direction as usize]
    }

    /// The port of the own service whose workload listens on this one; failing that, the port itself.
    pub fn own_port(&self, dialled: u16) -> Option<u16> {
        let target = self.own_ports.iter().find(|(target, _)| *target == dialled);
        let named = || self.own_ports.iter().find(|(_, port)| *port == dialled);
        target.or_else(named).map(|(_, port)| *port)
    }

    /// DNS has said something new.
    pub(super) fn resolve(&self, clusters: &HashMap<ClusterName, Arc<Cluster>>) {
        self.addresses.resolve(of(&self.named, clusters));
    }
}

/// The addresses of those clusters.
pub(super) fn of(names: &[ClusterName], clusters: &HashMap<ClusterName, Arc<Cluster>>) -> Table {
    Table::of(names.iter().filter_map(|name| Some((name, &**clusters.get(name)?))))
}
