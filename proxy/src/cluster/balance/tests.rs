use std::net::SocketAddr;

use crate::upstream_tls::Tls;
use outrigger_snapshot::policy::HashKey;
use proptest::prelude::*;

use super::*;
use crate::cluster::endpoint::{EndpointKey, InFlight, Outcome};
use crate::telemetry::metrics::Direction;

mod health;
mod limit;

const MS: u64 = 1_000_000;

fn set(weights: &[u32], balance: &Balance) -> EndpointSet {
    let health = Arc::new(ClusterHealth::default());
    let entry = |(id, weight): (usize, &u32)| {
        let key = EndpointKey {
            direction: Direction::Outbound,
            cluster: "cart:80".parse().unwrap(),
            address: SocketAddr::from(([10, 0, (id / 256) as u8, id as u8], 80)),
            tls: Tls::None,
        };
        Entry {
            endpoint: Arc::new(Endpoint::new(id as u32, key, health.clone())),
            weight: *weight,
            zone: None,
        }
    };
    EndpointSet::new(weights.iter().enumerate().map(entry).collect(), balance)
}

fn every_balance() -> Vec<Balance> {
    vec![
        Balance::PeakEwma,
        Balance::LeastRequest,
        Balance::RoundRobin,
        Balance::Random,
        Balance::ConsistentHash(HashKey::Source),
    ]
}

fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    move || rng.u64(..)
}

fn answer(endpoint: &Arc<Endpoint>, rtt_ns: u64, now_ns: u64) {
    InFlight::start(endpoint.clone()).finish(Outcome::Success, rtt_ns, now_ns);
}

/// Shares of `picks` picks, each handled by `after`.
fn shares(
    set: &EndpointSet,
    picks: usize,
    keys: bool,
    mut after: impl FnMut(usize, &Arc<Endpoint>, &mut dyn FnMut() -> u64),
) -> Vec<f64> {
    let mut random = random(7);
    let mut counts = vec![0.0; set.entries().len()];
    for nth in 0..picks {
        let key = keys.then(&mut random);
        let endpoint = set.pick(nth as u64 * MS, &mut random, key, &[]).unwrap().clone();
        counts[endpoint.id() as usize] += 1.0 / picks as f64;
        after(nth, &endpoint, &mut random);
    }
    counts
}

#[test]
fn one_that_always_wins_gets_two_nths_and_one_that_always_loses_nothing() {
    for count in [2, 5, 10] {
        let set = set(&vec![1; count], &Balance::PeakEwma);
        for (nth, entry) in set.entries().iter().enumerate() {
            answer(&entry.endpoint, [5, 10, 20][nth.min(1) + usize::from(nth + 1 == count)] * MS, 0);
        }
        let shares = shares(&set, 20_000, false, |_, _, _| ());
        assert!((shares[0] - 2.0 / count as f64).abs() < 0.01, "{shares:?}");
        assert_eq!(shares[count - 1], 0.0);
    }
}

#[test]
fn an_empty_set_has_none_and_a_set_of_one_has_it() {
    for balance in every_balance() {
        let pick =
            |weights: &[u32]| set(weights, &balance).pick(0, &mut random(1), Some(1), &[]).map(|e| e.id());
        assert_eq!(pick(&[]), None);
        assert_eq!(pick(&[0, 0]), None);
        assert_eq!(pick(&[0, 3, 0]), Some(1));
        assert_eq!(set(&[1, 0], &balance).pick(0, &mut random(1), None, &[0]).map(|e| e.id()), Some(0));
    }
}

/// Sequential requests of the same latency distribution: nothing but weights can tell endpoints apart.
#[test]
fn a_quiet_cluster_follows_the_weights() {
    for weights in [&[1, 1][..], &[1, 2], &[1, 9], &[1, 2, 3, 4], &[100, 1, 1, 1, 1, 1], &[3; 12]] {
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for balance in every_balance() {
            let set = set(weights, &balance);
            let shares = shares(&set, 40_000, true, |nth, endpoint, random| {
                answer(endpoint, 5 * MS + random() % (10 * MS), nth as u64 * MS);
            });
            for (share, weight) in shares.iter().zip(weights) {
                let fair = f64::from(*weight) / total;
                assert!((share - fair).abs() < 0.12 * fair + 0.06, "{balance:?} {weights:?}: {shares:?}");
            }
        }
    }
}

/// Sixty requests in flight, each held for as long as the others: what is in flight settles in proportion to weight.
#[test]
fn a_busy_cluster_follows_the_weights() {
    for weights in [&[1, 2][..], &[1, 9], &[1, 2, 3, 4], &[1; 6]] {
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for balance in every_balance() {
            let set = set(weights, &balance);
            let mut held = std::collections::VecDeque::new();
            let shares = shares(&set, 20_000, true, |nth, endpoint, _| {
                held.push_back(InFlight::start(endpoint.clone()));
                if held.len() > 60 {
                    held.pop_front().unwrap().finish(Outcome::Success, 60 * MS, nth as u64 * MS);
                }
            });
            for (share, weight) in shares.iter().zip(weights) {
                let fair = f64::from(*weight) / total;
                assert!((share - fair).abs() < 0.1 * fair + 0.03, "{balance:?} {weights:?}: {shares:?}");
            }
        }
    }
}

#[test]
fn a_failing_endpoint_cannot_live_on_its_weight() {
    for weights in [&[1, 1][..], &[9, 1], &[1, 9], &[50, 1, 1, 1]] {
        let set = set(weights, &Balance::PeakEwma);
        let shares = shares(&set, 20_000, false, |nth, endpoint, _| {
            let now_ns = nth as u64 * MS;
            let outcome = if endpoint.id() == 0 { Outcome::Failure } else { Outcome::Success };
            InFlight::start(endpoint.clone()).finish(outcome, 5 * MS, now_ns);
        });
        assert!(shares[0] < 0.002, "{weights:?}: {shares:?}");
    }
}

#[test]
fn a_fresh_endpoint_is_neither_flooded_nor_starved() {
    let set = set(&[1; 5], &Balance::PeakEwma);
    for entry in &set.entries()[1..] {
        answer(&entry.endpoint, 50 * MS, 0);
    }
    let mut held = Vec::new();
    let shares = shares(&set, 100, false, |_, endpoint, _| held.push(InFlight::start(endpoint.clone())));
    assert!((0.1..=0.3).contains(&shares[0]), "{shares:?}");
}

#[test]
fn round_robin_takes_turns_from_a_start_of_its_own() {
    let firsts: std::collections::BTreeSet<_> = (0..50)
        .map(|seed| {
            let set = set(&[1; 4], &Balance::RoundRobin);
            let mut random = random(seed);
            let ids: Vec<_> = (0..8).map(|_| set.pick(0, &mut random, None, &[]).unwrap().id()).collect();
            for pair in ids.windows(2) {
                assert_eq!(pair[1], (pair[0] + 1) % 4);
            }
            ids[0]
        })
        .collect();
    assert_eq!(firsts.len(), 4);
}

/// The second tries of one that always fails: they neither take turns, nor fall all on its neighbour.
#[test]
fn retries_leave_the_turns_to_first_tries() {
    for (count, spread) in [(2, 1), (5, 3)] {
        let set = set(&vec![1; count], &Balance::RoundRobin);
        let mut random = random(5);
        let (mut firsts, mut seconds) = (vec![0; count], vec![0; count]);
        for _ in 0..20 * count {
            let first = set.pick(0, &mut random, None, &[]).unwrap().id();
            firsts[first as usize] += 1;
            if first == 0 {
                seconds[set.pick(0, &mut random, None, &[0]).unwrap().id() as usize] += 1;
            }
        }
        assert_eq!(firsts, vec![20; count]);
        assert_eq!(seconds[0], 0);
        assert!(seconds.iter().filter(|taken| **taken > 0).count() >= spread, "{seconds:?}");
    }
}

#[test]
fn there_is_another_where_one_is_left_that_was_not_tried_and_has_room() {
    for balance in every_balance() {
        let set = set(&[1, 1, 0], &balance).limited(1);
        assert!(set.has_other(None, &[0]) && set.has_other(None, &[1]) && !set.has_other(None, &[0, 1]));
        let held = InFlight::start(set.entries()[1].endpoint.clone());
        assert!(!set.has_other(None, &[0]), "the other is full");
        drop(held);
        assert!(set.has_other(None, &[0]));
    }
}

#[test]
fn a_key_stays_with_its_endpoint_and_spills_when_that_is_full() {
    let set = set(&[1; 10], &Balance::ConsistentHash(HashKey::Source));
    let mut random = random(3);
    let home = set.pick(0, &mut random, Some(42), &[]).unwrap().id();
    for _ in 0..100 {
        assert_eq!(set.pick(0, &mut random, Some(42), &[]).unwrap().id(), home);
    }
    let held: Vec<_> =
        (0..200).map(|_| InFlight::start(set.pick(0, &mut random, Some(42), &[]).unwrap().clone())).collect();
    let most = set.entries().iter().map(|entry| entry.endpoint.in_flight()).max();
    assert_eq!(most, Some(25), "1.25 × 200 ÷ 10, all of one key");
    drop(held);
    assert_eq!(set.pick(0, &mut random, Some(42), &[]).unwrap().id(), home);
}

proptest! {
    #[test]
    fn what_is_avoided_is_picked_only_when_there_is_no_other(
        weights in prop::collection::vec(prop_oneof![Just(0_u32), Just(1), Just(1), 1_u32..100], 1..12),
        avoid in prop::collection::vec(0_u32..12, 0..14),
        in_flight in prop::collection::vec(0_usize..4, 12),
        seed: u64,
    ) {
        for balance in every_balance() {
            let set = set(&weights, &balance);
            let _held: Vec<_> = set.entries().iter()
                .flat_map(|entry| vec![&entry.endpoint; in_flight[entry.endpoint.id() as usize]])
                .map(|endpoint| InFlight::start(endpoint.clone()))
                .collect();
            let has_other = weights.iter().zip(0..).any(|(weight, id)| *weight > 0 && !avoid.contains(&id));
            let mut random = random(seed);
            for _ in 0..50 {
                let key = random();
                match set.pick(MS, &mut random, Some(key), &avoid) {
                    None => prop_assert!(weights.iter().all(|weight| *weight == 0)),
                    Some(endpoint) => {
                        prop_assert!(weights[endpoint.id() as usize] > 0);
                        prop_assert!(!has_other || !avoid.contains(&endpoint.id()), "{balance:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn bounded_load_holds_for_any_weights_and_keys(
        weights in prop::collection::vec(1_u32..20, 2..12),
        keys in prop::collection::vec(0_u64..6, 1..150),
    ) {
        let set = set(&weights, &Balance::ConsistentHash(HashKey::Source));
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let mut held = Vec::new();
        for key in keys {
            let endpoint = set.pick(0, &mut random(1), Some(key), &[]).unwrap().clone();
            held.push(InFlight::start(endpoint.clone()));
            let fair = held.len() as f64 * f64::from(weights[endpoint.id() as usize]) / total;
            prop_assert!(f64::from(endpoint.in_flight()) <= (BOUNDED_LOAD * fair + 1e-4).ceil());
        }
    }
}

#[test]
fn one_that_was_given_up_on_is_left_for_one_that_nobody_knows() {
    let set = set(&[1, 1], &Balance::PeakEwma);
    let (hung, unknown) = (&set.entries()[0].endpoint, &set.entries()[1].endpoint);
    InFlight::start(hung.clone()).finish(Outcome::Cancelled, 300 * MS, 300 * MS);
    let mut random = random(7);
    for nth in 0..100 {
        let picked = set.pick((301 + nth) * MS, &mut random, None, &[]).unwrap();
        assert_eq!(picked.id(), unknown.id());
    }
}
