//! Keeping requests in the zone that they come from, as far as every endpoint keeps its share of them: zone-aware routing as in Envoy.
//!
//! With `s` the share of the callers in a zone and `u` that of the endpoints, a zone with `u ≥ s` can serve its callers alone. From any
//! other, `u/s` of the requests stay, and the rest goes to the zones that have endpoints to spare, in proportion to `u − s`. Every zone then
//! gets `u` of all requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use outrigger_snapshot::policy::Balance;

use super::screen::{Screen, ramp};
use super::{EndpointSet, Entry};
use crate::cluster::health::ClusterHealth;

/// Draws are of 32 random bits: this is all of them.
const WHOLE: f64 = 4_294_967_296.0;

/// Whose calls these are: the service beside the proxy, and where it runs.
#[derive(Debug)]
pub struct Callers {
    /// The proxy's own zone.
    pub zone: Arc<str>,
    /// The weights of the service's endpoints, by zone; those whose zone is unknown prefer none, and are not among them.
    pub weights: BTreeMap<Arc<str>, u64>,
    /// How they are.
    pub health: Arc<ClusterHealth>,
}

/// What is preferred.
#[derive(Debug, Clone)]
pub struct Preference {
    /// For whom.
    pub callers: Arc<Callers>,
    /// With fewer healthy endpoints than this, nothing is.
    pub endpoints_min: u32,
    /// What came of it.
    pub picks: Arc<ZonePicks>,
}

/// Picks of a cluster whose callers prefer their own zone.
#[derive(Debug, Default)]
pub struct ZonePicks {
    local: AtomicU64,
    other: AtomicU64,
}

impl ZonePicks {
    /// Picks by zone, as labels spell it.
    pub fn counts(&self) -> [(&'static str, u64); 2] {
        [("local", self.local.load(Relaxed)), ("other", self.other.load(Relaxed))]
    }

    fn count(&self, local: bool) {
        let count = if local { &self.local } else { &self.other };
        count.fetch_add(1, Relaxed);
    }
}

/// The endpoints of a set by zone.
#[derive(Debug)]
pub(super) struct Zones {
    preference: Preference,
    /// The own zone first.
    zones: Box<[Zone]>,
    /// Whether any is preferred now.
    active: AtomicBool,
}

#[derive(Debug)]
struct Zone {
    /// Weight of the callers in it.
    callers: f64,
    endpoints: EndpointSet,
    /// What is drawn below this, and not below that of the zone before, goes here.
    below: AtomicU64,
}

/// The shares of the zones in the requests from the zone `local`, where `callers` and `endpoints` are weights by zone; `None` if there are no
/// callers in it, or no endpoints anywhere.
pub fn spread(callers: &[f64], endpoints: &[f64], local: usize) -> Option<Vec<f64>> {
    let total = |weights: &[f64]| weights.iter().sum::<f64>();
    let (of_callers, of_endpoints) = (total(callers), total(endpoints));
    if callers[local] <= 0.0 || of_endpoints <= 0.0 {
        return None;
    }
    let spare = |zone: usize| endpoints[zone] / of_endpoints - callers[zone] / of_callers;
    if spare(local) >= 0.0 {
        return Some((0..callers.len()).map(|zone| f64::from(u8::from(zone == local))).collect());
    }
    let kept = endpoints[local] / of_endpoints / (callers[local] / of_callers);
    let spares: f64 = (0..callers.len()).map(|zone| spare(zone).max(0.0)).sum();
    let share = |zone| if zone == local { kept } else { (1.0 - kept) * spare(zone).max(0.0) / spares };
    Some((0..callers.len()).map(share).collect())
}

impl Zones {
    /// The open endpoints of `set`, by zone; `None` if no zone is known, of the callers or of them.
    pub(super) fn new(set: &EndpointSet, preference: &Preference, balance: &Balance) -> Option<Self> {
        let Callers { zone: own, weights, .. } = &*preference.callers;
        let known = set.open().iter().any(|entry| entry.zone.is_some());
        if weights.is_empty() || !known {
            return None;
        }
        let named = weights.keys().cloned().map(Some);
        let mut others: BTreeSet<Option<Arc<str>>> =
            set.open().iter().map(|entry| entry.zone.clone()).chain(named).collect();
        others.remove(&Some(own.clone()));
        let zone = |zone: Option<Arc<str>>| {
            let entries: Vec<Entry> = set.open().iter().filter(|entry| entry.zone == zone).cloned().collect();
            Zone {
                callers: zone.and_then(|zone| weights.get(&zone)).map_or(0.0, |weight| *weight as f64),
                endpoints: EndpointSet::new(entries, balance).limited(set.limit),
                below: AtomicU64::new(0),
            }
        };
        let zones = std::iter::once(Some(own.clone())).chain(others).map(zone).collect();
        Some(Self { preference: preference.clone(), zones, active: AtomicBool::new(false) })
    }

    /// The same with that limit for each endpoint.
    pub(super) fn limited(mut self, limit: u32) -> Self {
        self.zones = self
            .zones
            .into_iter()
            .map(|zone| Zone { endpoints: zone.endpoints.limited(limit), ..zone })
            .collect();
        self
    }

    /// Fits the shares to how the endpoints are.
    pub(super) fn weigh(&self, health: &ClusterHealth, now_ns: u64) {
        let slow_start_ms = health.rules().slow_start_ms;
        let well = |entry: &&Entry| entry.endpoint.standing().is_available();
        let weight = |entry: &Entry| {
            let grown = ramp(entry.endpoint.standing(), now_ns / 1_000_000, slow_start_ms);
            f64::from(entry.weight) * f64::from(grown)
        };
        let open = || self.zones.iter().map(|zone| zone.endpoints.open());
        let healthy: usize = open().map(|open| open.iter().filter(well).count()).sum();
        let endpoints: Vec<f64> =
            open().map(|open| open.iter().filter(well).map(weight).sum::<f64>()).collect();
        let callers: Vec<f64> = self.zones.iter().map(|zone| zone.callers).collect();
        let panics = |health: &ClusterHealth| health.is_panicking(health.rules().ejection.panic_percent);
        let enough = healthy >= self.preference.endpoints_min as usize;
        let usable = enough && !panics(health) && !panics(&self.preference.callers.health);
        let shares = spread(&callers, &endpoints, 0).filter(|_| usable);
        self.active.store(shares.is_some(), Relaxed);
        let mut drawn = 0.0;
        for (zone, share) in self.zones.iter().zip(shares.unwrap_or_default()) {
            drawn += share;
            zone.below.store((drawn * WHOLE).round() as u64, Relaxed);
        }
    }

    /// The endpoints of the zone that 32 of 64 random bits stand for; `None` where zones do not count now, or nobody is there who serves.
    pub(super) fn draw(&self, random: u64, screen: &Screen<'_>) -> Option<&EndpointSet> {
        if !self.active.load(Relaxed) || screen.panics() {
            return None;
        }
        let zone = self.zones.iter().find(|zone| random >> 32 < zone.below.load(Relaxed))?;
        let endpoints = &zone.endpoints;
        endpoints.open().iter().any(|entry| screen.serves(entry)).then_some(endpoints)
    }

    /// Counts a pick.
    pub(super) fn count(&self, entry: &Entry) {
        self.preference.picks.count(entry.zone.as_ref() == Some(&self.preference.callers.zone));
    }
}

#[cfg(test)]
mod tests;
