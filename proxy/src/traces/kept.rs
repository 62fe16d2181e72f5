//! What is handed on of a request that is told of: all that spans are made of, and nothing that belongs to a worker.

use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_snapshot::identity::SpiffeId;

use crate::local_reply::UPSTREAM_STATUS;
use crate::story::{Attempted, Text, Told, Trace};
use crate::telemetry::metrics::Direction;

/// See the module. Times are on [`crate::clock`].
#[derive(Debug)]
pub struct Kept {
    /// Its place in its trace.
    pub trace: Trace,
    /// What it says of itself.
    pub text: Text,
    /// When it came.
    pub started_ns: u64,
    /// When it was over.
    pub ended_ns: u64,
    /// Which way it went.
    pub direction: Direction,
    /// Where it came from.
    pub source: Option<SocketAddr>,
    /// Who its sender had proved to be.
    pub identity: Option<Arc<SpiffeId>>,
    /// Whether it was a gRPC call.
    pub grpc: bool,
    /// The release by which its way was found.
    pub release: u64,
    /// The rule that it met; empty: none.
    pub rule: Arc<str>,
    /// Where it was to go; empty: nowhere.
    pub cluster: Arc<str>,
    /// What a policy says of it beside that.
    pub labels: Vec<(Arc<str>, String)>,
    /// What its client got; `None`: nothing.
    pub status: Option<u16>,
    /// Why it came to a bad end, if it did: the code, and the same in words.
    pub failure: Option<(&'static str, String)>,
    /// Every time it was sent.
    pub tries: Vec<Attempted>,
    /// Those that are not among them.
    pub tries_omitted: u32,
}

impl Kept {
    /// Of a request that was over at `ended_ns`.
    pub fn of(told: &Told, trace: Trace, status: Option<u16>, ended_ns: u64) -> Self {
        let labels = told.resolution.as_ref().map(|resolution| &resolution.stats().labels);
        let ending = told.ending.as_deref().map(|ending| (ending.reason, ending.said.clone()));
        let upstream = || (UPSTREAM_STATUS.reason, String::new());
        Self {
            trace,
            text: told.text.clone(),
            started_ns: told.started_ns,
            ended_ns,
            direction: told.direction,
            source: told.source,
            identity: told.caller.as_ref().map(|caller| caller.identity.clone()),
            grpc: told.grpc,
            release: told.release.0,
            rule: labels.map_or_else(Arc::default, |labels| labels.rule.clone()),
            cluster: labels.map_or_else(Arc::default, |labels| labels.cluster.clone()),
            labels: told.labels().map(|(name, value)| (name.clone(), value.into_owned())).collect(),
            status,
            failure: ending.or_else(|| told.is_failure(status).then(upstream)),
            tries: told.tries.clone(),
            tries_omitted: told.tries_omitted,
        }
    }
}
