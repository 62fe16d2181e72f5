//! What became of traces, for a scrape.

use super::handing::{Handing, LOSSES, WHYS};
use crate::telemetry::exposition::Exposition;

/// Writes what became of traces.
pub fn write(handing: &Handing, exposition: &mut Exposition) {
    let kept =
        exposition.counter("outrigger_traces_kept_total", "Requests that are told of in traces, by why.");
    for (why, count) in WHYS.into_iter().zip(handing.count_kept()) {
        kept.sample(&[("why", why)], count);
    }
    exposition
        .counter("outrigger_traces_exported_total", "Requests whose spans a collector has taken.")
        .sample(&[], handing.count_exported());
    let lost = exposition.counter(
        "outrigger_traces_dropped_total",
        "Requests that were to be told of in traces and are not, by why.",
    );
    for (reason, count) in LOSSES.into_iter().zip(handing.count_lost()) {
        lost.sample(&[("reason", reason)], count);
    }
}
