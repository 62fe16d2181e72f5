//! Counts over the last while: exact, bounded, and without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Parts of a window: it moves on by one part at a time.
pub const PARTS: usize = 10;

/// Bits of one count; it stops at its largest value.
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const STAMP_MAX: u64 = (1 << (64 - 2 * COUNT_BITS)) - 1;

/// Requests and failures of the last `window_ms`, in ten parts. How long that is comes with every call: after a change, parts of another
/// length are soon out of date.
///
/// One word per part: which part of time it counts, failures, requests. A word of another time is replaced by whoever comes first.
#[derive(Debug, Default)]
pub struct Window([AtomicU64; PARTS]);

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub total: u64,
    /// Those that failed.
    pub failures: u64,
}

impl Window {
    /// Adds to the part of time that `now_ns` is in.
    pub fn add(&self, now_ns: u64, window_ms: u64, counts: Counts) {
        let stamp = stamp(now_ns, window_ms);
        let part = &self.0[(stamp % PARTS as u64) as usize];
        let add = |held: u64, more: u64| (held + more).min(COUNT_MAX);
        // An `Err` means that a clock that is ahead has begun the next round: what is that late does not count.
        let _ = part.fetch_update(Relaxed, Relaxed, |word| {
            let (held, counts_held) = unpack(word);
            if held == stamp & STAMP_MAX {
                Some(pack(
                    stamp,
                    add(counts_held.total, counts.total),
                    add(counts_held.failures, counts.failures),
                ))
            } else {
                let ahead = held.wrapping_sub(stamp) & STAMP_MAX;
                (word == 0 || ahead > STAMP_MAX / 2)
                    .then(|| pack(stamp, counts.total.min(COUNT_MAX), counts.failures.min(COUNT_MAX)))
            }
        });
    }

    /// What the window that ends at `now_ns` holds.
    pub fn counts(&self, now_ns: u64, window_ms: u64) -> Counts {
        let stamp = stamp(now_ns, window_ms);
        let mut sum = Counts::default();
        for part in &self.0 {
            let (held, counts) = unpack(part.load(Relaxed));
            if stamp.wrapping_sub(held) & STAMP_MAX < PARTS as u64 {
                sum.total += counts.total;
                sum.failures += counts.failures;
            }
        }
        sum
    }

    /// Forgets everything.
    pub fn clear(&self) {
        for part in &self.0 {
            part.store(0, Relaxed);
        }
    }
}

impl Counts {
    /// Whether at least `percent` of `requests_min` or more requests failed; never where `percent` is 0.
    pub fn reach(self, percent: u32, requests_min: u32) -> bool {
        percent > 0
            && self.total >= u64::from(requests_min).max(1)
            && self.failures * 100 >= u64::from(percent) * self.total
    }
}

/// The number of the part of time, from 1: the word 0 is "nothing counted".
fn stamp(now_ns: u64, window_ms: u64) -> u64 {
    now_ns / (window_ms * (1_000_000 / PARTS as u64)).max(1) + 1
}

fn pack(stamp: u64, total: u64, failures: u64) -> u64 {
    ((stamp & STAMP_MAX) << (2 * COUNT_BITS)) | (failures << COUNT_BITS) | total
}

fn unpack(word: u64) -> (u64, Counts) {
    let counts = Counts { total: word & COUNT_MAX, failures: (word >> COUNT_BITS) & COUNT_MAX };
    (word >> (2 * COUNT_BITS), counts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn one(failures: u64) -> Counts {
        Counts { total: 1, failures }
    }

    proptest! {
        /// Against a list of everything that happened.
        #[test]
        fn it_counts_what_a_list_counts(steps in prop::collection::vec((0_u64..4_000, 0_u64..2), 1..200)) {
            let (window, mut list, mut now_ms) = (Window::default(), Vec::new(), 0_u64);
            for (wait_ms, failed) in steps {
                now_ms += wait_ms;
                window.add(now_ms * MS, 10_000, one(failed));
                list.push((now_ms / 1_000, failed));
                let from = (now_ms / 1_000).saturating_sub(9);
                let within: Vec<_> = list.iter().filter(|(second, _)| *second >= from).collect();
                let expected = Counts {
                    total: within.len() as u64,
                    failures: within.iter().map(|(_, failed)| failed).sum(),
                };
                prop_assert_eq!(window.counts(now_ms * MS, 10_000), expected);
            }
        }
    }

    #[test]
    fn a_late_clock_and_a_changed_length_do_no_harm() {
        let window = Window::default();
        window.add(20_000 * MS, 10_000, one(1));
        window.add(10_000 * MS, 10_000, one(1));
        assert_eq!(window.counts(20_000 * MS, 10_000), one(1), "a round late");
        assert_eq!(window.counts(20_000 * MS, 1_000), Counts::default(), "parts of another length");
        window.clear();
        assert_eq!(window.counts(20_000 * MS, 10_000), Counts::default());
    }

    #[test]
    fn a_count_stops_at_its_end() {
        let window = Window::default();
        for _ in 0..3 {
            window.add(0, 1_000, Counts { total: COUNT_MAX - 1, failures: 1 });
        }
        assert_eq!(window.counts(0, 1_000), Counts { total: COUNT_MAX, failures: 3 });
    }

    #[test]
    fn a_rate_is_reached_at_it_and_not_before_enough_requests() {
        let reach = |failures, total| Counts { total, failures }.reach(50, 20);
        assert!(reach(10, 20) && !reach(9, 20) && !reach(19, 19) && reach(15, 30) && !reach(14, 30));
        assert!(!Counts { total: 100, failures: 100 }.reach(0, 20));
    }
}
