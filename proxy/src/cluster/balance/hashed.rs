//! Consistent hashing with bounded loads.

use super::screen::Screen;
use super::{EndpointSet, Entry};
use crate::cluster::hash_ring::{HashRing, mix};

/// With consistent hashing, the most that an endpoint has in flight is this multiple of its fair share, rounded up (Mirrokni,
/// Thorup, Zadimoghaddam 2018); what is beyond walks on along the ring.
pub const BOUNDED_LOAD: f64 = 1.25;

impl EndpointSet {
    /// The first endpoint along the ring from `key` that has room. The bounds add up to more than what is in flight, so there is one,
    /// unless it is to be avoided.
    pub(super) fn hashed(&self, ring: &HashRing, key: u64, screen: &Screen<'_>) -> usize {
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
}

/// The ring of `entries`, whose points depend on nothing but addresses and weights.
pub(super) fn ring(entries: &[Entry]) -> HashRing {
    let names: Vec<String> = entries.iter().map(|entry| entry.endpoint.address().to_string()).collect();
    HashRing::new(names.iter().zip(entries).map(|(name, entry)| (name.as_bytes(), entry.weight)))
}
