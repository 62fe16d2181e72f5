//! Requests by rule and cluster, as a scrape sees them: shards summed up. Names are those of OpenTelemetry's conventions where these have
//! one (`docs/decisions/0015`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::duration::{Counted, SCHEMA, ZERO_THRESHOLD};
use super::exemplar;
use super::exposition::{Distribution, Exemplar, Exposition, Native};
use super::kind::{Kind, OVERFLOW};
use super::kinds::{Kinds, is_idle};
use super::metrics::{DURATION_BOUNDS_NS, Direction, RequestLabels, RequestShard, RequestStats, WorkerStats};
use super::tries::write_tries;

const CLASSES: [&str; 6] = ["aborted", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// When a scrape is, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Instants {
    /// On [`crate::clock`].
    pub now_ns: u64,
    /// In milliseconds since 1970.
    pub now_ms: u64,
}

/// Writes requests by rule and cluster. Series that have seen nothing, or nothing for long, are left out: with 10,000 clusters, most are.
pub fn write_requests(all: &[Arc<RequestStats>], at: Instants, exposition: &mut Exposition) {
    for stats in all {
        let shards: Vec<_> = stats.shards().iter().collect();
        let (in_flight, classes) = totals(&shards);
        let total = classes.iter().copied().fold(in_flight, u64::wrapping_add);
        if !stats.fading.is_gone(total, at.now_ns) || in_flight > 0 {
            write_series(&stats.labels, &shards, at, exposition);
        }
    }
}

/// Writes requests that met no rule, and those for whose kind there was no room.
pub fn write_unrouted(workers: &[Arc<WorkerStats>], at: Instants, exposition: &mut Exposition) {
    for direction in [Direction::Inbound, Direction::Outbound] {
        let shards: Vec<_> = workers.iter().map(|worker| &worker.unrouted[direction as usize]).collect();
        let (in_flight, classes) = totals(&shards);
        if in_flight > 0 || classes.iter().any(|count| *count > 0) {
            let labels = RequestLabels { direction, rule: "".into(), cluster: "".into() };
            write_series(&labels, &shards, at, exposition);
        }
        let beyond = workers.iter().map(|worker| &worker.beyond.kinds[direction as usize]);
        let labels = RequestLabels { direction, rule: OVERFLOW.into(), cluster: OVERFLOW.into() };
        write_durations(&labels, beyond, at, exposition);
    }
    let series = workers.first().map_or(0, |worker| worker.room.taken());
    exposition
        .gauge("outrigger_duration_series", "Series of request durations that are kept.")
        .sample(&[], u64::from(series));
    let beyond = workers.iter().map(|worker| worker.beyond.requests.value()).fold(0, u64::wrapping_add);
    exposition
        .counter(
            "outrigger_duration_series_overflow_total",
            "Requests whose duration is in no series of its own, for want of room.",
        )
        .sample(&[], beyond);
}

fn totals(shards: &[&RequestShard]) -> (u64, [u64; CLASSES.len()]) {
    let sum = |counter: &dyn Fn(&RequestShard) -> u64| {
        shards.iter().map(|shard| counter(shard)).fold(0, u64::wrapping_add)
    };
    let classes = std::array::from_fn(|class| sum(&|shard| shard.classes[class].value()));
    (sum(&|shard| shard.in_flight.value()), classes)
}

fn write_series(labels: &RequestLabels, shards: &[&RequestShard], at: Instants, exposition: &mut Exposition) {
    let (in_flight, classes) = totals(shards);
    let base =
        [("direction", labels.direction.as_str()), ("rule", &labels.rule), ("cluster", &labels.cluster)];
    let [direction, rule, cluster] = base;
    for (class, count) in CLASSES.iter().zip(classes).filter(|(_, count)| *count > 0) {
        exposition
            .counter("outrigger_requests_total", "Requests that are over, by status class.")
            .sample(&[direction, rule, cluster, ("code_class", class)], count);
    }
    let (name, help) = match labels.direction {
        Direction::Inbound => ("http_server_active_requests", "Requests to the workload that are not over."),
        Direction::Outbound => ("http_client_active_requests", "Requests of the workload that are not over."),
    };
    exposition.gauge(name, help).sample(&[rule, cluster], in_flight);
    write_tries(base, shards, exposition);
    write_durations(labels, shards.iter().filter_map(|shard| shard.kinds()), at, exposition);
}

/// What there is of one kind in all shards.
#[derive(Default)]
struct Found {
    counted: Counted,
    exemplars: Vec<exemplar::Exemplar>,
    /// When any worker last saw one.
    last_ns: u64,
}

fn write_durations<'a>(
    labels: &RequestLabels,
    shards: impl Iterator<Item = &'a Kinds>,
    at: Instants,
    exposition: &mut Exposition,
) {
    let mut found = BTreeMap::<Kind, Found>::new();
    for kinds in shards {
        kinds.each(|kind, series, whole| {
            let mut counted = Counted::default();
            counted.add(&series.durations);
            let last_ns = series.last_ns();
            let exemplars: Vec<_> = series.exemplars.all().collect();
            if whole() {
                let found = found.entry(kind).or_default();
                found.counted.merge(&counted);
                found.last_ns = found.last_ns.max(last_ns);
                found.exemplars.extend(exemplars);
            }
        });
    }
    let (name, help) = match labels.direction {
        Direction::Inbound => (
            "http_server_request_duration_seconds",
            "Of requests to the workload, from the request head to the last byte of the response.",
        ),
        Direction::Outbound => (
            "http_client_request_duration_seconds",
            "Of requests of the workload, from the request head to the last byte of the response.",
        ),
    };
    // What only some workers have seen lately is whole all the same: a counter that is shown does not go back.
    for (kind, found) in found.into_iter().filter(|(_, found)| !is_idle(found.last_ns, at.now_ns)) {
        let values = distribution(&found, at);
        kind.labels(labels.direction, |more| {
            let mut all = [
                ("rule", &*labels.rule),
                ("cluster", &*labels.cluster),
                ("", ""),
                ("", ""),
                ("", ""),
                ("", ""),
            ];
            all[2..2 + more.len()].copy_from_slice(more);
            exposition.histogram(name, help).distribution(&all[..2 + more.len()], &values);
        });
    }
}

fn distribution(found: &Found, at: Instants) -> Distribution {
    let classic = found.counted.classic();
    let (zero, buckets) = found.counted.native();
    let latest = |bucket: usize| {
        let all = found.exemplars.iter().filter(|exemplar| exemplar.bucket == bucket);
        all.max_by_key(|exemplar| exemplar.at_ns)
    };
    let shown = |exemplar: &exemplar::Exemplar| Exemplar {
        bucket: exemplar.bucket,
        trace: exemplar.trace,
        value: exemplar.duration_ns as f64 / 1e9,
        at_unix_ms: at.now_ms.saturating_sub(at.now_ns.saturating_sub(exemplar.at_ns) / 1_000_000),
    };
    Distribution {
        buckets: DURATION_BOUNDS_NS.iter().map(|bound| *bound as f64 / 1e9).zip(classic).collect(),
        beyond: classic[DURATION_BOUNDS_NS.len()],
        sum: found.counted.sum(),
        native: Some(Native { schema: SCHEMA, zero_threshold: ZERO_THRESHOLD, zero, buckets }),
        exemplars: (0..classic.len()).filter_map(latest).map(shown).collect(),
    }
}

#[cfg(test)]
mod tests;
