//! Picking where not all endpoints are well.

use std::collections::BTreeSet;

use outrigger_snapshot::policy::{Ejection, ShuffleShard};

use super::*;
use crate::cluster::health::{Phase, Rules};

const SECOND: u64 = 1_000 * MS;

/// Endpoints that have joined, under rules that eject at the first failure.
fn joined(weights: &[u32], balance: &Balance, change: impl FnOnce(&mut Rules)) -> EndpointSet {
    let set = set(weights, balance);
    let mut rules = Rules { ejection: Ejection { consecutive: 1, ..Ejection::default() }, slow_start_ms: 0 };
    change(&mut rules);
    set.health.rule(rules);
    for entry in set.open() {
        entry.endpoint.join(0, false, false);
    }
    set
}

fn eject(set: &EndpointSet, id: u32, now_ns: u64) {
    let endpoint = by_id(set, id);
    InFlight::start(endpoint.clone()).finish(Outcome::Failure, MS, now_ns);
    assert_eq!(endpoint.standing().phase, Phase::Out);
}

fn by_id(set: &EndpointSet, id: u32) -> &Arc<Endpoint> {
    let entry = set.entries().iter().find(|entry| entry.endpoint.id() == id);
    &entry.expect("an endpoint of the set").endpoint
}

#[test]
fn the_ejected_get_nothing_whatever_the_method() {
    for weights in [&[1; 8][..], &[9, 1, 9, 1, 1, 1, 1, 1]] {
        for balance in every_balance() {
            let set = joined(weights, &balance, |_| ());
            for id in [0, 3, 5] {
                eject(&set, id, 0);
            }
            let shares = shares(&set, 5_000, true, |_, _, _| ());
            for id in [0, 3, 5] {
                assert_eq!(shares[id], 0.0, "{balance:?}: {shares:?}");
            }
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            let mut random = random(2);
            for _ in 0..200 {
                let key = random();
                let picked = set.pick(MS, &mut random, Some(key), &[1, 2, 4, 6]).unwrap();
                assert_eq!(picked.id(), 7, "{balance:?}: the only one that is well and was not tried");
                let picked = set.pick(MS, &mut random, Some(key), &[1, 2, 4, 6, 7]).unwrap();
                assert_eq!(picked.standing().phase, Phase::In, "tried is better than ejected");
            }
        }
    }
}

#[test]
fn a_pick_says_what_it_was_made_for() {
    use PickReason::{Cheaper, Hash, Only, Overflow, Panic, Random, Shard, Trial, Turn};
    let mut random = random(1);
    let mut reason = |set: &EndpointSet, now_ns| {
        set.pick(now_ns, &mut random, Some(1), &[]).expect("never an empty set").reason
    };
    let shard = Balance::ShuffleShard(ShuffleShard { size: 2, key: HashKey::Source });
    let usual = [Cheaper, Cheaper, Turn, Random, Hash, Shard];
    for (balance, usual) in every_balance().into_iter().chain([shard]).zip(usual) {
        let set = joined(&[1; 4], &balance, |rules| rules.ejection.max_percent = 100);
        assert_eq!(reason(&set, 0), usual, "{balance:?}");
        let home = set.pick(0, &mut || 0, Some(1), &[]).expect("all are well").id();
        eject(&set, home, 0);
        let elsewhere = if usual == Hash { Overflow } else { usual };
        assert_eq!(reason(&set, MS), elsewhere, "{balance:?}");
        let until_ns = by_id(&set, home).standing().at_ms * MS;
        assert!((0..400).any(|_| reason(&set, until_ns) == Trial), "{balance:?}");
        (0..4).filter(|id| *id != home).take(2).for_each(|id| eject(&set, id, MS));
        assert_eq!(reason(&set, 2 * MS), Panic, "{balance:?}");
        let only = if matches!(usual, Hash | Shard) { usual } else { Only };
        assert_eq!(reason(&joined(&[1, 0], &balance, |_| ()), 0), only, "{balance:?}");
    }
    let words: BTreeSet<_> = PICK_REASONS.iter().collect();
    assert_eq!((words.len(), PICK_REASONS[Trial as usize]), (Trial as usize + 1, "trial"));
}

#[test]
fn exactly_one_request_finds_out_whether_an_endpoint_is_back() {
    for balance in every_balance() {
        let set = joined(&[1; 4], &balance, |_| ());
        eject(&set, 2, 0);
        let mut random = random(4);
        let until_ns = by_id(&set, 2).standing().at_ms * MS;
        let mut pick = |now_ns| {
            let key = random();
            set.pick(now_ns, &mut random, Some(key), &[]).unwrap().clone()
        };
        for _ in 0..100 {
            assert_ne!(pick(until_ns - MS).id(), 2);
        }
        let trials: Vec<_> = (0..400).map(|_| pick(until_ns)).filter(|picked| picked.id() == 2).collect();
        assert_eq!(trials.len(), 1, "{balance:?}");
        InFlight::start(trials[0].clone()).finish(Outcome::Success, MS, until_ns);
        let again = (0..400).filter(|_| pick(until_ns).id() == 2).count();
        assert!(again > 40, "{balance:?}: back with all its share, not {again} of 400");
        assert_eq!(set.health.ejected(), 0);
    }
}

#[test]
fn a_trial_that_is_dropped_lets_another_find_out() {
    let set = joined(&[1, 1], &Balance::PeakEwma, |_| ());
    eject(&set, 0, 0);
    let mut random = random(4);
    for _ in 0..3 {
        let trial = (0..100).find_map(|_| {
            let picked = set.pick(20 * SECOND, &mut random, None, &[]).unwrap();
            (picked.id() == 0).then(|| InFlight::start(picked.clone()))
        });
        drop(trial.expect("a trial"));
    }
}

#[test]
fn with_too_few_healthy_ones_health_is_not_looked_at() {
    for balance in every_balance() {
        let rules =
            |rules: &mut Rules| (rules.ejection.max_percent, rules.ejection.panic_percent) = (100, 50);
        let set = joined(&[1; 10], &balance, rules);
        for id in 0..5 {
            eject(&set, id, 0);
        }
        let ejected = |shares: &[f64]| shares[..5].iter().sum::<f64>();
        assert_eq!(ejected(&shares(&set, 2_000, true, |_, _, _| ())), 0.0, "{balance:?}");
        assert_eq!(set.health.panic_picks(), 0);
        eject(&set, 5, 0);
        // Their failures count as latency where latency counts.
        let expected = if balance == Balance::PeakEwma { 0.05 } else { 0.3 };
        assert!(ejected(&shares(&set, 2_000, true, |_, _, _| ())) > expected, "{balance:?}");
        assert_eq!(set.health.panic_picks(), 2_000);
        for id in 6..10 {
            eject(&set, id, 0);
        }
        assert!(set.pick(MS, &mut random(1), Some(1), &[]).is_some(), "never an empty set because of health");
    }
}

#[test]
fn one_that_waits_for_its_first_check_gets_nothing_unless_all_do() {
    for balance in every_balance() {
        let set = joined(&[1; 6], &balance, |_| ());
        for id in 0..4 {
            by_id(&set, id).leave();
            by_id(&set, id).join(0, false, true);
        }
        let waiting = |shares: &[f64]| shares[..4].iter().sum::<f64>();
        assert_eq!(waiting(&shares(&set, 1_000, true, |_, _, _| ())), 0.0, "{balance:?}");
        for id in 4..6 {
            by_id(&set, id).checked(false, 0);
        }
        assert_eq!(
            waiting(&shares(&set, 1_000, true, |_, _, _| ())),
            0.0,
            "{balance:?}: not in panic either"
        );
        by_id(&set, 0).checked(true, 0);
        by_id(&set, 1).checked(true, 0);
        let shares = shares(&set, 1_000, true, |_, _, _| ());
        assert!((shares[0] + shares[1] - 1.0).abs() < 1e-9, "{balance:?}: {shares:?}");
    }
    let set = joined(&[1; 2], &Balance::PeakEwma, |_| ());
    for id in 0..2 {
        by_id(&set, id).leave();
        by_id(&set, id).join(0, false, true);
    }
    assert!(set.pick(0, &mut random(1), None, &[]).is_some());
}

/// The share of picks that the endpoint 0 of `count` gets, relative to an even one, `age_ms` after it has joined to grow for 30 s; how many
/// requests are in flight meanwhile.
fn share_at(count: usize, balance: &Balance, age_ms: u64, busy: usize) -> f64 {
    const PICKS: u32 = 30_000;
    let set = joined(&vec![1; count], balance, |rules| rules.slow_start_ms = 30_000);
    by_id(&set, 0).leave();
    by_id(&set, 0).join(0, true, false);
    let mut random = random(9);
    let mut held = std::collections::VecDeque::new();
    let mut found = 0.0;
    for nth in 0..PICKS + busy as u32 {
        let key = random();
        let endpoint = set.pick(age_ms * MS, &mut random, Some(key), &[]).unwrap();
        if nth >= busy as u32 {
            found += f64::from(u8::from(endpoint.id() == 0)) * count as f64 / f64::from(PICKS);
        }
        held.push_back(InFlight::start(endpoint.clone()));
        if held.len() > busy {
            held.pop_front().unwrap().finish(Outcome::Success, 60 * MS, age_ms * MS);
        }
    }
    found
}

/// A tenth, half and all of what each of the others gets at a tenth, half and the whole of the time, also where what is in flight has a say:
/// sixty requests, each held for as long as the others.
#[test]
fn a_new_endpoints_share_grows_with_its_age() {
    for (count, busy) in [(2, 0), (3, 0), (10, 0), (10, 60)] {
        for balance in every_balance() {
            // Where a ring's points fall is luck, and what is refused goes to the next on it: there, its own share is what it grows to.
            let hashed = matches!(balance, Balance::ConsistentHash(_));
            let whole = if hashed { share_at(count, &balance, 60_000, busy) } else { 1.0 };
            for (age_ms, part) in [(0, 0.1), (3_000, 0.1), (15_000, 0.5), (30_000, 1.0), (60_000, 1.0)] {
                let among = count as f64 / (count as f64 - 1.0 + part);
                let fair = if hashed { part } else { part * among };
                let found = share_at(count, &balance, age_ms, busy) / whole;
                assert!(
                    (found - fair).abs() < 0.05,
                    "{balance:?} {count}, {busy} in flight: {found} at {age_ms} ms, not {fair}"
                );
            }
        }
    }
}
