//! Which endpoint of a cluster a request goes to.
//!
//! The default is the power of two choices on `latency estimate × (in flight + 1)`: of two endpoints drawn at random, the cheaper
//! one (Mitzenmacher 2001; peak-EWMA as in Finagle). It needs no lock, reads two words per candidate, and avoids a slow or failing
//! endpoint without being told.
//!
//! # Weights
//! Candidates are drawn in proportion to weight, and what is in flight to each is divided by its share. The textbook form, cost
//! divided by weight, agrees with this under load; but on a quiet cluster, where nothing is in flight, it sends everything to the
//! heavier of two. Drawing twice may hit the same endpoint, which is right as long as it is well: only if it is clearly worse than
//! another is the other taken, so that a failing endpoint cannot live on its weight. A new endpoint's share grows in the same way.
//!
//! # Health
//! Endpoints that are out get nothing, but for the one request that finds out whether one is back. While all are well, that costs one
//! load per pick.
//!
//! # Zones
//! Where the proxy's own zone is preferred, the zone is drawn first and then one of its endpoints, in the same way as one of all: see
//! [`zones`].
//!
//! # Subsets
//! Where callers and endpoints are so many that not everyone is to call everyone, each caller has some of the endpoints, and one of these is
//! picked in the same way: see [`subset`].
//!
//! # Limits
//! An endpoint that has as many requests in flight as it may is passed over like one that is out. Two workers that pick at the same
//! instant may both take the last place.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use outrigger_snapshot::policy::Balance;

use self::alias::AliasTable;
use self::hashed::ring;
use self::screen::Screen;
use self::shard::Shards;
use self::subset::{Subset, Subsetting};
use self::zones::{Preference, Zones};
use super::endpoint::Endpoint;
use super::hash_ring::HashRing;
use super::health::ClusterHealth;

pub use self::hashed::BOUNDED_LOAD;
pub use self::picked::{PICK_REASONS, PickReason, Picked};

mod alias;
pub mod aperture;
mod choice;
mod hashed;
pub mod peak_ewma;
mod picked;
mod schedule;
pub(super) mod screen;
mod shard;
pub mod subset;
pub mod zones;

#[cfg(test)]
mod tests;

/// An endpoint as one plan sees it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its state, shared with other plans and workers.
    pub endpoint: Arc<Endpoint>,
    /// Its share of the requests, relative to the others'; 0 gets none.
    pub weight: u32,
    /// The zone it runs in.
    pub zone: Option<Arc<str>>,
}

/// The endpoints of a cluster in one plan, and how one of them is picked. Immutable but for the turn of round robin.
#[derive(Debug)]
pub struct EndpointSet {
    /// Those that get requests first, then those of weight 0.
    entries: Box<[Entry]>,
    /// How many get requests.
    open: usize,
    /// Where the open entries' weights differ.
    shares: Option<Shares>,
    method: Method,
    health: Arc<ClusterHealth>,
    /// Requests in flight with which an endpoint gets no more; 0: any number.
    limit: u32,
    /// Where some of them come before the others.
    part: Option<Part>,
}

/// Which of a set's endpoints come before the others.
#[derive(Debug)]
enum Part {
    /// Those of the proxy's own zone.
    Zones(Box<Zones>),
    /// Those that are this caller's.
    Subset(Box<Subset>),
}

#[derive(Debug)]
struct Shares {
    table: AliasTable,
    /// Mean weight ÷ own weight.
    inverse: Box<[f32]>,
}

#[derive(Debug)]
enum Method {
    PeakEwma,
    LeastRequest,
    RoundRobin {
        round: Box<[u32]>,
        /// Turns taken, from a start that is drawn with the first pick, so that proxies do not march in step.
        turn: AtomicU64,
    },
    Random,
    ConsistentHash(HashRing),
    ShuffleShard(Shards),
}

impl EndpointSet {
    /// Prepares picking among `entries`; takes time and memory in proportion to their number, so it happens with the plan.
    pub fn new(mut entries: Vec<Entry>, balance: &Balance) -> Self {
        entries.sort_by_key(|entry| entry.weight == 0);
        let open = entries.partition_point(|entry| entry.weight > 0);
        let weights: Vec<u32> = entries[..open].iter().map(|entry| entry.weight).collect();
        let method = match balance {
            Balance::PeakEwma => Method::PeakEwma,
            Balance::LeastRequest => Method::LeastRequest,
            Balance::RoundRobin => {
                Method::RoundRobin { round: schedule::round(&weights), turn: AtomicU64::new(0) }
            }
            Balance::Random => Method::Random,
            Balance::ConsistentHash(_) => Method::ConsistentHash(ring(&entries[..open])),
            Balance::ShuffleShard(shard) => {
                Method::ShuffleShard(Shards::new(ring(&entries[..open]), shard.size, open))
            }
        };
        let shares = weights.windows(2).any(|pair| pair[0] != pair[1]).then(|| Shares::new(&weights));
        // All are of one cluster.
        let health = entries.first().map(|entry| entry.endpoint.cluster_health().clone()).unwrap_or_default();
        let (limit, part) = (0, None);
        Self { entries: entries.into_boxed_slice(), open, shares, method, health, limit, part }
    }

    /// The same with at most `limit` requests in flight to each endpoint; 0: any number.
    pub fn limited(mut self, limit: u32) -> Self {
        self.limit = limit;
        self.part = self.part.map(|part| match part {
            Part::Zones(zones) => Part::Zones(Box::new(zones.limited(limit))),
            Part::Subset(subset) => Part::Subset(Box::new(subset.limited(limit))),
        });
        self
    }

    /// The same with a preference for endpoints of the proxy's own zone. None of it where a key decides, or the zone of no endpoint is known.
    pub fn preferring(mut self, preference: &Preference, balance: &Balance, now_ns: u64) -> Self {
        if balance.key().is_none() {
            self.part = Zones::new(&self, preference, balance).map(|zones| Part::Zones(Box::new(zones)));
            self.weigh(now_ns);
        }
        self
    }

    /// The same for a caller that has some of the endpoints, where the requests in flight ask for `wanted`. None of it where a key decides, or
    /// the own zone is preferred.
    pub fn narrowed(mut self, subsetting: &Subsetting, wanted: usize, balance: &Balance) -> Self {
        if balance.key().is_none() && self.part.is_none() {
            let subset = Subset::new(&self, subsetting, wanted, balance);
            self.part = subset.map(|subset| Part::Subset(Box::new(subset)));
        }
        self
    }

    /// Fits what comes first to how the endpoints are.
    pub fn weigh(&self, now_ns: u64) {
        match &self.part {
            Some(Part::Zones(zones)) => zones.weigh(&self.health, now_ns),
            Some(Part::Subset(subset)) => subset.weigh(),
            None => {}
        }
    }

    /// Whether the own zone is preferred, as far as health allows.
    pub fn prefers_zone(&self) -> bool {
        matches!(self.part, Some(Part::Zones(_)))
    }

    /// Those that are this caller's; `None`: all.
    pub fn subset(&self) -> Option<&[Entry]> {
        match &self.part {
            Some(Part::Subset(subset)) => Some(subset.open()),
            Some(Part::Zones(_)) | None => None,
        }
    }

    /// All endpoints, also those of weight 0.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Those that get requests, if they are well.
    pub fn open(&self) -> &[Entry] {
        &self.entries[..self.open]
    }

    /// How many endpoints the tries of one request can go to.
    pub fn reach(&self) -> usize {
        match &self.method {
            Method::ShuffleShard(shards) => shards.size(),
            _ => self.open,
        }
    }

    /// Whether a request that must not go to those in `avoid` has somewhere to go: to one that is well and has room, of its shard if it has one.
    pub fn has_other(&self, hash_key: Option<u64>, avoid: &[u32]) -> bool {
        let free = |entry: &Entry| {
            let endpoint = &entry.endpoint;
            let room = self.limit == 0 || endpoint.in_flight() < self.limit;
            room && !avoid.contains(&endpoint.id()) && endpoint.standing().is_available()
        };
        match &self.method {
            Method::ShuffleShard(shards) => self.of_shard(shards, hash_key).any(free),
            _ => self.open().iter().any(free),
        }
    }

    /// Picks an endpoint at `now_ns` (nanoseconds since the process started); `None` if none has a weight, or all that may serve the
    /// request have as much in flight as they may. `random` yields 64 random bits per call. `hash_key` is what consistent hashing and
    /// shuffle sharding go by ([`stable_hash`](super::hash_ring::stable_hash) of the request's key); without one the request goes
    /// anywhere, or to the shard of those without. Endpoints whose ids are in `avoid`, such as those already tried, are picked only when
    /// there is no other that is well. Neither allocates nor locks.
    pub fn pick(
        &self,
        now_ns: u64,
        random: &mut impl FnMut() -> u64,
        hash_key: Option<u64>,
        avoid: &[u32],
    ) -> Option<Picked<'_>> {
        let (entry, reason) = self.pick_entry(now_ns, random, hash_key, avoid)?;
        if let Some(Part::Zones(zones)) = &self.part {
            zones.count(entry);
        }
        Some(Picked { endpoint: &entry.endpoint, reason })
    }

    fn pick_entry(
        &self,
        now_ns: u64,
        random: &mut impl FnMut() -> u64,
        hash_key: Option<u64>,
        avoid: &[u32],
    ) -> Option<(&Entry, PickReason)> {
        let open = self.open();
        if open.is_empty() {
            return None;
        }
        let screen = &Screen::new(open, &self.health, avoid, now_ns, self.limit);
        let (index, reason) = match &self.method {
            Method::ConsistentHash(ring) => {
                let key = hash_key.unwrap_or_else(&mut *random);
                let home = ring.walk(key).next().unwrap_or_default();
                match self.trial(home, screen, now_ns) {
                    Some(index) => (index, PickReason::Trial),
                    None => {
                        let index = self.admitted(self.hashed(ring, key, screen), screen)?;
                        (index, if index == home { PickReason::Hash } else { PickReason::Overflow })
                    }
                }
            }
            Method::ShuffleShard(shards) => self.sharded(shards, hash_key, now_ns, random, screen)?,
            method => {
                // Among all, whatever comes first: else nobody would find out that a zone is back.
                let drawn = screen.looks().then(|| below(self.open, random()));
                let trial = drawn.and_then(|index| self.trial(index, screen, now_ns));
                if let (None, Some(part)) = (trial, &self.part)
                    && let Some(first) = part.draw(random, screen)
                    && let Some(picked) = first.pick_entry(now_ns, random, hash_key, avoid)
                {
                    return Some(picked);
                }
                match trial {
                    Some(index) => (index, PickReason::Trial),
                    None if open.len() == 1 => (self.admitted(0, screen)?, PickReason::Only),
                    None => {
                        let index = self.by(method, screen, now_ns, random);
                        (self.admitted(index, screen)?, method.reason(screen.repeats()))
                    }
                }
            }
        };
        let panics = screen.panics() && reason != PickReason::Trial;
        Some((&open[index], if panics { PickReason::Panic } else { reason }))
    }

    fn by(
        &self,
        method: &Method,
        screen: &Screen<'_>,
        now_ns: u64,
        random: &mut impl FnMut() -> u64,
    ) -> usize {
        match method {
            Method::PeakEwma => self.two_choices(Some(now_ns), random, screen),
            Method::LeastRequest => self.two_choices(None, random, screen),
            Method::RoundRobin { round, turn } => self.in_turn(round, turn, random, screen),
            Method::Random | Method::ConsistentHash(_) | Method::ShuffleShard(_) => self.draw(random, screen),
        }
    }

    /// `index`, unless it is full, or out while others that are full are not.
    fn admitted(&self, index: usize, screen: &Screen<'_>) -> Option<usize> {
        if !screen.limits() {
            return Some(index);
        }
        let entry = &self.entries[index];
        let serves =
            screen.is_in_service(entry) || !self.open().iter().any(|other| screen.is_in_service(other));
        (serves && screen.has_room(entry)).then_some(index)
    }

    /// `index`, if it is out, and time to find out whether it is back: whoever draws it first sends the request that does.
    fn trial(&self, index: usize, screen: &Screen<'_>, now_ns: u64) -> Option<usize> {
        let entry = &self.entries[index];
        (screen.looks() && !screen.is_avoided(entry) && entry.endpoint.claim(now_ns)).then_some(index)
    }

    fn in_flight(&self, index: usize) -> f32 {
        self.entries[index].endpoint.in_flight() as f32
    }

    fn inverse_share(&self, index: usize, screen: &Screen<'_>) -> f32 {
        let share = self.shares.as_ref().map_or(1.0, |shares| shares.inverse[index]);
        if screen.looks() { share / screen.ramp(&self.entries[index]) } else { share }
    }
}

impl Part {
    /// Those among which an endpoint is picked first; `None`: all.
    fn draw(&self, random: &mut impl FnMut() -> u64, screen: &Screen<'_>) -> Option<&EndpointSet> {
        match self {
            Self::Zones(zones) => zones.draw(random(), screen),
            Self::Subset(subset) => subset.endpoints(screen),
        }
    }
}

impl Method {
    /// What it picks an endpoint for, where there are several.
    fn reason(&self, repeats: bool) -> PickReason {
        match self {
            Self::PeakEwma | Self::LeastRequest => PickReason::Cheaper,
            Self::RoundRobin { .. } if repeats => PickReason::Random,
            Self::RoundRobin { .. } => PickReason::Turn,
            Self::Random => PickReason::Random,
            Self::ConsistentHash(_) => PickReason::Hash,
            Self::ShuffleShard(_) => PickReason::Shard,
        }
    }
}

impl Shares {
    fn new(weights: &[u32]) -> Self {
        let mean = weights.iter().map(|weight| f64::from(*weight)).sum::<f64>() / weights.len() as f64;
        let inverse = weights.iter().map(|weight| (mean / f64::from(*weight)) as f32).collect();
        Self { table: AliasTable::new(weights), inverse }
    }
}

/// A number below `count` from 64 random bits (Lemire's multiplication, without the rejection: the bias is below 2^−32·count).
fn below(count: usize, random: u64) -> usize {
    (((random >> 32) * count as u64) >> 32) as usize
}
