//! What a breaker knows of recent requests: how many failed, and how many were slow.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use outrigger_snapshot::policy::BreakerWindow;

use crate::cluster::window::{Counts, Window};

/// How one request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// Over a time or over the last requests.
#[derive(Debug)]
pub(super) enum Rates {
    Time { window_ms: u64, failed: Window, slow: Window },
    Count(Last),
}

/// The last requests: one cell each, filled in turn.
#[derive(Debug)]
pub(super) struct Last {
    cells: Box<[AtomicU8]>,
    turn: AtomicU64,
    failed: AtomicU32,
    slow: AtomicU32,
}

const FAILED: u8 = 1;
const SLOW: u8 = 2;

impl Rates {
    pub(super) fn new(window: BreakerWindow) -> Self {
        match window {
            BreakerWindow::TimeMs(window_ms) => {
                Self::Time { window_ms, failed: Window::default(), slow: Window::default() }
            }
            BreakerWindow::Count(count) => Self::Count(Last {
                cells: (0..count.max(1)).map(|_| AtomicU8::new(0)).collect(),
                turn: AtomicU64::new(0),
                failed: AtomicU32::new(0),
                slow: AtomicU32::new(0),
            }),
        }
    }

    pub(super) fn add(&self, verdict: Verdict, now_ns: u64) {
        match self {
            Self::Time { window_ms, failed, slow } => {
                failed.add(now_ns, *window_ms, Counts { total: 1, failures: verdict.failed.into() });
                if verdict.slow {
                    slow.add(now_ns, *window_ms, Counts { total: 1, failures: 1 });
                }
            }
            Self::Count(last) => last.add(verdict),
        }
    }

    /// All and failed, all and slow.
    pub(super) fn counts(&self, now_ns: u64) -> (Counts, Counts) {
        match self {
            Self::Time { window_ms, failed, slow } => {
                let failed = failed.counts(now_ns, *window_ms);
                let slow = slow.counts(now_ns, *window_ms).failures;
                (failed, Counts { total: failed.total, failures: slow })
            }
            Self::Count(last) => {
                let total = last.turn.load(Relaxed).min(last.cells.len() as u64);
                let of = |count: &AtomicU32| Counts { total, failures: count.load(Relaxed).into() };
                (of(&last.failed), of(&last.slow))
            }
        }
    }

    pub(super) fn clear(&self) {
        match self {
            Self::Time { failed, slow, .. } => {
                failed.clear();
                slow.clear();
            }
            Self::Count(last) => {
                for cell in &last.cells {
                    last.replace(cell, 0);
                }
                last.turn.store(0, Relaxed);
            }
        }
    }
}

impl Last {
    fn add(&self, verdict: Verdict) {
        let turn = self.turn.fetch_add(1, Relaxed) % self.cells.len() as u64;
        let mark = (FAILED * u8::from(verdict.failed)) | (SLOW * u8::from(verdict.slow));
        self.replace(&self.cells[turn as usize], mark);
    }

    /// Whoever takes a mark out takes it off the counts, too: they are always what the cells add up to, but for a moment.
    fn replace(&self, cell: &AtomicU8, mark: u8) {
        let before = cell.swap(mark, Relaxed);
        for (bit, count) in [(FAILED, &self.failed), (SLOW, &self.slow)] {
            match (before & bit != 0, mark & bit != 0) {
                (false, true) => count.fetch_add(1, Relaxed),
                (true, false) => count.fetch_sub(1, Relaxed),
                (true, true) | (false, false) => continue,
            };
        }
    }
}
