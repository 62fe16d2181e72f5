//! What a report says of requests that failed.

use serde::Serialize;

use super::cut;

/// Failures in one report: what a control plane takes.
pub const FAILURES_MAX: usize = 16;

/// One request that this proxy refused or gave up on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FailureView {
    /// The request's id.
    pub id: String,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The code of `outrigger-reason`.
    pub reason: String,
    /// What happened and what to do, for people.
    pub sentence: String,
    /// The service that was called.
    pub service: String,
    /// The rule that the request met; empty if none.
    pub route: String,
}

impl FailureView {
    /// As much of its texts as a control plane takes.
    pub(super) fn bounded(self) -> Self {
        Self {
            id: cut(&self.id),
            at_unix_ms: self.at_unix_ms,
            reason: cut(&self.reason),
            sentence: cut(&self.sentence),
            service: cut(&self.service),
            route: cut(&self.route),
        }
    }
}
