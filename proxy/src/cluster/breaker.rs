//! A cluster's breaker: once nearly all requests to nearly all endpoints fail, no more are sent for a while, then a few that find out
//! whether it is back.
//!
//! It opens late on purpose: one that opens at half the requests turns the outage of one part into that of the whole. Single
//! endpoints are [`super::health`]'s business. The rates are those of resilience4j; its half-open state is wedged by a probe that never
//! answers, ours is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use outrigger_snapshot::policy::Breaker;

use self::rates::{Rates, Verdict};
use super::endpoint::Outcome;
use super::health::ClusterHealth;

pub use state::{Phase, State};

mod rates;
mod state;

#[cfg(test)]
mod tests;

const MS: u64 = 1_000_000;
/// A probe that is unanswered for so long, or for `open_max_ms` where that is more, is taken for lost. In milliseconds.
const PROBE_MS: u64 = 30_000;

/// Having been closed for this long makes up for one opening before, in milliseconds.
pub const REST_MS: u64 = 10_000;

/// The least part of the requests that is let through right after closing, in 1/65536.
const RAMP_SHARE_MIN: u64 = 6_554;

/// See the module. Shared by all workers.
#[derive(Debug)]
pub struct ClusterBreaker {
    settings: Breaker,
    health: Arc<ClusterHealth>,
    state: AtomicU64,
    rates: Rates,
    refused: AtomicU64,
    transitions: [AtomicU64; TRANSITIONS.len()],
}

/// What makes a breaker change its phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Requests failed, or a probe did.
    Failed,
    /// They were answered, but slowly.
    Slow,
    /// It was open for long enough.
    Due,
    /// No probe was answered in time.
    Lost,
    /// Enough probes were answered well.
    Well,
    /// What is let through has grown to all.
    Grown,
}

impl Cause {
    /// As labels spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Slow => "slow",
            Self::Due => "due",
            Self::Lost => "lost",
            Self::Well => "well",
            Self::Grown => "grown",
        }
    }
}

/// Changes of phase that are counted. Ramping is a way to be closed, but for its end.
pub const TRANSITIONS: [(Phase, Phase, Cause); 8] = [
    (Phase::Closed, Phase::Open, Cause::Failed),
    (Phase::Closed, Phase::Open, Cause::Slow),
    (Phase::Open, Phase::HalfOpen, Cause::Due),
    (Phase::HalfOpen, Phase::Open, Cause::Failed),
    (Phase::HalfOpen, Phase::Open, Cause::Slow),
    (Phase::HalfOpen, Phase::Open, Cause::Lost),
    (Phase::HalfOpen, Phase::Closed, Cause::Well),
    (Phase::Ramping, Phase::Closed, Cause::Grown),
];

/// What a breaker says to a request.
#[derive(Debug)]
#[must_use]
pub enum Admit {
    /// It may go; how it ends is to be told.
    Permit(Permit),
    /// It may not.
    Refused {
        /// Until it is worth asking again.
        retry_after_ns: u64,
    },
}

/// The right to send one request. Dropped, it says nothing about the cluster, and a probe's place is free for another.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    /// `None`: the breaker is switched off.
    breaker: Option<Arc<ClusterBreaker>>,
    generation: u8,
    probe: bool,
}

impl ClusterBreaker {
    /// A closed breaker of the cluster whose endpoints `health` is about.
    pub fn new(settings: Breaker, health: Arc<ClusterHealth>) -> Self {
        Self {
            rates: Rates::new(settings.window),
            settings,
            health,
            state: AtomicU64::new(State::NEW.pack()),
            refused: AtomicU64::new(0),
            transitions: Default::default(),
        }
    }

    /// Its state.
    pub fn state(&self) -> State {
        State::unpack(self.state.load(Relaxed))
    }

    /// Requests it refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// How often it went each of [`TRANSITIONS`].
    pub fn transitions(&self) -> [u64; TRANSITIONS.len()] {
        std::array::from_fn(|index| self.transitions[index].load(Relaxed))
    }

    /// Asks at `now_ns` whether a request may be sent. `random` is 64 random bits. While it is closed, that costs one load and one count
    /// of a reference.
    pub fn admit(self: &Arc<Self>, now_ns: u64, random: u64) -> Admit {
        if self.is_off() {
            return Admit::Permit(Permit { breaker: None, generation: 0, probe: false });
        }
        let (state, now_ms) = (self.state(), now_ns / MS);
        let retry_after_ms = match state.phase {
            Phase::Closed => return self.permit(state, false),
            Phase::Ramping => {
                let age_ms = now_ms.saturating_sub(state.at_ms);
                let share =
                    (age_ms.saturating_mul(65_536) / self.settings.ramp_ms.max(1)).max(RAMP_SHARE_MIN);
                self.change(Cause::Grown, |state| state.grown(now_ms, self.settings.ramp_ms));
                if random >> 48 < share {
                    return self.permit(state, false);
                }
                self.settings.ramp_ms.saturating_sub(age_ms)
            }
            Phase::Open if now_ms < state.at_ms => state.at_ms - now_ms,
            Phase::Open | Phase::HalfOpen => match self.probe(now_ms) {
                Some(state) => return self.permit(state, true),
                None => self.settings.open_ms,
            },
        };
        self.refused.fetch_add(1, Relaxed);
        Admit::Refused { retry_after_ns: retry_after_ms.saturating_mul(MS) }
    }

    fn is_off(&self) -> bool {
        self.settings.failure_percent == 0 && self.settings.slow_percent == 0
    }

    fn permit(self: &Arc<Self>, state: State, probe: bool) -> Admit {
        Admit::Permit(Permit { breaker: Some(self.clone()), generation: state.generation, probe })
    }

    /// Takes a probe's place, if there is one.
    fn probe(&self, now_ms: u64) -> Option<State> {
        let probes_max = self.settings.probes.min(u32::from(u8::MAX)) as u8;
        let deadline_ms = now_ms.saturating_add(self.settings.open_max_ms.max(PROBE_MS));
        let probed = self.change(Cause::Due, |state| state.probed(now_ms, deadline_ms, probes_max));
        if probed.is_none() {
            self.change(Cause::Lost, |state| state.expired(now_ms, now_ms + self.open_ms(state.repeats)));
        }
        probed
    }

    /// A request of `generation` ended.
    fn take_in(&self, generation: u8, probe: bool, verdict: Verdict, now_ns: u64) {
        let now_ms = now_ns / MS;
        let bad = verdict.failed || verdict.slow;
        if probe {
            let ours = |state: &State| state.generation == generation;
            let needed = self.settings.successes.min(u32::from(u8::MAX)) as u8;
            let ramp = self.settings.ramp_ms > 0;
            let cause = match verdict {
                Verdict { failed: true, .. } => Cause::Failed,
                Verdict { slow: true, .. } => Cause::Slow,
                Verdict { .. } => Cause::Well,
            };
            self.change(cause, |state| match Some(state).filter(ours)? {
                state if bad => state.failed(now_ms + self.open_ms(state.repeats)),
                state => state.succeeded(now_ms, needed, ramp),
            });
            return;
        }
        let state = self.state();
        if state.generation != generation {
            return;
        }
        self.rates.add(verdict, now_ns);
        if !bad {
            return;
        }
        let (failed, slow) = self.rates.counts(now_ns);
        let (cause, endpoints_percent) =
            if failed.reach(self.settings.failure_percent, self.settings.requests_min) {
                (Cause::Failed, self.settings.endpoints_percent)
            } else if slow.reach(self.settings.slow_percent, self.settings.requests_min) {
                // Endpoints need not fail to be slow: nobody else is asked.
                (Cause::Slow, 0)
            } else {
                return;
            };
        if self.health.fails(endpoints_percent) {
            let rests = (now_ms.saturating_sub(state.at_ms) / REST_MS).min(u64::from(u8::MAX)) as u8;
            let repeats = state.repeats.saturating_sub(rests);
            self.change(cause, |state| {
                let ours = state.generation == generation;
                ours.then(|| state.tripped(now_ms + self.open_ms(repeats), repeats + 1)).flatten()
            });
        }
    }

    /// How long it is open after so many openings before.
    fn open_ms(&self, repeats: u8) -> u64 {
        let doubled = self.settings.open_ms.saturating_mul(1 << repeats.min(15));
        doubled.min(self.settings.open_max_ms.max(self.settings.open_ms))
    }

    /// Makes a step, if there is one, counts it, and says where it led.
    fn change(&self, cause: Cause, next: impl Fn(State) -> Option<State>) -> Option<State> {
        let step = |word| next(State::unpack(word)).map(State::pack);
        let before = State::unpack(self.state.fetch_update(Relaxed, Relaxed, step).ok()?);
        let after = next(before)?;
        let coarse = |phase| if phase == Phase::Ramping { Phase::Closed } else { phase };
        let from = if cause == Cause::Grown { before.phase } else { coarse(before.phase) };
        let way = (from, coarse(after.phase), cause);
        if let Some(index) = TRANSITIONS.iter().position(|transition| *transition == way) {
            self.transitions[index].fetch_add(1, Relaxed);
            if !matches!(cause, Cause::Due | Cause::Grown) {
                self.rates.clear();
            }
        }
        Some(after)
    }
}

impl Permit {
    /// The request ended like this, `elapsed_ns` after it was sent. Slowness counts until the response head.
    pub fn finish(mut self, outcome: Outcome, elapsed_ns: u64, now_ns: u64) {
        let failed = match outcome {
            Outcome::Success => false,
            Outcome::Failure | Outcome::Unreachable => true,
            // Neither well nor unwell.
            Outcome::Overloaded | Outcome::Cancelled => return,
        };
        let Some(breaker) = self.breaker.take() else { return };
        let settings = &breaker.settings;
        let slow = settings.slow_percent > 0 && elapsed_ns >= settings.slow_ms.saturating_mul(MS);
        breaker.take_in(self.generation, self.probe, Verdict { failed, slow }, now_ns);
    }

    /// Whether it is one of those that find out whether the cluster is back.
    pub fn is_probe(&self) -> bool {
        self.probe
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(breaker) = self.breaker.take().filter(|_| self.probe) {
            let generation = self.generation;
            breaker.change(Cause::Lost, |state| state.returned().filter(|_| state.generation == generation));
        }
    }
}
