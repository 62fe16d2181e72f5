//! Shuffle sharding: each key has a few of the endpoints for its own, and hardly two keys have the same. A request that kills whoever
//! serves it takes its own key's endpoints along and no more: of n endpoints, k to a key, one other key in C(n, k) is out with it.
//!
//! Endpoints that are out are not made up for by others, since those would be the next.

use outrigger_snapshot::validate::SHARD_ENDPOINTS_MAX;

use super::screen::Screen;
use super::{EndpointSet, Entry, PickReason, below};
use crate::cluster::hash_ring::{HashRing, mix};

/// What requests without a key go by: they are one tenant.
const NO_KEY: u64 = 0;

/// Which endpoints a key has.
#[derive(Debug)]
pub(super) struct Shards {
    ring: HashRing,
    size: usize,
}

/// Some endpoints, by their index.
#[derive(Debug, Default)]
struct Shard {
    indexes: [u32; SHARD_ENDPOINTS_MAX as usize],
    count: usize,
}

impl Shard {
    fn push(&mut self, index: usize) {
        if let Some(place) = self.indexes.get_mut(self.count) {
            *place = index as u32;
            self.count += 1;
        }
    }

    fn len(&self) -> usize {
        self.count
    }

    fn nth(&self, nth: usize) -> usize {
        self.indexes[nth] as usize
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.indexes[..self.count].iter().map(|index| *index as usize)
    }
}

impl Shards {
    /// Shards of `size` among the `open` endpoints of `ring`; all of them, where there are no more.
    pub(super) fn new(ring: HashRing, size: u32, open: usize) -> Self {
        Self { ring, size: (size.clamp(1, SHARD_ENDPOINTS_MAX) as usize).min(open) }
    }

    /// How many endpoints a key has.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The endpoints of `key`: as many draws from the ring, each passing over those that are drawn. One that leaves is made up for by
    /// another; the others mostly stay.
    fn of(&self, key: u64) -> Shard {
        let mut shard = Shard::default();
        for nth in 0..self.size as u64 {
            let mut walk = self.ring.walk(key ^ mix(nth));
            if let Some(index) = walk.find(|index| shard.iter().all(|drawn| drawn != *index)) {
                shard.push(index);
            }
        }
        shard
    }
}

impl EndpointSet {
    /// Those of a key's shard.
    pub(super) fn of_shard(&self, shards: &Shards, key: Option<u64>) -> impl Iterator<Item = &Entry> {
        let shard = shards.of(key.unwrap_or(NO_KEY));
        (0..shard.len()).map(move |nth| &self.entries[shard.nth(nth)])
    }

    /// The better of two from the shard of `key`; `None` if those that serve are full.
    pub(super) fn sharded(
        &self,
        shards: &Shards,
        key: Option<u64>,
        now_ns: u64,
        random: &mut impl FnMut() -> u64,
        screen: &Screen<'_>,
    ) -> Option<(usize, PickReason)> {
        let shard = shards.of(key.unwrap_or(NO_KEY));
        if screen.looks() {
            let drawn = shard.nth(below(shard.len(), random()));
            if let Some(index) = self.trial(drawn, screen, now_ns) {
                return Some((index, PickReason::Trial));
            }
        }
        let mut takers = Shard::default();
        for index in shard.iter().filter(|index| screen.takes(&self.entries[*index], random)) {
            takers.push(index);
        }
        let index = match takers.len() {
            0 => self.left_of(&shard, random, screen)?,
            1 => takers.nth(0),
            count => {
                let first = below(count, random());
                let second = (first + 1 + below(count - 1, random())) % count;
                self.cheaper(takers.nth(first), takers.nth(second), Some(now_ns), screen)
            }
        };
        Some((index, PickReason::Shard))
    }

    /// One of a shard of which nobody takes the request: tried before, of a small share, or out.
    fn left_of(&self, shard: &Shard, random: &mut impl FnMut() -> u64, screen: &Screen<'_>) -> Option<usize> {
        let start = below(shard.len(), random());
        let line = || shard.iter().skip(start).chain(shard.iter().take(start));
        let entry = |index: &usize| &self.entries[*index];
        let in_service = |index: &usize| screen.is_in_service(entry(index));
        let has_room = |index: &usize| screen.has_room(entry(index));
        let fresh = |index: &usize| !screen.is_avoided(entry(index)) && has_room(index);
        if line().any(|index| in_service(&index)) {
            let serves = |index: &usize| screen.serves(entry(index));
            return line().find(serves).or_else(|| line().find(|index| in_service(index) && has_room(index)));
        }
        line().find(fresh).or_else(|| line().find(has_room))
    }
}

#[cfg(test)]
mod tests;
