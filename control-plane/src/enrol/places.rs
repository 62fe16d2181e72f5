//! Places on the listener, by where connections come from: one source must not take all of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::attempts::source;

/// Connections at a time from one address (of IPv6: one network of 64 bits). An eighth of what the listener has; others may be behind the same
/// address.
const PLACES_PER_SOURCE: usize = 128;

/// See the module. Bounded by the connections that the listener takes.
#[derive(Debug, Default)]
pub struct Places {
    taken: Mutex<HashMap<IpAddr, usize>>,
    refused: AtomicU64,
}

/// A place, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    source: IpAddr,
}

impl Places {
    /// A place for a connection from there; `None`: those there have as many as they may.
    pub(crate) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let source = source(from);
        let mut taken = self.taken();
        let count = taken.entry(source).or_default();
        if *count == PLACES_PER_SOURCE {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *count += 1;
        Some(Place { places: self.clone(), source })
    }

    /// Connections that got none.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(count) = taken.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share_until_it_gives_places_back() {
        let places = Arc::new(Places::default());
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        let mut held: Vec<_> = (0..PLACES_PER_SOURCE).map(|_| places.take(one).unwrap()).collect();
        assert!(places.take(one).is_none());
        assert!(places.take("::ffff:10.0.0.1".parse().unwrap()).is_none(), "it is the same");
        assert!(places.take("10.0.0.2".parse().unwrap()).is_some());
        assert_eq!(places.refused(), 2);
        held.pop();
        assert!(places.take(one).is_some());
        drop(held);
        assert!(places.taken().is_empty(), "nothing is remembered");
    }
}
