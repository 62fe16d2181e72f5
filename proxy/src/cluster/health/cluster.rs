//! What the endpoints of a cluster share: the rules, and how many of them are not well.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use outrigger_snapshot::policy::Ejection;

use super::standing::{Cause, Check, Phase, Standing};

/// The rules that the endpoints of a cluster are held to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// When they are ejected.
    pub ejection: Ejection,
    /// How long the share of a new or recovered one grows, in milliseconds; 0: not at all.
    pub slow_start_ms: u64,
}

fn slow_ns(ejection: &Ejection) -> u64 {
    match ejection.slow_percent {
        0 => u64::MAX,
        _ => ejection.slow_ms.saturating_mul(1_000_000),
    }
}

/// See the module. Shared by all workers; the counts follow every change of an endpoint's standing.
#[derive(Debug)]
pub struct ClusterHealth {
    rules: ArcSwap<Rules>,
    /// Of the rules, what every answer needs.
    window_ms: AtomicU64,
    /// From this on an answer is slow; `u64::MAX`: none is.
    slow_ns: AtomicU64,
    /// Endpoints that requests can go to, if they are well.
    endpoints: AtomicU32,
    ejected: AtomicU32,
    unavailable: AtomicU32,
    failing: AtomicU32,
    /// Endpoints that are not simply there for everyone: while it is 0, nobody asks for details.
    troubled: AtomicU32,
    ejections: [AtomicU64; Cause::ALL.len()],
    overflows: AtomicU64,
    panic_picks: AtomicU64,
    /// Health checks that found an endpoint unwell, then well, otherwise than before.
    check_changes: [AtomicU64; 2],
}

impl Default for ClusterHealth {
    fn default() -> Self {
        let rules = Rules::default();
        Self {
            window_ms: AtomicU64::new(rules.ejection.window_ms),
            slow_ns: AtomicU64::new(slow_ns(&rules.ejection)),
            rules: ArcSwap::from_pointee(rules),
            endpoints: AtomicU32::new(0),
            ejected: AtomicU32::new(0),
            unavailable: AtomicU32::new(0),
            failing: AtomicU32::new(0),
            troubled: AtomicU32::new(0),
            ejections: Default::default(),
            overflows: AtomicU64::new(0),
            panic_picks: AtomicU64::new(0),
            check_changes: Default::default(),
        }
    }
}

impl ClusterHealth {
    /// Puts rules into force.
    pub fn rule(&self, rules: Rules) {
        self.window_ms.store(rules.ejection.window_ms, Relaxed);
        self.slow_ns.store(slow_ns(&rules.ejection), Relaxed);
        if **self.rules.load() != rules {
            self.rules.store(rules.into());
        }
    }

    /// Whether an answer that took so long is a slow one.
    pub fn is_slow(&self, rtt_ns: u64) -> bool {
        rtt_ns >= self.slow_ns.load(Relaxed)
    }

    /// The rules in force.
    pub fn rules(&self) -> Rules {
        **self.rules.load()
    }

    /// Endpoints that requests can go to, if they are well; those that wait for their first health check are not among them.
    pub fn endpoints(&self) -> u32 {
        self.endpoints.load(Relaxed)
    }

    /// Those that are ejected or on trial.
    pub fn ejected(&self) -> u32 {
        self.ejected.load(Relaxed)
    }

    /// Those that get requests.
    pub fn healthy(&self) -> u32 {
        self.endpoints().saturating_sub(self.unavailable.load(Relaxed))
    }

    /// Whether any endpoint needs a closer look than that it is there.
    pub fn is_troubled(&self) -> bool {
        self.troubled.load(Relaxed) != 0
    }

    /// Whether at least `percent` of the endpoints fail: they are ejected, or failed the last request.
    pub fn fails(&self, percent: u32) -> bool {
        u64::from(self.failing.load(Relaxed)) * 100 >= u64::from(percent) * u64::from(self.endpoints())
    }

    /// Whether so few are healthy that health is not looked at.
    pub fn is_panicking(&self, panic_percent: u32) -> bool {
        u64::from(self.healthy()) * 100 < u64::from(panic_percent) * u64::from(self.endpoints())
    }

    /// Ejections so far.
    pub fn ejections(&self, cause: Cause) -> u64 {
        self.ejections[cause as usize].load(Relaxed)
    }

    /// Ejections that did not happen because enough endpoints were out.
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Relaxed)
    }

    /// Picks that did not look at health because so few endpoints were healthy.
    pub fn panic_picks(&self) -> u64 {
        self.panic_picks.load(Relaxed)
    }

    /// How often health checks came to find an endpoint well, or unwell.
    pub fn check_changes(&self, well: bool) -> u64 {
        self.check_changes[usize::from(well)].load(Relaxed)
    }

    /// A health check has changed its mind on an endpoint, or has come to its first verdict.
    pub fn check_changed(&self, well: bool) {
        self.check_changes[usize::from(well)].fetch_add(1, Relaxed);
    }

    pub(in crate::cluster) fn count_panic_pick(&self) {
        self.panic_picks.fetch_add(1, Relaxed);
    }

    pub(super) fn window_ms(&self) -> u64 {
        self.window_ms.load(Relaxed)
    }

    pub(super) fn count_ejection(&self, cause: Cause) {
        self.ejections[cause as usize].fetch_add(1, Relaxed);
    }

    /// Takes a place among the ejected, unless `max_percent` of the endpoints are. Whoever has it and ejects nobody owes a
    /// [`ClusterHealth::release`].
    pub(super) fn reserve(&self, max_percent: u32) -> bool {
        let room = |ejected: u32| {
            let within =
                (u64::from(ejected) + 1) * 100 <= u64::from(max_percent) * u64::from(self.endpoints());
            within.then_some(ejected + 1)
        };
        let reserved = self.ejected.fetch_update(Relaxed, Relaxed, room).is_ok();
        if !reserved {
            self.overflows.fetch_add(1, Relaxed);
        }
        reserved
    }

    pub(super) fn release(&self) {
        self.ejected.fetch_sub(1, Relaxed);
    }

    /// Takes a change of standing into the counts. The place of one that is ejected was reserved before.
    pub(super) fn changed(&self, before: Standing, after: Standing) {
        step(&self.endpoints, counts(before), counts(after));
        step(&self.unavailable, is_unavailable(before), is_unavailable(after));
        step(&self.failing, fails(before), fails(after));
        step(&self.troubled, is_troubled(before), is_troubled(after));
        if is_ejected(before) && !is_ejected(after) {
            self.release();
        }
    }
}

fn step(count: &AtomicU32, before: bool, after: bool) {
    match (before, after) {
        (false, true) => {
            count.fetch_add(1, Relaxed);
        }
        (true, false) => {
            count.fetch_sub(1, Relaxed);
        }
        (true, true) | (false, false) => {}
    }
}

pub(super) fn counts(standing: Standing) -> bool {
    standing.member && standing.check != Check::Awaited
}

pub(super) fn is_ejected(standing: Standing) -> bool {
    standing.member && standing.phase != Phase::In
}

pub(super) fn is_unavailable(standing: Standing) -> bool {
    counts(standing) && !standing.is_available()
}

pub(super) fn fails(standing: Standing) -> bool {
    counts(standing) && (standing.failing || !standing.is_available())
}

pub(super) fn is_troubled(standing: Standing) -> bool {
    standing.member && (standing.ramping || !standing.is_available())
}
