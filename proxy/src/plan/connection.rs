//! Where connections go that are not looked into, ready to run.

use std::collections::HashMap;
use std::sync::Arc;

use outrigger_snapshot::connections::Connections;
use outrigger_snapshot::name::ClusterName;

use crate::cluster::Cluster;
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
