//! How many proxies call each cluster: from what they report to what is published. Pure: counts and clock are arguments.
//!
//! What one sidecar may use of something that belongs to a whole service (the floor of its retry budget, a rate limit whose store is
//! away) is a share of it: one by these counts. They are rounded up to powers of two and change rarely, since each change is a
//! release that every sidecar reads. A replica sees only the reports that reach it, so counts rise at once and fall late: where
//! replicas see different parts of the mesh, the one that sees more has its way.

use std::collections::{BTreeMap, HashSet};

use outrigger_snapshot::name::ClusterName;
use outrigger_store::write::CountedPeers;

use crate::compile::Compiled;

/// Shortest time between two changes, in milliseconds.
pub const CHANGE_EVERY_MS: u64 = 60_000;
/// For how long a count stands before it falls, in milliseconds.
pub const FALL_AFTER_MS: u64 = 600_000;

/// What a replica sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Proxies that report to it and have called the cluster lately.
    pub callers: BTreeMap<ClusterName, u32>,
    /// Since when it takes reports, in milliseconds since 1970.
    pub since_ms: u64,
}

/// The counts to publish after `published`, in a mesh of `compiled`, if they are to change.
pub fn next(
    published: Option<&CountedPeers>,
    seen: &Seen,
    compiled: &Compiled,
    now_ms: u64,
) -> Option<CountedPeers> {
    let nothing = CountedPeers::default();
    let published = published.unwrap_or(&nothing);
    // The other replica's clock may be ahead.
    let stood_ms = now_ms.abs_diff(published.time_ms);
    if stood_ms < CHANGE_EVERY_MS {
        return None;
    }
    let may_fall = stood_ms.min(now_ms.saturating_sub(seen.since_ms)) >= FALL_AFTER_MS;
    let known: HashSet<&ClusterName> =
        compiled.facts.iter().flat_map(|facts| facts.clusters.keys()).collect();
    let counted = seen.callers.iter().map(|(cluster, callers)| (cluster, callers.next_power_of_two()));
    let changes: Vec<_> = counted
        .filter(|(cluster, count)| {
            let before = published.counts.of(cluster);
            known.contains(cluster) && (*count > before || may_fall && *count < before)
        })
        .collect();
    if changes.is_empty() {
        return None;
    }
    let mut next = published.clone();
    next.counts.clusters.extend(changes.into_iter().map(|(cluster, count)| (cluster.clone(), count)));
    next.counts.clusters.retain(|cluster, _| known.contains(cluster));
    // Later than what it replaces, whatever the clocks say.
    next.time_ms = now_ms.max(next.time_ms.saturating_add(1));
    Some(next)
}

#[cfg(test)]
mod tests;
