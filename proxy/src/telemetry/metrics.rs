//! Counters of the request path. Each worker writes only to its own shard, so that counting is a plain load and store; a scrape sums the
//! shards.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use outrigger_certs::problem::Problem;

use super::connections::ConnectionShard;
use super::fading::Fading;
use super::kind::Kind;
use super::kinds::{Finished, Kinds, Room};
use super::seldom::Seldom;
use super::turn::Turns;
use crate::cluster::balance::PICK_REASONS;
use crate::connect::TlsFailure;
use crate::deadline::Stage;
use crate::failure::log::FailureLog;
use crate::local_reply::ROWS;
use crate::retry::quantile::Quantile;
use crate::tap::Taps;

/// Upper bounds of the duration histogram, in nanoseconds; the last bucket has none.
pub const DURATION_BOUNDS_NS: [u64; 14] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// The same of the time before a request is sent.
pub const OVERHEAD_BOUNDS_NS: [u64; 6] = [50_000, 250_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// The same of tries.
pub const ATTEMPT_BOUNDS: [u32; 5] = [1, 2, 3, 5, 10];

/// A counter with one writer. Reads from elsewhere may be a moment old, never torn.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds; only the owning worker may call it.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// Takes off; only the owning worker may call it.
    pub fn subtract(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(count), Relaxed);
    }

    /// Becomes this; only the owning worker may call it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Begins anew; only the owning worker may call it.
    pub fn clear(&self) {
        self.set(0);
    }

    /// The value.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Which way traffic goes, seen from the workload that the proxy stands beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Calls to it.
    Inbound,
    /// Its own calls.
    Outbound,
}

impl Direction {
    /// As labels and logs spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Labels of a request series. All come from configuration, none from clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestLabels {
    /// Which way.
    pub direction: Direction,
    /// The rule; empty where none was met.
    pub rule: Arc<str>,
    /// The cluster; empty where none was chosen.
    pub cluster: Arc<str>,
}

/// Requests of one rule to one cluster.
#[derive(Debug)]
pub struct RequestStats {
    /// What they are.
    pub labels: RequestLabels,
    /// Whether any came lately.
    pub fading: Fading,
    shards: Box<[RequestShard]>,
}

/// One worker's part of [`RequestStats`].
#[derive(Debug, Default)]
pub struct RequestShard {
    /// By status class: aborted before a status, 1xx (upgrades), 2xx, 3xx, 4xx, 5xx.
    pub classes: [Counter; 6],
    /// Not over yet.
    pub in_flight: Counter,
    /// From the request head to the last byte of the response, once there is one.
    kinds: OnceLock<Box<Kinds>>,
    /// From the request head to the first try.
    pub overhead: [Counter; OVERHEAD_BOUNDS_NS.len() + 1],
    /// Sum of that.
    pub overhead_ns: Counter,
    /// Requests by how often they were sent.
    pub attempts: [Counter; ATTEMPT_BOUNDS.len() + 1],
    /// All tries of those.
    pub attempts_sum: Counter,
    /// Endpoints picked, by [`PickReason`](crate::cluster::balance::PickReason).
    pub picks: [Counter; PICK_REASONS.len()],
    /// How long half of the tries that are answered take, to the response head.
    pub usual: Quantile,
    seldom: OnceLock<Box<Seldom>>,
}

impl RequestStats {
    /// All zero.
    pub fn new(labels: RequestLabels, workers: usize) -> Self {
        let shards = (0..workers).map(|_| RequestShard::default()).collect();
        Self { labels, fading: Fading::default(), shards }
    }

    /// One worker's part.
    pub fn shard(&self, worker: usize) -> &RequestShard {
        &self.shards[worker]
    }

    /// Every worker's part.
    pub fn shards(&self) -> &[RequestShard] {
        &self.shards
    }

    /// Whether no worker has seen a request of this kind for long.
    fn is_idle(&self, kind: Kind, now_ns: u64) -> bool {
        self.shards.iter().filter_map(RequestShard::kinds).all(|kinds| kinds.is_idle(kind, now_ns))
    }
}

impl RequestShard {
    /// Counts a request that is over; whether there is room for its kind, which is neither free nor, as `is_idle` says, another's that nobody
    /// sees any more.
    pub fn finish(&self, finished: &Finished, room: &Arc<Room>, is_idle: impl Fn(Kind) -> bool) -> bool {
        self.in_flight.subtract(1);
        let class = usize::from(finished.status.unwrap_or(0) / 100).min(5);
        self.classes[class].add(1);
        if let Some(failed) = finished.failed {
            self.seldom().failures.0[failed].add(1);
        }
        self.kinds.get_or_init(|| Box::new(Kinds::new(Some(room.clone())))).count(finished, is_idle)
    }

    /// Durations by kind, if there was a request.
    pub fn kinds(&self) -> Option<&Kinds> {
        self.kinds.get().map(|kinds| &**kinds)
    }

    /// What few requests meet.
    pub fn seldom(&self) -> &Seldom {
        self.seldom.get_or_init(Box::default)
    }

    /// The same, if any request met it.
    pub fn seldom_met(&self) -> Option<&Seldom> {
        self.seldom.get().map(|seldom| &**seldom)
    }

    /// Counts a request whose time was over.
    pub fn overdue(&self, stage: Stage) {
        self.seldom().overdue[stage as usize].add(1);
    }

    /// Counts a request that is about to be sent for the first time.
    pub fn prepared(&self, overhead_ns: u64) {
        let bucket = OVERHEAD_BOUNDS_NS.iter().position(|bound| overhead_ns <= *bound);
        self.overhead[bucket.unwrap_or(OVERHEAD_BOUNDS_NS.len())].add(1);
        self.overhead_ns.add(overhead_ns);
    }

    /// Counts a request that was sent so often.
    pub fn tried(&self, attempts: u32) {
        let bucket = ATTEMPT_BOUNDS.iter().position(|bound| attempts <= *bound);
        self.attempts[bucket.unwrap_or(ATTEMPT_BOUNDS.len())].add(1);
        self.attempts_sum.add(attempts.into());
    }
}

/// What one worker counts beside requests.
#[derive(Debug, Default)]
pub struct WorkerStats {
    /// Open downstream connections, inbound then outbound.
    pub downstream_connections: [Counter; 2],
    /// Downstream connections ever accepted.
    pub downstream_accepted: [Counter; 2],
    /// Open upstream connections.
    pub upstream_connections: Counter,
    /// Upstream connections ever opened.
    pub upstream_opened: Counter,
    /// Upstream connections that could not be opened.
    pub upstream_connect_failed: Counter,
    /// Local replies by row of [`ROWS`].
    pub local_replies: LocalReplies,
    /// Requests that met no rule, inbound then outbound.
    pub unrouted: [RequestShard; 2],
    /// Series of durations of this process.
    pub room: Arc<Room>,
    /// Durations for whose kind there was no room, inbound then outbound.
    pub beyond: Beyond,
    /// Connections that met no rule, inbound then outbound.
    pub unrouted_connections: [ConnectionShard; 2],
    /// Requests that a fault held up.
    pub faults_delayed: Counter,
    /// Failures whose caller was asked not to retry them.
    pub discouraged: Counter,
    /// Handshakes of TLS, inbound then outbound.
    pub handshakes: [Handshakes; 2],
    /// Connections with peers that are believed no more, inbound then outbound.
    pub parted: [Parted; 2],
    /// Requests to the workload in the clear, where others call it by mutual TLS, or may call it by TLS.
    pub plaintext_requests: Counter,
    /// Requests that an access rule denies, or none allows.
    pub denied: Counter,
    /// The same, of rules that only count.
    pub denied_dry: Counter,
    /// Connections to the workload from callers without identity, where others have one.
    pub plaintext_connections: Counter,
    /// Connections that an access rule denies, or none allows.
    pub denied_connections: Counter,
    /// The same, of rules that only count.
    pub denied_connections_dry: Counter,
    /// Kept of request bodies to be sent again, in bytes.
    pub replay_bytes: Counter,
    /// Times that it was halted.
    pub halts: Counter,
    /// The turns of its loop.
    pub turns: Turns,
    /// Requests that have failed of late.
    pub failures: FailureLog,
    /// Who watches requests end.
    pub taps: Taps,
}

impl WorkerStats {
    /// Counts a handshake that failed.
    pub fn tls_failed(&self, direction: Direction, failure: &TlsFailure) {
        let known = &self.handshakes[direction as usize].failed;
        if let Some((_, count)) = known.iter().find(|(word, _)| *word == failure.code()) {
            count.add(1);
        }
    }

    /// One worker's, of a process whose series of durations take their place in `room`.
    pub fn sharing(room: Arc<Room>) -> Self {
        Self { room, ..Self::default() }
    }

    /// Counts a request of a rule and cluster that is over, for this `worker`.
    pub fn finish(&self, stats: &RequestStats, worker: usize, finished: &Finished) {
        let is_idle = |kind| stats.is_idle(kind, finished.now_ns);
        if !stats.shard(worker).finish(finished, &self.room, is_idle) {
            self.has_no_room(stats.labels.direction, finished);
        }
    }

    /// Counts one that met no rule. What others count of these is out of sight, so that no kind gives its place away.
    pub fn finish_unrouted(&self, direction: Direction, finished: &Finished) {
        let unrouted = &self.unrouted[direction as usize];
        // It is counted as one under way only now that it is over.
        unrouted.in_flight.add(1);
        if !unrouted.finish(finished, &self.room, |_| false) {
            self.has_no_room(direction, finished);
        }
    }

    fn has_no_room(&self, direction: Direction, finished: &Finished) {
        self.beyond.requests.add(1);
        let beyond = Finished { kind: finished.kind.beyond(), ..*finished };
        self.beyond.kinds[direction as usize].count(&beyond, |_| false);
    }

    /// Open downstream connections.
    pub fn open_connections(&self) -> u64 {
        self.downstream_connections.iter().map(Counter::value).sum()
    }
}

/// Durations that have no series of their own.
#[derive(Debug)]
pub struct Beyond {
    /// By class of status, inbound then outbound.
    pub kinds: [Kinds; 2],
    /// How many there are.
    pub requests: Counter,
}

impl Default for Beyond {
    fn default() -> Self {
        Self { kinds: [Kinds::new(None), Kinds::new(None)], requests: Counter::default() }
    }
}

/// Handshakes by how they ended.
#[derive(Debug)]
pub struct Handshakes {
    /// Well.
    pub done: Counter,
    /// Otherwise, by word.
    pub failed: Box<[(&'static str, Counter)]>,
}

impl Default for Handshakes {
    fn default() -> Self {
        let words = Problem::ALL.map(Problem::code).into_iter().chain(TlsFailure::CODES);
        Self { done: Counter::default(), failed: words.map(|word| (word, Counter::default())).collect() }
    }
}

/// Connections that were ended, by the problem of the peer's certificate.
#[derive(Debug, Default)]
pub struct Parted([Counter; Problem::ALL.len()]);

impl Parted {
    /// Counts one.
    pub fn add(&self, problem: Problem) {
        let known = Problem::ALL.into_iter().zip(&self.0).find(|(known, _)| *known == problem);
        if let Some((_, count)) = known {
            count.add(1);
        }
    }

    /// How many of the problem at this place of [`Problem::ALL`].
    pub fn count(&self, place: usize) -> u64 {
        self.0[place].value()
    }
}

/// One counter per row of the error table.
#[derive(Debug)]
pub struct LocalReplies(pub Box<[Counter]>);

impl Default for LocalReplies {
    fn default() -> Self {
        Self(ROWS.iter().map(|_| Counter::default()).collect())
    }
}
