//! Runtime state that outlives plans, by what it is about: a new plan finds the state of everything that it has in common with the old.
//!
//! Owned by the thread that builds plans.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use outrigger_filters::RateLimits;
use outrigger_snapshot::facts::Facts;
use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::policy::Breaker;

use crate::cluster::breaker::ClusterBreaker;
use crate::cluster::endpoint::{Endpoint, EndpointKey};
use crate::cluster::{Cluster, ClusterLoad};
use crate::overload::Overload;
use crate::telemetry::connections::ConnectionStats;
use crate::telemetry::kind::OVERFLOW;
use crate::telemetry::metrics::{Direction, RequestLabels, RequestStats};
use crate::upstream_tls::{UpstreamSettings, UpstreamTls};

/// Rules and clusters whose requests, or connections, are told apart. More are counted as one for each direction, until a plan has fewer.
const LABELS_MAX: usize = 50_000;

/// See the module.
#[derive(Debug)]
pub struct Registry {
    workers: usize,
    endpoints: HashMap<EndpointKey, Arc<Endpoint>>,
    /// Ids of endpoints that are no more, for the next ones: ids stay dense.
    free_ids: Vec<u32>,
    next_id: u32,
    clusters: HashMap<(Direction, ClusterName), Arc<ClusterLoad>>,
    /// By their settings, too: any other change keeps them.
    breakers: HashMap<(Direction, ClusterName, Breaker), Arc<ClusterBreaker>>,
    upstreams: HashMap<UpstreamSettings, Arc<UpstreamTls>>,
    requests: HashMap<RequestLabels, Arc<RequestStats>>,
    connections: HashMap<RequestLabels, Arc<ConnectionStats>>,
    /// Rate limits, by what they belong to.
    pub rate_limits: RateLimits,
    /// By port, each with the tolerance, per cent, that it has.
    overloads: HashMap<ClusterName, (u32, Arc<Overload>)>,
}

impl Registry {
    /// An empty registry for a proxy with so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            endpoints: HashMap::new(),
            free_ids: Vec::new(),
            next_id: 0,
            clusters: HashMap::new(),
            breakers: HashMap::new(),
            upstreams: HashMap::new(),
            requests: HashMap::new(),
            connections: HashMap::new(),
            rate_limits: RateLimits::default(),
            overloads: HashMap::new(),
        }
    }

    /// The state of an endpoint.
    pub fn endpoint(&mut self, key: EndpointKey) -> Arc<Endpoint> {
        let cluster = self.cluster(key.direction, &key.cluster);
        let (free_ids, next_id) = (&mut self.free_ids, &mut self.next_id);
        let endpoint = self.endpoints.entry(key).or_insert_with_key(|key| {
            let id = free_ids.pop().unwrap_or_else(|| {
                *next_id += 1;
                *next_id - 1
            });
            Arc::new(Endpoint::new(id, key.clone(), cluster.health.clone()))
        });
        endpoint.clone()
    }

    /// TLS towards servers outside the mesh.
    pub fn upstream(&mut self, settings: UpstreamSettings, facts: &Facts) -> Arc<UpstreamTls> {
        let fresh = |settings: &UpstreamSettings| Arc::new(UpstreamTls::new(settings.clone(), facts));
        self.upstreams.entry(settings).or_insert_with_key(fresh).clone()
    }

    /// The load of a cluster: the service as others call it, or the workload behind it.
    pub fn cluster(&mut self, direction: Direction, name: &ClusterName) -> Arc<ClusterLoad> {
        let workers = self.workers;
        let load = self.clusters.entry((direction, name.clone()));
        load.or_insert_with(|| Arc::new(ClusterLoad::new(workers))).clone()
    }

    /// The breaker of a cluster, with these settings.
    pub fn breaker(
        &mut self,
        direction: Direction,
        name: &ClusterName,
        settings: Breaker,
    ) -> Arc<ClusterBreaker> {
        let health = self.cluster(direction, name).health.clone();
        let breaker = self.breakers.entry((direction, name.clone(), settings));
        breaker.or_insert_with(|| Arc::new(ClusterBreaker::new(settings, health))).clone()
    }

    /// Puts the rules of `clusters` into force, and tells endpoints whether requests go to them at `now_ns`. The share of one that is new
    /// to a cluster that had others grows slowly, where the cluster has a slow start. If these are `all` clusters that there are, the
    /// endpoints of others leave, too.
    pub fn enrol<'a>(&self, clusters: impl IntoIterator<Item = &'a Cluster>, all: bool, now_ns: u64) {
        let mut members = HashMap::new();
        let mut healths = HashSet::new();
        for cluster in clusters {
            let health = &cluster.load.health;
            let ramp = health.endpoints() > 0 && cluster.rules.slow_start_ms > 0;
            health.rule(cluster.rules);
            healths.insert(Arc::as_ptr(health));
            let awaited = cluster.health_check.as_ref().is_some_and(|check| check.wait_for_first);
            let endpoints = cluster.endpoints.load();
            members.extend(endpoints.open().iter().map(|entry| (entry.endpoint.id(), (ramp, awaited))));
        }
        for endpoint in self.endpoints.values() {
            match members.get(&endpoint.id()) {
                Some((ramp, awaited)) => endpoint.join(now_ns, *ramp, *awaited),
                None if all || healths.contains(&Arc::as_ptr(endpoint.cluster_health())) => endpoint.leave(),
                None => {}
            }
        }
    }

    /// The counters of a series; of one for all where there are too many.
    pub fn requests(&mut self, labels: RequestLabels) -> Arc<RequestStats> {
        let (workers, labels) = (self.workers, bounded(&self.requests, labels));
        let stats = self
            .requests
            .entry(labels)
            .or_insert_with_key(|labels| Arc::new(RequestStats::new(labels.clone(), workers)));
        stats.clone()
    }

    /// The counters of a series of connections.
    pub fn connections(&mut self, labels: RequestLabels) -> Arc<ConnectionStats> {
        let (workers, labels) = (self.workers, bounded(&self.connections, labels));
        let fresh = |labels: &RequestLabels| Arc::new(ConnectionStats::new(labels.clone(), workers));
        self.connections.entry(labels).or_insert_with_key(fresh).clone()
    }

    /// The protection of the workload behind a port. One per port and not per proxy: what its ports do may differ by far in latency, and a
    /// median of both says nothing of either.
    pub fn overload(&mut self, name: &ClusterName, tolerance: f64) -> Arc<Overload> {
        let percent = (tolerance * 100.0) as u32;
        let fresh = || (percent, Overload::new(tolerance));
        let known = self.overloads.entry(name.clone()).or_insert_with(fresh);
        if known.0 != percent {
            *known = fresh();
        }
        known.1.clone()
    }

    /// Says, once of each, which global limits this proxy counts alone because it was given no store.
    pub fn warn_of_limits_alone(&mut self) {
        for limiter in self.rate_limits.take_unstored() {
            tracing::warn!(
                "the rate limit {:?} of {} is global, but without --rate-limit-store this proxy counts it alone: callers of \
                 several proxies get as many times the limit",
                limiter.name(),
                limiter.scope()
            );
        }
    }

    /// Every protection, for a scrape.
    pub fn all_overloads(&self) -> Vec<(ClusterName, Arc<Overload>)> {
        self.overloads.iter().map(|(name, (_, overload))| (name.clone(), overload.clone())).collect()
    }

    /// Every series, for a scrape.
    pub fn all_requests(&self) -> Vec<Arc<RequestStats>> {
        self.requests.values().cloned().collect()
    }

    /// Every series of connections, for a scrape.
    pub fn all_connections(&self) -> Vec<Arc<ConnectionStats>> {
        self.connections.values().cloned().collect()
    }

    /// Forgets what neither a plan nor a request holds any more.
    pub fn sweep(&mut self) {
        let free_ids = &mut self.free_ids;
        self.endpoints.retain(|_, endpoint| {
            let held = Arc::strong_count(endpoint) > 1;
            if !held {
                free_ids.push(endpoint.id());
            }
            held
        });
        retain_held(&mut self.breakers);
        retain_held(&mut self.upstreams);
        // An endpoint of a cluster that is gone counts in its health until it is gone itself.
        let held = |load: &ClusterLoad| Arc::strong_count(&load.health) > 1;
        self.clusters.retain(|_, load| Arc::strong_count(load) > 1 || held(load));
        retain_held(&mut self.requests);
        retain_held(&mut self.connections);
        self.overloads.retain(|_, (_, overload)| Arc::strong_count(overload) > 1);
        self.rate_limits.sweep();
    }
}

/// These labels, while there is room for them.
fn bounded<V>(known: &HashMap<RequestLabels, V>, labels: RequestLabels) -> RequestLabels {
    if known.len() < LABELS_MAX || known.contains_key(&labels) {
        return labels;
    }
    RequestLabels { rule: OVERFLOW.into(), cluster: OVERFLOW.into(), ..labels }
}

fn retain_held<K: Eq + Hash, V>(map: &mut HashMap<K, Arc<V>>) {
    map.retain(|_, state| Arc::strong_count(state) > 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cluster of those endpoints, as the next plan has it.
    fn cluster(registry: &mut Registry, ports: &[u16]) -> Cluster {
        use crate::cluster::balance::{EndpointSet, Entry};
        use outrigger_snapshot::policy::{Backend, Protocol};
        let name: ClusterName = "shop/cart:80".parse().unwrap();
        let backend = Backend { slow_start_ms: 30_000, ..Backend::defaults_for(Protocol::Http) };
        let load = registry.cluster(Direction::Outbound, &name);
        let breaker = registry.breaker(Direction::Outbound, &name, backend.breaker);
        let cluster = Cluster::new("shop/cart:80".into(), Protocol::Http, &backend, 1, load, breaker);
        let entry = |port: &u16| {
            let key = EndpointKey {
                direction: Direction::Outbound,
                cluster: name.clone(),
                address: std::net::SocketAddr::from(([127, 0, 0, 1], *port)),
                tls: Default::default(),
            };
            Entry { endpoint: registry.endpoint(key), weight: 1, zone: None }
        };
        let entries = ports.iter().map(entry).collect();
        cluster.endpoints.store(Arc::new(EndpointSet::new(entries, &backend.balance)));
        cluster
    }

    #[test]
    fn endpoints_join_and_leave_with_the_plans_and_only_latecomers_start_slowly() {
        use crate::cluster::endpoint::{InFlight, Outcome};
        let mut registry = Registry::new(1);
        let standing =
            |cluster: &Cluster, nth: usize| cluster.endpoints.load().open()[nth].endpoint.standing();
        let first = cluster(&mut registry, &[1, 2]);
        registry.enrol([&first], true, 0);
        assert!(standing(&first, 0).member && !standing(&first, 0).ramping, "the first plan");
        let held = first.endpoints.load().open()[0].endpoint.clone();
        for _ in 0..5 {
            InFlight::start(held.clone()).finish(Outcome::Failure, 1, 1);
        }
        let second = cluster(&mut registry, &[1, 2, 3]);
        registry.enrol([&second], true, 2);
        assert!(Arc::ptr_eq(&first.breaker, &second.breaker), "with the same settings");
        let health = &second.load.health;
        assert_eq!((health.endpoints(), health.ejected()), (3, 1), "what was ejected stays it");
        assert!(standing(&second, 2).ramping && !standing(&second, 1).ramping);
        let third = cluster(&mut registry, &[2, 3]);
        registry.enrol([&third], false, 3);
        assert_eq!((health.endpoints(), health.ejected()), (2, 0), "one that left is out of the count");
        registry.enrol([], true, 4);
        assert_eq!(health.endpoints(), 0, "a cluster that is gone");
    }

    #[test]
    fn rules_beyond_the_bound_are_counted_as_one() {
        let labels = |number: usize| RequestLabels {
            direction: Direction::Outbound,
            rule: number.to_string().into(),
            cluster: "shop/cart:80".into(),
        };
        let mut registry = Registry::new(1);
        let held: Vec<_> = (0..LABELS_MAX).map(|number| registry.requests(labels(number))).collect();
        let [one, next] = [0, 1].map(|more| registry.requests(labels(LABELS_MAX + more)));
        assert!(Arc::ptr_eq(&one, &next) && &*one.labels.rule == OVERFLOW);
        assert!(Arc::ptr_eq(&held[7], &registry.requests(labels(7))), "those that are known stay apart");
        drop((held, one, next));
        registry.sweep();
        assert_eq!(*registry.requests(labels(LABELS_MAX)).labels.rule, *LABELS_MAX.to_string());
    }

    #[test]
    fn state_is_kept_while_it_is_held_and_ids_stay_dense() {
        let key = |port| EndpointKey {
            direction: Direction::Outbound,
            cluster: "shop/cart:80".parse().unwrap(),
            address: std::net::SocketAddr::from(([127, 0, 0, 1], port)),
            tls: Default::default(),
        };
        let mut registry = Registry::new(1);
        let held = registry.endpoint(key(1));
        assert_eq!(registry.endpoint(key(2)).id(), 1);
        registry.sweep();
        assert!(Arc::ptr_eq(&held, &registry.endpoint(key(1))));
        assert_eq!((registry.endpoint(key(3)).id(), registry.endpoint(key(4)).id()), (1, 2));
    }
}
