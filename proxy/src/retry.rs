//! Whether, and when, a request is sent again. Pure: what happened, the time and randomness are passed in.
//!
//! | what happened | safe to repeat | any request |
//! |---|---|---|
//! | nothing was sent | again, at once, not counted | the same |
//! | the peer says that it processed nothing | once more at once, not counted; then after a wait | the same |
//! | nothing could be sent to any endpoint | again, after a wait | the same |
//! | a connection that had rested closed under it | once more at once, not counted; then as below | given up |
//! | shed by the sidecar on the other side | again, elsewhere at once, else after a wait | the same |
//! | broken off before the response head; the time for one try ran out | again, after a wait | given up |
//! | a status from the policy's list | again, after a wait | passed on |
//! | anything else | passed on | the same |
//!
//! Safe to repeat is a request with an idempotent method (RFC 9110 §9.2.2), with an `Idempotency-Key`, or of a policy that says so.

use http::Method;
use outrigger_snapshot::policy::{Retry, RuleRetry};

use crate::connect::TlsFailure;
use crate::error::{ProxyError, Timeout};
use pushback::Pushback;

pub mod budget;
pub mod pushback;
pub mod quantile;

/// Tries of one request that nobody counts: what was not processed adds no load.
pub const UNCOUNTED_MAX: u32 = 3;

/// Lowest status that can be retried.
const STATUS_MIN: u16 = 400;

/// When a request is sent again, for one rule and one of its destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries beyond the first.
    pub attempts: u32,
    /// Longest body that is kept, in bytes.
    pub body_bytes_max: usize,
    /// Bit by bit, from [`STATUS_MIN`] on.
    statuses: [u64; 4],
    /// Bit by bit.
    grpc_statuses: u32,
    idempotent: bool,
    /// Whether what met a connection that its peer had closed goes over another.
    mends_races: bool,
    backoff_base_ns: u64,
    backoff_max_ns: u64,
}

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// None of it was sent, and another endpoint may take it.
    Unsent,
    /// None of it was sent, to an endpoint that was tried before.
    Unreachable,
    /// The connection had rested, and was closed under this request before any answer, for the first time: perhaps its peer had not seen that
    /// (RFC 9112 §9.3.1).
    Stale,
    /// The peer says that it was not processed, for the first time.
    Refused,
    /// The same once more: whoever refuses has too much to do.
    RefusedAgain,
    /// The connection or the stream broke.
    Broken,
    /// The time for one try ran out.
    Late,
    /// The sidecar on the other side has shed it, and said so by a gRPC status or not.
    Shed {
        /// By a gRPC status.
        grpc: bool,
    },
    /// It was answered.
    Status(u16),
    /// It was answered by a gRPC status.
    Grpc(u16),
    /// By the client, by this proxy's limits, or by nothing that another try could change.
    Final,
}

/// Why a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// The endpoint could not be reached, or the connection was closed before anything was sent.
    Unsent,
    /// The peer refused it.
    Refused,
    /// The connection broke.
    Reset,
    /// The time for one try ran out.
    Timeout,
    /// The status.
    Status,
    /// The gRPC status.
    GrpcStatus,
}

/// Why a try that failed was the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Obstacle {
    /// It may not be executed twice.
    Unsafe,
    /// It was sent as often as the policy says.
    Attempts,
    /// The budget is used up.
    Budget,
    /// Its body was not kept.
    Body,
    /// Nobody would wait for the answer.
    Deadline,
    /// The upstream asked not to be asked again.
    Pushback,
}

impl Obstacle {
    /// Whether retries were had, or ruled out for everyone: to retry the whole of which this was a part does no better.
    pub fn is_exhaustion(self) -> bool {
        matches!(self, Self::Attempts | Self::Budget | Self::Deadline | Self::Pushback)
    }
}

/// Every [`Reason`] as metrics spell it.
pub const REASONS: [&str; 6] = ["unsent", "refused", "reset", "timeout", "status", "grpc_status"];

/// Every [`Obstacle`] as metrics spell it.
pub const OBSTACLES: [&str; 6] = ["unsafe", "attempts", "budget", "body", "deadline", "pushback"];

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing failed that a retry could mend.
    Done,
    /// It failed, and stays so.
    Last(Obstacle),
    /// Once more: whether it counts, and how long to wait first.
    Again {
        /// For metrics.
        reason: Reason,
        /// Whether it adds load, and so needs the budget.
        counted: bool,
        /// From now, in nanoseconds.
        wait_ns: u64,
    },
}

impl RetryPolicy {
    /// What a rule says, over what its destination's cluster says.
    pub fn new(cluster: &Retry, rule: Option<&RuleRetry>) -> Self {
        let attempts = rule.and_then(|rule| rule.attempts).unwrap_or(cluster.attempts);
        let statuses = rule.and_then(|rule| rule.statuses.as_ref()).unwrap_or(&cluster.statuses);
        let base_ms = rule.and_then(|rule| rule.backoff_base_ms).unwrap_or(cluster.backoff_base_ms);
        let mut bits = [0; 4];
        for (word, bit) in statuses.iter().filter_map(|status| bit_of(*status)) {
            bits[word] |= bit;
        }
        Self {
            attempts,
            body_bytes_max: cluster.body_bytes_max as usize,
            statuses: bits,
            grpc_statuses: cluster.grpc_statuses.iter().fold(0, |bits, status| bits | grpc_bit(*status)),
            idempotent: cluster.idempotent,
            mends_races: attempts > 0,
            backoff_base_ns: base_ms.saturating_mul(1_000_000),
            backoff_max_ns: cluster.backoff_max_ms.max(base_ms).saturating_mul(1_000_000),
        }
    }

    /// Nothing is sent again but what could not be sent, and what met a connection that its peer had closed for having rested.
    pub fn never() -> Self {
        Self { mends_races: true, ..Self::new(&Retry { attempts: 0, ..Retry::default() }, None) }
    }

    /// Whether nothing of a request is kept, but what met a connection that had rested would be sent again.
    pub fn mends_races_only(&self) -> bool {
        self.mends_races && self.attempts == 0
    }

    /// Whether a request may be executed twice.
    pub fn safe(&self, method: &Method, idempotency_key: bool) -> bool {
        self.idempotent || idempotency_key || method.is_idempotent()
    }

    /// Whether any gRPC status is tried again.
    pub fn minds_grpc(&self) -> bool {
        self.attempts > 0 && self.grpc_statuses != 0
    }

    /// What to do after a try. `counted` tries were sent again before, of which the budget knows, and `uncounted` others; `random` is
    /// drawn once if there is a wait. [`Pushback::Away`] says that it goes to another endpoint. The budget, the body and the deadline are the
    /// caller's to ask.
    pub fn judge(
        &self,
        ended: Ended,
        safe: bool,
        (counted, uncounted): (u32, u32),
        pushback: Pushback,
        random: u64,
    ) -> Verdict {
        let (reason, needs_safety) = match ended {
            Ended::Final => return Verdict::Done,
            Ended::Unsent | Ended::Unreachable => (Reason::Unsent, false),
            Ended::Stale => (Reason::Reset, true),
            Ended::Refused | Ended::RefusedAgain => (Reason::Refused, false),
            Ended::Shed { grpc: false } => (Reason::Status, false),
            Ended::Shed { grpc: true } => (Reason::GrpcStatus, false),
            Ended::Broken => (Reason::Reset, true),
            Ended::Late => (Reason::Timeout, true),
            Ended::Status(status) if self.lists(status) => (Reason::Status, true),
            Ended::Grpc(status) if self.grpc_statuses & grpc_bit(status) != 0 => (Reason::GrpcStatus, true),
            Ended::Status(..) | Ended::Grpc(_) => return Verdict::Done,
        };
        let free = match ended {
            Ended::Unsent => true,
            Ended::Refused => self.attempts > 0,
            Ended::Stale => self.mends_races && safe,
            _ => false,
        };
        if free {
            let again = Verdict::Again { reason, counted: false, wait_ns: 0 };
            return if uncounted < UNCOUNTED_MAX { again } else { Verdict::Last(Obstacle::Attempts) };
        }
        if self.attempts == 0 {
            return Verdict::Done;
        }
        if needs_safety && !safe {
            return Verdict::Last(Obstacle::Unsafe);
        }
        if counted >= self.attempts {
            return Verdict::Last(Obstacle::Attempts);
        }
        let backoff_ns = self.backoff_ns(counted, random);
        match pushback {
            Pushback::Never => Verdict::Last(Obstacle::Pushback),
            Pushback::Wait(wait_ms) => {
                let wait_ns = backoff_ns.max(wait_ms.saturating_mul(1_000_000));
                Verdict::Again { reason, counted: true, wait_ns }
            }
            // It was not processed, and the next has nothing to do with why.
            Pushback::Away(_) if matches!(ended, Ended::Shed { .. }) => {
                Verdict::Again { reason, counted: true, wait_ns: 0 }
            }
            Pushback::Unsaid | Pushback::Away(_) => {
                Verdict::Again { reason, counted: true, wait_ns: backoff_ns }
            }
        }
    }

    /// Full jitter: uniform up to base × 2ⁿ, capped.
    fn backoff_ns(&self, retried: u32, random: u64) -> u64 {
        let ceiling_ns = self.backoff_base_ns.saturating_mul(1 << retried.min(32)).min(self.backoff_max_ns);
        ((u128::from(ceiling_ns) * u128::from(random)) >> 64) as u64
    }

    fn lists(&self, status: u16) -> bool {
        bit_of(status).is_some_and(|(word, bit)| self.statuses[word] & bit != 0)
    }
}

impl Ended {
    /// What an error means for another try.
    pub fn by(error: &ProxyError) -> Self {
        match error {
            ProxyError::Tls { failure: TlsFailure::NoIdentity } => Self::Final,
            ProxyError::ConnectFailed { .. }
            | ProxyError::Tls { .. }
            | ProxyError::Timeout(Timeout::Connect) => Self::Unsent,
            ProxyError::Refused(_) => Self::Refused,
            ProxyError::Reset(_) => Self::Broken,
            ProxyError::Timeout(Timeout::Try | Timeout::FirstByte | Timeout::UpstreamBody) => Self::Late,
            _ => Self::Final,
        }
    }
}

fn bit_of(status: u16) -> Option<(usize, u64)> {
    let index = usize::from(status.checked_sub(STATUS_MIN)?);
    (index < 256).then(|| (index / 64, 1 << (index % 64)))
}

fn grpc_bit(status: u16) -> u32 {
    if status < 32 { 1 << status } else { 0 }
}

#[cfg(test)]
mod tests;
