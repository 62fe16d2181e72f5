use std::net::SocketAddr;

use crate::upstream_tls::Tls;
use outrigger_snapshot::policy::Ejection;
use proptest::prelude::*;

use super::*;
use crate::cluster::balance::Part;
use crate::cluster::endpoint::{Endpoint, EndpointKey, InFlight, Outcome};
use crate::cluster::health::Rules;
use crate::telemetry::metrics::Direction;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Callers 40/40/20 and endpoints 25/50/25, as in the comments of Envoy's zone-aware router.
const CALLERS: [(&str, u64); 3] = [("a", 40), ("b", 40), ("c", 20)];
const ENDPOINTS: [&str; 8] = ["a", "a", "b", "b", "b", "b", "c", "c"];

/// The endpoints as a proxy in `zone` sees them, of a cluster whose endpoints are ejected at the first failure.
fn seen_from(zone: &str, callers: &[(&str, u64)], endpoints: &[&str], balance: &Balance) -> EndpointSet {
    let health = Arc::new(ClusterHealth::default());
    let ejection = Ejection { consecutive: 1, ..Ejection::default() };
    health.rule(Rules { ejection, slow_start_ms: 0 });
    let entry = |(id, zone): (usize, &&str)| {
        let key = EndpointKey {
            direction: Direction::Outbound,
            cluster: "cart:80".parse().unwrap(),
            address: SocketAddr::from(([10, 0, 0, id as u8], 80)),
            tls: Tls::None,
        };
        let endpoint = Arc::new(Endpoint::new(id as u32, key, health.clone()));
        endpoint.join(0, false, false);
        Entry { endpoint, weight: 1, zone: Some(*zone).filter(|zone| !zone.is_empty()).map(Arc::from) }
    };
    let callers = Callers {
        zone: zone.into(),
        weights: callers.iter().map(|(zone, weight)| (Arc::from(*zone), *weight)).collect(),
        health: Arc::default(),
    };
    let preference =
        Preference { callers: callers.into(), endpoints_min: 6, picks: Arc::new(ZonePicks::default()) };
    let set = EndpointSet::new(endpoints.iter().enumerate().map(entry).collect(), balance);
    set.preferring(&preference, balance, 0)
}

fn preference(set: &EndpointSet) -> &Preference {
    match &set.part {
        Some(Part::Zones(zones)) => &zones.preference,
        other => unreachable!("zones are known: {other:?}"),
    }
}

/// The share of each endpoint in the picks, each of which is answered at once.
fn shares(set: &EndpointSet, picks: usize, avoid: &[u32]) -> Vec<f64> {
    let mut rng = fastrand::Rng::with_seed(11);
    let mut shares = vec![0.0; set.entries().len()];
    for nth in 0..picks as u64 {
        let picked = set.pick(nth * MS, &mut || rng.u64(..), None, avoid).unwrap();
        shares[picked.id() as usize] += 1.0 / picks as f64;
        InFlight::start(picked.clone()).finish(Outcome::Success, 5 * MS, nth * MS);
    }
    shares
}

fn eject(set: &EndpointSet, ids: impl IntoIterator<Item = u32>) {
    for id in ids {
        let entry = set.entries().iter().find(|entry| entry.endpoint.id() == id).unwrap();
        InFlight::start(entry.endpoint.clone()).finish(Outcome::Failure, MS, 0);
    }
}

fn of_zone(shares: &[f64], zone: &str) -> f64 {
    shares.iter().zip(ENDPOINTS).filter(|(_, of)| *of == zone).map(|(share, _)| share).sum()
}

#[test]
fn the_worked_example_keeps_62_and_a_half_per_cent_and_spills_two_to_one() {
    let (callers, endpoints) = ([40.0, 40.0, 20.0], [25.0, 50.0, 25.0]);
    let shares = spread(&callers, &endpoints, 0).unwrap();
    for (share, expected) in shares.iter().zip([0.625, 0.25, 0.125]) {
        assert!((share - expected).abs() < 1e-9, "{shares:?}");
    }
    assert_eq!(spread(&callers, &endpoints, 1), Some(vec![0.0, 1.0, 0.0]));
    assert_eq!(spread(&callers, &endpoints, 2), Some(vec![0.0, 0.0, 1.0]));
    assert_eq!(spread(&[0.0, 1.0], &[1.0, 1.0], 0), None, "nobody calls from there");
    assert_eq!(spread(&[1.0, 1.0], &[0.0, 0.0], 0), None, "nobody serves");
}

proptest! {
    #[test]
    fn every_zone_gets_its_share_and_as_much_as_can_stays(
        weights in prop::collection::vec((0_u32..50, 0_u32..50), 1..8),
    ) {
        let callers: Vec<f64> = weights.iter().map(|(callers, _)| f64::from(*callers)).collect();
        let endpoints: Vec<f64> = weights.iter().map(|(_, endpoints)| f64::from(*endpoints)).collect();
        let (of_callers, of_endpoints) = (callers.iter().sum::<f64>(), endpoints.iter().sum::<f64>());
        prop_assume!(of_callers > 0.0 && of_endpoints > 0.0);
        let mut got = vec![0.0; weights.len()];
        for zone in (0..weights.len()).filter(|zone| callers[*zone] > 0.0) {
            let (s, u) = (callers[zone] / of_callers, endpoints[zone] / of_endpoints);
            let shares = spread(&callers, &endpoints, zone).unwrap();
            prop_assert!((shares[zone] - (u / s).min(1.0)).abs() < 1e-9, "{shares:?}");
            for (got, share) in got.iter_mut().zip(shares) {
                *got += s * share;
            }
        }
        for (got, endpoints) in got.iter().zip(endpoints) {
            prop_assert!((got - endpoints / of_endpoints).abs() < 1e-9);
        }
    }
}

#[test]
fn every_endpoint_gets_the_same_rate_whatever_the_method() {
    for balance in [Balance::PeakEwma, Balance::LeastRequest, Balance::RoundRobin, Balance::Random] {
        let mut rates = vec![0.0; ENDPOINTS.len()];
        for (zone, weight) in CALLERS {
            let set = seen_from(zone, &CALLERS, &ENDPOINTS, &balance);
            let shares = shares(&set, 60_000, &[]);
            let local = of_zone(&shares, zone);
            let expected = if zone == "a" { 0.625 } else { 1.0 };
            assert!((local - expected).abs() < 0.01, "{balance:?}, {zone}: {shares:?}");
            let [(_, counted), (_, others)] = preference(&set).picks.counts();
            assert_eq!((counted, counted + others), ((local * 60_000.0).round() as u64, 60_000));
            for (rate, share) in rates.iter_mut().zip(shares) {
                *rate += share * weight as f64 / 100.0;
            }
        }
        for rate in &rates {
            assert!((rate * 8.0 - 1.0).abs() < 0.05, "{balance:?}: {rates:?}");
        }
    }
}

#[test]
fn shares_follow_health() {
    let set = seen_from("b", &CALLERS, &ENDPOINTS, &Balance::PeakEwma);
    eject(&set, [2, 3]);
    assert!(of_zone(&shares(&set, 2_000, &[]), "b") > 0.999, "those that are well, until the sweep");
    set.weigh(SECOND);
    // u = 2/6 each, s = 40/40/20: of what b cannot serve, all goes to c.
    let after = shares(&set, 8_000, &[]);
    assert!((of_zone(&after, "b") - 5.0 / 6.0).abs() < 0.02, "{after:?}");
    assert!(of_zone(&after, "a") < 0.001 && after[2] + after[3] < 0.001, "{after:?}");
}

#[test]
fn a_zone_that_is_out_is_left_at_once_and_comes_back_by_its_trials() {
    let set = seen_from("c", &CALLERS, &ENDPOINTS, &Balance::PeakEwma);
    eject(&set, [6, 7]);
    let out = shares(&set, 2_000, &[]);
    assert_eq!(of_zone(&out, "c"), 0.0, "before the sweep");
    set.weigh(SECOND);
    let out = shares(&set, 2_000, &[]);
    assert!(of_zone(&out, "a") > 0.0 || of_zone(&out, "b") > 0.0);
    assert_eq!(of_zone(&out, "c"), 0.0);
    // Ejected for 10 s and up to half as long again; a success on trial brings it back.
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..400 {
        let picked = set.pick(20 * SECOND, &mut || rng.u64(..), None, &[]).unwrap().clone();
        InFlight::start(picked).finish(Outcome::Success, 5 * MS, 20 * SECOND);
    }
    set.weigh(21 * SECOND);
    assert!(of_zone(&shares(&set, 2_000, &[]), "c") > 0.999);
}

#[test]
fn what_was_tried_is_left_for_another_zone_only_where_the_own_has_nobody_else() {
    let set = seen_from("c", &CALLERS, &ENDPOINTS, &Balance::PeakEwma);
    assert!(shares(&set, 500, &[6])[7] > 0.999);
    assert_eq!(of_zone(&shares(&set, 500, &[6, 7]), "c"), 0.0);
}

#[test]
fn nothing_is_preferred_where_too_little_is_known_or_well() {
    let even = |set: &EndpointSet| {
        let shares = shares(set, 20_000, &[]);
        shares.iter().all(|share| (share * shares.len() as f64 - 1.0).abs() < 0.1)
    };
    let seen = |zone, callers: &[(&str, u64)], endpoints: &[&str]| {
        seen_from(zone, callers, endpoints, &Balance::Random)
    };
    assert!(!even(&seen("c", &CALLERS, &ENDPOINTS)), "the rest would say nothing");
    assert!(even(&seen("d", &CALLERS, &ENDPOINTS)), "none of the callers is known to be there");
    assert!(even(&seen("c", &[], &ENDPOINTS)), "no caller's zone is known");
    assert!(even(&seen("c", &CALLERS, &[""; 8])), "no endpoint's zone is known");
    assert!(even(&seen("c", &CALLERS, &ENDPOINTS[3..])), "five endpoints");

    let set = seen("c", &CALLERS, &ENDPOINTS);
    eject(&set, 0..3);
    set.weigh(SECOND);
    assert_eq!(shares(&set, 2_000, &[])[..3], [0.0; 3]);
    assert!(of_zone(&shares(&set, 2_000, &[]), "c") < 0.9, "five are well");

    let set = seen("c", &CALLERS, &ENDPOINTS);
    let callers = &preference(&set).callers;
    for unwell in 0..2_u8 {
        let key = EndpointKey {
            direction: Direction::Outbound,
            cluster: "own:80".parse().unwrap(),
            address: SocketAddr::from(([10, 1, 0, unwell], 80)),
            tls: Tls::None,
        };
        let endpoint = Endpoint::new(u32::from(unwell), key, callers.health.clone());
        endpoint.join(0, false, false);
        endpoint.checked(false, 0);
    }
    set.weigh(SECOND);
    assert!(even(&set), "the callers are unwell themselves");
}

#[test]
fn panic_ends_the_preference_before_the_sweep() {
    let endpoints = [&ENDPOINTS[..], &["c"; 8]].concat();
    let set = seen_from("c", &CALLERS, &endpoints, &Balance::Random);
    let health = &set.health;
    health.rule(Rules {
        ejection: Ejection { consecutive: 1, max_percent: 100, ..Ejection::default() },
        slow_start_ms: 0,
    });
    eject(&set, (0..6).chain(8..11));
    assert!(health.is_panicking(50));
    let shares = shares(&set, 4_000, &[]);
    assert!(shares.iter().all(|share| *share > 0.03), "{shares:?}");
}

#[test]
fn a_key_decides_before_the_zone() {
    let hashed = Balance::ConsistentHash(outrigger_snapshot::policy::HashKey::Source);
    assert!(!seen_from("c", &CALLERS, &ENDPOINTS, &hashed).prefers_zone());
}

#[test]
fn a_zone_that_is_full_is_left_for_another() {
    let set = seen_from("c", &CALLERS, &ENDPOINTS, &Balance::PeakEwma).limited(1);
    let held: Vec<_> =
        set.entries()[6..].iter().map(|entry| InFlight::start(entry.endpoint.clone())).collect();
    assert_eq!(of_zone(&shares(&set, 500, &[]), "c"), 0.0);
    drop(held);
    assert!(of_zone(&shares(&set, 500, &[]), "c") > 0.999);
}
