//! What protects the workload, as a scrape sees it.

use std::sync::Arc;

use outrigger_snapshot::name::ClusterName;

use super::exposition::Exposition;
use super::metrics::WorkerStats;
use crate::lineage::Lineages;
use crate::memory::Memory;
use crate::overload::counts::WAIT_BOUNDS_NS;
use crate::overload::priority::CLASSES;
use crate::overload::{Cause, Overload};

/// Writes limits and decisions by port. What never happened on a port is left out, but for the cause that comes first.
pub fn write_overload(all: &[(ClusterName, Arc<Overload>)], exposition: &mut Exposition) {
    for (name, overload) in all {
        let (name, reading) = (name.to_string(), overload.reading());
        let labels = [("cluster", name.as_str())];
        for (family, help, value) in [
            (
                "outrigger_overload_limit",
                "Requests that the workload is given at a time.",
                f64::from(overload.limit()),
            ),
            (
                "outrigger_overload_in_flight",
                "Requests that the workload has not answered.",
                f64::from(overload.in_flight()),
            ),
            (
                "outrigger_overload_gradient",
                "Allowed latency over found latency; below 1 the workload is slower than it should be.",
                reading.gradient,
            ),
            (
                "outrigger_overload_baseline_seconds",
                "Latency of the workload that is taken for normal.",
                reading.baseline_s,
            ),
            ("outrigger_overload_sample_seconds", "Median latency that was last found.", reading.sample_s),
            (
                "outrigger_overload_queue_depth",
                "Requests that wait for a place at the workload.",
                f64::from(overload.waiting()),
            ),
        ] {
            exposition.gauge(family, help).sample(&labels, value);
        }
        exposition
            .counter(
                "outrigger_overload_rebaselines_total",
                "Slower latencies taken for normal, since fewer requests were no help.",
            )
            .sample(&labels, reading.rebaselines);
        write_decisions(&name, overload, exposition);
    }
}

/// Writes what injected faults did. Aborts are among the local replies.
pub fn write_faults(workers: &[Arc<WorkerStats>], exposition: &mut Exposition) {
    let delayed = workers.iter().map(|worker| worker.faults_delayed.value()).fold(0, u64::wrapping_add);
    exposition
        .counter("outrigger_faults_delayed_total", "Requests that an injected fault held up.")
        .sample(&[], delayed);
}

/// Writes what calls to the workload handed down to those it makes for them.
pub fn write_lineages(lineages: &Lineages, workers: &[Arc<WorkerStats>], exposition: &mut Exposition) {
    exposition
        .gauge(
            "outrigger_lineages",
            "Names of calls to the workload under way, by which its own calls can be told.",
        )
        .sample(&[], lineages.remembered());
    exposition
        .counter("outrigger_lineages_overflow_total", "Names of calls for which there was no room.")
        .sample(&[], lineages.unremembered());
    let discouraged = workers.iter().map(|worker| worker.discouraged.value()).fold(0, u64::wrapping_add);
    exposition
        .counter("outrigger_retries_discouraged_total", "Failures whose caller was asked not to retry them.")
        .sample(&[], discouraged);
}

/// Writes how much memory the process may have.
pub fn write_memory(memory: &Memory, exposition: &mut Exposition) {
    exposition
        .gauge("outrigger_memory_max_bytes", "Memory that the process may have; 0: nobody says.")
        .sample(&[], memory.max_bytes().unwrap_or_default());
}

fn write_decisions(name: &str, overload: &Overload, exposition: &mut Exposition) {
    let counts = overload.counts();
    let rejected =
        exposition.counter("outrigger_overload_rejected_total", "Requests refused to protect the workload.");
    for class in 0..CLASSES {
        for cause in Cause::ALL {
            let count = counts.shed_total(class, cause);
            if count > 0 || cause == Cause::Full {
                let priority = class.to_string();
                let labels = [("cluster", name), ("priority", &*priority), ("reason", cause.as_str())];
                rejected.sample(&labels, count);
            }
        }
    }
    let waits = counts.waits();
    let bounds = WAIT_BOUNDS_NS.iter().zip(waits).map(|(bound, count)| (*bound as f64 / 1e9, count));
    exposition
        .histogram("outrigger_overload_queue_wait_seconds", "For how long those waited that got a place.")
        .sample(&[("cluster", name)], bounds, waits[WAIT_BOUNDS_NS.len()], counts.waited_ns() as f64 / 1e9);
}
