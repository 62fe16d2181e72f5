//! Whether requests go to an endpoint, by how it answers them and its health checks.
//!
//! All of it is atomics: no lock, no allocation, and where every answer is a success, two loads and one compare-and-swap. Time and
//! randomness are passed in.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use outrigger_snapshot::policy::Ejection;

use super::endpoint::Outcome;
use super::window::{Counts, Window};

pub use cluster::{ClusterHealth, Rules};
pub use describe::describe;
pub use standing::{Cause, Check, Phase, Standing};
pub use sweep::{Sample, deviating};

mod cluster;
mod describe;
mod standing;
mod sweep;

#[cfg(test)]
mod tests;

const MS: u64 = 1_000_000;

/// One endpoint's health.
#[derive(Debug)]
pub struct Health {
    standing: AtomicU64,
    /// Failures in a row.
    consecutive: AtomicU32,
    /// Failures in a row to connect.
    consecutive_local: AtomicU32,
    repeats: Repeats,
    window: Window,
    /// Slow answers in the window. Made for the first.
    slow: OnceLock<Box<Window>>,
}

/// What came of taking in a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that anybody else must know.
    None,
    /// It is back: what was known of its latency is out of date.
    Recovered,
}

/// A result, as far as health cares.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// The generation in which the request was sent.
    pub generation: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// It was answered well, and slowly.
    pub slow: bool,
    /// The request was reported before, and then well: it is one of those that are counted.
    pub again: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            standing: AtomicU64::new(Standing::NEW.pack()),
            consecutive: AtomicU32::new(0),
            consecutive_local: AtomicU32::new(0),
            repeats: Repeats::default(),
            window: Window::default(),
            slow: OnceLock::new(),
        }
    }
}

impl Health {
    /// Where it stands.
    pub fn standing(&self) -> Standing {
        Standing::unpack(self.standing.load(Relaxed))
    }

    /// What was counted in the window.
    pub fn counts(&self, cluster: &ClusterHealth, now_ns: u64) -> Counts {
        self.window.counts(now_ns, cluster.window_ms())
    }

    /// Takes in how a request ended. `random` is 64 random bits.
    pub fn report(&self, cluster: &ClusterHealth, report: Report, now_ns: u64, random: u64) -> Effect {
        let standing = self.standing();
        if standing.generation != report.generation || !standing.member {
            return Effect::None;
        }
        match standing.phase {
            // Sent there although it is out, because there was no other: the trial decides.
            Phase::Out => Effect::None,
            Phase::Trial => self.judge(cluster, report, now_ns, random),
            Phase::In => {
                self.count(cluster, standing, report, now_ns, random);
                Effect::None
            }
        }
    }

    /// The request on trial ended. Its time may be over at this very moment: what then was first counts.
    fn judge(&self, cluster: &ClusterHealth, report: Report, now_ns: u64, random: u64) -> Effect {
        let (now_ms, trial) = (now_ns / MS, report.generation);
        match report.outcome {
            // One that is overloaded is alive; that it is busy is the balancer's business.
            Outcome::Success | Outcome::Overloaded if !report.slow => self.recover(cluster, trial, now_ms),
            Outcome::Success | Outcome::Overloaded | Outcome::Failure | Outcome::Unreachable => {
                self.fail_again(cluster, trial, now_ms, random);
                Effect::None
            }
            Outcome::Cancelled => {
                self.lost(cluster, trial);
                Effect::None
            }
        }
    }

    fn recover(&self, cluster: &ClusterHealth, trial: u16, now_ms: u64) -> Effect {
        let ramp = cluster.rules().slow_start_ms > 0;
        let recovered = |standing: Standing| standing.of(trial)?.recovered(now_ms, ramp);
        if self.change(cluster, recovered) {
            self.forget(now_ms);
            return Effect::Recovered;
        }
        Effect::None
    }

    fn fail_again(&self, cluster: &ClusterHealth, trial: u16, now_ms: u64, random: u64) {
        let rules = cluster.rules().ejection;
        let repeats = self.repeats.held();
        let until_ms = now_ms + jittered(ejection_ms(&rules, repeats), random);
        if self.change(cluster, |standing| standing.of(trial)?.failed_again(until_ms)) {
            self.repeats.set(repeats + 1, now_ms);
            cluster.count_ejection(Cause::Trial);
        }
    }

    fn count(&self, cluster: &ClusterHealth, standing: Standing, report: Report, now_ns: u64, random: u64) {
        let failed = match report.outcome {
            Outcome::Cancelled => return,
            Outcome::Overloaded => {
                reset(&self.consecutive_local);
                return;
            }
            Outcome::Success => {
                reset(&self.consecutive);
                reset(&self.consecutive_local);
                false
            }
            Outcome::Failure => {
                reset(&self.consecutive_local);
                self.consecutive.fetch_add(1, Relaxed);
                true
            }
            Outcome::Unreachable => {
                self.consecutive_local.fetch_add(1, Relaxed);
                true
            }
        };
        let counts = Counts { total: (!report.again).into(), failures: failed.into() };
        self.window.add(now_ns, cluster.window_ms(), counts);
        if standing.failing != failed {
            self.change(cluster, |standing| standing.answered(failed));
        }
        if report.slow {
            self.count_slow(cluster, now_ns, random);
        }
        if failed {
            let rules = cluster.rules().ejection;
            if let Some(cause) = self.tripped(&rules, now_ns) {
                self.eject(cluster, &rules, cause, now_ns / MS, random);
            }
        }
    }

    /// One more answer was slow; the window has it as a request already.
    fn count_slow(&self, cluster: &ClusterHealth, now_ns: u64, random: u64) {
        let rules = cluster.rules().ejection;
        let slow = self.slow.get_or_init(Box::default);
        slow.add(now_ns, rules.window_ms, Counts { total: 1, failures: 1 });
        let failures = slow.counts(now_ns, rules.window_ms).failures;
        let counts = Counts { failures, ..self.window.counts(now_ns, rules.window_ms) };
        if counts.reach(rules.slow_percent, rules.requests_min) {
            self.eject(cluster, &rules, Cause::Slow, now_ns / MS, random);
        }
    }

    fn tripped(&self, rules: &Ejection, now_ns: u64) -> Option<Cause> {
        let reaches = |count: &AtomicU32, threshold: u32| threshold > 0 && count.load(Relaxed) >= threshold;
        if reaches(&self.consecutive, rules.consecutive) {
            reset(&self.consecutive);
            Some(Cause::Consecutive)
        } else if reaches(&self.consecutive_local, rules.consecutive_local) {
            reset(&self.consecutive_local);
            Some(Cause::ConsecutiveLocal)
        } else {
            let counts = self.window.counts(now_ns, rules.window_ms);
            counts.reach(rules.failure_percent, rules.requests_min).then_some(Cause::FailurePercent)
        }
    }

    /// Ejects it, if the cap leaves room.
    fn eject(&self, cluster: &ClusterHealth, rules: &Ejection, cause: Cause, now_ms: u64, random: u64) {
        if !cluster.reserve(rules.max_percent) {
            return;
        }
        let repeats = self.repeats.after_rest(now_ms, rules.window_ms);
        let until_ms = now_ms + jittered(ejection_ms(rules, repeats), random);
        if self.change(cluster, |standing| standing.ejected(until_ms, cause)) {
            self.repeats.set(repeats + 1, now_ms);
            cluster.count_ejection(cause);
        } else {
            cluster.release();
        }
    }

    /// Takes the one chance to find out how it is, if it is time for that.
    pub(super) fn claim(&self, cluster: &ClusterHealth, now_ns: u64) -> bool {
        let now_ms = now_ns / MS;
        if !self.standing().is_due(now_ms) {
            return false;
        }
        // As long as the ejection was: one that is slow must have the time to say that it is well.
        let rules = cluster.rules().ejection;
        let deadline_ms = now_ms + ejection_ms(&rules, self.repeats.held().saturating_sub(1));
        self.change(cluster, |standing| standing.claimed(now_ms, deadline_ms))
    }

    /// A request of `generation` was dropped without a word: if it was on trial, another may be.
    pub(super) fn lost(&self, cluster: &ClusterHealth, generation: u16) {
        self.change(cluster, |standing| standing.of(generation)?.given_back());
    }

    /// Joins the endpoints that requests go to.
    pub(super) fn join(&self, cluster: &ClusterHealth, now_ns: u64, ramp: bool, awaited: bool) {
        if self.change(cluster, |standing| standing.joined(now_ns / MS, ramp, awaited)) {
            self.forget(now_ns / MS);
            self.repeats.set(0, now_ns / MS);
        }
    }

    /// Leaves them.
    pub(super) fn leave(&self, cluster: &ClusterHealth) {
        self.change(cluster, Standing::left);
    }

    /// A health check has found it well or not.
    pub(super) fn checked(&self, cluster: &ClusterHealth, well: bool, now_ns: u64) -> Effect {
        let ramp = cluster.rules().slow_start_ms > 0;
        let changed = self.change(cluster, |standing| standing.checked(well, now_ns / MS, ramp));
        if !(changed && well) {
            return Effect::None;
        }
        self.forget(now_ns / MS);
        Effect::Recovered
    }

    fn forget(&self, now_ms: u64) {
        reset(&self.consecutive);
        reset(&self.consecutive_local);
        self.window.clear();
        self.slow.get().into_iter().for_each(|slow| slow.clear());
        self.repeats.set(self.repeats.held(), now_ms);
    }

    /// Makes a step, if there is one, and accounts for it.
    fn change(&self, cluster: &ClusterHealth, next: impl Fn(Standing) -> Option<Standing>) -> bool {
        let step = |word| next(Standing::unpack(word)).map(Standing::pack);
        match self.standing.fetch_update(Relaxed, Relaxed, step) {
            Ok(before) => {
                let before = Standing::unpack(before);
                if let Some(after) = next(before) {
                    cluster.changed(before, after);
                }
                true
            }
            Err(_) => false,
        }
    }
}

fn reset(count: &AtomicU32) {
    // Mostly it is 0 already: a load leaves the line with whoever else reads it.
    if count.load(Relaxed) != 0 {
        count.store(0, Relaxed);
    }
}

/// How often it was ejected lately, and since when that holds. Only whoever changes the phase writes it.
#[derive(Debug, Default)]
struct Repeats(AtomicU64);

const REPEATS_MAX: u32 = 63;

impl Repeats {
    fn held(&self) -> u32 {
        self.0.load(Relaxed) as u32 & REPEATS_MAX
    }

    /// One less for every `window_ms` since it came in again.
    fn after_rest(&self, now_ms: u64, window_ms: u64) -> u32 {
        let word = self.0.load(Relaxed);
        let rests = now_ms.saturating_sub(word >> 6) / window_ms.max(1);
        (word as u32 & REPEATS_MAX).saturating_sub(rests.min(u64::from(REPEATS_MAX)) as u32)
    }

    fn set(&self, repeats: u32, now_ms: u64) {
        self.0.store(now_ms << 6 | u64::from(repeats.min(REPEATS_MAX)), Relaxed);
    }
}

/// How long the ejection after so many others lasts, before jitter.
fn ejection_ms(rules: &Ejection, repeats: u32) -> u64 {
    let doubled = rules.base_ms.saturating_mul(1_u64.checked_shl(repeats).unwrap_or(u64::MAX));
    doubled.min(rules.max_ms.max(rules.base_ms))
}

/// Up to half as long again, so that proxies that ejected at the same time do not come back at the same time.
fn jittered(time_ms: u64, random: u64) -> u64 {
    time_ms + ((u128::from(time_ms / 2) * u128::from(random)) >> 64) as u64
}
