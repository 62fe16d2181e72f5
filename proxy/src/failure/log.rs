//! Where failures are kept: a ring for each reason, so that a flood of one leaves the others where they are. A worker writes, without a lock;
//! the thread that answers people reads.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use super::Failure;
use crate::local_reply::REASONS;

/// Failures that are kept for each reason and worker.
pub const KEPT_MAX: usize = 64;

/// See the module.
pub struct FailureLog {
    rings: [OnceLock<Box<Ring>>; REASONS],
}

/// The latest failures of one reason. Made for the first of them.
struct Ring {
    /// How many there have been.
    kept: AtomicU64,
    slots: [ArcSwapOption<Failure>; KEPT_MAX],
}

impl Default for FailureLog {
    fn default() -> Self {
        Self { rings: [const { OnceLock::new() }; REASONS] }
    }
}

impl FailureLog {
    /// Keeps a failure, in the place of the oldest of its reason; only the owning worker may call it.
    pub fn keep(&self, failure: Failure) {
        let ring = self.rings[failure.index()].get_or_init(Box::default);
        let kept = ring.kept.load(Relaxed);
        ring.slots[(kept % KEPT_MAX as u64) as usize].store(Some(Arc::new(failure)));
        ring.kept.store(kept + 1, Relaxed);
    }

    /// All that are kept, in no order.
    pub fn all(&self) -> impl Iterator<Item = Arc<Failure>> {
        let rings = self.rings.iter().filter_map(OnceLock::get);
        rings.flat_map(|ring| ring.slots.iter().filter_map(ArcSwapOption::load_full))
    }

    /// How many there have been, kept or not.
    pub fn count(&self) -> u64 {
        self.rings.iter().filter_map(OnceLock::get).map(|ring| ring.kept.load(Relaxed)).sum()
    }
}

impl fmt::Debug for FailureLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FailureLog").field("count", &self.count()).finish_non_exhaustive()
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self { kept: AtomicU64::new(0), slots: [const { ArcSwapOption::const_empty() }; KEPT_MAX] }
    }
}
