//! What is told of requests. Wire types, as in [`crate::policy`].

use serde::{Deserialize, Serialize};

/// What a share is of.
pub const SHARE_WHOLE: u32 = 10_000;

/// What is told of requests to a port, by the sidecar beside it and by those of its callers. What is `None` is as each of them was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// Of [`SHARE_WHOLE`] traces about which nobody has decided before, so many are told of.
    pub traces: Option<u32>,
    /// Milliseconds: what takes longer is told of in a trace in any case.
    pub slow_ms: Option<u64>,
    /// Whether requests have lines in the access log, where there is one.
    pub access_log: Option<bool>,
    /// Of [`SHARE_WHOLE`] requests that did not fail, so many have.
    pub access_log_share: Option<u32>,
}
