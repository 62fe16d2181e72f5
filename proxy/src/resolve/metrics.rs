//! What discovery counts. Written by the thread that resolves, read by any.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use outrigger_snapshot::name::ClusterName;
use tokio::time::Instant;

use super::Query;
use super::state::{Answer, Failure, Freshness, NameState, Nothing};

/// Counters of one resolver.
#[derive(Debug)]
pub struct Metrics {
    queries: AtomicU64,
    failures: [AtomicU64; Failure::ALL.len()],
    empty: AtomicU64,
    no_such_name: AtomicU64,
    truncated: AtomicU64,
    names: ArcSwap<Vec<Arc<NameMetrics>>>,
}

/// The state of one name.
#[derive(Debug)]
pub struct NameMetrics {
    /// The cluster it gives endpoints to.
    pub cluster: ClusterName,
    /// What is asked.
    pub query: Query,
    start: Instant,
    shown: ArcSwap<Freshness>,
    endpoints: AtomicU32,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            queries: AtomicU64::new(0),
            failures: Default::default(),
            empty: AtomicU64::new(0),
            no_such_name: AtomicU64::new(0),
            truncated: AtomicU64::new(0),
            names: ArcSwap::from_pointee(Vec::new()),
        }
    }

    /// Questions asked, A and AAAA apart, repetitions not counted.
    pub fn queries(&self) -> u64 {
        self.queries.load(Relaxed)
    }

    /// Questions that failed in this way.
    pub fn failures(&self, failure: Failure) -> u64 {
        self.failures[failure as usize].load(Relaxed)
    }

    /// Questions whose answer was that there is nothing.
    pub fn nothing(&self, reason: Nothing) -> u64 {
        match reason {
            Nothing::Empty => self.empty.load(Relaxed),
            Nothing::NoSuchName => self.no_such_name.load(Relaxed),
        }
    }

    /// Answers that had more endpoints than are used.
    pub fn truncated(&self) -> u64 {
        self.truncated.load(Relaxed)
    }

    /// All names, by cluster.
    pub fn names(&self) -> Arc<Vec<Arc<NameMetrics>>> {
        self.names.load_full()
    }

    pub(super) fn set_names(&self, names: Vec<Arc<NameMetrics>>) {
        self.names.store(Arc::new(names));
    }

    pub(super) fn count_truncated(&self) {
        self.truncated.fetch_add(1, Relaxed);
    }

    pub(super) fn count<T>(&self, answer: &Answer<T>) {
        self.queries.fetch_add(1, Relaxed);
        match answer {
            Answer::Found { .. } => return,
            Answer::Nothing { reason: Nothing::Empty, .. } => &self.empty,
            Answer::Nothing { reason: Nothing::NoSuchName, .. } => &self.no_such_name,
            Answer::Failed(failure) => &self.failures[*failure as usize],
        }
        .fetch_add(1, Relaxed);
    }
}

impl NameMetrics {
    /// For a name whose state counts time from `start`.
    pub(super) fn new(cluster: ClusterName, query: Query, start: Instant) -> Self {
        let shown = ArcSwap::from_pointee(Freshness::Unresolved);
        Self { cluster, query, start, shown, endpoints: AtomicU32::new(0) }
    }

    /// How far the endpoints in use can be trusted.
    pub fn freshness(&self) -> Freshness {
        **self.shown.load()
    }

    /// For how long the endpoints in use have not been what DNS says; zero where they are.
    pub fn stale_for(&self) -> Duration {
        let since = self.freshness().stale_since();
        since.map_or(Duration::ZERO, |since| self.start.elapsed().saturating_sub(since))
    }

    /// How many endpoints are in use.
    pub fn endpoints(&self) -> u32 {
        self.endpoints.load(Relaxed)
    }

    pub(super) fn show(&self, state: &NameState) {
        if self.freshness() != state.freshness() {
            self.shown.store(Arc::new(state.freshness()));
        }
        self.endpoints.store(state.endpoints().len() as u32, Relaxed);
    }
}
