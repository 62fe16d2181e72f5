//! Series that saw nothing for long are not written: a scrape of a mesh of thousands of rules is about those that are used. The counters
//! stay as they are, so that a series that comes back goes on where it was.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::kinds::IDLE_NS;

/// When the counters of a series last changed, as far as scrapes have seen. Only the thread that writes scrapes looks.
#[derive(Debug, Default)]
pub struct Fading {
    total: AtomicU64,
    since_ns: AtomicU64,
}

impl Fading {
    /// Whether a series whose counters add up to `total` has seen nothing for long.
    pub fn is_gone(&self, total: u64, now_ns: u64) -> bool {
        if total == 0 {
            return true;
        }
        if self.total.swap(total, Relaxed) != total {
            self.since_ns.store(now_ns, Relaxed);
        }
        now_ns.saturating_sub(self.since_ns.load(Relaxed)) >= IDLE_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_gone_after_ten_minutes_and_back_with_its_next_request() {
        let (fading, begun_ns) = (Fading::default(), 7 * IDLE_NS);
        assert!(fading.is_gone(0, begun_ns), "it saw nothing yet");
        for (total, after_ns, gone) in [
            (3, 0, false),
            (3, IDLE_NS - 1, false),
            (3, IDLE_NS, true),
            (3, 2 * IDLE_NS, true),
            (4, 2 * IDLE_NS, false),
            (4, 3 * IDLE_NS - 1, false),
            (4, 3 * IDLE_NS, true),
        ] {
            assert_eq!(fading.is_gone(total, begun_ns + after_ns), gone, "{total} after {after_ns}");
        }
    }
}
