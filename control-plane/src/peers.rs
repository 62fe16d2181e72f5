//! Who calls each cluster: from what proxies report to what is published. Pure: reports and clock are arguments.
//!
//! What one sidecar may use of something that belongs to a whole service (the floor of its retry budget, a rate limit whose store is
//! away) is a share of it: one by the counts of callers. They are rounded up to powers of two and change rarely, since each change is a
//! release that every sidecar reads. A replica sees only the reports that reach it, so counts rise at once and fall late: where
//! replicas see different parts of the mesh, the one that sees more has its way.
//!
//! The callers of clusters that they share out have [seats](outrigger_snapshot::seats) as well, for which the same holds: see `seating`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use outrigger_snapshot::facts::Cluster;
use outrigger_snapshot::name::ClusterName;
use outrigger_store::write::CountedPeers;

use crate::compile::Compiled;

mod seating;

/// Shortest time between two changes, in milliseconds.
pub const CHANGE_EVERY_MS: u64 = 60_000;
/// For how long a count stands before it falls, in milliseconds.
pub const FALL_AFTER_MS: u64 = 600_000;

/// What a replica sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Proxies that report to it and have called the cluster lately.
    pub callers: BTreeMap<ClusterName, Callers>,
    /// All that report to it or did, whatever they call.
    pub known: HashSet<u64>,
    /// Since when it takes reports, in milliseconds since 1970.
    pub since_ms: u64,
}

/// Those that call one cluster, by their [number](outrigger_snapshot::seats::caller).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Callers {
    /// Who says so.
    pub heard: BTreeSet<u64>,
    /// Who said so, and has been silent for less than [`FALL_AFTER_MS`].
    pub silent: BTreeSet<u64>,
}

/// What time allows to be changed.
#[derive(Debug, Clone, Copy)]
struct Due {
    /// What is published has stood for so long that it may change for little.
    settled: bool,
    /// And this replica has taken reports for as long, so that it may lower counts.
    may_fall: bool,
}

/// The counts and seats to publish after `published`, in a mesh of `compiled`, if they are to change.
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
    let settled = stood_ms >= FALL_AFTER_MS;
    let due = Due { settled, may_fall: settled && now_ms.saturating_sub(seen.since_ms) >= FALL_AFTER_MS };
    let known: HashMap<&ClusterName, &Cluster> =
        compiled.facts.iter().flat_map(|facts| &facts.clusters).collect();
    let mut next = published.clone();
    let mut changed = false;
    let mut wanted = Vec::new();
    let named: BTreeSet<&ClusterName> = seen.callers.keys().chain(published.counts.seats.keys()).collect();
    for name in named {
        let Some(cluster) = known.get(name) else { continue };
        let wish = seating::Wish::new(name, published, seen, due);
        let count = (wish.callers.len() as u32).next_power_of_two();
        let before = published.counts.of(name);
        if !wish.callers.is_empty() && (count > before || due.may_fall && count < before) {
            next.counts.clusters.insert(name.clone(), count);
            changed = true;
        }
        wanted.extend(wish.sized(next.counts.of(name), cluster, compiled));
    }
    next.counts.seats = seating::seats(wanted, due);
    let seated = published.counts.seats.iter().filter(|(name, _)| known.contains_key(name));
    if !changed && seated.eq(&next.counts.seats) {
        return None;
    }
    next.counts.clusters.retain(|cluster, _| known.contains_key(cluster));
    // Later than what it replaces, whatever the clocks say.
    next.time_ms = now_ms.max(next.time_ms.saturating_add(1));
    Some(next)
}

#[cfg(test)]
mod tests;
