//! Buckets of a limit that this proxy alone counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::gcra::Gcra;
use super::{KEYS_MAX, SEARCH_NS, SHARDS};

/// All buckets, shared by all workers.
#[derive(Debug)]
pub(super) struct Buckets {
    law: Gcra,
    /// The one bucket of a limit without a key.
    single: AtomicU64,
    shards: Box<[Mutex<Shard>]>,
    overflow: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    full_ns: HashMap<u64, u64>,
    overflow_full_ns: u64,
    searched_ns: u64,
}

impl Buckets {
    pub(super) fn new(law: Gcra) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { law, single: AtomicU64::new(0), shards, overflow: AtomicU64::new(0) }
    }

    /// Buckets that are kept.
    pub(super) fn keys(&self) -> usize {
        let lock = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).full_ns.len();
        self.shards.iter().map(lock).sum()
    }

    /// Requests that met a bucket that others share because there was no room for one of their own.
    pub(super) fn overflow(&self) -> u64 {
        self.overflow.load(Relaxed)
    }

    pub(super) fn decide_single(&self, now_ns: u64) -> Result<(), u64> {
        let mut full_ns = self.single.load(Relaxed);
        loop {
            let next_ns = self.law.decide(full_ns, now_ns)?;
            match self.single.compare_exchange_weak(full_ns, next_ns, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => full_ns = changed,
            }
        }
    }

    pub(super) fn decide(&self, key: u64, now_ns: u64) -> Result<(), u64> {
        let shard = &self.shards[(key % SHARDS as u64) as usize];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_ns) = shard.full_ns.get_mut(&key) {
            *full_ns = self.law.decide(*full_ns, now_ns)?;
            return Ok(());
        }
        if shard.full_ns.len() >= KEYS_MAX / SHARDS && now_ns.saturating_sub(shard.searched_ns) >= SEARCH_NS {
            shard.searched_ns = now_ns;
            shard.full_ns.retain(|_, full_ns| *full_ns > now_ns);
        }
        if shard.full_ns.len() >= KEYS_MAX / SHARDS {
            self.overflow.fetch_add(1, Relaxed);
            shard.overflow_full_ns = self.law.decide(shard.overflow_full_ns, now_ns)?;
        } else {
            let full_ns = self.law.decide(0, now_ns)?;
            shard.full_ns.insert(key, full_ns);
        }
        Ok(())
    }
}
