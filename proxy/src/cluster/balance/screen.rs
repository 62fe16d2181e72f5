//! Which endpoints a pick may take: not those that were tried, and, where any is not well, not that one.

use super::Entry;
use crate::cluster::health::{Check, ClusterHealth, Standing};

/// The least share of its own that a new or recovered endpoint starts with.
pub(super) const RAMP_SHARE_MIN: f32 = 0.1;

/// See the module. Of one pick.
#[derive(Debug)]
pub(super) struct Screen<'a> {
    avoid: &'a [u32],
    /// Others were picked for the request before.
    repeats: bool,
    regard: Regard,
    now_ms: u64,
    slow_start_ms: u64,
    /// Requests in flight with which an endpoint is full; 0: never.
    limit: u32,
}

/// How much health counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Regard {
    /// Nobody is unwell: nobody is looked at.
    Nobody,
    /// Only the healthy.
    Healthy,
    /// Too few are healthy: everyone but those that wait for their first health check.
    Panic,
}

impl<'a> Screen<'a> {
    /// The screen for a pick among `open` at `now_ns`.
    pub(super) fn new(
        open: &[Entry],
        health: &ClusterHealth,
        avoid: &'a [u32],
        now_ns: u64,
        limit: u32,
    ) -> Self {
        let (repeats, regard) = (!avoid.is_empty(), Regard::Nobody);
        let mut screen = Self { avoid: &[], repeats, regard, now_ms: 0, slow_start_ms: 0, limit };
        if health.is_troubled() {
            let rules = health.rules();
            let panics = health.is_panicking(rules.ejection.panic_percent);
            if panics {
                health.count_panic_pick();
            }
            screen.regard = if panics { Regard::Panic } else { Regard::Healthy };
            (screen.now_ms, screen.slow_start_ms) = (now_ns / 1_000_000, rules.slow_start_ms);
        }
        let tried = |entry: &Entry| avoid.contains(&entry.endpoint.id());
        // One that was tried is better than one that is not well, or full.
        let other = || open.iter().any(|entry| !tried(entry) && screen.serves(entry));
        if !avoid.is_empty() && other() {
            screen.avoid = avoid;
        }
        screen
    }

    /// Whether others were picked for the request before, be they still avoided or not.
    pub(super) fn repeats(&self) -> bool {
        self.repeats
    }

    /// Whether any endpoint of the cluster is unwell.
    pub(super) fn looks(&self) -> bool {
        self.regard != Regard::Nobody
    }

    /// Whether so few endpoints are healthy that health does not count.
    pub(super) fn panics(&self) -> bool {
        self.regard == Regard::Panic
    }

    /// Whether endpoints can be full.
    pub(super) fn limits(&self) -> bool {
        self.limit != 0
    }

    /// Whether `entry` has less in flight than it may.
    pub(super) fn has_room(&self, entry: &Entry) -> bool {
        self.limit == 0 || entry.endpoint.in_flight() < self.limit
    }

    /// Whether `entry` was not tried, is well, and has room.
    pub(super) fn serves(&self, entry: &Entry) -> bool {
        !self.is_avoided(entry) && self.is_in_service(entry) && self.has_room(entry)
    }

    /// Whether `entry` gets requests at all.
    pub(super) fn is_in_service(&self, entry: &Entry) -> bool {
        match self.regard {
            Regard::Nobody => true,
            Regard::Healthy => entry.endpoint.standing().is_available(),
            Regard::Panic => entry.endpoint.standing().check != Check::Awaited,
        }
    }

    /// Whether `entry` was tried, and there are others.
    pub(super) fn is_avoided(&self, entry: &Entry) -> bool {
        !self.avoid.is_empty() && self.avoid.contains(&entry.endpoint.id())
    }

    /// Whether `entry` may be taken. One whose share grows is let by in proportion: shares, unlike costs, also hold where nothing is in
    /// flight.
    pub(super) fn takes(&self, entry: &Entry, random: &mut impl FnMut() -> u64) -> bool {
        if !self.serves(entry) {
            return false;
        }
        let ramp = self.ramp(entry);
        ramp >= 1.0 || ((random() >> 40) as f32) < ramp * (1_u64 << 24) as f32
    }

    /// The part of its own share that `entry` has grown to.
    pub(super) fn ramp(&self, entry: &Entry) -> f32 {
        match self.regard {
            Regard::Healthy => ramp(entry.endpoint.standing(), self.now_ms, self.slow_start_ms),
            Regard::Nobody | Regard::Panic => 1.0,
        }
    }
}

/// `max(10 %, age / window)` of an endpoint whose share grows.
pub(in crate::cluster) fn ramp(standing: Standing, now_ms: u64, slow_start_ms: u64) -> f32 {
    if !standing.ramping || slow_start_ms == 0 {
        return 1.0;
    }
    let age_ms = now_ms.saturating_sub(standing.at_ms);
    (age_ms as f32 / slow_start_ms as f32).clamp(RAMP_SHARE_MIN, 1.0)
}
