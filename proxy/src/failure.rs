//! Requests that have failed of late, for whoever asks why. What is known of a request that ended well is forgotten with it; of one that did not,
//! all of it is kept here for a while.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::local_reply::{Fault, REASONS, UPSTREAM_STATUS, look_up};
use crate::story::{Attempted, Culprit, Ending, Fired, Told};
use crate::telemetry::metrics::Direction;

pub mod log;
pub mod view;

/// A request that failed. Times are on [`crate::clock`].
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its `x-request-id`, as its client said or as this proxy made it.
    pub id: String,
    /// The trace that it was part of, in hexadecimal.
    pub trace: Option<String>,
    /// When it came.
    pub started_ns: u64,
    /// When it was over.
    pub ended_ns: u64,
    /// Which way it went.
    pub direction: Direction,
    /// Where it came from.
    pub source: Option<SocketAddr>,
    /// Who its sender had proved to be.
    pub identity: Option<String>,
    /// The method.
    pub method: String,
    /// The host that it asked for.
    pub host: String,
    /// The path, without the query.
    pub path: String,
    /// Whether it was a gRPC call.
    pub grpc: bool,
    /// The release by which its way was found, and the revision of that; 0: it did not come to that.
    pub release: (u64, u64),
    /// The rule that it met; empty: none.
    pub rule: Arc<str>,
    /// Where it was to go; empty: nowhere.
    pub cluster: Arc<str>,
    /// What its client got; `None`: nothing.
    pub status: Option<u16>,
    /// The code of the reason.
    pub reason: &'static str,
    /// Whose fault it is.
    pub fault: Fault,
    /// What happened, in words.
    pub said: String,
    /// The limit that ended it, if one did.
    pub fired: Option<Fired>,
    /// Retries that the budget of its cluster had left.
    pub budget: Option<u64>,
    /// What was left of its time when it failed, in milliseconds; `None`: it had all the time.
    pub left_ms: Option<u64>,
    /// Every time it was sent.
    pub tries: Vec<Attempted>,
    /// Those that are not among them.
    pub tries_omitted: u32,
}

impl Told {
    /// Whether the request came to a bad end. What a client alone has got wrong with the application, such as a 404 of that, is none.
    pub fn is_failure(&self, status: Option<u16>) -> bool {
        self.ending.is_some() || status.is_some_and(|status| status >= 500)
    }

    /// The number of what it failed for among [`REASONS`], if it did.
    pub fn failed_for(&self, status: Option<u16>) -> Option<usize> {
        let reason = || self.ending.as_ref().map_or(UPSTREAM_STATUS.reason, |ending| ending.reason);
        self.is_failure(status).then(|| number_of(reason()))
    }
}

impl Failure {
    /// What is to be kept of a request that is over at `ended_ns`.
    pub fn of(told: &Told, status: Option<u16>, ended_ns: u64) -> Self {
        let labels = told.resolution.as_ref().map(|resolution| &resolution.stats().labels);
        let at_ns = told.ending.as_ref().map_or(ended_ns, |ending| ending.at_ns);
        let (reason, fault, said) = match told.ending.as_deref() {
            Some(Ending { reason, fault, said, .. }) => (*reason, *fault, said.clone()),
            None => (UPSTREAM_STATUS.reason, UPSTREAM_STATUS.fault, String::new()),
        };
        Self {
            id: told.id().into_owned(),
            trace: told.trace.map(|trace| trace.id.to_string()),
            started_ns: told.started_ns,
            ended_ns,
            direction: told.direction,
            source: told.source,
            identity: told.caller.as_ref().map(|caller| caller.identity.to_string()),
            method: told.method().into_owned(),
            host: told.host().into_owned(),
            path: told.path().into_owned(),
            grpc: told.grpc,
            release: told.release,
            rule: labels.map_or_else(Arc::default, |labels| labels.rule.clone()),
            cluster: labels.map_or_else(Arc::default, |labels| labels.cluster.clone()),
            status,
            reason,
            fault,
            said,
            fired: told.ending.as_ref().and_then(|ending| ending.fired.clone()),
            budget: told.ending.as_ref().and_then(|ending| ending.budget),
            left_ms: (told.deadline_ns != u64::MAX)
                .then(|| told.deadline_ns.saturating_sub(at_ns) / 1_000_000),
            tries: told.tries.clone(),
            tries_omitted: told.tries_omitted,
        }
    }

    /// The number of its reason among [`REASONS`].
    fn index(&self) -> usize {
        number_of(self.reason)
    }

    /// What stood against its last try, if anything did.
    fn culprit(&self) -> Option<(&Attempted, &Culprit)> {
        self.tries.iter().rev().find_map(|attempted| Some((attempted, attempted.culprit.as_deref()?)))
    }
}

/// The number of a reason among [`REASONS`].
fn number_of(reason: &str) -> usize {
    look_up(reason).map_or(REASONS - 1, |(number, ..)| number)
}

#[cfg(test)]
mod tests;
