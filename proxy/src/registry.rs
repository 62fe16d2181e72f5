//! Runtime state that outlives plans, by what it is about: a new plan finds the state of everything that it has in common with the old.
//!
//! Owned by the thread that builds plans.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use outrigger_filters::RateLimits;
use outrigger_snapshot::name::ClusterName;

use crate::cluster::ClusterLoad;
use crate::cluster::endpoint::{Endpoint, EndpointKey};
use crate::overload::Overload;
use crate::telemetry::metrics::{Direction, RequestLabels, RequestStats};

/// See the module.
#[derive(Debug)]
pub struct Registry {
    workers: usize,
    endpoints: HashMap<EndpointKey, Arc<Endpoint>>,
    /// Ids of endpoints that are no more, for the next ones: ids stay dense.
    free_ids: Vec<u32>,
    next_id: u32,
    clusters: HashMap<(Direction, ClusterName), Arc<ClusterLoad>>,
    requests: HashMap<RequestLabels, Arc<RequestStats>>,
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
            requests: HashMap::new(),
            rate_limits: RateLimits::default(),
            overloads: HashMap::new(),
        }
    }

    /// The state of an endpoint.
    pub fn endpoint(&mut self, key: EndpointKey) -> Arc<Endpoint> {
        let (free_ids, next_id) = (&mut self.free_ids, &mut self.next_id);
        let endpoint = self.endpoints.entry(key).or_insert_with_key(|key| {
            let id = free_ids.pop().unwrap_or_else(|| {
                *next_id += 1;
                *next_id - 1
            });
            Arc::new(Endpoint::new(id, key.clone()))
        });
        endpoint.clone()
    }

    /// The load of a cluster: the service as others call it, or the workload behind it.
    pub fn cluster(&mut self, direction: Direction, name: &ClusterName) -> Arc<ClusterLoad> {
        self.clusters.entry((direction, name.clone())).or_default().clone()
    }

    /// The counters of a series.
    pub fn requests(&mut self, labels: RequestLabels) -> Arc<RequestStats> {
        let workers = self.workers;
        let stats = self
            .requests
            .entry(labels)
            .or_insert_with_key(|labels| Arc::new(RequestStats::new(labels.clone(), workers)));
        stats.clone()
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

    /// Every protection, for a scrape.
    pub fn all_overloads(&self) -> Vec<(ClusterName, Arc<Overload>)> {
        self.overloads.iter().map(|(name, (_, overload))| (name.clone(), overload.clone())).collect()
    }

    /// Every series, for a scrape.
    pub fn all_requests(&self) -> Vec<Arc<RequestStats>> {
        self.requests.values().cloned().collect()
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
        retain_held(&mut self.clusters);
        retain_held(&mut self.requests);
        self.overloads.retain(|_, (_, overload)| Arc::strong_count(overload) > 1);
        self.rate_limits.sweep();
    }
}

fn retain_held<K: Eq + Hash, V>(map: &mut HashMap<K, Arc<V>>) {
    map.retain(|_, state| Arc::strong_count(state) > 1);
}

#[cfg(test)]
mod tests {
    use super::*;

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
