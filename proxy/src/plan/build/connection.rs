//! Rules of connections.

use std::sync::Arc;

use outrigger_snapshot::connections::Connections;
use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::policy::{self, Backend, Policy, Protocol};

use super::Builder;
use crate::cluster::Cluster;
use crate::plan::connection::{ConnectionDestination, ConnectionPorts, ConnectionRule};
use crate::retry::RetryPolicy;
use crate::telemetry::connections::ConnectionStats;
use crate::telemetry::metrics::{Direction, RequestLabels};

impl Builder<'_> {
    /// Those of every port that is not HTTP's.
    pub(super) fn connections(&mut self, policy: &Policy) -> ConnectionPorts {
        let mut ports = ConnectionPorts::new();
        for (service, spec) in &policy.services {
            for port in spec.ports.iter().filter(|port| !port.protocol.is_http()) {
                let own = service.cluster(port.port);
                let table = Connections::build(port, |rule| Arc::new(self.connection_rule(&own, rule)));
                ports.insert(own, Arc::new(table));
            }
        }
        ports
    }

    /// Without a rule everything goes to the port's own cluster.
    fn connection_rule(
        &mut self,
        own: &ClusterName,
        rule: Option<&policy::ConnectionRule>,
    ) -> ConnectionRule {
        let name: Arc<str> = rule.map_or_else(|| own.to_string().into(), |rule| rule.name.as_str().into());
        let destinations: Vec<_> = match rule {
            Some(rule) => rule
                .backends
                .iter()
                .map(|backend| (backend.service.cluster(backend.port), backend.weight))
                .collect(),
            None => vec![(own.clone(), 1)],
        };
        let destinations: Vec<_> = destinations
            .into_iter()
            .map(|(cluster, weight)| self.connection_destination(&name, cluster, weight))
            .collect();
        ConnectionRule {
            weight_total: destinations.iter().map(|destination| destination.weight).sum(),
            destinations,
            undirected: self.connection_stats(Direction::Outbound, &name, "".into()),
            name,
        }
    }

    fn connection_destination(
        &mut self,
        rule: &Arc<str>,
        name: ClusterName,
        weight: u32,
    ) -> ConnectionDestination {
        let cluster = match self.clusters.get(&name) {
            Some(cluster) => cluster.clone(),
            // Policy and facts may be of different ages: a service may be gone from one of them.
            None => self.add_cluster(name, Protocol::Tcp, &Backend::defaults_for(Protocol::Tcp), None),
        };
        let stats = self.connection_stats(Direction::Outbound, rule, cluster.name.clone());
        let retry = RetryPolicy::new(&cluster.retry, None);
        ConnectionDestination { cluster, retry, weight, stats }
    }

    /// A rule that sends every connection to the workload and is named after its port.
    pub(super) fn inbound_connection_rule(&mut self, cluster: Cluster) -> ConnectionRule {
        let name = cluster.name.clone();
        let stats = self.connection_stats(Direction::Inbound, &name, name.clone());
        // The caller tries again, and may do so elsewhere.
        let (retry, undirected) = (RetryPolicy::never(), stats.clone());
        let destination = ConnectionDestination { cluster: Arc::new(cluster), retry, weight: 1, stats };
        ConnectionRule { name, destinations: vec![destination], weight_total: 1, undirected }
    }

    fn connection_stats(
        &mut self,
        direction: Direction,
        rule: &Arc<str>,
        cluster: Arc<str>,
    ) -> Arc<ConnectionStats> {
        self.registry.connections(RequestLabels { direction, rule: rule.clone(), cluster })
    }
}
