//! Counters of connections that are carried without being looked into, and how a scrape sees them.

use std::sync::Arc;

use super::exposition::Exposition;
use super::fading::Fading;
use super::metrics::{Counter, Direction, RequestLabels, WorkerStats};
use super::tries::write_picks;
use crate::cluster::balance::PICK_REASONS;
use crate::opaque::{ENDS, REASONS, reason};

/// Upper bounds of the duration histogram, in nanoseconds: connections may live for days. The last bucket has none.
const DURATION_BOUNDS_NS: [u64; 8] = [
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
    60_000_000_000,
    600_000_000_000,
    3_600_000_000_000,
    86_400_000_000_000,
];

/// Connections of one rule to one cluster.
#[derive(Debug)]
pub struct ConnectionStats {
    /// What they are.
    pub labels: RequestLabels,
    fading: Fading,
    shards: Box<[ConnectionShard]>,
}

/// One worker's part of [`ConnectionStats`].
#[derive(Debug)]
pub struct ConnectionShard {
    /// Not over yet.
    pub open: Counter,
    /// Over, by how they ended: [`ENDS`].
    pub ended: [Counter; ENDS.len()],
    /// Refused, by the index of the reason.
    pub refused: [Counter; REASONS],
    /// Tries to connect beyond the first.
    pub retries: Counter,
    /// Endpoints picked, by [`PickReason`](crate::cluster::balance::PickReason).
    pub picks: [Counter; PICK_REASONS.len()],
    /// Bytes from the downstream, and from the upstream.
    pub bytes: [Counter; 2],
    duration: [Counter; DURATION_BOUNDS_NS.len() + 1],
    duration_ns: Counter,
}

impl ConnectionStats {
    /// All zero.
    pub fn new(labels: RequestLabels, workers: usize) -> Self {
        let shards = (0..workers).map(|_| ConnectionShard::default()).collect();
        Self { labels, fading: Fading::default(), shards }
    }

    /// One worker's part.
    pub fn shard(&self, worker: usize) -> &ConnectionShard {
        &self.shards[worker]
    }
}

impl Default for ConnectionShard {
    fn default() -> Self {
        Self {
            open: Counter::default(),
            ended: Default::default(),
            refused: std::array::from_fn(|_| Counter::default()),
            retries: Counter::default(),
            picks: Default::default(),
            bytes: Default::default(),
            duration: Default::default(),
            duration_ns: Counter::default(),
        }
    }
}

impl ConnectionShard {
    /// Changes with every connection.
    fn total(&self) -> u64 {
        let counters =
            self.ended.iter().chain(&self.refused).chain(&self.bytes).chain([&self.retries, &self.open]);
        counters.map(Counter::value).fold(0, u64::wrapping_add)
    }

    /// Counts a connection that is over; `end` as in [`ENDS`].
    pub fn finish(&self, end: usize, duration_ns: u64) {
        self.open.subtract(1);
        self.ended[end].add(1);
        let bucket = DURATION_BOUNDS_NS.iter().position(|bound| duration_ns <= *bound);
        self.duration[bucket.unwrap_or(DURATION_BOUNDS_NS.len())].add(1);
        self.duration_ns.add(duration_ns);
    }
}

/// Writes connections by rule and cluster. Series that have seen nothing, or nothing for long, are left out.
pub fn write_connections(all: &[Arc<ConnectionStats>], now_ns: u64, exposition: &mut Exposition) {
    for stats in all {
        let total = stats.shards.iter().map(ConnectionShard::total).fold(0, u64::wrapping_add);
        let open = stats.shards.iter().any(|shard| shard.open.value() > 0);
        if !stats.fading.is_gone(total, now_ns) || open {
            write_series(&stats.labels, &stats.shards.iter().collect::<Vec<_>>(), exposition);
        }
    }
}

/// Writes connections that met no rule.
pub fn write_unrouted_connections(workers: &[Arc<WorkerStats>], exposition: &mut Exposition) {
    for direction in [Direction::Inbound, Direction::Outbound] {
        let shards: Vec<_> =
            workers.iter().map(|worker| &worker.unrouted_connections[direction as usize]).collect();
        write_series(&RequestLabels { direction, rule: "".into(), cluster: "".into() }, &shards, exposition);
    }
}

fn write_series(labels: &RequestLabels, shards: &[&ConnectionShard], exposition: &mut Exposition) {
    let sum = |counter: &dyn Fn(&ConnectionShard) -> u64| {
        shards.iter().map(|shard| counter(shard)).fold(0, u64::wrapping_add)
    };
    let base =
        [("direction", labels.direction.as_str()), ("rule", &labels.rule), ("cluster", &labels.cluster)];
    let [direction, rule, cluster] = base;
    for index in 0..REASONS {
        let count = sum(&|shard| shard.refused[index].value());
        if let Some(reason) = reason(index).filter(|_| count > 0) {
            exposition
                .counter(
                    "outrigger_connections_refused_total",
                    "Connections that were not carried, by reason.",
                )
                .sample(&[direction, rule, cluster, ("reason", reason)], count);
        }
    }
    let retries = sum(&|shard| shard.retries.value());
    if retries > 0 {
        exposition
            .counter("outrigger_connection_retries_total", "Tries to connect beyond a connection's first.")
            .sample(&base, retries);
    }
    write_picks(base, exposition, |reason| sum(&|shard| shard.picks[reason].value()));
    let open = sum(&|shard| shard.open.value());
    let ended: [u64; ENDS.len()] = std::array::from_fn(|end| sum(&|shard| shard.ended[end].value()));
    if open == 0 && ended.iter().all(|count| *count == 0) {
        return;
    }
    exposition.gauge("outrigger_connections_open", "Connections that are carried.").sample(&base, open);
    for (end, count) in ENDS.iter().zip(ended).filter(|(_, count)| *count > 0) {
        exposition
            .counter(
                "outrigger_connections_total",
                "Connections that were carried and are over, by their end.",
            )
            .sample(&[direction, rule, cluster, ("end", end)], count);
    }
    for (index, way) in ["up", "down"].into_iter().enumerate() {
        exposition
            .counter(
                "outrigger_connection_bytes_total",
                "Bytes taken from downstream (up) and upstream (down).",
            )
            .sample(&[direction, rule, cluster, ("way", way)], sum(&|shard| shard.bytes[index].value()));
    }
    let bucket = |index: usize| sum(&|shard| shard.duration[index].value());
    let bounds = DURATION_BOUNDS_NS.iter().enumerate();
    exposition
        .histogram("outrigger_connection_duration_seconds", "From the accepted connection to its end.")
        .sample(
            &base,
            bounds.map(|(index, bound)| (*bound as f64 / 1e9, bucket(index))),
            bucket(DURATION_BOUNDS_NS.len()),
            sum(&|shard| shard.duration_ns.value()) as f64 / 1e9,
        );
}
