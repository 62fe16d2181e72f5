//! From the workers to the thread that exports: a queue with a bound, which nobody waits for.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::kept::Kept;

/// Why a request is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Why {
    /// Its trace was drawn, here or before.
    Drawn,
    /// It came to a bad end.
    Failed,
    /// It took long.
    Slow,
}

/// Every [`Why`] as metrics spell it.
pub const WHYS: [&str; 3] = ["sampled", "failed", "slow"];

/// Why nobody learns of a request that was to be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Loss {
    /// Too many of those that were not drawn failed or were slow in this second.
    Budget,
    /// The queue is full: the collector is slower than requests come.
    Queue,
    /// The collector did not take it.
    Export,
}

/// Every [`Loss`] as metrics spell it.
pub const LOSSES: [&str; 3] = ["budget", "queue", "export"];

/// See the module.
#[derive(Debug)]
pub struct Handing {
    queue: Sender<Box<Kept>>,
    /// How many have been handed on since the other side last looked: it is woken by the first, and by one that fills a batch. Waking it for each would
    /// cost every request a system call.
    waiting: AtomicUsize,
    batch: usize,
    first: Notify,
    full: Notify,
    ends: AtomicBool,
    kept: [AtomicU64; WHYS.len()],
    lost: [AtomicU64; LOSSES.len()],
    exported: AtomicU64,
}

impl Handing {
    /// A queue of at most `room`, whose other side takes `batch` at a time.
    pub fn new(room: usize, batch: usize) -> (Self, Receiver<Box<Kept>>) {
        let (queue, taken) = channel(room);
        let handing = Self {
            queue,
            waiting: AtomicUsize::new(0),
            batch,
            first: Notify::new(),
            full: Notify::new(),
            ends: AtomicBool::new(false),
            kept: Default::default(),
            lost: Default::default(),
            exported: AtomicU64::new(0),
        };
        (handing, taken)
    }

    /// Hands on a request; it is made only if there is room for it.
    pub fn hand(&self, why: Why, make: impl FnOnce() -> Kept) {
        let Ok(place) = self.queue.try_reserve() else { return self.lost(Loss::Queue, 1) };
        place.send(Box::new(make()));
        self.kept[why as usize].fetch_add(1, Relaxed);
        let before = self.waiting.fetch_add(1, SeqCst);
        if before == 0 {
            self.first.notify_one();
        } else if before + 1 == self.batch {
            self.full.notify_one();
        }
    }

    /// So many requests are not told of.
    pub fn lost(&self, loss: Loss, count: usize) {
        self.lost[loss as usize].fetch_add(count as u64, Relaxed);
    }

    /// So many have come to the collector.
    pub fn exported(&self, count: usize) {
        self.exported.fetch_add(count as u64, Relaxed);
    }

    /// Nothing more will come.
    pub fn end(&self) {
        self.ends.store(true, SeqCst);
        self.first.notify_one();
        self.full.notify_one();
    }

    /// Whether nothing more will come.
    pub fn ends(&self) -> bool {
        self.ends.load(SeqCst)
    }

    /// Waits for the first that is handed on.
    pub async fn begins(&self) {
        self.first.notified().await;
    }

    /// Waits for so many that they fill a batch.
    pub async fn fills(&self) {
        self.full.notified().await;
    }

    /// All that has been handed on is about to be taken.
    pub fn taken(&self) {
        self.waiting.store(0, SeqCst);
    }

    /// Requests told of, by [`Why`].
    pub fn count_kept(&self) -> [u64; WHYS.len()] {
        std::array::from_fn(|index| self.kept[index].load(Relaxed))
    }

    /// Requests not told of, by [`Loss`].
    pub fn count_lost(&self) -> [u64; LOSSES.len()] {
        std::array::from_fn(|index| self.lost[index].load(Relaxed))
    }

    /// Requests that the collector has taken.
    pub fn count_exported(&self) -> u64 {
        self.exported.load(Relaxed)
    }
}
