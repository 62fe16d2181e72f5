use std::collections::{HashSet, VecDeque};

use outrigger_snapshot::policy::BreakerWindow;
use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000 * MS;

fn breaker(change: impl FnOnce(&mut Breaker)) -> Arc<ClusterBreaker> {
    let mut settings = Breaker { requests_min: 4, ..Breaker::default() };
    change(&mut settings);
    Arc::new(ClusterBreaker::new(settings, Arc::default()))
}

/// Sends one request if it may be sent; whether it was.
fn call(breaker: &Arc<ClusterBreaker>, outcome: Outcome, now_ns: u64) -> bool {
    match breaker.admit(now_ns, 0) {
        Admit::Permit(permit) => {
            permit.finish(outcome, MS, now_ns);
            true
        }
        Admit::Refused { .. } => false,
    }
}

fn permit(breaker: &Arc<ClusterBreaker>, now_ns: u64) -> Option<Permit> {
    match breaker.admit(now_ns, 0) {
        Admit::Permit(permit) => Some(permit),
        Admit::Refused { .. } => None,
    }
}

/// How often a breaker opened, was half open, opened again, and closed.
fn ways(breaker: &ClusterBreaker) -> [u64; 4] {
    let [failed, slow, due, failed_again, slow_again, lost, well, _grown] = breaker.transitions();
    [failed + slow, due, failed_again + slow_again + lost, well]
}

/// Fails until it is open.
fn trip(breaker: &Arc<ClusterBreaker>, now_ns: u64) {
    let _ = (0..100).find(|_| !call(breaker, Outcome::Failure, now_ns));
    assert_eq!(breaker.state().phase, Phase::Open);
}

#[test]
fn it_trips_at_the_rate_and_not_before_enough_requests() {
    use Outcome::{Cancelled, Failure, Overloaded, Success, Unreachable};
    for (outcomes, expected) in [
        (&[Failure; 3][..], Phase::Closed),
        (&[Failure; 4], Phase::Open),
        (&[Unreachable; 4], Phase::Open),
        (&[Overloaded, Cancelled, Overloaded, Cancelled, Failure, Failure], Phase::Closed),
        (&[Failure, Failure, Failure, Success, Failure], Phase::Closed),
        (
            &[Success, Failure, Failure, Failure, Failure, Failure, Failure, Failure, Failure, Failure],
            Phase::Open,
        ),
    ] {
        for window in [BreakerWindow::TimeMs(10_000), BreakerWindow::Count(20)] {
            let breaker = breaker(|settings| settings.window = window);
            for outcome in outcomes {
                call(&breaker, *outcome, SECOND);
            }
            assert_eq!(breaker.state().phase, expected, "{outcomes:?}");
        }
    }
}

#[test]
fn slow_requests_trip_it_too_if_they_are_looked_at() {
    for (slow_percent, expected) in [(100, Phase::Open), (0, Phase::Closed)] {
        let breaker = breaker(|settings| {
            (settings.slow_percent, settings.slow_ms, settings.endpoints_percent) = (slow_percent, 500, 100);
        });
        for _ in 0..4 {
            permit(&breaker, SECOND).unwrap().finish(Outcome::Success, 500 * MS, SECOND);
        }
        assert_eq!(breaker.state().phase, expected);
    }
    let off = breaker(|settings| settings.failure_percent = 0);
    for _ in 0..100 {
        assert!(call(&off, Outcome::Failure, SECOND));
    }
}

#[test]
fn open_half_open_closed_and_each_opening_twice_as_long() {
    let breaker = breaker(|settings| (settings.successes, settings.open_max_ms) = (3, 5_000));
    trip(&breaker, 0);
    let (mut now_ns, mut times) = (0, Vec::new());
    for _ in 0..5 {
        let until_ns = breaker.state().at_ms * MS;
        times.push((until_ns - now_ns) / SECOND);
        let Admit::Refused { retry_after_ns } = breaker.admit(until_ns - MS, 0) else { panic!("too early") };
        assert_eq!(retry_after_ns, MS);
        now_ns = until_ns;
        assert!(call(&breaker, Outcome::Success, now_ns) && call(&breaker, Outcome::Failure, now_ns));
    }
    assert_eq!(times, [1, 2, 4, 5, 5]);
    now_ns = breaker.state().at_ms * MS;
    for _ in 0..3 {
        assert_ne!(breaker.state().phase, Phase::Closed);
        assert!(call(&breaker, Outcome::Success, now_ns));
    }
    assert_eq!((breaker.state().phase, ways(&breaker)), (Phase::Closed, [1, 6, 5, 1]));
    trip(&breaker, now_ns + 40 * SECOND);
    assert_eq!(
        breaker.state().at_ms,
        now_ns / MS + 40_000 + 4_000,
        "four rests make up for four of six openings"
    );
}

#[test]
fn probes_are_limited_and_a_lost_one_makes_room() {
    let breaker = breaker(|settings| settings.probes = 2);
    trip(&breaker, 0);
    let first = permit(&breaker, SECOND).unwrap();
    let second = permit(&breaker, SECOND).unwrap();
    assert!(first.is_probe() && permit(&breaker, SECOND).is_none(), "two at a time");
    drop(first);
    let third = permit(&breaker, SECOND).expect("the place of the one that was lost");
    second.finish(Outcome::Cancelled, 0, SECOND);
    third.finish(Outcome::Overloaded, 0, SECOND);
    assert_eq!((breaker.state().probes, breaker.state().successes), (0, 0));
}

#[test]
fn probes_that_never_answer_open_it_again_and_come_too_late() {
    let breaker = breaker(|settings| settings.successes = 1);
    trip(&breaker, 0);
    let probe = permit(&breaker, SECOND).unwrap();
    assert!(permit(&breaker, 31 * SECOND - MS).is_none());
    assert_eq!(breaker.state().phase, Phase::HalfOpen);
    assert!(permit(&breaker, 31 * SECOND).is_none());
    assert_eq!((breaker.state().phase, breaker.state().at_ms), (Phase::Open, 33_000));
    probe.finish(Outcome::Success, 0, 32 * SECOND);
    assert_eq!(breaker.state().phase, Phase::Open, "an answer of another generation");
}

/// By the time it answers, another one is under way.
#[test]
fn a_probe_that_was_given_up_neither_counts_nor_makes_room() {
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Cancelled] {
        let breaker = breaker(|settings| settings.successes = 1);
        trip(&breaker, 0);
        let given_up = permit(&breaker, SECOND).unwrap();
        assert!(permit(&breaker, 31 * SECOND).is_none());
        let probe = permit(&breaker, 33 * SECOND).expect("it is due again");
        let state = breaker.state();
        given_up.finish(outcome, MS, 34 * SECOND);
        assert_eq!(breaker.state(), state, "{outcome:?}");
        probe.finish(Outcome::Success, MS, 34 * SECOND);
        assert_eq!(breaker.state().phase, Phase::Closed);
    }
}

#[test]
fn results_from_before_it_opened_count_no_more_when_it_is_closed_again() {
    let breaker = breaker(|settings| settings.successes = 1);
    let early: Vec<_> = (0..3).map(|_| permit(&breaker, 0).unwrap()).collect();
    trip(&breaker, 0);
    assert!(call(&breaker, Outcome::Success, SECOND));
    for early in early {
        early.finish(Outcome::Failure, MS, SECOND);
    }
    assert!(call(&breaker, Outcome::Failure, SECOND));
    assert_eq!(breaker.state().phase, Phase::Closed, "that is one failure, and it takes four");
}

/// Generations wrap, so a request that takes that long may seem to be of this one.
#[test]
fn a_request_that_is_no_probe_makes_no_room_for_one() {
    let breaker = breaker(|_| {});
    let early = permit(&breaker, 0).unwrap();
    let generation = breaker.state().generation;
    trip(&breaker, 0);
    let probe = loop {
        let now_ns = breaker.state().at_ms * MS;
        let probe = permit(&breaker, now_ns).expect("it is due");
        if breaker.state().generation == generation {
            break probe;
        }
        probe.finish(Outcome::Failure, MS, now_ns);
    };
    let state = breaker.state();
    drop(early);
    assert_eq!(breaker.state(), state);
    drop(probe);
    assert_eq!(breaker.state().probes, 0);
}

#[test]
fn after_closing_more_and_more_get_through() {
    let breaker = breaker(|settings| (settings.successes, settings.ramp_ms) = (1, 10_000));
    trip(&breaker, 0);
    assert!(call(&breaker, Outcome::Success, SECOND));
    assert_eq!(breaker.state().phase, Phase::Ramping);
    let mut random = fastrand::Rng::with_seed(5);
    for (after_ns, share) in
        [(0, 0.1), (SECOND / 2, 0.1), (5 * SECOND, 0.5), (9 * SECOND, 0.9), (10 * SECOND, 1.0)]
    {
        let admitted = (0..4_000)
            .filter(|_| matches!(breaker.admit(SECOND + after_ns, random.u64(..)), Admit::Permit(_)))
            .count();
        assert!((admitted as f64 / 4_000.0 - share).abs() < 0.03, "{admitted} of 4000, not {share}");
    }
    assert_eq!(breaker.state().phase, Phase::Closed);
}

#[test]
fn it_stays_closed_while_most_endpoints_are_well() {
    use crate::cluster::endpoint::{Endpoint, EndpointKey, InFlight};
    use crate::telemetry::metrics::Direction;
    let health = Arc::new(ClusterHealth::default());
    let endpoint = |id: u32| {
        let key = EndpointKey {
            direction: Direction::Outbound,
            cluster: "cart:80".parse().unwrap(),
            address: std::net::SocketAddr::from(([10, 0, 0, id as u8], 80)),
            tls: Default::default(),
        };
        let endpoint = Arc::new(Endpoint::new(id, key, health.clone()));
        endpoint.join(0, false, false);
        endpoint
    };
    let endpoints: Vec<_> = (0..10).map(endpoint).collect();
    let breaker = Arc::new(ClusterBreaker::new(Breaker::default(), health.clone()));
    for failing in [7, 8] {
        for _ in 0..12 {
            for endpoint in &endpoints[..failing] {
                let Some(permit) = permit(&breaker, SECOND) else { continue };
                InFlight::start(endpoint.clone()).finish(Outcome::Failure, MS, SECOND);
                permit.finish(Outcome::Failure, MS, SECOND);
            }
        }
        let expected = if failing == 8 { Phase::Open } else { Phase::Closed };
        assert_eq!(breaker.state().phase, expected, "{failing} of 10");
    }
}

/// A permit that is out: its generation, and whether it is a probe.
type Out = (u8, bool);

/// All steps, in every order, to the depth given. A step is one compare-and-swap, so orders of steps are all there is.
#[test]
fn in_every_order_probes_stay_within_bounds_and_nothing_is_wedged() {
    const DEPTH: usize = 9;
    const PROBES: u8 = 2;
    let mut waiting: VecDeque<(usize, State, Vec<Out>)> = VecDeque::from([(0, State::NEW, Vec::new())]);
    let mut seen = HashSet::new();
    while let Some((depth, state, out)) = waiting.pop_front() {
        let live = out.iter().filter(|(generation, probe)| *probe && *generation == state.generation).count();
        assert_eq!(State::unpack(state.pack()), state);
        assert!(state.probes <= PROBES, "{state:?}");
        if state.phase == Phase::HalfOpen {
            assert_eq!(live, usize::from(state.probes), "{state:?} {out:?}");
            let moves = state.probed(9, 9, PROBES).is_some() || state.expired(9, 9).is_some();
            assert!(moves, "stuck in {state:?}");
        }
        assert!(state.phase != Phase::Open || state.probed(9, 9, PROBES).is_some(), "{state:?}");
        if depth == DEPTH || !seen.insert((state, out.clone())) {
            continue;
        }
        let mut steps = vec![
            (state.tripped(1, state.repeats + 1), out.clone()),
            (state.expired(3, 1), out.clone()),
            (state.grown(9, 1), out.clone()),
        ];
        if out.len() < 4 {
            let probed = state.probed(1, 2, PROBES);
            let sent = |generation| out.iter().copied().chain([(generation, true)]).collect();
            steps.extend(probed.map(|after| (Some(after), sent(after.generation))));
        }
        for (index, (generation, _)) in out.iter().enumerate() {
            let mut rest = out.clone();
            rest.remove(index);
            if *generation == state.generation {
                for verdict in [state.succeeded(1, 2, true), state.failed(1), state.returned()] {
                    steps.push((verdict, rest.clone()));
                }
            } else {
                steps.push((Some(state), rest));
            }
        }
        waiting.extend(steps.into_iter().filter_map(|(next, out)| next.map(|next| (depth + 1, next, out))));
    }
    assert!(seen.len() > 100, "{} states", seen.len());
}

proptest! {
    /// A window of the last requests, against a list of them.
    #[test]
    fn the_last_requests_are_what_a_list_holds(
        outcomes in prop::collection::vec((any::<bool>(), any::<bool>()), 1..200),
        count in 1_u32..50,
    ) {
        let rates = Rates::new(BreakerWindow::Count(count));
        for nth in 0..outcomes.len() {
            let (failed, slow) = outcomes[nth];
            rates.add(Verdict { failed, slow }, 0);
            let last = &outcomes[(nth + 1).saturating_sub(count as usize)..=nth];
            let (failures, slows) = rates.counts(0);
            prop_assert_eq!(failures.total, last.len() as u64);
            prop_assert_eq!(failures.failures, last.iter().filter(|(failed, _)| *failed).count() as u64);
            prop_assert_eq!(slows.failures, last.iter().filter(|(_, slow)| *slow).count() as u64);
        }
        rates.clear();
        prop_assert_eq!(rates.counts(0).0, super::super::window::Counts::default());
    }
}

/// One of each, and what it is counted as.
#[test]
fn every_change_has_its_cause() {
    let ramping = breaker(|settings| {
        (settings.slow_percent, settings.slow_ms, settings.endpoints_percent) = (100, 500, 0);
        (settings.successes, settings.probes, settings.ramp_ms) = (1, 1, 1_000);
    });
    let due_ns = || ramping.state().at_ms * MS;
    let answer = |elapsed_ns, now_ns| {
        let permit = permit(&ramping, now_ns).expect("it is due or closed");
        permit.finish(Outcome::Success, elapsed_ns, now_ns);
    };
    trip(&ramping, SECOND);
    assert!(call(&ramping, Outcome::Failure, due_ns()), "the first probe");
    answer(500 * MS, due_ns());
    let lost = permit(&ramping, due_ns()).expect("the third");
    assert!(permit(&ramping, due_ns()).is_none(), "its time is over");
    drop(lost);
    answer(MS, due_ns());
    let grown_ns = due_ns() + SECOND;
    (0..4).for_each(|_| answer(500 * MS, grown_ns));
    assert_eq!(ramping.state().phase, Phase::Open);
    let found: Vec<_> = TRANSITIONS.iter().zip(ramping.transitions()).collect();
    let expected = [1, 1, 4, 1, 1, 1, 1, 1];
    assert_eq!(found, TRANSITIONS.iter().zip(expected).collect::<Vec<_>>());
}

/// Eight workers that disagree on the time: never more probes than allowed, and always a way on.
#[test]
fn workers_never_send_more_probes_than_allowed() {
    let breaker = breaker(|settings| (settings.probes, settings.successes) = (3, 5));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for nth in 0..5_000_u64 {
                    let now_ns = nth * 500 * MS;
                    let Some(permit) = permit(&breaker, now_ns) else { continue };
                    assert!(breaker.state().probes <= 3);
                    let failed = (nth / 100) % 2 == 0;
                    permit.finish(if failed { Outcome::Failure } else { Outcome::Success }, MS, now_ns);
                }
            });
        }
    });
    assert!(ways(&breaker).iter().all(|count| *count > 0), "{:?}", breaker.transitions());
    trip(&breaker, 5_000 * SECOND);
    let now_ns = breaker.state().at_ms * MS;
    while breaker.state().phase != Phase::Closed {
        assert!(call(&breaker, Outcome::Success, now_ns), "a permit was lost: {:?}", breaker.state());
    }
}
