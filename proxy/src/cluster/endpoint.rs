//! One address of a cluster, as far as it outlives plans: what is in flight to it, and how it has answered.
//!
//! Every worker shares it. Weight and zone are the plan's business and stand in the [`EndpointSet`](super::balance::EndpointSet).

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use outrigger_snapshot::name::ClusterName;

use super::balance::peak_ewma::{DECAY, PeakEwma};
use super::hash_ring::mix;
use super::health::{ClusterHealth, Effect, Health, Report, Standing};
use crate::telemetry::metrics::Direction;
use crate::upstream_tls::Tls;

/// A failure counts as a round trip of at least this long: an endpoint that fails fast must not look like a fast one.
pub const FAILURE_PENALTY: Duration = Duration::from_secs(1);

/// What makes an endpoint the same one in the next plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey {
    /// Who calls it: others, or this proxy on their behalf. The workload's own address may be an endpoint of its service.
    pub direction: Direction,
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// Where it is dialled.
    pub address: SocketAddr,
    /// How it is dialled.
    pub tls: Tls,
}

/// How a try ended, as far as balancing and health care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The endpoint answered.
    Success,
    /// It answered with a server error, or not in time, or broke off.
    Failure,
    /// No connection to it could be opened.
    Unreachable,
    /// It is well, but has too much to do: 429, or an answer that says it was shed. That costs it requests, not its health: else
    /// overload would eject one endpoint after the other, and pile its load on those that are left.
    Overloaded,
    /// The downstream went away before the endpoint could answer.
    Cancelled,
}

/// Runtime state of one endpoint.
#[derive(Debug)]
pub struct Endpoint {
    id: u32,
    key: EndpointKey,
    in_flight: AtomicU32,
    latency: PeakEwma,
    health: Health,
    /// Of all endpoints of its cluster.
    cluster: Arc<ClusterHealth>,
    requests: AtomicU64,
    failures: AtomicU64,
}

impl Endpoint {
    /// An endpoint of `cluster` that has seen no request. `id` is dense and stable: workers index their slots by it.
    pub fn new(id: u32, key: EndpointKey, cluster: Arc<ClusterHealth>) -> Self {
        Self {
            id,
            key,
            in_flight: AtomicU32::new(0),
            latency: PeakEwma::default(),
            health: Health::default(),
            cluster,
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// Its number among all endpoints of this process.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it is.
    pub fn key(&self) -> &EndpointKey {
        &self.key
    }

    /// Where it is dialled.
    pub fn address(&self) -> SocketAddr {
        self.key.address
    }

    /// Requests that were sent to it and are not over, from all workers.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Requests sent to it since it is known.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// How many of them ended in [`Outcome::Failure`] or [`Outcome::Unreachable`].
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Whether its answers may say what proxies say to each other: where it has a sidecar of the mesh, or could have one of a mesh without
    /// identities. The workload itself has none.
    pub fn is_believed(&self) -> bool {
        self.key.direction == Direction::Outbound && !matches!(self.key.tls, Tls::Server(_))
    }

    /// Its latency estimate at `now_ns`, in nanoseconds, penalties included; `None` before the first answer.
    pub fn cost_ns(&self, now_ns: u64) -> Option<u64> {
        self.latency.read(now_ns).map(|cost| cost as u64)
    }

    /// The same as [`Endpoint::cost_ns`], in the number type that the balancer computes in.
    pub(super) fn cost(&self, now_ns: u64) -> Option<f32> {
        self.latency.read(now_ns)
    }

    /// Its health.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        self.health.standing()
    }

    /// The health of its cluster.
    pub fn cluster_health(&self) -> &Arc<ClusterHealth> {
        &self.cluster
    }

    /// Requests may go to it from now on. Its share grows slowly if it is to `ramp`, and it has none before a health check has found it
    /// well if that is `awaited`.
    pub fn join(&self, now_ns: u64, ramp: bool, awaited: bool) {
        self.health.join(&self.cluster, now_ns, ramp, awaited);
    }

    /// Requests do not go to it any more.
    pub fn leave(&self) {
        self.health.leave(&self.cluster);
    }

    /// A health check has found it well or not.
    pub fn checked(&self, well: bool, now_ns: u64) {
        if self.health.checked(&self.cluster, well, now_ns) == Effect::Recovered {
            self.latency.forget();
        }
    }

    /// Takes the one chance to find out whether it is back, if it is time for that.
    pub(super) fn claim(&self, now_ns: u64) -> bool {
        self.health.claim(&self.cluster, now_ns)
    }

    /// It has said, when it failed, that it wants no requests for so long. Until then it looks no better than one that has just failed.
    pub fn is_away(&self, away_ms: u64, now_ns: u64) {
        let decays = away_ms as f64 / DECAY.as_millis() as f64;
        let penalty_ns = FAILURE_PENALTY.as_nanos() as f64 * decays.exp();
        self.latency.observe(penalty_ns as u64, now_ns);
    }

    fn record(&self, report: Report, rtt_ns: u64, now_ns: u64) {
        let failed = matches!(report.outcome, Outcome::Failure | Outcome::Unreachable);
        if failed {
            self.failures.fetch_add(1, Relaxed);
        }
        // Ejections need no better randomness than that proxies differ in it.
        let random = mix(now_ns ^ u64::from(self.id) << 48);
        if self.health.report(&self.cluster, report, now_ns, random) == Effect::Recovered {
            self.latency.forget();
        }
        match report.outcome {
            Outcome::Success => self.latency.observe(rtt_ns, now_ns),
            Outcome::Failure | Outcome::Unreachable | Outcome::Overloaded => {
                self.latency.observe(rtt_ns.max(FAILURE_PENALTY.as_nanos() as u64), now_ns);
            }
            Outcome::Cancelled => self.latency.observe_at_least(rtt_ns, now_ns),
        }
    }
}

/// One request on its way to an endpoint; counted as in flight until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    generation: u16,
    recorded: Cell<bool>,
}

impl InFlight {
    /// Counts a request to `endpoint` as sent.
    pub fn start(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Relaxed);
        endpoint.requests.fetch_add(1, Relaxed);
        let generation = endpoint.standing().generation;
        Self { endpoint, generation, recorded: Cell::new(false) }
    }

    /// Where the request goes.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Records the answer `rtt_ns` after sending, at `now_ns` (nanoseconds since the process started), while its body goes on.
    /// Call it at the response head: the length of a stream says nothing about the endpoint. Only the first outcome feeds the
    /// latency; a [`Outcome::Failure`] that follows it, such as a body cut short, still counts as a failure.
    pub fn answered(&self, outcome: Outcome, rtt_ns: u64, now_ns: u64) {
        let fails = matches!(outcome, Outcome::Failure | Outcome::Unreachable);
        if !self.recorded.get() || fails {
            let slow = outcome == Outcome::Success && self.endpoint.cluster.is_slow(rtt_ns);
            let report = Report { generation: self.generation, outcome, slow, again: self.recorded.get() };
            self.endpoint.record(report, rtt_ns, now_ns);
        }
        self.recorded.set(true);
    }

    /// The request is over. `outcome` counts as in [`InFlight::answered`].
    pub fn finish(self, outcome: Outcome, rtt_ns: u64, now_ns: u64) {
        self.answered(outcome, rtt_ns, now_ns);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.recorded.get() {
            self.endpoint.health.lost(&self.endpoint.cluster, self.generation);
        }
        self.endpoint.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn endpoint() -> Arc<Endpoint> {
        let key = EndpointKey {
            direction: Direction::Outbound,
            cluster: "shop/cart:80".parse().unwrap(),
            address: SocketAddr::from(([127, 0, 0, 1], 9001)),
            tls: Tls::None,
        };
        Arc::new(Endpoint::new(3, key, Arc::default()))
    }

    /// Of 10,000 endpoints that nobody calls, too; see the research, OH-4.
    #[test]
    fn its_state_is_small() {
        let bytes = size_of::<Endpoint>();
        assert!(bytes <= 256, "{bytes}");
    }

    #[test]
    fn in_flight_ends_however_the_request_ends() {
        let endpoint = endpoint();
        let first = InFlight::start(endpoint.clone());
        let second = InFlight::start(endpoint.clone());
        assert_eq!((endpoint.in_flight(), endpoint.requests()), (2, 2));
        drop(first);
        second.answered(Outcome::Success, MS, MS);
        assert_eq!(endpoint.in_flight(), 1, "answered, but its body goes on");
        drop(second);
        assert_eq!((endpoint.in_flight(), endpoint.requests(), endpoint.failures()), (0, 2, 0));
    }

    #[test]
    fn a_fast_failure_costs_the_penalty_and_a_slow_one_its_time() {
        for (rtt_ns, cost_ns) in [(MS, 1_000 * MS), (3_000 * MS, 3_000 * MS)] {
            let endpoint = endpoint();
            InFlight::start(endpoint.clone()).finish(Outcome::Failure, rtt_ns, 0);
            assert_eq!((endpoint.cost_ns(0), endpoint.failures()), (Some(cost_ns), 1));
        }
    }

    #[test]
    fn one_that_wants_to_be_left_alone_looks_as_if_it_failed_until_then() {
        let endpoint = endpoint();
        InFlight::start(endpoint.clone()).finish(Outcome::Failure, MS, 0);
        endpoint.is_away(60_000, 0);
        let cost_ms = |at_s: u64| endpoint.cost_ns(at_s * 1_000 * MS).unwrap() / MS;
        assert!(cost_ms(30) > 10_000);
        assert!((990..=1_010).contains(&cost_ms(60)), "{} ms after a minute", cost_ms(60));
        assert!((360..=375).contains(&cost_ms(70)), "{} ms after ten seconds more", cost_ms(70));
    }

    #[test]
    fn only_the_first_outcome_is_latency_but_a_late_failure_still_counts() {
        let endpoint = endpoint();
        let request = InFlight::start(endpoint.clone());
        request.answered(Outcome::Success, MS, MS);
        request.finish(Outcome::Success, 500 * MS, 500 * MS);
        assert!(endpoint.cost_ns(500 * MS).unwrap() <= MS, "the body's length is not latency");

        let request = InFlight::start(endpoint.clone());
        request.answered(Outcome::Success, MS, 500 * MS);
        request.finish(Outcome::Failure, 2 * MS, 501 * MS);
        assert_eq!(endpoint.failures(), 1);
        assert!(endpoint.cost_ns(501 * MS).unwrap() >= 1_000 * MS);
    }
}
