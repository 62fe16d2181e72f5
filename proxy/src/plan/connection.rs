//! Where connections go that are not looked into, ready to run.

use std::collections::HashMap;
use std::sync::Arc;

use outrigger_snapshot::connections::Connections;
use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::policy::Mtls;

use super::Plan;
use crate::cluster::Cluster;
use crate::gate::Gate;
use crate::retry::RetryPolicy;
use crate::telemetry::connections::ConnectionStats;

/// The rules of every port that carries connections.
pub type ConnectionPorts = HashMap<ClusterName, Arc<Connections<Arc<ConnectionRule>>>>;

/// A rule of a port.
#[derive(Debug)]
pub struct ConnectionRule {
    /// What people see.
    pub name: Arc<str>,
    /// Where it leads.
    pub destinations: Vec<ConnectionDestination>,
    /// Sum of the destinations' weights.
    pub weight_total: u32,
    /// Counts what no destination got.
    pub undirected: Arc<ConnectionStats>,
}

/// One backend of a rule.
#[derive(Debug)]
pub struct ConnectionDestination {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// When another endpoint is tried.
    pub retry: RetryPolicy,
    /// Its share of the rule's total.
    pub weight: u32,
    /// Counts its connections.
    pub stats: Arc<ConnectionStats>,
}

impl ConnectionRule {
    /// Draws a destination by weight; `None` if none has any.
    pub fn draw(&self, random: u64) -> Option<&ConnectionDestination> {
        let weights = self.destinations.iter().map(|destination| destination.weight);
        super::draw(weights, self.weight_total, random).map(|index| &self.destinations[index])
    }
}

/// A port of the own service whose connections are not looked into.
#[derive(Debug)]
pub struct InboundPort {
    /// Its number.
    pub port: u16,
    /// Who may connect, where the service asks.
    pub gate: Option<Box<Gate>>,
    /// Leads to the workload.
    pub rule: ConnectionRule,
}

impl InboundPort {
    /// What is asked of callers; `None`: nothing, since this proxy has no identity.
    pub fn mtls(&self) -> Option<Mtls> {
        self.gate.as_ref().and_then(|gate| gate.mtls)
    }
}

/// What a connection to the workload may be.
#[derive(Debug, Clone)]
pub enum Expected {
    /// HTTP, whatever its first bytes are.
    Http,
    /// A connection to this port.
    Opaque(Arc<InboundPort>),
    /// Nothing: the service has no such port.
    Nothing(u16),
    /// HTTP; if it is none, a connection to this port. `None`: there are several, and nothing tells which.
    Either(Option<Arc<InboundPort>>),
}

impl Plan {
    /// The port of the own service whose connections are not looked into.
    pub fn inbound_port(&self, port: u16) -> Option<&Arc<InboundPort>> {
        self.inbound_connections.iter().find(|inbound| inbound.port == port)
    }

    /// What a connection to the workload may be that is for `port` of its service, if that is known. A service with one port is never in
    /// doubt.
    pub fn expected(&self, port: Option<u16>) -> Expected {
        match (port, &*self.inbound_connections) {
            (Some(port), _) if self.inbound.iter().any(|(number, _)| *number == port) => Expected::Http,
            (Some(port), _) => {
                self.inbound_port(port).cloned().map_or(Expected::Nothing(port), Expected::Opaque)
            }
            (None, []) => Expected::Http,
            (None, [only]) if self.inbound.is_empty() => Expected::Opaque(only.clone()),
            (None, [only]) => Expected::Either(Some(only.clone())),
            (None, _) => Expected::Either(None),
        }
    }
}
