//! How many connections are served at a time, each way for itself: what others take of them is not missing to the workload's own calls.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::telemetry::metrics::Direction;

/// Downstream connections each way for each worker; beyond it new ones wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Descriptors that are for no connection: files, the store, pages, collectors.
const OTHER_DESCRIPTORS: u64 = 128;

/// See the module. All workers share it.
#[derive(Debug)]
pub struct ConnectionPlaces {
    /// Inbound, then outbound.
    free: [Arc<Semaphore>; 2],
    most: usize,
}

/// A connection's place, until this is dropped.
pub type ConnectionPlace = OwnedSemaphorePermit;

impl ConnectionPlaces {
    /// For so many workers of a process that may have so many descriptors; `None`: any number. A connection that comes may need one that goes,
    /// so that each way has a quarter of them.
    pub fn new(workers: usize, descriptors: Option<u64>) -> Arc<Self> {
        let affordable = descriptors.map(|all| (all.saturating_sub(OTHER_DESCRIPTORS) / 4).max(1));
        let affordable = affordable.and_then(|all| usize::try_from(all).ok()).unwrap_or(usize::MAX);
        let most = (workers * CONNECTIONS_MAX).min(affordable);
        Arc::new(Self { free: [(); 2].map(|()| Arc::new(Semaphore::new(most))), most })
    }

    /// Waits for a place.
    pub async fn take(&self, direction: Direction) -> ConnectionPlace {
        match self.free[direction as usize].clone().acquire_owned().await {
            Ok(place) => place,
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether fewer than a quarter are free: whoever says nothing is to make room.
    pub fn are_short(&self, direction: Direction) -> bool {
        self.free[direction as usize].available_permits() < self.most.div_ceil(4)
    }
}

/// Has the system give this process as many descriptors as it may have, and says how many that is; `None`: any number. The lower limit that
/// processes are started with is for those that use `select`.
pub fn raise_descriptors() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!("the process stays with {current:?} descriptors: {error}");
            current
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_way_has_its_own_places_and_no_more_than_there_are_descriptors_for() {
        for (workers, descriptors, most) in [
            (1, None, 20_000),
            (3, None, 60_000),
            (1, Some(1 << 20), 20_000),
            (2, Some(1_024), 224),
            (1, Some(64), 1),
        ] {
            let places = ConnectionPlaces::new(workers, descriptors);
            let take = |direction| places.take(direction).now_or_never();
            let taken: Vec<_> = (0..most).map_while(|_| take(Direction::Inbound)).collect();
            assert_eq!(taken.len(), most, "{workers} {descriptors:?}");
            assert!(take(Direction::Inbound).is_none() && places.are_short(Direction::Inbound));
            assert!(take(Direction::Outbound).is_some());
            drop(taken);
            assert!(take(Direction::Inbound).is_some() && !places.are_short(Direction::Inbound));
        }
    }
}
