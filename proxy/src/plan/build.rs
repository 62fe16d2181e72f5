//! Snapshot → plan, off the request path. It succeeds whole or changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_certs::pem;
use outrigger_certs::trust::TrustBundle;
use outrigger_filters::{FilterChain, FilterError};
use outrigger_snapshot::facts::{self, Discovery, Facts, PEERS_DEFAULT};
use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::policy::{self, Backend, Policy, Protocol, ProxyWriter};
use outrigger_snapshot::router::{Router, RouterError, RuleSpec};

use super::local::{App, Local, Names};
use super::{Destination, Plan, Rule, Version};
use crate::clock;
use crate::cluster::Cluster;
use crate::cluster::balance::Entry;
use crate::cluster::balance::subset::Subsetting;
use crate::cluster::balance::zones::{Callers, Preference};
use crate::cluster::endpoint::EndpointKey;
use crate::health_check::asked::Asked;
use crate::proxy_protocol::Version as ProxyVersion;
use crate::registry::Registry;
use crate::retry::RetryPolicy;
use crate::telemetry::metrics::{Direction, RequestLabels};
use crate::trust::Trusted;
use crate::upstream_tls::Tls;

mod connection;
mod gateway;
mod inbound;
mod interception;
mod upstream;

/// Why a snapshot became no plan.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A route's conditions.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// A rule's filter.
    #[error("rule {rule}: {error}")]
    Filter {
        /// The rule.
        rule: String,
        /// What is wrong.
        error: FilterError,
    },
    /// Who is to be believed.
    #[error("the trust bundle cannot be used: {0}")]
    Trust(String),
}

/// What DNS said: addresses and weights by cluster.
pub type Resolved = BTreeMap<ClusterName, Vec<(SocketAddr, u32)>>;

struct Builder<'a> {
    registry: &'a mut Registry,
    clusters: HashMap<ClusterName, Arc<Cluster>>,
    facts: &'a Facts,
    resolved: &'a Resolved,
    /// Whose calls prefer their own zone, if that is known.
    callers: Option<Arc<Callers>>,
    /// What this caller goes by, where endpoints are shared out.
    names: Names,
    /// Whether this proxy has an identity to prove.
    identity: bool,
    /// The first filter that could not be built.
    refused: Option<Refusal>,
}

impl Plan {
    /// Builds a plan, taking over the state of whatever was there before.
    pub fn build(
        policy: &Policy,
        facts: &Facts,
        local: &Local,
        resolved: &Resolved,
        registry: &mut Registry,
        version: Version,
    ) -> Result<Self, Refusal> {
        let trust = facts.trust.as_ref().map(trust).transpose()?;
        let clusters = HashMap::with_capacity(policy.services.len());
        let callers = callers(facts, local, registry);
        let (identity, names) = (local.identity, local.names());
        let mut builder =
            Builder { registry, clusters, facts, resolved, callers, names, identity, refused: None };
        for (service, spec) in &policy.services {
            for port in &spec.ports {
                let header = ProxyVersion::written_by(ProxyWriter::Callers, port.proxy_protocol);
                builder.add_cluster(service.cluster(port.port), port.protocol, &port.backend, header);
            }
        }
        let outbound = Router::build(policy, local.service.namespace(), |spec| builder.outbound_rule(spec))?;
        let connections = builder.connections(policy);
        let gateway = policy.gateway.as_ref().map(|gateway| builder.gateway(&local.service, gateway));
        let gateway = gateway.transpose()?.unwrap_or_default();
        let inbound = builder.inbound(policy, local);
        let inbound_connections = builder.inbound_connections(policy, local);
        let interception = local.transparent.then(|| Box::new(builder.interception(policy, local)));
        match builder.refused {
            Some(refusal) => Err(refusal),
            None => {
                let service = local.service.clone();
                let of_rules = inbound.iter().flat_map(|(_, rule)| &rule.destinations);
                let of_ports = inbound_connections.iter().flat_map(|port| &port.rule.destinations);
                let inbound_clusters = of_rules
                    .map(|destination| &*destination.cluster)
                    .chain(of_ports.map(|destination| &*destination.cluster));
                let clusters = builder.clusters.values().map(|cluster| &**cluster).chain(inbound_clusters);
                builder.registry.enrol(clusters, true, clock::now_ns());
                builder.registry.warn_of_limits_alone();
                let clusters = builder.clusters;
                Ok(Self {
                    version,
                    service,
                    outbound,
                    inbound,
                    inbound_connections,
                    connections,
                    gateway,
                    trust,
                    interception,
                    clusters,
                    detail: local.detail,
                })
            }
        }
    }

    /// Puts what DNS said into the cluster; an endpoint that was there keeps its state.
    pub fn resolve(&self, name: &ClusterName, addresses: &[(SocketAddr, u32)], registry: &mut Registry) {
        if let Some(cluster) = self.clusters.get(name) {
            let listed = addresses.iter().map(|address| listed(*address, cluster.tls.clone()));
            let entries = entries(Direction::Outbound, name, listed, registry);
            let now_ns = clock::now_ns();
            cluster.place(entries, now_ns);
            registry.enrol([&**cluster], false, now_ns);
            if let Some(interception) = &self.interception {
                interception.resolve(&self.clusters);
            }
        }
    }
}

/// Where the service of this proxy runs; `None` if the proxy's own zone is unknown, or everyone's.
fn callers(facts: &Facts, local: &Local, registry: &mut Registry) -> Option<Arc<Callers>> {
    let zone = local.zone.clone()?;
    let own = facts.clusters.iter().filter(|(name, _)| name.service == local.service);
    own.filter_map(|(name, cluster)| {
        let Discovery::Static(endpoints) = &cluster.discovery else { return None };
        let mut weights = BTreeMap::new();
        for endpoint in endpoints {
            if let Some(zone) = endpoint.zone.as_deref() {
                *weights.entry(Arc::from(zone)).or_default() += u64::from(endpoint.weight);
            }
        }
        let health = registry.cluster(Direction::Outbound, name).health.clone();
        (!weights.is_empty()).then(|| Arc::new(Callers { zone: zone.clone(), weights, health }))
    })
    .next()
}

fn trust(trust: &facts::Trust) -> Result<Arc<TrustBundle>, Refusal> {
    let unusable = |error: pem::PemError| Refusal::Trust(error.to_string());
    let roots = pem::roots(trust.bundle.as_bytes(), "it").map_err(unusable)?;
    let revocations =
        pem::revocations(trust.revocations.as_bytes(), "its revocation lists").map_err(unusable)?;
    let bundle = TrustBundle::new(trust.domain.clone(), &roots, &revocations);
    bundle.map(Arc::new).map_err(|problem| Refusal::Trust(problem.to_string()))
}

type Listed = (SocketAddr, u32, Option<Arc<str>>, Tls);

fn listed((address, weight): (SocketAddr, u32), tls: Tls) -> Listed {
    (address, weight, None, tls)
}

fn entries(
    direction: Direction,
    name: &ClusterName,
    listed: impl Iterator<Item = Listed>,
    registry: &mut Registry,
) -> Vec<Entry> {
    let entry = |(address, weight, zone, tls)| {
        let key = EndpointKey { direction, cluster: name.clone(), address, tls };
        Entry { endpoint: registry.endpoint(key), weight, zone }
    };
    listed.map(entry).collect()
}

impl Builder<'_> {
    fn add_cluster(
        &mut self,
        name: ClusterName,
        protocol: Protocol,
        backend: &Backend,
        proxy_header: Option<ProxyVersion>,
    ) -> Arc<Cluster> {
        let load = self.registry.cluster(Direction::Outbound, &name);
        let breaker = self.registry.breaker(Direction::Outbound, &name, backend.breaker);
        let facts = self.facts.clusters.get(&name);
        let peers = self.peers(&name);
        let preferred = |(callers, preference): (&Arc<Callers>, policy::ZonePreference)| Preference {
            callers: callers.clone(),
            endpoints_min: preference.endpoints_min,
            picks: load.zone_picks.clone(),
        };
        let preference = self.callers.as_ref().zip(backend.zone_preference).map(preferred);
        let mut cluster = Cluster::new(name.to_string().into(), protocol, backend, peers, load, breaker);
        cluster.preference = preference;
        cluster.subsetting = backend.subset.filter(|_| backend.balance.key().is_none()).map(|subset| {
            let caller = self.names.caller(facts);
            Subsetting { caller, callers: peers, endpoints_min: subset.endpoints_min }
        });
        cluster.proxy_header = proxy_header;
        let tls = facts.map_or(Tls::None, |facts| self.tls(facts, backend));
        cluster.tls = tls.clone();
        let entries = match facts.map(|facts| &facts.discovery) {
            None => Vec::new(),
            Some(Discovery::Static(endpoints)) => {
                let listed = endpoints.iter().map(|endpoint| {
                    let zone = endpoint.zone.as_deref().map(Arc::from);
                    (endpoint.address, endpoint.weight, zone, tls.clone())
                });
                entries(Direction::Outbound, &name, listed, self.registry)
            }
            Some(Discovery::Dns(_) | Discovery::Srv(_)) => {
                let addresses = self.resolved.get(&name).map(Vec::as_slice).unwrap_or_default();
                let listed = addresses.iter().map(|address| listed(*address, tls.clone()));
                entries(Direction::Outbound, &name, listed, self.registry)
            }
        };
        cluster.place(entries, clock::now_ns());
        let cluster = Arc::new(cluster);
        self.clusters.insert(name, cluster.clone());
        cluster
    }

    fn outbound_rule(&mut self, spec: RuleSpec<'_>) -> Arc<Rule> {
        match spec.rule {
            Some(rule) => self.routed(rule, &FilterChain::default()),
            None => {
                let cluster = self.clusters[&spec.own_cluster()].clone();
                Arc::new(self.single(Direction::Outbound, cluster))
            }
        }
    }

    /// `before` is run before the rule's own filters.
    fn routed(&mut self, rule: &policy::Rule, before: &FilterChain) -> Arc<Rule> {
        let name: Arc<str> = rule.name.as_str().into();
        let peers = rule.backends.iter().map(|backend| self.peers(&backend.service.cluster(backend.port)));
        let peers = peers.max().unwrap_or(PEERS_DEFAULT);
        let filters = before.then(self.filters(&rule.scope(), peers, &rule.filters));
        let destinations: Vec<_> =
            rule.backends.iter().map(|backend| self.destination(&name, rule, backend)).collect();
        Arc::new(Rule {
            filters,
            request_timeout_ms: rule.request_timeout_ms,
            try_timeout_ms: rule.try_timeout_ms,
            weight_total: destinations.iter().map(|destination| destination.weight).sum(),
            destinations,
            guard: None,
            gate: None,
            trusted: Trusted::default(),
            health: Asked::default(),
            undirected: self.registry.requests(RequestLabels {
                direction: Direction::Outbound,
                rule: name.clone(),
                cluster: "".into(),
            }),
            name,
        })
    }

    fn destination(
        &mut self,
        rule_name: &Arc<str>,
        rule: &policy::Rule,
        backend: &policy::WeightedBackend,
    ) -> Destination {
        let name = backend.service.cluster(backend.port);
        let peers = self.peers(&name);
        let cluster = match self.clusters.get(&name) {
            Some(cluster) => cluster.clone(),
            // Policy and facts may be of different ages: a service may be gone from one of them.
            None => self.add_cluster(name, Protocol::Http, &Backend::defaults_for(Protocol::Http), None),
        };
        let labels = RequestLabels {
            direction: Direction::Outbound,
            rule: rule_name.clone(),
            cluster: cluster.name.clone(),
        };
        Destination {
            retry: RetryPolicy::new(&cluster.retry, rule.retry.as_ref()),
            filters: self.filters(&format!("{} {}", rule.scope(), cluster.name), peers, &backend.filters),
            weight: backend.weight,
            stats: self.registry.requests(labels),
            cluster,
        }
    }

    /// About how many proxies call a cluster.
    fn peers(&self, name: &ClusterName) -> u32 {
        self.facts.clusters.get(name).map_or(PEERS_DEFAULT, |facts| facts.peers)
    }

    /// `scope` is the rule's, and for a backend's filters the backend too.
    fn filters(&mut self, scope: &str, peers: u32, filters: &[policy::Filter]) -> FilterChain {
        FilterChain::build_in(scope, peers, filters, &mut self.registry.rate_limits).unwrap_or_else(|error| {
            self.refused.get_or_insert(Refusal::Filter { rule: scope.to_owned(), error });
            FilterChain::default()
        })
    }

    /// A rule that sends everything to one cluster and is named after it.
    fn single(&mut self, direction: Direction, cluster: Arc<Cluster>) -> Rule {
        let name = cluster.name.clone();
        let labels = RequestLabels { direction, rule: name.clone(), cluster: name.clone() };
        let stats = self.registry.requests(labels);
        let retry = match direction {
            // The caller retries, and may do so elsewhere.
            Direction::Inbound => RetryPolicy::never(),
            Direction::Outbound => RetryPolicy::new(&cluster.retry, None),
        };
        let (filters, undirected) = (FilterChain::default(), stats.clone());
        Rule {
            name,
            filters: FilterChain::default(),
            request_timeout_ms: None,
            try_timeout_ms: None,
            undirected,
            destinations: vec![Destination { cluster, filters, retry, weight: 1, stats }],
            weight_total: 1,
            guard: None,
            gate: None,
            trusted: Trusted::default(),
            health: Asked::default(),
        }
    }
}
