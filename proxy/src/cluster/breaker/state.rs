//! A breaker's state machine, in one word, so that whoever changes it changes all of it.
//!
//! ```text
//! closed ──trips──► open(until) ──due──► half open(probes, successes) ──enough succeed──► ramping ──grown──► closed
//!                       ▲                     │
//!                       └──one fails, or never answers
//! ```

/// What a breaker does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Lets all through.
    Closed,
    /// Lets a growing part through, since [`State::at_ms`].
    Ramping,
    /// Lets none through until [`State::at_ms`].
    Open,
    /// Lets a few through to find out; they have until [`State::at_ms`].
    HalfOpen,
}

impl Phase {
    /// As labels and pages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Ramping => "ramping",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// What it does.
    pub phase: Phase,
    /// Times that it opened without having been well in between.
    pub repeats: u8,
    /// Probes under way.
    pub probes: u8,
    /// Probes that succeeded.
    pub successes: u8,
    /// Counts changes of phase, and wraps: a result of an older one says nothing of this one.
    pub generation: u8,
    /// Milliseconds on the process's clock; of what, the phase says. Holds two years.
    pub at_ms: u64,
}

const AT_BITS: u32 = 36;
/// What fits: validation allows at most 100 probes and successes.
const SMALL_MAX: u8 = 127;
const REPEATS_MAX: u8 = 15;

impl State {
    /// A breaker that has seen nothing.
    pub const NEW: Self =
        Self { phase: Phase::Closed, repeats: 0, probes: 0, successes: 0, generation: 0, at_ms: 0 };

    /// Opens, for the `repeats`-th time in a row.
    pub fn tripped(self, until_ms: u64, repeats: u8) -> Option<Self> {
        let able = matches!(self.phase, Phase::Closed | Phase::Ramping);
        able.then(|| self.enter(Phase::Open, until_ms, repeats))
    }

    /// Lets a probe through that has until `deadline_ms`.
    pub fn probed(self, now_ms: u64, deadline_ms: u64, probes_max: u8) -> Option<Self> {
        match self.phase {
            Phase::Open if now_ms >= self.at_ms => {
                Some(Self { probes: 1, ..self.enter(Phase::HalfOpen, deadline_ms, self.repeats) })
            }
            Phase::HalfOpen if self.probes < probes_max.min(SMALL_MAX) => {
                Some(Self { probes: self.probes + 1, at_ms: deadline_ms, ..self })
            }
            Phase::Closed | Phase::Ramping | Phase::Open | Phase::HalfOpen => None,
        }
    }

    /// A probe succeeded; the last of `needed` closes, or begins to if it is to `ramp`.
    pub fn succeeded(self, now_ms: u64, needed: u8, ramp: bool) -> Option<Self> {
        let (probes, successes) = (self.probes.checked_sub(1)?, self.successes + 1);
        (self.phase == Phase::HalfOpen).then(|| {
            let closed = if ramp { Phase::Ramping } else { Phase::Closed };
            if successes >= needed.min(SMALL_MAX) {
                self.enter(closed, now_ms, self.repeats)
            } else {
                Self { probes, successes, ..self }
            }
        })
    }

    /// A probe failed.
    pub fn failed(self, until_ms: u64) -> Option<Self> {
        (self.phase == Phase::HalfOpen).then(|| self.enter(Phase::Open, until_ms, self.repeats + 1))
    }

    /// A probe says nothing: another may find out.
    pub fn returned(self) -> Option<Self> {
        let probes = self.probes.checked_sub(1)?;
        (self.phase == Phase::HalfOpen).then_some(Self { probes, ..self })
    }

    /// Probes that never answer have failed.
    pub fn expired(self, now_ms: u64, until_ms: u64) -> Option<Self> {
        if self.probes == 0 || now_ms < self.at_ms { None } else { self.failed(until_ms) }
    }

    /// The part that is let through has grown to all.
    pub fn grown(self, now_ms: u64, ramp_ms: u64) -> Option<Self> {
        let grown = self.phase == Phase::Ramping && now_ms >= self.at_ms.saturating_add(ramp_ms);
        grown.then_some(Self { phase: Phase::Closed, ..self })
    }

    fn enter(self, phase: Phase, at_ms: u64, repeats: u8) -> Self {
        let repeats = repeats.min(REPEATS_MAX);
        Self { phase, repeats, probes: 0, successes: 0, generation: self.generation.wrapping_add(1), at_ms }
    }

    /// The word.
    pub fn pack(self) -> u64 {
        let at = self.at_ms.min((1 << AT_BITS) - 1);
        at << 28
            | u64::from(self.generation) << 20
            | u64::from(self.successes) << 13
            | u64::from(self.probes) << 6
            | u64::from(self.repeats) << 2
            | self.phase as u64
    }

    /// What a word says.
    pub fn unpack(word: u64) -> Self {
        Self {
            phase: match word & 3 {
                0 => Phase::Closed,
                1 => Phase::Ramping,
                2 => Phase::Open,
                _ => Phase::HalfOpen,
            },
            repeats: (word >> 2) as u8 & REPEATS_MAX,
            probes: (word >> 6) as u8 & SMALL_MAX,
            successes: (word >> 13) as u8 & SMALL_MAX,
            generation: (word >> 20) as u8,
            at_ms: word >> 28,
        }
    }
}
