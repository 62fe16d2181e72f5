//! What there is to know where connections are intercepted.

use outrigger_snapshot::facts::Discovery;
use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::policy::{Mtls, Policy};

use super::{App, Builder, Local};
use crate::plan::addresses::Addresses;
use crate::plan::interception::{Interception, of};
use crate::telemetry::metrics::{Direction, RequestLabels};

/// How what is carried to where it was going is counted.
const PASSTHROUGH: &str = "passthrough";

impl Builder<'_> {
    pub(super) fn interception(&mut self, policy: &Policy, local: &Local) -> Interception {
        let is_named = |name: &ClusterName| {
            let cluster = self.facts.clusters.get(name);
            cluster.is_some_and(|cluster| !matches!(cluster.discovery, Discovery::Static(_)))
        };
        let ports = policy
            .services
            .iter()
            .flat_map(|(service, spec)| spec.ports.iter().map(|port| service.cluster(port.port)));
        let (named, listed): (Vec<_>, Vec<_>) = ports.partition(is_named);
        let addresses = Addresses::new(of(&listed, &self.clusters), of(&named, &self.clusters));
        let service = policy.services.get(&local.service);
        // Where the workload listens in truth counts, too: what it lets in there is not to go around who may call.
        let at = local.app.as_ref().and_then(App::port);
        let ports = service.map(|service| {
            let named = service.ports.iter().map(|port| (port.target_port, port.port));
            named.chain(service.ports.iter().filter_map(|port| Some((at?, port.port))))
        });
        // A service that the snapshot does not know yet.
        let guessed =
            || local.app.as_ref().and_then(App::port).map(|port| (port, port)).into_iter().collect();
        let own_ports = ports.map_or_else(guessed, Iterator::collect);
        let strict = service.and_then(|service| service.mtls) == Some(Mtls::Strict) && local.identity;
        let passthrough = [Direction::Inbound, Direction::Outbound].map(|direction| {
            let labels = RequestLabels { direction, rule: "".into(), cluster: PASSTHROUGH.into() };
            self.registry.connections(labels)
        });
        Interception { addresses, named, own_ports, strict, passthrough }
    }
}
