//! How far a request has come on its way to a cluster; what is told of that once it goes no further.

use super::outgoing::Outgoing;
use crate::clock;
use crate::cluster::endpoint::Endpoint;
use crate::plan::Resolution;
use crate::telemetry::metrics::RequestShard;

/// Endpoints that are remembered as tried.
const TRIED_MAX: usize = 4;

/// How far the tries of one request have come. Small, as every request's future has room for it.
#[derive(Default)]
pub(crate) struct Tries {
    /// Endpoints tried, the last one last.
    endpoints: [u32; TRIED_MAX],
    /// How many of them there are.
    known: u8,
    /// The next goes over a new connection: the last one was closed under the request.
    pub(super) fresh: bool,
    /// That has happened.
    pub(super) raced: bool,
    /// It was refused unprocessed before.
    pub(super) refused: bool,
    /// All that have begun, hedges included.
    pub(super) begun: u8,
    pub(crate) counted: u8,
    pub(crate) uncounted: u8,
}

impl Tries {
    /// Endpoints tried, as far as they are remembered.
    pub(super) fn endpoints(&self) -> &[u32] {
        &self.endpoints[..usize::from(self.known)]
    }

    /// Those that were followed by another, or will be: of which the budget knows, and others.
    pub(crate) fn repeated(&self) -> (u32, u32) {
        (self.counted.into(), self.uncounted.into())
    }

    /// Notes that an endpoint is tried; whether it was before. Once all were tried, only the last is avoided.
    pub(super) fn note(&mut self, endpoint: &Endpoint, of: usize) -> bool {
        self.begun = self.begun.saturating_add(1);
        let known = self.endpoints().contains(&endpoint.id());
        if usize::from(self.known) + 1 >= of.min(TRIED_MAX) {
            self.known = 0;
        }
        self.endpoints[usize::from(self.known)] = endpoint.id();
        self.known += 1;
        known
    }
}

/// See the module. It ends with the response head, or by being dropped.
pub(super) struct Course {
    pub(super) resolution: Resolution,
    pub(super) outgoing: Outgoing,
    pub(super) tries: Tries,
    pub(super) deadline_ns: u64,
}

impl Course {
    /// Where it is counted.
    pub(super) fn shard(&self) -> &RequestShard {
        self.resolution.stats().shard(self.outgoing.worker.into())
    }

    /// How long a try of this rule takes at least, as often as not; 0 as long as none was answered.
    pub(super) fn usual_ns(&self) -> u64 {
        self.shard().usual.read().unwrap_or(0)
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        // Given up while it waited: because its time was over, or by its client.
        if let Some(stage) = self.outgoing.stage.get()
            && clock::now_ns() >= self.deadline_ns
        {
            self.shard().overdue(stage);
        }
        if self.tries.begun > 0 {
            self.shard().tried(self.tries.begun.into());
        }
    }
}
