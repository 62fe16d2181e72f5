//! What an answer from DNS does to the endpoints in use. Pure: time and randomness are arguments.
//!
//! The transitions are the table in `docs/DNS.md`; the tests read it from there.

use std::sync::Arc;
use std::time::Duration;

use outrigger_snapshot::policy::OnEmpty;

use super::ResolvedEndpoint;

/// An answer is used for at least this long, whatever its TTL says, unless configured otherwise.
pub const TTL_MIN: Duration = Duration::from_secs(5);

/// An answer is used for at most this long before the next question.
pub const TTL_MAX: Duration = Duration::from_secs(300);

/// The longest wait after "nothing there", however long the zone wants that cached: someone is probably about to fix it.
pub const NOTHING_TTL_MAX: Duration = Duration::from_secs(30);

/// The first wait after a failure; it doubles with each further one.
pub const RETRY_MIN: Duration = Duration::from_millis(500);

/// The longest wait after a failure.
pub const RETRY_MAX: Duration = Duration::from_secs(30);

/// A wait for a TTL is stretched by up to this share, so that proxies that started together drift apart.
pub const TTL_JITTER: f64 = 0.2;

/// What came back for a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T = ResolvedEndpoint> {
    /// What was asked for.
    Found {
        /// At least one; endpoints are sorted by address, and each address is there once.
        records: Vec<T>,
        /// For how long DNS vouches for them.
        ttl: Duration,
    },
    /// DNS is sure that there are none.
    Nothing {
        /// In which words.
        reason: Nothing,
        /// For how long, where the zone says (RFC 2308 §5).
        ttl: Option<Duration>,
    },
    /// DNS did not say.
    Failed(Failure),
}

/// How DNS says that there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nothing {
    /// The name exists without records of the kind that was asked for.
    Empty,
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No server answered in time.
    Timeout,
    /// A server said that it could not answer (SERVFAIL).
    ServerFailure,
    /// A server refused to answer, or answered with another error.
    Refused,
    /// The question could not be sent or the answer not be understood.
    Transport,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Timeout, Self::ServerFailure, Self::Refused, Self::Transport];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::ServerFailure => "servfail",
            Self::Refused => "refused",
            Self::Transport => "transport",
        }
    }
}

/// How far the endpoints in use can be trusted. `since` is a moment on the clock of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// There are none, because no question was answered yet.
    Unresolved,
    /// They were in use before, in an earlier run or under an earlier configuration; DNS has not spoken yet.
    Remembered {
        /// When they were taken over.
        since: Duration,
    },
    /// They are the last answer, and it was the last thing that DNS said.
    Fresh,
    /// They are the last answer; since then DNS has failed.
    Stale {
        /// When it first failed.
        since: Duration,
    },
    /// They are the last answer; since then DNS has said that there is nothing, which is not believed yet.
    Withdrawn {
        /// When it first said so.
        since: Duration,
    },
    /// There are none, because DNS says so and is believed.
    Empty,
}

impl Freshness {
    /// Its name in metrics and on admin pages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unresolved => "unresolved",
            Self::Remembered { .. } => "remembered",
            Self::Fresh => "fresh",
            Self::Stale { .. } => "stale",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Empty => "empty",
        }
    }

    /// Since when the endpoints in use are not what DNS says; `None` where they are, or where there are none.
    pub fn stale_since(self) -> Option<Duration> {
        match self {
            Self::Remembered { since } | Self::Stale { since } | Self::Withdrawn { since } => Some(since),
            Self::Unresolved | Self::Fresh | Self::Empty => None,
        }
    }
}

/// What of the transitions can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether "nothing there" is believed at once or after the stale time.
    pub on_empty: OnEmpty,
    /// The stale time.
    pub stale_ttl: Duration,
    /// An answer is used for at least this long.
    pub ttl_min: Duration,
}

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Whether the endpoints in use are others than before.
    pub changed: bool,
    /// How long to wait before the next question.
    pub wait: Duration,
}

/// One name: the endpoints in use, and how far they can be trusted.
#[derive(Debug, Clone)]
pub struct NameState {
    endpoints: Arc<[ResolvedEndpoint]>,
    freshness: Freshness,
    /// Failures in a row.
    failures: u32,
}

impl NameState {
    /// A name that nothing is known about.
    pub fn new() -> Self {
        Self { endpoints: Arc::from([]), freshness: Freshness::Unresolved, failures: 0 }
    }

    /// A name whose `endpoints` are known from before.
    pub fn remembered(endpoints: Arc<[ResolvedEndpoint]>, now: Duration) -> Self {
        let freshness =
            if endpoints.is_empty() { Freshness::Unresolved } else { Freshness::Remembered { since: now } };
        Self { endpoints, freshness, failures: 0 }
    }

    /// The endpoints in use, by address.
    pub fn endpoints(&self) -> &Arc<[ResolvedEndpoint]> {
        &self.endpoints
    }

    /// How far they can be trusted.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Takes in the answer to a question. `now` comes from a clock that never goes back; `random` is 64 random bits.
    pub fn answered(&mut self, answer: Answer, terms: Terms, now: Duration, random: u64) -> Step {
        let jitter = (random >> 11) as f64 / (1_u64 << 53) as f64;
        match answer {
            Answer::Found { records, ttl } if !records.is_empty() => {
                self.failures = 0;
                self.freshness = Freshness::Fresh;
                Step {
                    changed: self.use_endpoints(records),
                    wait: stretched(ttl, terms.ttl_min, TTL_MAX, jitter),
                }
            }
            Answer::Found { ttl, .. } => self.nothing(ttl, terms, now, jitter),
            Answer::Nothing { ttl, .. } => self.nothing(ttl.unwrap_or_default(), terms, now, jitter),
            Answer::Failed(_) => {
                if self.freshness == Freshness::Fresh {
                    self.freshness = Freshness::Stale { since: now };
                }
                let backoff = RETRY_MIN.saturating_mul(1 << self.failures.min(16)).min(RETRY_MAX);
                self.failures = self.failures.saturating_add(1);
                Step { changed: false, wait: backoff.mul_f64(0.5 + 0.5 * jitter) }
            }
        }
    }

    fn nothing(&mut self, ttl: Duration, terms: Terms, now: Duration, jitter: f64) -> Step {
        self.failures = 0;
        let wait = stretched(ttl, terms.ttl_min, NOTHING_TTL_MAX, jitter);
        if self.endpoints.is_empty() {
            self.freshness = Freshness::Empty;
            return Step { changed: false, wait };
        }
        let since = match self.freshness {
            Freshness::Withdrawn { since } => since,
            _ => now,
        };
        let believed = match terms.on_empty {
            OnEmpty::Drain => true,
            OnEmpty::Keep => now.saturating_sub(since) >= terms.stale_ttl,
        };
        self.freshness = if believed { Freshness::Empty } else { Freshness::Withdrawn { since } };
        Step { changed: believed && self.use_endpoints(Vec::new()), wait }
    }

    fn use_endpoints(&mut self, endpoints: Vec<ResolvedEndpoint>) -> bool {
        let changed = *self.endpoints != *endpoints;
        if changed {
            self.endpoints = endpoints.into();
        }
        changed
    }
}

impl Default for NameState {
    fn default() -> Self {
        Self::new()
    }
}

/// `ttl` within its bounds, and up to a fifth more.
fn stretched(ttl: Duration, ttl_min: Duration, ttl_max: Duration, jitter: f64) -> Duration {
    ttl.min(ttl_max).max(ttl_min).mul_f64(1.0 + TTL_JITTER * jitter)
}

#[cfg(test)]
mod tests;
