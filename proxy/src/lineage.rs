//! What a call to the workload hands down to the calls that the workload makes for it, and what becomes of those.
//!
//! An application stands between the two and copies no field of ours. But instrumented applications pass on `traceparent` (W3C Trace Context
//! §3.2), and many `x-request-id`: so the call to the workload is remembered under both for as long as it runs, and its own calls find it
//! there. They inherit its deadline and priority. And when one of them failed and was retried here as far as it may be, the answer to the
//! caller says `outrigger-no-retry`, so that of a chain of sidecars one retries, not all.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::header::HeaderName;
use outrigger_snapshot::head::RequestHead;

use crate::http::forwarded::REQUEST_ID;
use crate::overload::priority::Priority;

/// Names that are remembered at a time; calls beyond hand nothing down.
pub const NAMES_MAX: usize = 65_536;
/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 16;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A name of a call that is remembered: a salted hash, so that nobody can make names that meet.
pub type Key = u64;

/// The names under which a call is remembered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Names([Option<Key>; 2]);

impl Names {
    fn known(self) -> impl Iterator<Item = Key> {
        self.0.into_iter().flatten()
    }
}

/// What is handed down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inheritance {
    /// After which nobody waits for the answer, on [`crate::clock`]; `u64::MAX`: none.
    pub deadline_ns: u64,
    /// How much it matters.
    pub priority: Priority,
    /// Whether its caller had sent it before.
    pub retried: bool,
}

/// The call to the workload on whose behalf another is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// Its name.
    pub key: Key,
    /// What it hands down.
    pub inheritance: Inheritance,
}

/// Calls to the workload under way, shared by all workers.
#[derive(Debug)]
pub struct Lineages {
    hasher: RandomState,
    shards: [Mutex<Calls>; SHARDS],
    remembered: AtomicUsize,
    /// Of the process; each inbound call adds to it.
    unremembered: AtomicU64,
}

type Calls = HashMap<Key, Call, BuildHasherDefault<AsIs>>;

/// Keys are hashes already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[derive(Debug)]
struct Call {
    inheritance: Inheritance,
    /// Several calls may be of one trace.
    under_way: u32,
    spent: bool,
}

impl Default for Lineages {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: Default::default(),
            remembered: AtomicUsize::new(0),
            unremembered: AtomicU64::new(0),
        }
    }
}

impl Lineages {
    /// Remembers a call to the workload until [`Self::forget`], under all its names: which of them the workload passes on is not known.
    /// Calls of one name share what is most generous, as it cannot be told which of them a further call belongs to.
    pub fn remember(&self, head: &RequestHead, inheritance: Inheritance) -> Names {
        let names = [trace_id(head), request_id(head)];
        Names(names.map(|name| self.remember_as(self.hash(name?), inheritance)))
    }

    /// `None` if too many are under way.
    fn remember_as(&self, key: Key, inheritance: Inheritance) -> Option<Key> {
        let mut shard = self.shard(key);
        let full = shard.len() >= NAMES_MAX / SHARDS;
        match shard.get_mut(&key) {
            Some(call) => {
                let known = &mut call.inheritance;
                known.deadline_ns = known.deadline_ns.max(inheritance.deadline_ns);
                known.priority = known.priority.min(inheritance.priority);
                known.retried &= inheritance.retried;
                call.under_way += 1;
            }
            None if full => {
                self.unremembered.fetch_add(1, Relaxed);
                return None;
            }
            None => {
                shard.insert(key, Call { inheritance, under_way: 1, spent: false });
                self.remembered.fetch_add(1, Relaxed);
            }
        }
        Some(key)
    }

    /// The call is over.
    pub fn forget(&self, names: Names) {
        for key in names.known() {
            let mut shard = self.shard(key);
            if let Some(call) = shard.get_mut(&key) {
                call.under_way -= 1;
                if call.under_way == 0 {
                    shard.remove(&key);
                    self.remembered.fetch_sub(1, Relaxed);
                }
            }
        }
    }

    /// The call to the workload that one of the workload's own belongs to, if it can be told.
    pub fn parent(&self, head: &RequestHead) -> Option<Parent> {
        if self.remembered() == 0 {
            return None;
        }
        [trace_id(head), request_id(head)].into_iter().flatten().find_map(|name| {
            let key = self.hash(name);
            let inheritance = self.shard(key).get(&key)?.inheritance;
            Some(Parent { key, inheritance })
        })
    }

    /// A call made for it failed, and was retried as far as it may be: whoever retries it as a whole does all of that again.
    pub fn spend(&self, key: Key) {
        if let Some(call) = self.shard(key).get_mut(&key) {
            call.spent = true;
        }
    }

    /// Whether [`Self::spend`] was said of it.
    pub fn is_spent(&self, names: Names) -> bool {
        names.known().any(|key| self.shard(key).get(&key).is_some_and(|call| call.spent))
    }

    /// Names of calls under way that are remembered.
    pub fn remembered(&self) -> usize {
        self.remembered.load(Relaxed)
    }

    /// Names for which there was no room.
    pub fn unremembered(&self) -> u64 {
        self.unremembered.load(Relaxed)
    }

    fn hash(&self, name: &[u8]) -> Key {
        self.hasher.hash_one(name)
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Calls> {
        // Bits of the middle: the maps go by those at both ends.
        self.shards[(key >> 32) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `version-traceid-parentid-flags`, the second being 32 hexadecimal digits that are not all zero.
fn trace_id(head: &RequestHead) -> Option<&[u8]> {
    let value = head.header(&TRACEPARENT)?.as_bytes();
    let id = value.get(3..35)?;
    let whole = value.len() >= 55 && value[2] == b'-' && value[35] == b'-';
    let told = id.iter().all(u8::is_ascii_hexdigit) && id.iter().any(|digit| *digit != b'0');
    (whole && told).then_some(id)
}

fn request_id(head: &RequestHead) -> Option<&[u8]> {
    head.header(&REQUEST_ID).map(|value| value.as_bytes())
}

#[cfg(test)]
mod tests;
