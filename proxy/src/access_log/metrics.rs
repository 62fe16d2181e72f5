//! What became of the access log, for a scrape.

use super::writer::{Counts, LOSSES};
use crate::telemetry::exposition::Exposition;

/// Writes what became of lines.
pub fn write(counts: &Counts, exposition: &mut Exposition) {
    exposition
        .counter("outrigger_access_log_lines_total", "Lines of the access log that were written.")
        .sample(&[], counts.count_written());
    let lost = exposition
        .counter("outrigger_access_log_dropped_total", "Lines of the access log that are gone, by why.");
    for (reason, count) in LOSSES.into_iter().zip(counts.count_lost()) {
        lost.sample(&[("reason", reason)], count);
    }
}
