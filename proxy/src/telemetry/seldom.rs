//! Counters of what few requests meet.

use super::metrics::Counter;
use crate::deadline::STAGES;
use crate::error::LIMITS;
use crate::local_reply::REASONS as WHY_FAILED;
use crate::retry::{OBSTACLES, REASONS};

/// What few requests meet: there is room for it once the first does, for with 10,000 clusters most never do.
#[derive(Debug, Default)]
pub struct Seldom {
    /// Tries beyond the first, by [`Reason`](crate::retry::Reason).
    pub retries: [Counter; REASONS.len()],
    /// Failures that were not tried again, by [`Obstacle`](crate::retry::Obstacle).
    pub retry_obstacles: [Counter; OBSTACLES.len()],
    /// Requests that a try beyond the first was answered for.
    pub retry_answers: Counter,
    /// Refused, by [`Limit`](crate::error::Limit) of the cluster.
    pub limited: [Counter; LIMITS.len()],
    /// Tries sent beside the first.
    pub hedges: Counter,
    /// Those that were answered first.
    pub hedge_wins: Counter,
    /// Requests whose time was over, by [`Stage`](crate::deadline::Stage).
    pub overdue: [Counter; STAGES.len()],
    /// Requests that failed, by reason.
    pub failures: Failures,
}

/// Requests that failed, by the number of the reason among [`REASONS`](crate::local_reply::REASONS).
#[derive(Debug)]
pub struct Failures(pub [Counter; WHY_FAILED]);

impl Default for Failures {
    fn default() -> Self {
        Self([const { Counter::new() }; WHY_FAILED])
    }
}
