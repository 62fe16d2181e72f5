//! What this proxy's requests came to lately, by cluster: rates, failures and latencies in the picture of a mesh are made of this.
//!
//! Counts and not quantiles are told: those of several proxies can be added up.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::clock;
use crate::local_reply::is_held_against;
use crate::registry::Registry;
use crate::telemetry::connections::ConnectionStats;
use crate::telemetry::duration::Counted;
use crate::telemetry::metrics::{DURATION_BOUNDS_NS, Direction, RequestLabels, RequestStats};

/// Clusters in one report: what a control plane takes.
pub const TRAFFIC_MAX: usize = 64;
/// A report tells of at least so long a time, and of less than twice that. With less, what is called once in a second would flicker.
pub const WINDOW: Duration = Duration::from_secs(15);

const BUCKETS: usize = DURATION_BOUNDS_NS.len() + 1;

/// What came of requests lately.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TrafficView {
    /// For how long it was counted, in milliseconds.
    pub window_ms: u64,
    /// Upper bounds of the buckets of durations, in microseconds; the last bucket has none.
    pub bounds_us: Vec<u64>,
    /// The busiest clusters, at most [`TRAFFIC_MAX`].
    pub clusters: Vec<ClusterTraffic>,
    /// Clusters with traffic that are not among them.
    pub left_out: usize,
}

/// What came of the requests to one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterTraffic {
    /// Which.
    pub cluster: String,
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// Requests that ended.
    pub requests: u64,
    /// Of those: failed by no fault of their caller, whatever their status; or ended without any.
    pub failures: u64,
    /// Those requests by duration.
    pub durations: Vec<u64>,
    /// Connections that were carried without being looked into and have ended.
    #[serde(skip_serializing_if = "is_zero")]
    pub connections: u64,
    /// Connections of that kind that are open now.
    #[serde(skip_serializing_if = "is_zero")]
    pub open: u64,
}

/// What was counted when.
#[derive(Debug)]
pub struct Traffic {
    registry: Rc<RefCell<Registry>>,
    workers: usize,
    /// What is told is the difference to this one; the next takes its place once it is a [`WINDOW`] old.
    from: Mark,
    next: Mark,
}

/// All that had been counted at some time.
#[derive(Debug, Clone, Default)]
struct Mark {
    at_ns: u64,
    series: HashMap<RequestLabels, Totals>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    requests: u64,
    failures: u64,
    durations: [u64; BUCKETS],
    connections: u64,
    open: u64,
}

impl Traffic {
    /// Of the series of `registry`, in a process of so many workers.
    pub fn new(registry: Rc<RefCell<Registry>>, workers: usize) -> Self {
        let start = Mark { at_ns: clock::now_ns(), series: HashMap::new() };
        Self { registry, workers, from: start.clone(), next: start }
    }

    /// What came of requests since the window began.
    pub fn lately(&mut self, now_ns: u64) -> TrafficView {
        let now = Mark { at_ns: now_ns, series: self.count() };
        let told = self.since(&now);
        if now_ns.saturating_sub(self.next.at_ns) >= WINDOW.as_nanos() as u64 {
            self.from = std::mem::replace(&mut self.next, now);
        }
        told
    }

    fn count(&self) -> HashMap<RequestLabels, Totals> {
        let registry = self.registry.borrow();
        let mut series = HashMap::<RequestLabels, Totals>::new();
        for stats in registry.all_requests() {
            let totals = of_requests(&stats);
            if totals.requests > 0 {
                series.insert(stats.labels.clone(), totals);
            }
        }
        for stats in registry.all_connections() {
            let (connections, open) = of_connections(&stats, self.workers);
            if connections > 0 || open > 0 {
                let totals = series.entry(stats.labels.clone()).or_default();
                (totals.connections, totals.open) = (connections, open);
            }
        }
        series
    }

    fn since(&self, now: &Mark) -> TrafficView {
        let mut clusters = BTreeMap::<(&str, Direction), Totals>::new();
        // Of what met no cluster nobody was called.
        for (labels, totals) in now.series.iter().filter(|(labels, _)| !labels.cluster.is_empty()) {
            let before = self.from.series.get(labels).copied().unwrap_or_default();
            let lately = totals.since(&before);
            if lately.requests > 0 || lately.connections > 0 || lately.open > 0 {
                clusters.entry((&labels.cluster, labels.direction)).or_default().add(&lately);
            }
        }
        let mut clusters: Vec<_> = clusters.into_iter().collect();
        clusters.sort_by_key(|(_, totals)| Reverse(totals.requests + totals.connections + totals.open));
        let left_out = clusters.len().saturating_sub(TRAFFIC_MAX);
        clusters.truncate(TRAFFIC_MAX);
        TrafficView {
            window_ms: now.at_ns.saturating_sub(self.from.at_ns) / 1_000_000,
            bounds_us: DURATION_BOUNDS_NS.iter().map(|bound_ns| bound_ns / 1_000).collect(),
            clusters: clusters
                .into_iter()
                .map(|((cluster, direction), totals)| totals.told(cluster, direction))
                .collect(),
            left_out,
        }
    }
}

impl Totals {
    /// What has been added since `before`. A series that was forgotten in between began anew.
    fn since(&self, before: &Self) -> Self {
        let before = if self.requests < before.requests { Self::default() } else { *before };
        Self {
            requests: self.requests - before.requests,
            failures: self.failures.saturating_sub(before.failures),
            durations: std::array::from_fn(|bucket| {
                self.durations[bucket].saturating_sub(before.durations[bucket])
            }),
            connections: self.connections.saturating_sub(before.connections),
            open: self.open,
        }
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.connections += other.connections;
        self.open += other.open;
        for (bucket, count) in self.durations.iter_mut().zip(other.durations) {
            *bucket += count;
        }
    }

    fn told(&self, cluster: &str, direction: Direction) -> ClusterTraffic {
        ClusterTraffic {
            cluster: cluster.to_owned(),
            direction: direction.as_str(),
            requests: self.requests,
            failures: self.failures,
            durations: self.durations.to_vec(),
            connections: self.connections,
            open: self.open,
        }
    }
}

fn of_requests(stats: &Arc<RequestStats>) -> Totals {
    let (mut totals, mut durations) = (Totals::default(), Counted::default());
    for shard in stats.shards() {
        let failures = shard.seldom_met().into_iter().flat_map(|seldom| seldom.failures.0.iter().enumerate());
        let held = failures.filter(|(number, _)| is_held_against(*number));
        totals.failures += held.map(|(_, count)| count.value()).sum::<u64>();
        totals.requests += shard.classes.iter().map(|class| class.value()).sum::<u64>();
        shard.kinds().into_iter().for_each(|kinds| kinds.sum_into(&mut durations));
    }
    totals.durations = durations.classic();
    totals
}

/// How many are over, and how many are not.
fn of_connections(stats: &Arc<ConnectionStats>, workers: usize) -> (u64, u64) {
    let shards = (0..workers).map(|worker| stats.shard(worker));
    shards.fold((0, 0), |(over, open), shard| {
        let ended: u64 = shard.ended.iter().map(|end| end.value()).sum();
        (over + ended, open + shard.open.value())
    })
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_reply::look_up;
    use crate::telemetry::kind::{Ending, Kind, Verb};
    use crate::telemetry::kinds::Finished;
    use crate::telemetry::metrics::RequestShard;

    const SECOND_NS: u64 = 1_000_000_000;

    /// A request that is over.
    fn finish(shard: &RequestShard, status: Option<u16>, duration_ns: u64) {
        let reason = match status {
            None => Some("client_gone"),
            Some(500..) => Some("upstream_status"),
            _ => None,
        };
        finish_as(shard, status, reason, duration_ns);
    }

    fn finish_as(shard: &RequestShard, status: Option<u16>, reason: Option<&str>, duration_ns: u64) {
        let kind = Kind::new(Verb::default(), status, Ending::default());
        let failed = reason.map(|reason| look_up(reason).unwrap().0);
        let finished = Finished { status, kind, failed, duration_ns, now_ns: 0, trace: None };
        shard.in_flight.add(1);
        assert!(shard.finish(&finished, &Arc::default(), |_| false));
    }

    fn labels(rule: &str, cluster: &str) -> RequestLabels {
        RequestLabels { direction: Direction::Outbound, rule: rule.into(), cluster: cluster.into() }
    }

    fn traffic() -> (Traffic, Rc<RefCell<Registry>>) {
        let registry = Rc::new(RefCell::new(Registry::new(2)));
        let mut traffic = Traffic::new(registry.clone(), 2);
        (traffic.from.at_ns, traffic.next.at_ns) = (0, 0);
        (traffic, registry)
    }

    #[test]
    fn rules_and_workers_of_a_cluster_are_added_up_and_what_is_old_is_left_out() {
        let (mut traffic, registry) = traffic();
        let one = registry.borrow_mut().requests(labels("one", "default/cart:80"));
        let other = registry.borrow_mut().requests(labels("other", "default/cart:80"));
        finish(one.shard(0), Some(200), 400_000);
        finish(one.shard(1), Some(503), 400_000);
        finish(other.shard(0), None, 20 * SECOND_NS);
        let told = traffic.lately(10 * SECOND_NS);
        assert_eq!((told.window_ms, told.clusters.len(), told.left_out), (10_000, 1, 0));
        let cart = &told.clusters[0];
        assert_eq!((cart.cluster.as_str(), cart.direction), ("default/cart:80", "outbound"));
        assert_eq!((cart.requests, cart.failures), (3, 2));
        assert_eq!((cart.durations[0], cart.durations[BUCKETS - 1]), (2, 1));
        assert_eq!(told.bounds_us.len() + 1, cart.durations.len());

        // The window moves on in two steps, and what it has left behind does not count.
        assert_eq!(traffic.lately(16 * SECOND_NS).clusters[0].requests, 3);
        finish(one.shard(0), Some(200), 400_000);
        assert_eq!(traffic.lately(31 * SECOND_NS).clusters[0].requests, 4);
        let told = traffic.lately(32 * SECOND_NS);
        assert_eq!((told.window_ms, told.clusters[0].requests, told.clusters[0].failures), (16_000, 1, 0));
        assert!(traffic.lately(47 * SECOND_NS).clusters[0].requests == 1);
        assert!(traffic.lately(48 * SECOND_NS).clusters.is_empty());
    }

    #[test]
    fn what_fails_by_the_fault_of_others_is_a_failure_whatever_its_status_and_counts_once() {
        let (mut traffic, registry) = traffic();
        let stats = registry.borrow_mut().requests(labels("one", "default/cart:80"));
        for (status, reason) in [
            (200, None),
            (200, Some("upstream_grpc_status")),
            (200, Some("response_broken")),
            (503, Some("no_endpoint")),
            (429, Some("rate_limited")),
            (404, Some("no_rule")),
        ] {
            finish_as(stats.shard(0), Some(status), reason, 1);
        }
        let told = traffic.lately(10 * SECOND_NS);
        assert_eq!((told.clusters[0].requests, told.clusters[0].failures), (6, 3));
    }

    #[test]
    fn a_series_that_began_anew_is_counted_from_nothing() {
        let (mut traffic, registry) = traffic();
        let stats = registry.borrow_mut().requests(labels("one", "default/cart:80"));
        (0..5).for_each(|_| finish(stats.shard(0), Some(200), 1));
        traffic.lately(15 * SECOND_NS);
        traffic.lately(30 * SECOND_NS);
        drop(stats);
        registry.borrow_mut().sweep();
        let stats = registry.borrow_mut().requests(labels("one", "default/cart:80"));
        finish(stats.shard(0), Some(200), 1);
        assert_eq!(traffic.lately(31 * SECOND_NS).clusters[0].requests, 1);
    }

    #[test]
    fn the_busiest_are_told_and_the_others_counted() {
        let (mut traffic, registry) = traffic();
        let mut held = Vec::new();
        for number in 0..TRAFFIC_MAX + 3 {
            let stats = registry.borrow_mut().requests(labels("r", &format!("default/s{number:03}:80")));
            (0..=number).for_each(|_| finish(stats.shard(0), Some(200), 1));
            held.push(stats);
        }
        let told = traffic.lately(SECOND_NS);
        assert_eq!((told.clusters.len(), told.left_out), (TRAFFIC_MAX, 3));
        assert_eq!(told.clusters[0].cluster, format!("default/s{:03}:80", TRAFFIC_MAX + 2));
        assert!(told.clusters.iter().all(|one| one.requests > 3));
    }

    #[test]
    fn connections_that_are_open_are_told_without_requests() {
        let (mut traffic, registry) = traffic();
        let stats = registry.borrow_mut().connections(labels("", "default/db:5432"));
        stats.shard(1).open.add(2);
        stats.shard(0).open.add(1);
        stats.shard(0).finish(0, 1);
        let told = traffic.lately(SECOND_NS);
        let db = &told.clusters[0];
        assert_eq!((db.requests, db.connections, db.open), (0, 1, 2));
    }
}
