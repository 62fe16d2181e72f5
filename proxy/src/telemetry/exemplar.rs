//! Exemplars: of each bucket the last request that was traced, so that a dashboard leads from a slow bucket to such a request. Nothing of
//! this is touched for requests that are not.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, fence};
use std::sync::atomic::{Ordering::Acquire, Ordering::Release};

use super::duration::classic_bucket;
use super::metrics::DURATION_BOUNDS_NS;

const BUCKETS: usize = DURATION_BOUNDS_NS.len() + 1;

/// A traced request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemplar {
    /// The bucket that it is in.
    pub bucket: usize,
    /// Its trace.
    pub trace: u128,
    /// What it took.
    pub duration_ns: u64,
    /// When it was over, on [`crate::clock`].
    pub at_ns: u64,
}

/// Those of one series and worker.
#[derive(Debug, Default)]
pub struct Exemplars(OnceLock<Box<[Slot; BUCKETS]>>);

/// One of them. It has a single writer; a reader that meets it while it is written does without.
#[derive(Debug, Default)]
struct Slot {
    /// Odd while it is written; 0 if it never was.
    version: AtomicU64,
    trace: [AtomicU64; 2],
    duration_ns: AtomicU64,
    at_ns: AtomicU64,
}

impl Exemplars {
    /// Notes a traced request; only the owning worker may call it.
    pub fn note(&self, trace: u128, duration_ns: u64, at_ns: u64) {
        let slot = &self.0.get_or_init(Box::default)[classic_bucket(duration_ns)];
        let version = slot.version.load(Relaxed);
        slot.version.store(version + 1, Relaxed);
        fence(Release);
        slot.trace[0].store((trace >> 64) as u64, Relaxed);
        slot.trace[1].store(trace as u64, Relaxed);
        slot.duration_ns.store(duration_ns, Relaxed);
        slot.at_ns.store(at_ns, Relaxed);
        slot.version.store(version + 2, Release);
    }

    /// Begins anew; only the owning worker may call it.
    pub(super) fn clear(&self) {
        for slot in self.0.get().iter().flat_map(|slots| slots.iter()) {
            slot.version.store(0, Release);
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = Exemplar> {
        let slots = self.0.get().into_iter().flat_map(|slots| slots.iter().enumerate());
        slots.filter_map(|(bucket, slot)| slot.read(bucket))
    }
}

impl Slot {
    fn read(&self, bucket: usize) -> Option<Exemplar> {
        let version = self.version.load(Acquire);
        let trace = self.trace.each_ref().map(|half| u128::from(half.load(Relaxed)));
        let (duration_ns, at_ns) = (self.duration_ns.load(Relaxed), self.at_ns.load(Relaxed));
        fence(Acquire);
        let whole = version != 0 && version.is_multiple_of(2) && self.version.load(Relaxed) == version;
        whole.then_some(Exemplar { bucket, trace: trace[0] << 64 | trace[1], duration_ns, at_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_has_its_last() {
        let exemplars = Exemplars::default();
        assert_eq!(exemplars.all().count(), 0);
        for (trace, duration_ns) in [(1, 400_000), (u128::MAX - 1, 300_000), (3, 20_000_000_000)] {
            exemplars.note(trace, duration_ns, 7);
        }
        let all: Vec<_> = exemplars.all().map(|found| (found.bucket, found.trace)).collect();
        assert_eq!(all, [(0, u128::MAX - 1), (14, 3)]);
        exemplars.clear();
        assert_eq!(exemplars.all().count(), 0);
    }

    #[test]
    fn a_reader_never_sees_half_of_two() {
        let exemplars = Exemplars::default();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for turn in 1..200_000_u64 {
                    exemplars.note(u128::from(turn) << 64 | u128::from(turn), turn % 400_000, turn);
                }
            });
            while !writer.is_finished() {
                for found in exemplars.all() {
                    assert_eq!((found.trace >> 64) as u64, found.trace as u64);
                    assert_eq!(found.trace as u64, found.at_ns);
                }
            }
        });
    }
}
