//! Some of the endpoints for each of many callers: a thousand proxies that each call all of a thousand endpoints are a million connections,
//! nearly all of them idle.
//!
//! Which are a caller's own is decided by its [seat](Seat), where that is known: then every endpoint gets the same. Else by rendezvous, the
//! highest hashes of caller and endpoint, as in gRPC's A68: then they get about the same, if [enough](subset::CALLERS_EACH) callers have each.
//!
//! Health comes first. A subset half of which is not well is not used, and a request that finds nobody there who serves it is sent to any
//! endpoint of the cluster.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use outrigger_snapshot::policy::{Balance, SUBSET_ENDPOINTS_MIN};
use outrigger_snapshot::subset;

use super::aperture::Seat;
use super::screen::Screen;
use super::{EndpointSet, Entry};
use crate::cluster::hash_ring::{mix, stable_hash};

/// Shortest time between two subsets of different size.
pub const RESIZE_EVERY: Duration = Duration::from_secs(30);

/// Over how long the requests in flight are averaged.
const MEAN_OVER: Duration = Duration::from_secs(30);

/// Endpoints for each request that is in flight on average: the choice of two sees little on the others.
const ENDPOINTS_EACH: f32 = 2.0;

/// The smallest size: with fewer, drawing two by weight is far from what the weights say (as measured for Finagle).
pub const SIZE_MIN: usize = SUBSET_ENDPOINTS_MIN as usize;

/// Largest size that anything asks for.
const SIZE_MAX: usize = 1 << 20;

/// Who calls a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// One whose place among all is known.
    Seated(Seat),
    /// One that only has a name: its [`stable_hash`].
    Named(u64),
}

impl fmt::Display for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seated(seat) => seat.fmt(formatter),
            Self::Named(_) => formatter.write_str("by name"),
        }
    }
}

/// What decides on a subset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subsetting {
    /// This proxy.
    pub caller: Caller,
    /// About how many proxies call the cluster.
    pub callers: u32,
    /// The size of the smallest subset.
    pub endpoints_min: u32,
}

impl Subsetting {
    /// How many of `endpoints` this caller has, where the requests that are in flight ask for `wanted`; `None`: all.
    pub fn size(&self, endpoints: usize, wanted: usize) -> Option<usize> {
        let seated = matches!(self.caller, Caller::Seated(_));
        subset::size(self.callers, endpoints, wanted.max(self.endpoints_min as usize), seated)
    }

    /// The subset of `open` of about `size`, with weights of its own.
    fn draw(&self, open: &[Entry], size: usize) -> Vec<Entry> {
        let place = |entry: &Entry| stable_hash(entry.endpoint.address().to_string().as_bytes());
        match self.caller {
            Caller::Seated(seat) => {
                // By what is the same for all callers; and no neighbours, which would be out together.
                let mut ring: Vec<_> = open.iter().map(|entry| (place(entry), entry)).collect();
                ring.sort_by_key(|(place, entry)| (*place, entry.endpoint.address()));
                let weights: Vec<u32> = ring.iter().map(|(_, entry)| entry.weight).collect();
                let seen = seat.aperture(&weights, size).into_iter();
                seen.map(|(index, weight)| Entry { weight, ..ring[index].1.clone() }).collect()
            }
            Caller::Named(name) => {
                let mut ranked: Vec<_> = open.iter().map(|entry| (mix(name ^ place(entry)), entry)).collect();
                ranked.sort_by_key(|(rank, entry)| (*rank, entry.endpoint.address()));
                ranked.into_iter().rev().take(size).map(|(_, entry)| entry.clone()).collect()
            }
        }
    }
}

/// A part of a set that gets its requests.
#[derive(Debug)]
pub(super) struct Subset {
    endpoints: EndpointSet,
    /// Whether enough of it is well.
    active: AtomicBool,
}

impl Subset {
    /// The part of `set` that `subsetting` says; `None`: all.
    pub(super) fn new(
        set: &EndpointSet,
        subsetting: &Subsetting,
        wanted: usize,
        balance: &Balance,
    ) -> Option<Self> {
        let size = subsetting.size(set.open, wanted)?;
        let entries = subsetting.draw(set.open(), size);
        if entries.len() >= set.open {
            return None;
        }
        let subset = Self {
            endpoints: EndpointSet::new(entries, balance).limited(set.limit),
            active: AtomicBool::new(true),
        };
        subset.weigh();
        Some(subset)
    }

    /// The same with that limit for each endpoint.
    pub(super) fn limited(self, limit: u32) -> Self {
        Self { endpoints: self.endpoints.limited(limit), ..self }
    }

    /// Looks whether at least half of it is well. One whose last request failed is not: else a breaker that waits for all endpoints to fail
    /// would never hear of those that get no requests.
    pub(super) fn weigh(&self) {
        let open = self.endpoints.open();
        let well = open.iter().filter(|entry| {
            let standing = entry.endpoint.standing();
            standing.is_available() && !standing.failing
        });
        self.active.store(well.count() * 2 >= open.len(), Relaxed);
    }

    /// Its endpoints, if they are to be used now.
    pub(super) fn endpoints(&self, screen: &Screen<'_>) -> Option<&EndpointSet> {
        let usable = self.active.load(Relaxed) && !screen.panics();
        (usable && self.endpoints.open().iter().any(|entry| screen.serves(entry))).then_some(&self.endpoints)
    }

    /// All of them.
    pub(super) fn open(&self) -> &[Entry] {
        self.endpoints.open()
    }
}

/// How large subsets of a cluster are to be, and what became of them. It outlives plans; changed by the thread that builds them.
#[derive(Debug, Default)]
pub struct SubsetStats {
    /// Mean number of requests in flight: the bits of an `f32`.
    mean: AtomicU32,
    sampled_ns: AtomicU64,
    /// What the mean asks for.
    wanted: AtomicU32,
    resized_ns: AtomicU64,
    /// Which endpoints are in the subset, in one number; 0: there is none.
    members: AtomicU64,
    changes: AtomicU64,
}

impl SubsetStats {
    /// Takes in that `in_flight` requests are at `now_ns`, and finds what size that asks for.
    pub fn sample(&self, in_flight: u32, now_ns: u64) {
        let past_ns = now_ns.saturating_sub(self.sampled_ns.swap(now_ns, Relaxed));
        let kept = (-(past_ns as f32) / MEAN_OVER.as_nanos() as f32).exp();
        let mean = f32::from_bits(self.mean.load(Relaxed));
        let mean = in_flight as f32 + (mean - in_flight as f32) * kept;
        self.mean.store(mean.to_bits(), Relaxed);
        let before = self.wanted();
        let after = fitted(before, mean);
        let resized_ns = self.resized_ns.load(Relaxed);
        let waits = resized_ns > 0 && now_ns.saturating_sub(resized_ns) < RESIZE_EVERY.as_nanos() as u64;
        if after != before && !waits {
            self.wanted.store(u32::try_from(after).unwrap_or(u32::MAX), Relaxed);
            self.resized_ns.store(now_ns, Relaxed);
        }
    }

    /// How many endpoints the requests in flight ask for.
    pub fn wanted(&self) -> usize {
        (self.wanted.load(Relaxed) as usize).max(SIZE_MIN)
    }

    /// Subsets so far that were others than those before them.
    pub fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// Takes in which endpoints are in the subset from here on; none: there is no subset.
    pub(in crate::cluster) fn note(&self, subset: Option<&[Entry]>) {
        let one = |entry: &Entry| stable_hash(entry.endpoint.address().to_string().as_bytes());
        let members = subset.into_iter().flatten().map(one).fold(0, u64::wrapping_add);
        if self.members.swap(members, Relaxed) != members {
            self.changes.fetch_add(1, Relaxed);
        }
    }
}

/// A size for a mean of `mean` requests in flight, where it was `size`. Callers must have sizes in common to share out endpoints evenly, so it
/// is one of [`SIZE_MIN`] · 2ⁿ; and it only shrinks when far too large, so that it stays where a load comes and goes.
fn fitted(size: usize, mean: f32) -> usize {
    let needed = (ENDPOINTS_EACH * mean).ceil().min(SIZE_MAX as f32) as usize;
    let mut size = size;
    while size < needed {
        size *= 2;
    }
    while size > SIZE_MIN && needed * 8 <= size * 3 {
        size /= 2;
    }
    size
}

#[cfg(test)]
mod tests;
