//! How this proxy stands with the store that counts global limits: whether it answers, and what time it has there.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Between two rounds.
pub const SYNC_NS: u64 = 100_000_000;

/// A round, or a count, that is not answered for so long counts for nothing: each proxy goes on by itself.
pub const SLOW_NS: u64 = 3 * SYNC_NS;

/// Shared by the one who talks to the store and by all global limits.
#[derive(Debug, Default)]
pub struct Link {
    /// Whether the last round was answered.
    up: AtomicBool,
    /// Whether the store's time is known.
    timed: AtomicBool,
    /// Since when a round waits for its answer; 0: none does.
    asked_ns: AtomicU64,
    answered_ns: AtomicU64,
    /// The store's clock, in nanoseconds since 1970, less ours.
    offset_ns: AtomicI64,
}

/// What a limit sees of it at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Whether the store answers.
    pub(super) joined: bool,
    /// The store's time; ours, where that is not known.
    pub(super) store_ns: u64,
}

impl Link {
    /// A round leaves.
    pub fn ask(&self, now_ns: u64) {
        self.asked_ns.store(now_ns.max(1), Ordering::Relaxed);
    }

    /// A round that left at `asked_ns` came back at `now_ns`; while it was away the store's clock stood at `store_ns`.
    pub fn answer(&self, asked_ns: u64, now_ns: u64, store_ns: u64) {
        let away_ns = now_ns.saturating_sub(asked_ns);
        let sample = store_ns.cast_signed().wrapping_sub((asked_ns + away_ns / 2).cast_signed());
        let known = self.timed.load(Ordering::Relaxed).then(|| self.offset_ns.load(Ordering::Relaxed));
        self.offset_ns.store(adjusted(known, sample, (away_ns / 2).cast_signed()), Ordering::Relaxed);
        self.timed.store(true, Ordering::Relaxed);
        self.answered_ns.store(now_ns, Ordering::Relaxed);
        self.asked_ns.store(0, Ordering::Relaxed);
        // Last, and released: who sees the store up sees its time.
        self.up.store(true, Ordering::Release);
    }

    /// There is no connection, or no round will be answered on it.
    pub fn fail(&self) {
        self.up.store(false, Ordering::Relaxed);
        self.asked_ns.store(0, Ordering::Relaxed);
    }

    /// Whether the store answers.
    pub fn is_up(&self, now_ns: u64) -> bool {
        self.look(now_ns).joined
    }

    /// When a round was last answered; `None`: never.
    pub fn answered_ns(&self) -> Option<u64> {
        self.timed.load(Ordering::Relaxed).then(|| self.answered_ns.load(Ordering::Relaxed))
    }

    pub(super) fn look(&self, now_ns: u64) -> Look {
        let up = self.up.load(Ordering::Acquire);
        let asked_ns = self.asked_ns.load(Ordering::Relaxed);
        let joined = up && (asked_ns == 0 || now_ns.saturating_sub(asked_ns) <= SLOW_NS);
        let store_ns = now_ns.cast_signed().wrapping_add(self.offset_ns.load(Ordering::Relaxed));
        Look { joined, store_ns: store_ns.max(0).cast_unsigned() }
    }
}

/// The offset after a sample that is off by at most `error`: moved no farther than the sample proves it wrong, so that what comes late
/// moves nothing.
fn adjusted(known: Option<i64>, sample: i64, error: i64) -> i64 {
    known.map_or(sample, |known| known.clamp(sample.saturating_sub(error), sample.saturating_add(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_only_as_far_as_an_answer_proves_it_wrong() {
        for (known, sample, error, expected) in [
            (None, 70, 5, 70),
            (Some(72), 70, 5, 72),
            (Some(76), 70, 5, 75),
            (Some(-9), 70, 5, 65),
            (Some(0), i64::MAX, 5, i64::MAX - 5),
            (Some(0), i64::MIN, 5, i64::MIN + 5),
        ] {
            assert_eq!(adjusted(known, sample, error), expected, "{known:?} {sample} {error}");
        }
    }

    #[test]
    fn a_store_that_is_slow_or_gone_counts_for_nothing() {
        let link = Link::default();
        assert!(!link.is_up(5), "before its first answer");
        assert_eq!((link.answered_ns(), link.look(5).store_ns), (None, 5));
        link.ask(10);
        link.answer(10, 30, 1_020);
        assert_eq!(link.look(40), Look { joined: true, store_ns: 1_040 });
        link.ask(50);
        assert!(link.is_up(50 + SLOW_NS) && !link.is_up(51 + SLOW_NS));
        link.answer(50, SLOW_NS + 60, 1_060 + SLOW_NS / 2);
        assert!(link.is_up(u64::MAX), "one that was not asked owes no answer");
        assert_eq!(link.answered_ns(), Some(SLOW_NS + 60));
        link.fail();
        assert!(!link.is_up(SLOW_NS + 61));
        assert_eq!(link.look(40).store_ns, 1_040, "its clock is still the best there is");
    }

    #[test]
    fn no_clock_overflows() {
        for (asked_ns, now_ns, store_ns) in
            [(0, 0, u64::MAX), (9, 3, 0), (0, u64::MAX / 4, 1), (1, 2, i64::MAX as u64)]
        {
            let link = Link::default();
            link.answer(asked_ns, now_ns, store_ns);
            link.answer(asked_ns, now_ns, store_ns);
            let _ = link.look(now_ns);
        }
    }
}
