//! Where an endpoint stands, in one word, so that whoever changes it changes all of it.
//!
//! ```text
//! in ──trips──► out(until) ──due, first to claim it──► on trial(deadline) ──answers──► in
//!                   ▲                                        │
//!                   └───────────fails, or is too late────────┘
//! ```
//! Every change of phase begins a generation. A result that belongs to an older one says nothing of this one.

/// Whether requests go to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// They do.
    In,
    /// They do not until [`Standing::at_ms`]; then one may find out.
    Out,
    /// One is finding out, until [`Standing::at_ms`].
    Trial,
}

/// What health checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// It is well, or it is not asked.
    Well,
    /// It is not.
    Failing,
    /// It was not asked yet, and gets nothing before.
    Awaited,
}

/// Why an endpoint was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Failures in a row.
    Consecutive,
    /// Failures in a row to connect.
    ConsecutiveLocal,
    /// Too large a part of the requests.
    FailurePercent,
    /// A success rate far below the others'.
    Deviation,
    /// It was given another chance and failed.
    Trial,
    /// Too large a part of the answers came slowly.
    Slow,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Consecutive,
        Self::ConsecutiveLocal,
        Self::FailurePercent,
        Self::Deviation,
        Self::Trial,
        Self::Slow,
    ];

    /// As labels spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive",
            Self::ConsecutiveLocal => "consecutive_local",
            Self::FailurePercent => "failure_percent",
            Self::Deviation => "deviation",
            Self::Trial => "trial",
            Self::Slow => "slow",
        }
    }
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Standing {
    /// The plan in force sends requests to it.
    pub member: bool,
    /// Whether they go there.
    pub phase: Phase,
    /// What health checks say.
    pub check: Check,
    /// Its last answer was a failure.
    pub failing: bool,
    /// Its share grows since [`Standing::at_ms`], while it is in.
    pub ramping: bool,
    /// Why it is out, or was last.
    pub cause: Cause,
    /// Counts changes of phase, and wraps.
    pub generation: u16,
    /// Milliseconds on the process's clock; of what, the phase says.
    pub at_ms: u64,
}

const AT_BITS: u32 = 40;
const GENERATION_BITS: u32 = 14;
const GENERATION_MAX: u16 = (1 << GENERATION_BITS) - 1;

impl Standing {
    /// Of an endpoint that no plan has yet.
    pub const NEW: Self = Self {
        member: false,
        phase: Phase::In,
        check: Check::Well,
        failing: false,
        ramping: false,
        cause: Cause::Consecutive,
        generation: 0,
        at_ms: 0,
    };

    /// Whether requests go to it as to any other.
    pub fn is_available(self) -> bool {
        self.phase == Phase::In && self.check == Check::Well
    }

    /// Whether one request may find out how it is.
    pub fn is_due(self, now_ms: u64) -> bool {
        self.phase == Phase::Out && self.check == Check::Well && now_ms >= self.at_ms
    }

    /// This, if it is of that generation.
    pub fn of(self, generation: u16) -> Option<Self> {
        (self.generation == generation).then_some(self)
    }

    /// Joins; its share grows from `now_ms` on if it is to `ramp`.
    pub fn joined(self, now_ms: u64, ramp: bool, awaited: bool) -> Option<Self> {
        let check = if awaited { Check::Awaited } else { Check::Well };
        (!self.member).then(|| Self { member: true, ramping: ramp, check, at_ms: now_ms, ..self.renewed() })
    }

    /// Leaves; what was known of it is forgotten.
    pub fn left(self) -> Option<Self> {
        self.member.then(|| Self { member: false, check: Check::Well, ..self.renewed() })
    }

    /// Goes out.
    pub fn ejected(self, until_ms: u64, cause: Cause) -> Option<Self> {
        let able = self.member && self.phase == Phase::In;
        able.then(|| Self { phase: Phase::Out, cause, at_ms: until_ms, ..self.renewed() })
    }

    /// Goes on trial, if it is time.
    pub fn claimed(self, now_ms: u64, deadline_ms: u64) -> Option<Self> {
        self.is_due(now_ms).then(|| Self { phase: Phase::Trial, at_ms: deadline_ms, ..self.renewed() })
    }

    /// The trial failed.
    pub fn failed_again(self, until_ms: u64) -> Option<Self> {
        let cause = Cause::Trial;
        (self.phase == Phase::Trial).then(|| Self {
            phase: Phase::Out,
            cause,
            at_ms: until_ms,
            ..self.renewed()
        })
    }

    /// The trial said nothing: another one may find out.
    pub fn given_back(self) -> Option<Self> {
        (self.phase == Phase::Trial).then(|| Self { phase: Phase::Out, at_ms: 0, ..self.renewed() })
    }

    /// Comes in again.
    pub fn recovered(self, now_ms: u64, ramp: bool) -> Option<Self> {
        (self.phase != Phase::In).then(|| Self { ramping: ramp, at_ms: now_ms, ..self.renewed() })
    }

    /// A health check has found it `well` or not. If it is well, whatever else was held against it is forgotten.
    pub fn checked(self, well: bool, now_ms: u64, ramp: bool) -> Option<Self> {
        if !self.member || (well && self.is_available()) || (!well && self.check == Check::Failing) {
            return None;
        }
        Some(if well {
            Self { check: Check::Well, ramping: ramp, at_ms: now_ms, ..self.renewed() }
        } else {
            Self { check: Check::Failing, ..self }
        })
    }

    /// Its last answer was a failure, or was not.
    pub fn answered(self, failing: bool) -> Option<Self> {
        (self.phase == Phase::In && self.failing != failing).then_some(Self { failing, ..self })
    }

    /// Its share has grown to its own.
    pub fn grown(self, now_ms: u64, ramp_ms: u64) -> Option<Self> {
        let grown = self.ramping && now_ms >= self.at_ms.saturating_add(ramp_ms);
        grown.then_some(Self { ramping: false, ..self })
    }

    /// In, and in the next generation; membership and checks stay.
    fn renewed(self) -> Self {
        Self {
            phase: Phase::In,
            failing: false,
            ramping: false,
            generation: (self.generation + 1) & GENERATION_MAX,
            ..self
        }
    }

    /// The word.
    pub fn pack(self) -> u64 {
        let at = self.at_ms.min((1 << AT_BITS) - 1);
        let flags = u64::from(self.member) | u64::from(self.failing) << 1 | u64::from(self.ramping) << 2;
        let kinds = (self.phase as u64) << 3 | (self.check as u64) << 5 | (self.cause as u64) << 7;
        at << 24 | u64::from(self.generation) << 10 | kinds | flags
    }

    /// What a word says.
    pub fn unpack(word: u64) -> Self {
        Self {
            member: word & 1 != 0,
            failing: word & 2 != 0,
            ramping: word & 4 != 0,
            phase: match word >> 3 & 3 {
                0 => Phase::In,
                1 => Phase::Out,
                _ => Phase::Trial,
            },
            check: match word >> 5 & 3 {
                0 => Check::Well,
                1 => Check::Failing,
                _ => Check::Awaited,
            },
            cause: Cause::ALL[(word >> 7 & 7) as usize % Cause::ALL.len()],
            generation: (word >> 10) as u16 & GENERATION_MAX,
            at_ms: word >> 24,
        }
    }
}
