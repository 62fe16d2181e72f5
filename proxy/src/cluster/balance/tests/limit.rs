//! Limits of endpoints.

use outrigger_snapshot::policy::ShuffleShard;

use super::*;

fn every_method() -> Vec<Balance> {
    let shard = ShuffleShard { size: 3, key: HashKey::Source };
    every_balance().into_iter().chain([Balance::ShuffleShard(shard)]).collect()
}

#[test]
fn an_endpoint_gets_no_more_than_its_limit_and_nobody_is_picked_once_all_are_full() {
    for weights in [&[1; 5][..], &[9, 1, 1, 3, 1], &[1]] {
        for balance in every_method() {
            let set = set(weights, &balance).limited(3);
            let reach = set.reach();
            let mut random = random(5);
            let mut held = Vec::new();
            for nth in 0..3 * reach {
                let picked = set.pick(MS, &mut random, Some(1), &[]);
                held.push(InFlight::start(
                    picked.unwrap_or_else(|| panic!("{balance:?}: {nth} are in flight")).clone(),
                ));
                assert!(set.entries().iter().all(|entry| entry.endpoint.in_flight() <= 3), "{balance:?}");
            }
            assert!(set.pick(MS, &mut random, Some(1), &[]).is_none(), "{balance:?}");
            let freed = held.remove(reach).endpoint().id();
            let picked = set.pick(MS, &mut random, Some(1), &[]).map(|picked| picked.id());
            assert_eq!(picked, Some(freed), "{balance:?}");
            let tried = set.pick(MS, &mut random, Some(1), &[freed]).map(|picked| picked.id());
            assert_eq!(tried, Some(freed), "{balance:?}: tried is better than full");
        }
    }
}

#[test]
fn the_ejected_do_not_stand_in_for_the_full() {
    let rules = |set: &EndpointSet| {
        let ejection = outrigger_snapshot::policy::Ejection { consecutive: 1, ..Default::default() };
        set.health.rule(crate::cluster::health::Rules { ejection, slow_start_ms: 0 });
    };
    for balance in every_balance() {
        let set = set(&[1; 4], &balance).limited(1);
        rules(&set);
        set.entries().iter().for_each(|entry| entry.endpoint.join(0, false, false));
        InFlight::start(set.entries()[0].endpoint.clone()).finish(Outcome::Failure, MS, 0);
        let held: Vec<_> =
            set.entries()[1..].iter().map(|entry| InFlight::start(entry.endpoint.clone())).collect();
        let mut random = random(5);
        for _ in 0..50 {
            let key = random();
            assert!(set.pick(MS, &mut random, Some(key), &[]).is_none(), "{balance:?}");
        }
        drop(held);
        assert_ne!(set.pick(MS, &mut random, Some(1), &[]).map(|picked| picked.id()), Some(0));
    }
}

#[test]
fn without_a_limit_there_is_always_one() {
    for balance in every_method() {
        let set = set(&[1; 3], &balance);
        let mut random = random(5);
        let held: Vec<_> = (0..5_000)
            .map(|_| InFlight::start(set.pick(MS, &mut random, Some(1), &[]).unwrap().clone()))
            .collect();
        assert_eq!(held.len(), 5_000);
    }
}
