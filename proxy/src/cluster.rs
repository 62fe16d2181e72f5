//! Clusters: their endpoints, and how one of them is picked.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use arc_swap::ArcSwap;
use outrigger_snapshot::policy::{
    Backend, Balance, HealthCheck, Hedge, Limits, Protocol, Retry, Telemetry, Timeouts,
};

use self::balance::subset::{SubsetStats, Subsetting};
use self::balance::zones::{Preference, ZonePicks};
use self::balance::{EndpointSet, Entry};
use self::breaker::ClusterBreaker;
use self::health::{ClusterHealth, Rules};
use self::places::Places;
use crate::proxy_protocol::Version;
use crate::retry::budget::{Budget, BudgetSettings};
use crate::retry::quantile::Quantile;
use crate::telemetry::metrics::Counter;
use crate::upstream_tls::Tls;

pub mod balance;
pub mod breaker;
pub mod endpoint;
pub mod hash_ring;
pub mod health;
pub mod places;
pub mod window;

/// A cluster as one plan sees it.
#[derive(Debug)]
pub struct Cluster {
    /// `NAMESPACE/NAME:PORT`.
    pub name: Arc<str>,
    /// What its endpoints speak.
    pub protocol: Protocol,
    /// What is written to its endpoints before the first byte of each connection.
    pub proxy_header: Option<Version>,
    /// Where it is dialled, if that is a socket of the machine: the workload alone.
    pub socket: Option<Arc<Path>>,
    /// How its endpoints are dialled by this proxy.
    pub tls: Tls,
    /// How an endpoint is picked.
    pub balance: Balance,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Caps.
    pub limits: Limits,
    /// When its requests are sent again, where the rule says nothing else.
    pub retry: Retry,
    /// When a second try is sent beside the first.
    pub hedge: Option<Hedge>,
    /// What retries and hedges may add to its load.
    pub budget: BudgetSettings,
    /// What its endpoints are held to.
    pub rules: Rules,
    /// How its endpoints are asked whether they are well.
    pub health_check: Option<HealthCheck>,
    /// Whether endpoints of the own zone are preferred.
    pub preference: Option<Preference>,
    /// What is told of its requests, where a policy says so.
    pub telemetry: Option<Telemetry>,
    /// Which of many endpoints are this proxy's.
    pub subsetting: Option<Subsetting>,
    /// Where it is. Replaced in place when DNS says something new or a subset is to have another size, by the thread that builds plans.
    pub endpoints: ArcSwap<EndpointSet>,
    /// What is under way, across plans and workers.
    pub load: Arc<ClusterLoad>,
    /// Whether it is asked at all, across plans and workers.
    pub breaker: Arc<ClusterBreaker>,
}

impl Cluster {
    /// A cluster without endpoints.
    pub fn new(
        name: Arc<str>,
        protocol: Protocol,
        backend: &Backend,
        peers: u32,
        load: Arc<ClusterLoad>,
        breaker: Arc<ClusterBreaker>,
    ) -> Self {
        let nowhere = EndpointSet::new(Vec::new(), &backend.balance);
        Self {
            name,
            protocol,
            tls: Tls::None,
            proxy_header: None,
            socket: None,
            balance: backend.balance.clone(),
            timeouts: backend.timeouts,
            limits: backend.limits,
            retry: backend.retry.clone(),
            hedge: backend.hedge,
            budget: BudgetSettings::new(&backend.retry.budget, peers),
            health_check: backend.health_check.clone(),
            rules: Rules { ejection: backend.ejection, slow_start_ms: backend.slow_start_ms },
            preference: None,
            telemetry: backend.telemetry,
            subsetting: None,
            endpoints: ArcSwap::from_pointee(nowhere),
            load,
            breaker,
        }
    }

    /// Puts `entries` in the place of the endpoints that it had.
    pub fn place(&self, entries: Vec<Entry>, now_ns: u64) {
        let set = EndpointSet::new(entries, &self.balance).limited(self.limits.endpoint_requests);
        let set = match &self.preference {
            Some(preference) => set.preferring(preference, &self.balance, now_ns),
            None => set,
        };
        let set = match &self.subsetting {
            Some(subsetting) => set.narrowed(subsetting, self.load.subset.wanted(), &self.balance),
            None => set,
        };
        self.load.subset.note(set.subset());
        self.endpoints.store(Arc::new(set));
    }

    /// Fits the size of a subset to the requests in flight. To be called every second or so, by the thread that builds plans.
    pub fn resize(&self, now_ns: u64) {
        let Some(subsetting) = &self.subsetting else { return };
        let (endpoints, stats) = (self.endpoints.load(), &self.load.subset);
        let size = || subsetting.size(endpoints.open().len(), stats.wanted());
        let before = size();
        stats.sample(self.load.requests.value(), now_ns);
        if size() != before && !endpoints.prefers_zone() {
            self.place(endpoints.entries().to_vec(), now_ns);
        }
    }

    /// What is spoken with its endpoints, for a request that may or may not `switch` protocols: between sidecars HTTP/2, whatever the
    /// workload speaks, but for what only HTTP/1.1 can.
    pub fn wire(&self, switches: bool) -> Wire {
        match self.protocol {
            Protocol::Http2 | Protocol::Grpc => Wire::Http2,
            _ if self.tls == Tls::Mesh && !switches => Wire::Http2,
            _ => Wire::Http1,
        }
    }

    /// Whether requests that switch no protocols go to its endpoints over HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.wire(false) == Wire::Http2
    }
}

/// A version of HTTP on an upstream connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// One request at a time.
    Http1,
    /// Many.
    Http2,
}

/// What counts against a cluster's limits. It outlives plans.
#[derive(Debug, Default)]
pub struct ClusterLoad {
    /// Requests in flight.
    pub requests: Gauge,
    /// Requests that wait for a connection.
    pub pending: Gauge,
    /// Open upstream connections.
    pub connections: Places,
    /// Retries and hedges.
    pub retries: Budget,
    /// How long most answers take, where requests are hedged.
    pub answers: Quantile,
    /// How its endpoints are.
    pub health: Arc<ClusterHealth>,
    /// Where requests went whose callers prefer their own zone.
    pub zone_picks: Arc<ZonePicks>,
    /// Which of many endpoints its requests go to.
    pub subset: SubsetStats,
    /// Kept of its requests' bodies, in bytes.
    pub replays: ByWorker,
}

impl ClusterLoad {
    /// Of a cluster that so many workers send requests to.
    pub fn new(workers: usize) -> Self {
        Self { replays: ByWorker::new(workers), ..Self::default() }
    }
}

/// A number for each worker, that no other changes.
#[derive(Debug)]
pub struct ByWorker(Box<[Counter]>);

impl ByWorker {
    fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Counter::default()).collect())
    }

    /// That of a worker. What is used without being told of all workers has one.
    pub fn of(&self, worker: usize) -> &Counter {
        &self.0[worker.min(self.0.len() - 1)]
    }
}

impl Default for ByWorker {
    fn default() -> Self {
        Self::new(1)
    }
}

/// A number of things that are now, shared by all workers.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU32);

impl Gauge {
    /// The number.
    pub fn value(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Counts one more unless there are `limit`. The caller owes a [`Gauge::leave`].
    pub fn enter(&self, limit: u32) -> bool {
        if self.0.fetch_add(1, Relaxed) < limit {
            return true;
        }
        self.leave();
        false
    }

    /// Counts one less.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
