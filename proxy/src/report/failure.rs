//! What a report says of requests that failed.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::cut;
use crate::failure::Failure;
use crate::failure::view::{self, Clocks};
use crate::local_reply::Fault;

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

/// The latest of those that are `kept`, the newest first. Reasons have their turns, those first that are no fault of the client: many of one
/// do not hide another.
pub fn latest(mut kept: Vec<Arc<Failure>>, clocks: Clocks) -> Vec<FailureView> {
    kept.sort_by_key(|failure| Reverse(failure.ended_ns));
    let mut before = HashMap::<&str, usize>::new();
    let mut turns: Vec<_> = kept
        .iter()
        .map(|failure| {
            let turn = before.entry(failure.reason).or_default();
            *turn += 1;
            (*turn, rank(failure.fault), Reverse(failure.ended_ns), failure)
        })
        .collect();
    turns.sort_by_key(|(turn, rank, ended, _)| (*turn, *rank, *ended));
    turns.truncate(FAILURES_MAX);
    turns.sort_by_key(|(_, _, ended, _)| *ended);
    let told = turns.into_iter().map(|(.., failure)| {
        let view::FailureView { id, at_unix_ms, sentence, cluster, host, rule, reason, .. } =
            view::FailureView::of(failure, clocks);
        let service = if cluster.is_empty() { host } else { cluster };
        FailureView { id, at_unix_ms, reason: reason.to_owned(), sentence, service, route: rule }
    });
    told.collect()
}

fn rank(fault: Fault) -> u8 {
    match fault {
        Fault::Upstream | Fault::Proxy => 0,
        Fault::Configuration => 1,
        Fault::Client => 2,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ProxyError;
    use crate::story::Stories;
    use crate::telemetry::metrics::Direction;

    fn failure(error: &ProxyError, ended_ns: u64) -> Arc<Failure> {
        let story = Stories::default().begin(Direction::Outbound, 1);
        story.fails(error, ended_ns);
        Arc::new(Failure::of(&story.told(), Some(503), ended_ns))
    }

    #[test]
    fn many_of_one_reason_leave_room_for_the_others() {
        let away = ProxyError::NoEndpoint("shop/pay:80".into());
        let mut kept = vec![failure(&away, 1), failure(&away, 2)];
        kept.extend((10..40).map(|at| failure(&ProxyError::NoHost, at)));
        kept.extend((50..90).map(|at| failure(&ProxyError::ClientGone, at)));
        let told = latest(kept, Clocks { now_ns: 100, now_unix_ms: 1_000_000 });
        let count = |reason: &str| told.iter().filter(|told| told.reason == reason).count();
        assert_eq!((told.len(), count("no_endpoint")), (FAILURES_MAX, 2));
        assert_eq!(count("client_gone") + count("no_host"), FAILURES_MAX - 2);
        assert!(count("client_gone").abs_diff(count("no_host")) <= 1, "{told:?}");
        assert_eq!(told[0].reason, "client_gone", "the newest are first all the same");
    }
}
