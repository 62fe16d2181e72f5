use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_snapshot::policy::{Ejection, HashKey, ShuffleShard};

use super::*;
use crate::cluster::endpoint::{Endpoint, EndpointKey, InFlight, Outcome};
use crate::cluster::health::{ClusterHealth, Rules};
use crate::telemetry::metrics::Direction;
use crate::upstream_tls::Tls;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Endpoints with these weights, as one proxy knows them; they are ejected at the first failure.
fn endpoints(weights: &[u32]) -> Vec<Entry> {
    let health = Arc::new(ClusterHealth::default());
    let ejection = Ejection { consecutive: 1, ..Ejection::default() };
    health.rule(Rules { ejection, slow_start_ms: 0 });
    let entry = |(id, weight): (usize, &u32)| {
        let key = EndpointKey {
            direction: Direction::Outbound,
            cluster: "cart:80".parse().unwrap(),
            address: SocketAddr::from(([10, 0, (id / 256) as u8, id as u8], 80)),
            tls: Tls::None,
        };
        let endpoint = Arc::new(Endpoint::new(id as u32, key, health.clone()));
        endpoint.join(0, false, false);
        Entry { endpoint, weight: *weight, zone: None }
    };
    weights.iter().enumerate().map(entry).collect()
}

fn seated(ordinal: u32, callers: u32) -> Subsetting {
    Subsetting { caller: Caller::Seated(Seat::new(ordinal, callers).unwrap()), callers, endpoints_min: 12 }
}

fn named(nth: u32, callers: u32) -> Subsetting {
    let name = stable_hash(format!("web web-{nth}").as_bytes());
    Subsetting { caller: Caller::Named(name), callers, endpoints_min: 12 }
}

fn narrowed(entries: Vec<Entry>, subsetting: &Subsetting, balance: &Balance) -> EndpointSet {
    EndpointSet::new(entries, balance).narrowed(subsetting, SIZE_MIN, balance)
}

fn ids(entries: &[Entry]) -> BTreeSet<u32> {
    entries.iter().map(|entry| entry.endpoint.id()).collect()
}

/// The endpoints of `picks` picks, each of which is answered at once.
fn picked(set: &EndpointSet, picks: u64, avoid: &[u32]) -> Vec<u64> {
    picked_by(5, set, picks, avoid)
}

fn picked_by(seed: u64, set: &EndpointSet, picks: u64, avoid: &[u32]) -> Vec<u64> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut counts = vec![0; set.entries().len()];
    for nth in 0..picks {
        let picked = set.pick(nth * MS, &mut || rng.u64(..), None, avoid).unwrap();
        counts[picked.id() as usize] += 1;
        InFlight::start(picked.clone()).finish(Outcome::Success, 5 * MS + rng.u64(..10 * MS), nth * MS);
    }
    counts
}

fn hit(counts: &[u64]) -> BTreeSet<u32> {
    counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(id, _)| id as u32).collect()
}

fn fail(set: &EndpointSet, ids: impl IntoIterator<Item = u32>) {
    for id in ids {
        let entry = set.entries().iter().find(|entry| entry.endpoint.id() == id).unwrap();
        InFlight::start(entry.endpoint.clone()).finish(Outcome::Failure, MS, 0);
    }
    set.weigh(0);
}

/// Each caller sends as many requests, be it from a seat or to all: the ratio of each endpoint's rate to its fair share.
fn rates(callers: u32, weights: &[u32], balance: &Balance, seats: bool) -> Vec<f64> {
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let lightest = f64::from(*weights.iter().min().unwrap());
    // So that the lightest gets 20,000: 0.7 % is one standard deviation.
    let picks = (20_000.0 * total / lightest / f64::from(callers)).ceil();
    let mut sums = vec![0.0; weights.len()];
    for ordinal in 0..callers {
        let set = match seats {
            true => narrowed(endpoints(weights), &seated(ordinal, callers), balance),
            false => EndpointSet::new(endpoints(weights), balance),
        };
        for (sum, count) in sums.iter_mut().zip(picked_by(ordinal.into(), &set, picks as u64, &[])) {
            *sum += count as f64;
        }
    }
    let all = picks * f64::from(callers);
    sums.iter().zip(weights).map(|(sum, weight)| sum / (all * f64::from(*weight) / total)).collect()
}

/// The furthest that any rate is from 1.
fn worst(rates: &[f64]) -> f64 {
    rates.iter().map(|rate| (rate - 1.0).abs()).fold(0.0, f64::max)
}

#[test]
fn callers_with_seats_give_every_endpoint_its_share() {
    let differing: Vec<u32> = (0..80).map(|nth| 1 + nth % 3).collect();
    for (callers, weights) in [(33, vec![1; 100]), (50, vec![1; 47]), (200, vec![1; 20]), (33, differing)] {
        for balance in [Balance::LeastRequest, Balance::RoundRobin, Balance::Random] {
            let off = worst(&rates(callers, &weights, &balance, true));
            assert!(off < 0.03, "{balance:?}, {callers} × {}: {off}", weights.len());
        }
        // An estimate falls while nobody asks: what is asked seldom looks a little better, and so gets more than its share, among all as
        // among some.
        let [own, all] =
            [true, false].map(|seats| worst(&rates(callers, &weights, &Balance::PeakEwma, seats)));
        assert!(own < all + 0.06, "{callers} × {}: {own}, among all {all}", weights.len());
    }
}

#[test]
fn a_seat_is_worth_the_same_whatever_order_the_endpoints_come_in() {
    let (mut backwards, forwards) = (endpoints(&[1; 100]), endpoints(&[1; 100]));
    backwards.reverse();
    for subsetting in [seated(7, 200), named(7, 4_096)] {
        let subset = |entries: &[Entry]| {
            ids(narrowed(entries.to_vec(), &subsetting, &Balance::PeakEwma).subset().unwrap())
        };
        assert_eq!(subset(&forwards), subset(&backwards));
        assert!((12..=14).contains(&subset(&forwards).len()), "{subsetting:?}");
    }
}

#[test]
fn callers_with_names_alone_are_shared_out_by_chance_and_change_one_at_a_time() {
    let (callers, all) = (1_024, endpoints(&[1; 100]));
    let mut seen = vec![0_u32; all.len()];
    for nth in 0..callers {
        let subset = |entries: Vec<Entry>| {
            ids(narrowed(entries, &named(nth, callers), &Balance::PeakEwma).subset().unwrap())
        };
        let before = subset(all.clone());
        assert_eq!(before.len(), 13);
        before.iter().for_each(|id| seen[*id as usize] += 1);
        // The first endpoint leaves.
        let after = subset(all[1..].to_vec());
        assert!(before.difference(&after).all(|id| *id == 0), "{before:?} {after:?}");
        assert!(after.difference(&before).count() <= 1, "{before:?} {after:?}");
    }
    let (least, most) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
    assert!(*least >= 93 && *most <= 173, "133 callers each, give or take three tenths: {least} to {most}");
}

#[test]
fn nobody_has_a_subset_where_it_cannot_be() {
    let shards = ShuffleShard { size: 2, key: HashKey::Source };
    for (endpoints, subsetting, balance) in [
        (100, seated(0, 20), Balance::PeakEwma),
        (12, seated(0, 4_096), Balance::PeakEwma),
        (100, named(0, 128), Balance::PeakEwma),
        (100, seated(0, 256), Balance::ConsistentHash(HashKey::Source)),
        (100, seated(0, 256), Balance::ShuffleShard(shards)),
    ] {
        let set = narrowed(self::endpoints(&vec![1; endpoints]), &subsetting, &balance);
        assert!(set.subset().is_none(), "{endpoints}, {subsetting:?}, {balance:?}");
    }
    for balance in [Balance::PeakEwma, Balance::LeastRequest, Balance::RoundRobin, Balance::Random] {
        let set = narrowed(endpoints(&[1; 100]), &seated(0, 256), &balance);
        assert_eq!(hit(&picked(&set, 5_000, &[])), ids(set.subset().unwrap()), "{balance:?}");
    }
}

#[test]
fn health_comes_before_the_subset() {
    let set = narrowed(endpoints(&[1; 100]), &named(1, 4_096), &Balance::PeakEwma);
    let own: Vec<u32> = ids(set.subset().unwrap()).into_iter().collect();
    let well = |out: usize| own[out..].iter().copied().collect::<BTreeSet<u32>>();
    fail(&set, own[..6].iter().copied());
    assert_eq!(hit(&picked(&set, 3_000, &[])), well(6), "half of it does");
    fail(&set, own[6..7].iter().copied());
    let all = hit(&picked(&set, 3_000, &[]));
    assert_eq!(all.len(), 93, "less than half does not: everyone who is well is asked");
    // Until someone looks, a request that finds nobody is sent elsewhere at once.
    let set = narrowed(endpoints(&[1; 100]), &named(1, 4_096), &Balance::PeakEwma);
    for id in &own {
        let entry = set.entries().iter().find(|entry| entry.endpoint.id() == *id).unwrap();
        InFlight::start(entry.endpoint.clone()).finish(Outcome::Failure, MS, 0);
    }
    assert_eq!(hit(&picked(&set, 3_000, &[])).len(), 88);
}

#[test]
fn a_retry_leaves_the_subset_only_when_all_of_it_was_tried() {
    let set = narrowed(endpoints(&[1; 100]), &named(1, 4_096), &Balance::PeakEwma);
    let own: Vec<u32> = ids(set.subset().unwrap()).into_iter().collect();
    assert_eq!(hit(&picked(&set, 200, &own[1..])), [own[0]].into());
    let elsewhere = hit(&picked(&set, 2_000, &own));
    assert_eq!(elsewhere.len(), 88);
    assert!(own.iter().all(|id| !elsewhere.contains(id)));
}

#[test]
fn one_that_is_full_is_made_up_for() {
    let balance = Balance::PeakEwma;
    let set = EndpointSet::new(endpoints(&[1; 100]), &balance)
        .narrowed(&named(1, 4_096), SIZE_MIN, &balance)
        .limited(1);
    let own = ids(set.subset().unwrap());
    let mut rng = fastrand::Rng::with_seed(5);
    let mut held = Vec::new();
    let mut next = || {
        let picked = set.pick(0, &mut || rng.u64(..), None, &[]).unwrap().clone();
        held.push(InFlight::start(picked.clone()));
        picked.id()
    };
    assert_eq!((0..12).map(|_| next()).collect::<BTreeSet<_>>(), own);
    assert!(!own.contains(&next()));
}

#[test]
fn the_size_follows_the_mean_of_what_is_in_flight_and_changes_rarely() {
    let stats = SubsetStats::default();
    let mut now_ns = SECOND;
    let mut run = |in_flight: u32, seconds: u64| {
        let mut sizes = Vec::new();
        for _ in 0..seconds {
            stats.sample(in_flight, now_ns);
            now_ns += SECOND;
            if sizes.last() != Some(&stats.wanted()) {
                sizes.push(stats.wanted());
            }
        }
        sizes
    };
    assert_eq!(run(0, 100), [12]);
    assert_eq!(run(6, 300), [12], "two for each");
    assert_eq!(run(100, 300).last(), Some(&384), "200, and the next of 12 · 2ⁿ");
    assert_eq!(run(80, 300), [384], "it stays where the load comes and goes");
    assert_eq!(run(50, 300).last(), Some(&192));
    let falling = run(0, 600);
    assert!(falling.len() <= 6 && falling.last() == Some(&12), "{falling:?}");
    // Once, and again after 30 s.
    let rising = run(1_000, 30);
    assert!(rising.len() <= 3, "{rising:?}");
}

#[test]
fn a_change_of_subset_is_counted() {
    let stats = SubsetStats::default();
    let all = endpoints(&[1; 100]);
    let first = narrowed(all.clone(), &named(1, 4_096), &Balance::PeakEwma);
    let again = narrowed(all.clone(), &named(1, 4_096), &Balance::Random);
    let other = narrowed(all, &named(2, 4_096), &Balance::PeakEwma);
    let mut changes = Vec::new();
    for set in [&first, &again, &other] {
        stats.note(set.subset());
        changes.push(stats.changes());
    }
    stats.note(None);
    assert_eq!((changes, stats.changes()), (vec![1, 1, 2], 3));
}
