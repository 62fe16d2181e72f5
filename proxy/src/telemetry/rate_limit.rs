//! Rate limits, as a scrape sees them.

use std::sync::Arc;

use outrigger_filters::rate_limit::Limiter;

use super::exposition::Exposition;
use crate::rate_limit_store::StoreStatus;

/// Writes what each limit decided, and of global ones how they are counted; `store` is theirs.
pub fn write_limits(
    limits: &[Arc<Limiter>],
    store: Option<&StoreStatus>,
    now_ns: u64,
    exposition: &mut Exposition,
) {
    let is_up = store.is_some_and(|store| store.link.is_up(now_ns));
    for limiter in limits {
        let labels = [("rule", limiter.scope()), ("limit", limiter.name())];
        let decisions = exposition
            .counter("outrigger_rate_limit_decisions_total", "Requests that met a rate limit, by decision.");
        for (decision, count) in [("admitted", limiter.admitted()), ("refused", limiter.refused())] {
            decisions.sample(&[labels[0], labels[1], ("decision", decision)], count);
        }
        exposition
            .gauge("outrigger_rate_limit_keys", "Buckets of a rate limit that are kept.")
            .sample(&labels, limiter.keys());
        exposition
            .counter(
                "outrigger_rate_limit_overflow_total",
                "Requests that met a shared bucket, as there was no room for one of their own.",
            )
            .sample(&labels, limiter.overflow());
        if limiter.is_global() {
            exposition
                .gauge(
                    "outrigger_rate_limit_together",
                    "Whether a global rate limit is counted with other proxies now.",
                )
                .sample(&labels, is_up && limiter.has_store());
        }
        if limiter.has_store() {
            exposition
                .counter(
                    "outrigger_rate_limit_alone_total",
                    "Requests on which a proxy decided by its share, as the store did not answer.",
                )
                .sample(&labels, limiter.alone());
            exposition
                .gauge("outrigger_rate_limit_share_ratio", "The share that the last of these was held to.")
                .sample(&labels, limiter.share());
        }
    }
    if let Some(store) = store.filter(|_| limits.iter().any(|limiter| limiter.has_store())) {
        write_store(store, now_ns, exposition);
    }
}

fn write_store(store: &StoreStatus, now_ns: u64, exposition: &mut Exposition) {
    let syncs = exposition.counter(
        "outrigger_rate_limit_syncs_total",
        "Rounds with the store of global rate limits, by result.",
    );
    for (result, count) in store.counts.all() {
        syncs.sample(&[("result", result)], count);
    }
    // Before the first answer, since this process began.
    let age_ns = now_ns.saturating_sub(store.link.answered_ns().unwrap_or_default());
    exposition
        .gauge(
            "outrigger_rate_limit_sync_age_seconds",
            "Time since the store of global rate limits last answered.",
        )
        .sample(&[], age_ns as f64 / 1e9);
}
