//! Buckets of a limit that all proxies count together, through a store. A request looks only at what is here; a round in between tells the
//! store and learns from it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cell::{Answer, Cell, Quota, Told};
use super::link::{Link, Look};
use super::{KEYS_MAX, SEARCH_NS, SHARDS};

/// All buckets, shared by all workers and by the one who talks to the store.
#[derive(Debug)]
pub(super) struct Counters {
    quota: Quota,
    link: Arc<Link>,
    /// Proxies that count, for the share of one that does not know its own while the store is there.
    peers: AtomicU32,
    shards: Box<[Mutex<Shard>]>,
    /// Those that have something to tell, each once: at most [`KEYS_MAX`] and the overflow.
    queue: Mutex<VecDeque<Queued>>,
    overflow: AtomicU64,
    alone: AtomicU64,
    share_ppm: AtomicU32,
}

#[derive(Debug, Default)]
struct Shard {
    cells: HashMap<u64, Cell>,
    /// The one bucket of all that have no room.
    overflow: Cell,
    searched_ns: u64,
}

/// Where a bucket is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Cell(u64),
    Overflow(usize),
}

#[derive(Debug, Clone, Copy)]
struct Queued {
    since_ns: u64,
    place: Place,
}

impl Counters {
    pub(super) fn new(quota: Quota, link: Arc<Link>) -> Self {
        let shard = |index| {
            let overflow = Cell::new(index as u128, 0);
            Mutex::new(Shard { overflow, ..Shard::default() })
        };
        Self {
            quota,
            link,
            peers: AtomicU32::new(1),
            shards: (0..SHARDS).map(shard).collect(),
            queue: Mutex::default(),
            overflow: AtomicU64::new(0),
            alone: AtomicU64::new(0),
            share_ppm: AtomicU32::new(0),
        }
    }

    pub(super) fn set_peers(&self, peers: u32) {
        self.peers.store(peers.max(1), Relaxed);
    }

    /// Buckets that are kept.
    pub(super) fn keys(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).cells.len()).sum()
    }

    /// Requests that met a bucket that others share because there was no room for one of their own.
    pub(super) fn overflow(&self) -> u64 {
        self.overflow.load(Relaxed)
    }

    /// Requests that were decided without the store.
    pub(super) fn alone(&self) -> u64 {
        self.alone.load(Relaxed)
    }

    /// The share that the last of these was held to, in parts of a million; 0: there was none.
    pub(super) fn share_ppm(&self) -> u32 {
        self.share_ppm.load(Relaxed)
    }

    /// How long a total is to be kept in the store after the last count.
    pub(super) fn kept_ms(&self) -> u64 {
        (self.quota.period_ns / 1_000_000).saturating_mul(2).saturating_add(10_000)
    }

    /// Decides on a request; `digest` names its bucket in the store.
    pub(super) fn decide(&self, key: u64, digest: impl FnOnce() -> u128, now_ns: u64) -> Result<(), u64> {
        let look = self.link.look(now_ns);
        let index = (key % SHARDS as u64) as usize;
        let mut shard = lock(&self.shards[index]);
        if let Some(cell) = shard.cells.get_mut(&key) {
            return self.decide_in(cell, Place::Cell(key), look, now_ns);
        }
        let window = look.store_ns / self.quota.period_ns;
        let full = |shard: &Shard| shard.cells.len() >= KEYS_MAX / SHARDS;
        if full(&shard) && now_ns.saturating_sub(shard.searched_ns) >= SEARCH_NS {
            shard.searched_ns = now_ns;
            shard.cells.retain(|_, cell| !cell.is_forgettable(window, now_ns));
        }
        if full(&shard) {
            self.overflow.fetch_add(1, Relaxed);
            self.decide_in(&mut shard.overflow, Place::Overflow(index), look, now_ns)
        } else {
            let cell = shard.cells.entry(key).or_insert_with(|| Cell::new(digest(), window));
            self.decide_in(cell, Place::Cell(key), look, now_ns)
        }
    }

    fn decide_in(&self, cell: &mut Cell, place: Place, look: Look, now_ns: u64) -> Result<(), u64> {
        let peer_ppm = 1_000_000 / self.peers.load(Relaxed);
        let decision = cell.decide(&self.quota, look, peer_ppm, now_ns);
        if let Some(share_ppm) = decision.share_ppm {
            self.alone.fetch_add(1, Relaxed);
            self.share_ppm.store(share_ppm, Relaxed);
        }
        if decision.outcome.is_ok() && !cell.queued {
            cell.queued = true;
            lock(&self.queue).push_back(Queued { since_ns: now_ns, place });
        }
        decision.outcome
    }

    /// Since when the first in the queue has had something to tell.
    pub(super) fn oldest_ns(&self) -> Option<u64> {
        lock(&self.queue).front().map(|queued| queued.since_ns)
    }

    /// What the first in the queue has to tell, and its name in the store. `None` if nothing any more.
    pub(super) fn take(&self) -> Option<(Place, u128, Told)> {
        let Queued { place, .. } = lock(&self.queue).pop_front()?;
        self.with(place, |cell| Some((place, cell.digest, cell.take()?)))?
    }

    /// Tells the bucket what became of it.
    pub(super) fn settle(&self, place: Place, answer: Answer, now_ns: u64) {
        self.with(place, |cell| {
            if cell.settle(answer, now_ns) && !cell.queued {
                cell.queued = true;
                lock(&self.queue).push_back(Queued { since_ns: now_ns, place });
            }
        });
    }

    fn with<T>(&self, place: Place, look: impl FnOnce(&mut Cell) -> T) -> Option<T> {
        match place {
            Place::Cell(key) => {
                lock(&self.shards[(key % SHARDS as u64) as usize]).cells.get_mut(&key).map(look)
            }
            Place::Overflow(index) => Some(look(&mut lock(&self.shards[index]).overflow)),
        }
    }
}

/// What a panic left is still true: every change of a bucket is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
