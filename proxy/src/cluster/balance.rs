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

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use outrigger_snapshot::policy::Balance;

use self::alias::AliasTable;
use self::peak_ewma::LONG_IN_ITSELF;
use self::screen::Screen;
use super::endpoint::Endpoint;
use super::hash_ring::{HashRing, mix};
use super::health::ClusterHealth;

mod alias;
pub mod peak_ewma;
mod schedule;
pub(super) mod screen;

#[cfg(test)]
mod tests;

/// With consistent hashing, the most that an endpoint has in flight is this multiple of its fair share, rounded up (Mirrokni,
/// Thorup, Zadimoghaddam 2018); what is beyond walks on along the ring.
pub const BOUNDED_LOAD: f64 = 1.25;

/// How often a draw is repeated that hit an endpoint already tried, before the next one in line is taken.
const DRAWS_MAX: usize = 4;

/// The most that is presumed of an endpoint that was never measured, in nanoseconds.
const PRESUMED_NS: f32 = LONG_IN_ITSELF.as_nanos() as f32;

/// An endpoint drawn twice gives way to another only if it is worse by this factor.
const CLEARLY_WORSE: f32 = 4.0;

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
        };
        let shares = weights.windows(2).any(|pair| pair[0] != pair[1]).then(|| Shares::new(&weights));
        // All are of one cluster.
        let health = entries.first().map(|entry| entry.endpoint.cluster_health().clone()).unwrap_or_default();
        Self { entries: entries.into_boxed_slice(), open, shares, method, health }
    }

    /// All endpoints, also those of weight 0.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Those that get requests, if they are well.
    pub fn open(&self) -> &[Entry] {
        &self.entries[..self.open]
    }

    /// Picks an endpoint at `now_ns` (nanoseconds since the process started); `None` only if none has a weight. `random` yields 64
    /// random bits per call. `hash_key` is what consistent hashing goes by ([`stable_hash`](super::hash_ring::stable_hash) of the
    /// request's key); without one the request goes anywhere. Endpoints whose ids are in `avoid`, such as those already tried, are
    /// picked only when there is no other that is well. Neither allocates nor locks.
    pub fn pick(
        &self,
        now_ns: u64,
        random: &mut impl FnMut() -> u64,
        hash_key: Option<u64>,
        avoid: &[u32],
    ) -> Option<&Arc<Endpoint>> {
        let open = self.open();
        if open.is_empty() {
            return None;
        }
        let screen = &Screen::new(open, &self.health, avoid, now_ns);
        let index = match &self.method {
            Method::ConsistentHash(ring) => {
                let key = hash_key.unwrap_or_else(&mut *random);
                let home = ring.walk(key).next().unwrap_or_default();
                self.trial(home, screen, now_ns).unwrap_or_else(|| self.hashed(ring, key, screen))
            }
            method => {
                let trial = screen.looks().then(|| below(self.open, random()));
                match trial.and_then(|index| self.trial(index, screen, now_ns)) {
                    Some(index) => index,
                    None if open.len() == 1 => 0,
                    None => self.by(method, screen, now_ns, random),
                }
            }
        };
        Some(&open[index].endpoint)
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
            Method::Random => self.draw(random, screen),
            Method::ConsistentHash(ring) => self.hashed(ring, random(), screen),
        }
    }

    /// `index`, if it is out, and time to find out whether it is back: whoever draws it first sends the request that does.
    fn trial(&self, index: usize, screen: &Screen<'_>, now_ns: u64) -> Option<usize> {
        let entry = &self.entries[index];
        (screen.looks() && !screen.is_avoided(entry) && entry.endpoint.claim(now_ns)).then_some(index)
    }

    /// The better of two. `now_ns` is `None` where latency does not count.
    fn two_choices(
        &self,
        now_ns: Option<u64>,
        random: &mut impl FnMut() -> u64,
        screen: &Screen<'_>,
    ) -> usize {
        let first = self.draw(random, screen);
        let second = match &self.shares {
            None => self.draw_other(first, random, screen),
            Some(shares) => {
                Some(shares.table.draw(random())).filter(|index| screen.takes(&self.entries[*index], random))
            }
        };
        match second {
            None => first,
            Some(second) if second != first => {
                let (cost_first, cost_second) = self.costs(first, second, now_ns);
                let load = |index| self.in_flight(index) * self.inverse_share(index, screen) + 1.0;
                if cost_second * load(second) < cost_first * load(first) { second } else { first }
            }
            Some(_) => self.unless_clearly_worse(first, now_ns, random, screen),
        }
    }

    /// `first`, which was drawn twice, or another one if that is far faster, or far emptier for its share.
    fn unless_clearly_worse(
        &self,
        first: usize,
        now_ns: Option<u64>,
        random: &mut impl FnMut() -> u64,
        screen: &Screen<'_>,
    ) -> usize {
        let Some(other) = self.draw_other(first, random, screen) else { return first };
        let (cost_first, cost_other) = self.costs(first, other, now_ns);
        let next = |index| self.in_flight(index) + 1.0;
        let slower = cost_first > CLEARLY_WORSE * cost_other * next(other);
        let load = |index| next(index) * self.inverse_share(index, screen);
        let fuller = cost_first * load(first) > CLEARLY_WORSE * cost_other * load(other);
        if slower || fuller { other } else { first }
    }

    /// The latency estimates of two endpoints. One that was never measured is presumed to be like the other, and it then competes by what
    /// is in flight alone; but not to be as bad as a slow one, which would go on being tried while nobody knows the other.
    fn costs(&self, left: usize, right: usize, now_ns: Option<u64>) -> (f32, f32) {
        let Some(now_ns) = now_ns else { return (1.0, 1.0) };
        match (self.entries[left].endpoint.cost(now_ns), self.entries[right].endpoint.cost(now_ns)) {
            (Some(left), Some(right)) => (left, right),
            (Some(left), None) => (left, left.min(PRESUMED_NS)),
            (None, Some(right)) => (right.min(PRESUMED_NS), right),
            (None, None) => (1.0, 1.0),
        }
    }

    /// The next turn that is not to be avoided.
    fn in_turn(
        &self,
        round: &[u32],
        turn: &AtomicU64,
        random: &mut impl FnMut() -> u64,
        screen: &Screen<'_>,
    ) -> usize {
        let mut index = 0;
        for _ in 0..DRAWS_MAX {
            let mut now = turn.fetch_add(1, Relaxed);
            if now == 0 {
                // Two workers may both start it; then one of the starts counts.
                now = u64::from(random() as u32) + 1;
                turn.store(now + 1, Relaxed);
            }
            index = round[(now % round.len() as u64) as usize] as usize;
            if screen.takes(&self.entries[index], random) {
                return index;
            }
        }
        self.next_in_line(index, screen)
    }

    /// The first endpoint along the ring from `key` that has room. The bounds add up to more than what is in flight, so there is one,
    /// unless it is to be avoided.
    fn hashed(&self, ring: &HashRing, key: u64, screen: &Screen<'_>) -> usize {
        // An endpoint whose share grows takes some of its keys, and always the same.
        let takes = |index: usize| {
            let entry = &self.entries[index];
            screen.takes(entry, &mut || mix(key ^ u64::from(entry.endpoint.id()) << 32))
        };
        let mut walk = ring.walk(key).filter(|index| takes(*index));
        let preferred = walk.next().unwrap_or_else(|| self.next_in_line(0, screen));
        if self.in_flight(preferred) == 0.0 {
            return preferred;
        }
        let (mut in_flight, mut in_service) = (0_u64, 0_u32);
        for entry in self.open().iter().filter(|entry| screen.is_in_service(entry)) {
            in_flight += u64::from(entry.endpoint.in_flight());
            in_service += 1;
        }
        let fair = (in_flight + 1) as f64 / f64::from(in_service.max(1));
        let has_room = |index: usize| {
            let bound = (BOUNDED_LOAD * fair / f64::from(self.inverse_share(index, screen))).ceil();
            f64::from(self.in_flight(index)) + 1.0 <= bound
        };
        if has_room(preferred) { preferred } else { walk.find(|index| has_room(*index)).unwrap_or(preferred) }
    }

    /// Draws one by weight.
    fn draw(&self, random: &mut impl FnMut() -> u64, screen: &Screen<'_>) -> usize {
        let mut index = 0;
        for _ in 0..DRAWS_MAX {
            index = match &self.shares {
                Some(shares) => shares.table.draw(random()),
                None => below(self.open, random()),
            };
            if screen.takes(&self.entries[index], random) {
                return index;
            }
        }
        self.next_in_line(index, screen)
    }

    /// Draws one beside `first`, all alike.
    fn draw_other(
        &self,
        first: usize,
        random: &mut impl FnMut() -> u64,
        screen: &Screen<'_>,
    ) -> Option<usize> {
        (0..DRAWS_MAX).find_map(|_| {
            let index = below(self.open - 1, random());
            let index = if index >= first { index + 1 } else { index };
            screen.takes(&self.entries[index], random).then_some(index)
        })
    }

    /// From `index` on, the next one that takes all its share, else one that takes requests, else one that was not tried.
    fn next_in_line(&self, index: usize, screen: &Screen<'_>) -> usize {
        let line = || (index..self.open).chain(0..index);
        let allowed = |index: &usize| !screen.is_avoided(&self.entries[*index]);
        let takes = |index: &usize| allowed(index) && screen.is_in_service(&self.entries[*index]);
        let grown = |index: &usize| takes(index) && screen.ramp(&self.entries[*index]) >= 1.0;
        let found = line().find(grown).or_else(|| line().find(takes)).or_else(|| line().find(allowed));
        found.unwrap_or(index)
    }

    fn in_flight(&self, index: usize) -> f32 {
        self.entries[index].endpoint.in_flight() as f32
    }

    fn inverse_share(&self, index: usize, screen: &Screen<'_>) -> f32 {
        let share = self.shares.as_ref().map_or(1.0, |shares| shares.inverse[index]);
        if screen.looks() { share / screen.ramp(&self.entries[index]) } else { share }
    }
}

impl Shares {
    fn new(weights: &[u32]) -> Self {
        let mean = weights.iter().map(|weight| f64::from(*weight)).sum::<f64>() / weights.len() as f64;
        let inverse = weights.iter().map(|weight| (mean / f64::from(*weight)) as f32).collect();
        Self { table: AliasTable::new(weights), inverse }
    }
}

/// The ring of `entries`, whose points depend on nothing but addresses and weights.
fn ring(entries: &[Entry]) -> HashRing {
    let names: Vec<String> = entries.iter().map(|entry| entry.endpoint.address().to_string()).collect();
    HashRing::new(names.iter().zip(entries).map(|(name, entry)| (name.as_bytes(), entry.weight)))
}

/// A number below `count` from 64 random bits (Lemire's multiplication, without the rejection: the bias is below 2^−32·count).
fn below(count: usize, random: u64) -> usize {
    (((random >> 32) * count as u64) >> 32) as usize
}
