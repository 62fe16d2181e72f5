//! What is done about endpoints and clusters that fail. Wire types, as in [`crate::policy`].

use serde::{Deserialize, Serialize};

/// When a request is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Tries beyond the first; 0: none. A try of which nothing was sent does not count.
    pub attempts: u32,
    /// Response statuses that are tried again, where the request is safe to repeat.
    pub statuses: Vec<u16>,
    /// gRPC statuses that are tried again, where the request is safe to repeat.
    pub grpc_statuses: Vec<u16>,
    /// Every request may be executed twice, whatever its method says.
    pub idempotent: bool,
    /// The wait before the n-th retry is drawn from 0 to the smaller of this × 2ⁿ⁻¹ and `backoff_max_ms`.
    pub backoff_base_ms: u64,
    /// See `backoff_base_ms`.
    pub backoff_max_ms: u64,
    /// Longest request body that is kept to be sent again, in bytes.
    pub body_bytes_max: u32,
    /// What retries may add to the load.
    pub budget: RetryBudget,
}

/// Retries and hedges per request, over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryBudget {
    /// Of the requests in the window, per cent.
    pub percent: u32,
    /// The window.
    pub window_ms: u64,
    /// Retries that are allowed beside, per 1,000 seconds, for all callers of the cluster together.
    pub floor_per_1000_s: u32,
}

/// What a rule says in place of its clusters' [`Retry`]; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleRetry {
    /// See [`Retry::attempts`].
    pub attempts: Option<u32>,
    /// See [`Retry::statuses`].
    pub statuses: Option<Vec<u16>>,
    /// See [`Retry::backoff_base_ms`].
    pub backoff_base_ms: Option<u64>,
}

/// A second try while the first is still unanswered; the first answer wins. Only where the request is safe to repeat, and under the retry
/// budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hedge {
    /// It is sent once the first took longer than this share of recent answers, per cent.
    pub percentile: u32,
    /// And not before this.
    pub delay_min_ms: u64,
}

/// When an endpoint gets no more requests for a while, by how it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ejection {
    /// Failures in a row: 5xx, resets, timeouts; 0: not looked at.
    pub consecutive: u32,
    /// Failures in a row to connect; 0: not looked at.
    pub consecutive_local: u32,
    /// Failures per cent of the requests in the window; 0: not looked at.
    pub failure_percent: u32,
    /// Slow answers per cent of the requests in the window; 0: not looked at.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slow_percent: u32,
    /// From this on an answer is slow.
    #[serde(default = "slow_ms_by_default", skip_serializing_if = "is_slow_ms_default")]
    pub slow_ms: u64,
    /// Requests below which the window says nothing.
    pub requests_min: u32,
    /// The window.
    pub window_ms: u64,
    /// Standard deviations by which an endpoint's success rate may lie below the mean, in thousandths; 0: not looked at.
    pub deviation_permille: u32,
    /// The first ejection lasts this long, each further one twice as long.
    pub base_ms: u64,
    /// The longest.
    pub max_ms: u64,
    /// Endpoints of the cluster that may be out at the same time, per cent.
    pub max_percent: u32,
    /// With fewer healthy endpoints than this, per cent, health is ignored: traffic goes to all.
    pub panic_percent: u32,
}

/// From this on an answer is slow, where nothing is said.
const SLOW_MS: u64 = 60_000;

fn slow_ms_by_default() -> u64 {
    SLOW_MS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_slow_ms_default(slow_ms: &u64) -> bool {
    *slow_ms == SLOW_MS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Ejection {
    /// Whether slow answers are looked at, or would be otherwise than by default.
    pub fn minds_slow(&self) -> bool {
        self.slow_percent != 0 || self.slow_ms != SLOW_MS
    }
}

/// When a cluster is not asked for a while, because it fails as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    /// Failures per cent of the window's requests; 0: not looked at.
    pub failure_percent: u32,
    /// Slow requests per cent of the window's; 0: not looked at.
    pub slow_percent: u32,
    /// From this on a request is slow.
    pub slow_ms: u64,
    /// What the rates are taken over.
    pub window: BreakerWindow,
    /// Requests below which the window says nothing.
    pub requests_min: u32,
    /// Endpoints, per cent, that must be failing: else ejection deals with them, and the rest of the cluster serves.
    pub endpoints_percent: u32,
    /// It stays open this long, twice as long each time that the probes fail.
    pub open_ms: u64,
    /// The longest.
    pub open_max_ms: u64,
    /// Requests at a time that find out, once it is half open, whether the cluster is back.
    pub probes: u32,
    /// Probes that must succeed before it closes.
    pub successes: u32,
    /// After closing, the share of requests that are let through grows from a tenth to all over this; 0: all at once.
    pub ramp_ms: u64,
}

/// What rates are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerWindow {
    /// The last requests, this many.
    Count(u32),
    /// The last milliseconds, this many.
    TimeMs(u64),
}

/// How an endpoint is asked whether it is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Between two probes of an endpoint that is well.
    pub interval_ms: u64,
    /// Between two probes of one that is not.
    pub fast_interval_ms: u64,
    /// For the answer.
    pub timeout_ms: u64,
    /// Failures in a row after which it is not well.
    pub unhealthy: u32,
    /// Successes in a row after which it is well again.
    pub healthy: u32,
    /// A new endpoint gets requests only once it was found well.
    pub wait_for_first: bool,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// `GET` of a path; a status from 200 to 399 is well.
    Http {
        /// Path and query.
        path: String,
        /// `Host`; `None`: the service's name.
        host: Option<String>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service asked about; empty: the server as a whole.
        service: String,
    },
    /// A connection that opens.
    Tcp,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            statuses: vec![502, 503, 504],
            grpc_statuses: vec![14],
            idempotent: false,
            backoff_base_ms: 25,
            backoff_max_ms: 250,
            body_bytes_max: 64 * 1024,
            budget: RetryBudget::default(),
        }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 10, window_ms: 10_000, floor_per_1000_s: 1_000 }
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            consecutive: 5,
            consecutive_local: 5,
            failure_percent: 50,
            slow_percent: 0,
            slow_ms: SLOW_MS,
            requests_min: 20,
            window_ms: 10_000,
            deviation_permille: 0,
            base_ms: 10_000,
            max_ms: 300_000,
            max_percent: 50,
            panic_percent: 50,
        }
    }
}

impl Default for Breaker {
    /// Opens only where every endpoint fails: a breaker that opens at half makes the outage of one shard that of all.
    fn default() -> Self {
        Self {
            failure_percent: 90,
            slow_percent: 0,
            slow_ms: SLOW_MS,
            window: BreakerWindow::TimeMs(10_000),
            requests_min: 50,
            endpoints_percent: 80,
            open_ms: 1_000,
            open_max_ms: 2_000,
            probes: 1,
            successes: 10,
            ramp_ms: 0,
        }
    }
}

impl HealthCheck {
    /// A check with `probe`, and what holds where nothing is said.
    pub fn new(probe: Probe) -> Self {
        Self {
            probe,
            interval_ms: 5_000,
            fast_interval_ms: 1_000,
            timeout_ms: 1_000,
            unhealthy: 3,
            healthy: 2,
            wait_for_first: false,
        }
    }
}
