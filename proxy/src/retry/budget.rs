//! How much load retries and hedges may add: a share of the requests of the last seconds, and a small floor so that a quiet client can
//! retry at all. Charged before a retry is sent; shared by all workers, and kept across plans.
//!
//! A system at utilisation ρ stays metastable unless the share is below 1/ρ − 1, and unless the floors of all its clients together are
//! small: so the floor is per service, and divided by its callers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use outrigger_snapshot::policy::RetryBudget;

/// The window is counted in so many parts.
const SLOTS: usize = 10;

/// A budget's size, as a plan says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetSettings {
    half_percents: u64,
    slot_ns: u64,
    /// Between two retries that the floor allows; `None`: there is no floor.
    floor_ns: Option<u64>,
}

impl BudgetSettings {
    /// This caller's part, where `peers` proxies call the cluster.
    pub fn new(budget: &RetryBudget, peers: u32) -> Self {
        let window_ns = budget.window_ms.max(1).saturating_mul(1_000_000);
        let floor = u64::from(budget.floor_per_1000_s);
        let all_ns = 1_000_000_000_000_u64.saturating_mul(u64::from(peers.max(1)));
        Self {
            half_percents: 2 * u64::from(budget.percent),
            slot_ns: (window_ns / SLOTS as u64).max(1),
            floor_ns: all_ns.checked_div(floor),
        }
    }

    /// For a request that is part of one that was retried already: half the share, and no floor.
    pub fn halved(self) -> Self {
        Self { half_percents: self.half_percents / 2, floor_ns: None, ..self }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Budget {
    requests: Window,
    /// Retries and hedges.
    retries: Window,
    hedges: Window,
    /// Until when the floor is used up (GCRA: the theoretical arrival time of the next retry).
    floor_ns: AtomicU64,
}

impl Budget {
    /// A request was sent for the first time.
    pub fn deposit(&self, settings: &BudgetSettings, now_ns: u64) {
        self.requests.add(now_ns / settings.slot_ns);
    }

    /// Takes the right to one retry; false if there is none.
    pub fn withdraw(&self, settings: &BudgetSettings, now_ns: u64) -> bool {
        let slot = now_ns / settings.slot_ns;
        self.take(&self.retries, slot, settings.half_percents) || self.take_floor(settings, now_ns)
    }

    /// The same for a hedge. Hedges have a share of their own as well: they are for the slowest `percent` of requests, and where a guess at
    /// how slow those are is wrong, there are to be no more of them for that.
    pub fn withdraw_hedge(&self, settings: &BudgetSettings, percent: u64, now_ns: u64) -> bool {
        let slot = now_ns / settings.slot_ns;
        let within = self.take(&self.hedges, slot, 2 * percent);
        if within && self.take(&self.retries, slot, settings.half_percents) {
            return true;
        }
        if within {
            self.hedges.take_back(slot);
        }
        self.take_floor(settings, now_ns)
    }

    /// What is left at `now_ns`, in whole retries, without the floor.
    pub fn balance(&self, settings: &BudgetSettings, now_ns: u64) -> u64 {
        let slot = now_ns / settings.slot_ns;
        (self.requests.sum(slot) * settings.half_percents / 200).saturating_sub(self.retries.sum(slot))
    }

    /// Counts one more, unless there are as many as `half_percents` of the requests allow.
    fn take(&self, window: &Window, slot: u64, half_percents: u64) -> bool {
        // Counted first, so that workers that come at the same time do not all see the last one.
        window.add(slot);
        let taken = window.sum(slot) * 200 <= self.requests.sum(slot) * half_percents;
        if !taken {
            window.take_back(slot);
        }
        taken
    }

    fn take_floor(&self, settings: &BudgetSettings, now_ns: u64) -> bool {
        let Some(floor_ns) = settings.floor_ns else { return false };
        let window_ns = settings.slot_ns * SLOTS as u64;
        let tolerance_ns = window_ns.saturating_sub(floor_ns);
        let taken = self.floor_ns.fetch_update(Relaxed, Relaxed, |arrival_ns| {
            let arrival_ns = arrival_ns.max(now_ns);
            (arrival_ns - now_ns <= tolerance_ns).then(|| arrival_ns.saturating_add(floor_ns))
        });
        taken.is_ok()
    }
}

/// Counts of the last [`SLOTS`] slots: each word is the slot's number and its count.
#[derive(Debug, Default)]
struct Window([AtomicU64; SLOTS]);

impl Window {
    fn add(&self, slot: u64) {
        let word = &self.0[(slot % SLOTS as u64) as usize];
        let tag = slot << 32;
        let found = word.load(Relaxed);
        let current = found & !0xffff_ffff == tag;
        // Whoever loses the race finds the slot begun.
        if current || word.compare_exchange(found, tag | 1, Relaxed, Relaxed).is_err() {
            word.fetch_add(1, Relaxed);
        }
    }

    fn take_back(&self, slot: u64) {
        let word = &self.0[(slot % SLOTS as u64) as usize];
        let _ = word.fetch_update(Relaxed, Relaxed, |found| {
            (found >> 32 == slot & 0xffff_ffff && found & 0xffff_ffff > 0).then(|| found - 1)
        });
    }

    fn sum(&self, slot: u64) -> u64 {
        let now = slot & 0xffff_ffff;
        let counts = self.0.iter().map(|word| word.load(Relaxed)).filter_map(|word| {
            let age = now.wrapping_sub(word >> 32) & 0xffff_ffff;
            (age < SLOTS as u64).then_some(word & 0xffff_ffff)
        });
        counts.sum()
    }
}

#[cfg(test)]
mod tests;
