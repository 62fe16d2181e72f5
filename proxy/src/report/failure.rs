//! What a report says of requests that failed.

use std::sync::Arc;

use serde::Serialize;

use super::cut;
use crate::failure::Failure;
use crate::failure::view::{self, Clocks};

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

/// The latest of those that are `kept`, the newest first.
pub fn latest(mut kept: Vec<Arc<Failure>>, clocks: Clocks) -> Vec<FailureView> {
    kept.sort_by_key(|failure| std::cmp::Reverse(failure.ended_ns));
    let told = kept.iter().take(FAILURES_MAX).map(|failure| {
        let view::FailureView { id, at_unix_ms, sentence, cluster, host, rule, reason, .. } =
            view::FailureView::of(failure, clocks);
        let service = if cluster.is_empty() { host } else { cluster };
        FailureView { id, at_unix_ms, reason: reason.to_owned(), sentence, service, route: rule }
    });
    told.collect()
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
