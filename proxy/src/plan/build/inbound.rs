//! Rules of calls to the workload.

use std::sync::Arc;

use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::policy::{
    self, Backend, Breaker, Ejection, Inbound, Limits, Mtls, Policy, Protocol, ProxyWriter,
};

use super::{App, Builder, Local, entries, listed};
use crate::clock;
use crate::cluster::Cluster;
use crate::gate::{Gate, InboundTls};
use crate::health_check::asked::Asked;
use crate::overload::guard::Guard;
use crate::plan::Rule;
use crate::plan::connection::InboundPort;
use crate::proxy_protocol::Version;
use crate::telemetry::metrics::Direction;
use crate::termination::TlsListener;
use crate::trust::Trusted;
use crate::upstream_tls::Tls;

impl Builder<'_> {
    /// One rule per HTTP port of the own service, to the workload's address. A port of a service that the snapshot does not know yet
    /// cannot be guessed; where the workload's port was given, it is enough.
    pub(super) fn inbound(&mut self, policy: &Policy, local: &Local) -> Vec<(u16, Arc<Rule>)> {
        let Some(app) = &local.app else { return Vec::new() };
        let mtls = policy.services.get(&local.service).and_then(|service| service.mtls);
        let ports: Vec<_> = match policy.services.get(&local.service) {
            Some(service) => service
                .ports
                .iter()
                .filter(|port| port.protocol.is_http())
                .map(|port| {
                    let inbound = port.inbound.clone().unwrap_or_default();
                    (port.port, port.target_port, port.protocol, port.backend.clone(), inbound)
                })
                .collect(),
            None => app
                .port()
                .map(|port| {
                    (port, port, Protocol::Http, Backend::defaults_for(Protocol::Http), Inbound::default())
                })
                .into_iter()
                .collect(),
        };
        let mut rules: Vec<_> = ports
            .into_iter()
            .map(|(port, target_port, protocol, backend, inbound)| {
                let name = local.service.cluster(port);
                (port, self.inbound_rule(&name, (app, target_port), protocol, &backend, &inbound, mtls))
            })
            .collect();
        if let Some(index) = rules.iter().position(|(port, _)| *port == 80) {
            rules.swap(0, index);
        }
        rules
    }

    /// Those of its ports that carry no requests.
    pub(super) fn inbound_connections(&mut self, policy: &Policy, local: &Local) -> Vec<Arc<InboundPort>> {
        let (Some(app), Some(service)) = (&local.app, policy.services.get(&local.service)) else {
            return Vec::new();
        };
        let opaque = service.ports.iter().filter(|port| !port.protocol.is_http());
        opaque
            .map(|port| {
                let name = local.service.cluster(port.port);
                let mut cluster =
                    self.inbound_cluster(&name, (app, port.target_port), port.protocol, &port.backend);
                cluster.proxy_header = Version::written_by(ProxyWriter::Sidecar, port.proxy_protocol);
                let inbound = port.inbound.clone().unwrap_or_default();
                let gate = self.gate(&inbound, service.mtls);
                Arc::new(InboundPort { port: port.port, gate, rule: self.inbound_connection_rule(cluster) })
            })
            .collect()
    }

    fn inbound_rule(
        &mut self,
        name: &ClusterName,
        app: (&App, u16),
        protocol: Protocol,
        backend: &Backend,
        inbound: &Inbound,
        mtls: Option<Mtls>,
    ) -> Arc<Rule> {
        let health = Asked::of(protocol, backend.health_check.as_ref());
        let cluster = self.inbound_cluster(name, app, protocol, backend);
        let guard = inbound.shed.as_ref().map(|shed| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let tolerance = Guard::tolerance(shed, cores);
            Guard::new(self.registry.overload(name, tolerance), inbound)
        });
        let peers = self.peers(name);
        let limits: Vec<_> = inbound.rate_limits.iter().cloned().map(policy::Filter::RateLimit).collect();
        let filters = self.filters(&cluster.name, peers, &limits);
        let trusted = Trusted::new(&inbound.trusted);
        let gate = self.gate(inbound, mtls);
        Arc::new(Rule {
            guard,
            filters,
            trusted,
            gate,
            health,
            ..self.single(Direction::Inbound, Arc::new(cluster))
        })
    }

    /// What is asked of callers, if anything.
    fn gate(&self, inbound: &Inbound, mtls: Option<Mtls>) -> Option<Box<Gate>> {
        let tls = inbound.tls.as_ref().map(|tls| InboundTls {
            listener: Arc::new(TlsListener::new(&tls.termination, self.facts)),
            cleartext: tls.cleartext,
        });
        Gate::new(inbound, mtls.filter(|_| self.identity), tls)
    }

    /// The workload, by one of its ports.
    fn inbound_cluster(
        &mut self,
        name: &ClusterName,
        app: (&App, u16),
        protocol: Protocol,
        backend: &Backend,
    ) -> Cluster {
        let (app, target_port) = app;
        let load = self.registry.cluster(Direction::Inbound, name);
        // What the workload says of itself reaches its callers: whether to go on asking is for their proxies to decide.
        let ejection = Ejection { max_percent: 0, ..backend.ejection };
        let breaker = Breaker { failure_percent: 0, slow_percent: 0, ..backend.breaker };
        // What one caller's proxy may send to one endpoint says nothing of what all of them may.
        let limits = Limits { endpoint_requests: 0, ..backend.limits };
        let backend = &Backend {
            limits,
            ejection,
            breaker,
            health_check: None,
            slow_start_ms: 0,
            zone_preference: None,
            subset: None,
            ..backend.clone()
        };
        let breaker = self.registry.breaker(Direction::Inbound, name, breaker);
        let mut cluster = Cluster::new(name.to_string().into(), protocol, backend, 1, load, breaker);
        cluster.socket = app.socket();
        let listed = std::iter::once(listed((app.address(target_port), 1), Tls::None));
        let entries = entries(Direction::Inbound, name, listed, self.registry);
        cluster.place(entries, clock::now_ns());
        cluster
    }
}
