use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::upstream_tls::Tls;
use outrigger_snapshot::policy::{Balance, Ejection, HashKey, ShuffleShard};

use crate::cluster::balance::{EndpointSet, Entry};
use crate::cluster::endpoint::{Endpoint, EndpointKey, InFlight, Outcome};
use crate::cluster::hash_ring::stable_hash;
use crate::cluster::health::{ClusterHealth, Rules};
use crate::telemetry::metrics::Direction;

const MS: u64 = 1_000_000;

/// Endpoints by the last part of their addresses, which is their id, too.
fn set(ids: impl IntoIterator<Item = u8>, size: u32) -> EndpointSet {
    let health = Arc::new(ClusterHealth::default());
    let ejection = Ejection { consecutive: 1, max_percent: 100, panic_percent: 0, ..Ejection::default() };
    health.rule(Rules { ejection, slow_start_ms: 0 });
    let entry = |id: u8| {
        let key = EndpointKey {
            direction: Direction::Outbound,
            cluster: "cart:80".parse().unwrap(),
            address: SocketAddr::from(([10, 0, 0, id], 80)),
            tls: Tls::None,
        };
        let endpoint = Arc::new(Endpoint::new(id.into(), key, health.clone()));
        endpoint.join(0, false, false);
        Entry { endpoint, weight: 1, zone: None }
    };
    let balance = Balance::ShuffleShard(ShuffleShard { size, key: HashKey::Source });
    EndpointSet::new(ids.into_iter().map(entry).collect(), &balance)
}

fn tenant(number: u64) -> Option<u64> {
    Some(stable_hash(&number.to_le_bytes()))
}

/// Where the requests of a key go.
fn met(set: &EndpointSet, key: Option<u64>, now_ns: u64, avoid: &[u32]) -> BTreeSet<u32> {
    let mut rng = fastrand::Rng::with_seed(5);
    (0..60)
        .filter_map(|_| set.pick(now_ns, &mut || rng.u64(..), key, avoid))
        .map(|picked| picked.id())
        .collect()
}

#[test]
fn a_key_has_as_many_endpoints_as_asked_for_and_all_are_used_alike() {
    for size in [1, 2, 3, 5] {
        let set = set(0..12, size);
        let mut used = [0_u32; 12];
        for number in 0..2_000 {
            let shard = met(&set, tenant(number), 0, &[]);
            assert_eq!(shard.len(), size as usize);
            for id in shard {
                used[id as usize] += 1;
            }
        }
        let fair = 2_000.0 * f64::from(size) / 12.0;
        assert!(used.iter().all(|used| (f64::from(*used) / fair - 1.0).abs() < 0.25), "{size}: {used:?}");
        assert_eq!(set.reach(), size as usize);
    }
    assert_eq!(met(&set(0..3, 5), tenant(1), 0, &[]).len(), 3, "no more than there are");
    assert_eq!(met(&set(0..40, 1_000), tenant(1), 0, &[]).len(), 16, "and no more than a shard can have");
    let set = set(0..12, 2);
    assert_eq!(met(&set, None, 0, &[]).len(), 2, "requests without a key are one tenant");
}

#[test]
fn shards_are_nearly_all_different() {
    let set = set(0..20, 4);
    let shards: BTreeSet<_> = (0..1_000).map(|number| met(&set, tenant(number), 0, &[])).collect();
    assert!(shards.len() > 850, "{} of 1,000 tenants among 4,845 shards", shards.len());
}

#[test]
fn a_shard_stays_when_endpoints_come_and_go() {
    let (before, after) = (set(0..20, 4), set((0..20).filter(|id| *id != 7), 4));
    let (mut touched, mut moved) = (0, 0);
    for number in 0..1_000 {
        let (old, new) = (met(&before, tenant(number), 0, &[]), met(&after, tenant(number), 0, &[]));
        let kept = old.intersection(&new).count();
        if old.contains(&7) {
            assert!(kept >= 2, "{old:?} {new:?}");
            touched += 1;
            moved += usize::from(kept < 3);
        } else {
            assert_eq!(old, new, "it had nothing to do with the one that left");
        }
    }
    assert!(moved * 5 < touched, "{moved} of {touched} lost more than the one that left");
}

#[test]
fn the_better_of_two_is_taken() {
    let set = set(0..8, 2);
    let shard: Vec<u32> = met(&set, tenant(3), 0, &[]).into_iter().collect();
    let slow = set.entries().iter().find(|entry| entry.endpoint.id() == shard[0]).unwrap();
    let _held: Vec<_> = (0..5).map(|_| InFlight::start(slow.endpoint.clone())).collect();
    assert_eq!(met(&set, tenant(3), 0, &[]), [shard[1]].into());
    assert_eq!(met(&set, tenant(3), 0, &[shard[1]]), [shard[0]].into(), "unless it was tried");
    assert_eq!(met(&set, tenant(3), 0, &shard).len(), 2, "once all were, any of them");
}

#[test]
fn requests_stay_in_a_shard_that_is_out_and_find_out_when_it_is_back() {
    let set = set(0..8, 2);
    let shard = met(&set, tenant(3), 0, &[]);
    let endpoint =
        |id: u32| set.entries().iter().find(|entry| entry.endpoint.id() == id).unwrap().endpoint.clone();
    let first = *shard.first().unwrap();
    InFlight::start(endpoint(first)).finish(Outcome::Failure, MS, 0);
    let second = *shard.last().unwrap();
    assert_eq!(met(&set, tenant(3), MS, &[]), [second].into(), "health counts within the shard");
    InFlight::start(endpoint(second)).finish(Outcome::Failure, MS, 0);
    assert_eq!(met(&set, tenant(3), MS, &[]), shard, "and never leads out of it");
    let late = 20_000 * MS;
    let mut rng = fastrand::Rng::with_seed(2);
    for _ in 0..20 {
        let picked = set.pick(late, &mut || rng.u64(..), tenant(3), &[]).unwrap().clone();
        InFlight::start(picked).finish(Outcome::Success, MS, late);
    }
    assert!(shard.iter().all(|id| endpoint(*id).standing().is_available()));
}
