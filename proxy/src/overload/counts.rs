//! What was decided, for a scrape. Only decisions against a request are counted, so that shared counters do.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::priority::CLASSES;
use super::{Cause, Priority};

/// Upper bounds of the histogram of waits, in nanoseconds; the last bucket has none.
pub const WAIT_BOUNDS_NS: [u64; 7] =
    [1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000, 100_000_000];

/// See the module.
#[derive(Debug, Default)]
pub struct Counts {
    shed: [[AtomicU64; Cause::ALL.len()]; CLASSES],
    waits: [AtomicU64; WAIT_BOUNDS_NS.len() + 1],
    waited_ns: AtomicU64,
}

impl Counts {
    pub(super) fn shed(&self, priority: Priority, cause: Cause) {
        self.shed[priority.class()][cause as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn waited(&self, wait_ns: u64) {
        let bucket = WAIT_BOUNDS_NS.iter().position(|bound| wait_ns <= *bound);
        self.waits[bucket.unwrap_or(WAIT_BOUNDS_NS.len())].fetch_add(1, Relaxed);
        self.waited_ns.fetch_add(wait_ns, Relaxed);
    }

    /// Requests of a class that were shed for a cause.
    pub fn shed_total(&self, class: usize, cause: Cause) -> u64 {
        self.shed[class][cause as usize].load(Relaxed)
    }

    /// How many of those that got a place waited for up to each of [`WAIT_BOUNDS_NS`] and above the one before; the last for longer.
    pub fn waits(&self) -> [u64; WAIT_BOUNDS_NS.len() + 1] {
        std::array::from_fn(|bucket| self.waits[bucket].load(Relaxed))
    }

    /// Sum of their waits.
    pub fn waited_ns(&self) -> u64 {
        self.waited_ns.load(Relaxed)
    }
}
