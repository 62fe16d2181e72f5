//! What the source adds to `/metrics`.

use super::{Cause, View};
use crate::telemetry::exposition::Exposition;

/// Writes all of it, as of `now_ms` since 1970.
pub fn write(view: &View, now_ms: u64, exposition: &mut Exposition) {
    write_store(view, exposition);
    if let Some(running) = &view.running {
        let taken = &running.taken;
        let labels = [
            ("epoch", taken.epoch.to_string()),
            ("release", taken.n.to_string()),
            ("revision", taken.revision.to_string()),
            ("policy", running.policy.digest.to_string()),
            ("facts", running.facts.digest.to_string()),
        ];
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        exposition
            .gauge("outrigger_snapshot_version_info", "The snapshot that runs, in labels; always 1.")
            .sample(&labels, 1_u64);
        exposition
            .gauge("outrigger_snapshot_release", "Number of the release that runs, in its epoch.")
            .sample(&[], taken.n);
        exposition
            .gauge("outrigger_snapshot_revision", "Number of the revision that runs, in its epoch.")
            .sample(&[], taken.revision);
        exposition
            .gauge(
                "outrigger_snapshot_from_state",
                "1 while the snapshot that runs was read from the state folder and the store has not confirmed it.",
            )
            .sample(&[], running.from_state);
    }
    if let Some(age_ms) = view.age_ms(now_ms) {
        exposition
            .gauge(
                "outrigger_snapshot_age_seconds",
                "Time since the control plane's last sign of life that reached this proxy.",
            )
            .sample(&[], age_ms as f64 / 1_000.0);
    }
    exposition.counter("outrigger_snapshot_applies_total", "Snapshots put to use.").sample(&[], view.applies);
    let refusals = exposition.counter("outrigger_snapshot_refusals_total", "Snapshots refused, by cause.");
    for cause in Cause::ALL {
        refusals.sample(&[("cause", cause.as_str())], view.refusals.get(&cause).copied().unwrap_or(0));
    }
    exposition
        .gauge(
            "outrigger_snapshot_scope_missing",
            "1 while the newest release does not know this proxy's service.",
        )
        .sample(&[], view.scope_missing);
    exposition
        .gauge(
            "outrigger_snapshot_quarantined",
            "Digests that this proxy does not run because it died of them.",
        )
        .sample(&[], view.quarantined.len());
    exposition
        .gauge(
            "outrigger_state_unwritable",
            "1 while the state folder can't be written: a restart would go back.",
        )
        .sample(&[], view.state_unwritable.is_some());
}

fn write_store(view: &View, exposition: &mut Exposition) {
    if let Some(reachable) = view.reachable {
        exposition
            .gauge("outrigger_store_reachable", "Whether the store answered at the last look.")
            .sample(&[], reachable);
    }
    let polls =
        exposition.counter("outrigger_store_polls_total", "Looks at the store, by what came of them.");
    polls.sample(&[("result", "ok")], view.polls);
    for (trouble, count) in &view.failures {
        polls.sample(&[("result", trouble)], *count);
    }
}
