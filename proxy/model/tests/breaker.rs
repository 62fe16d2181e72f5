//! The breaker in every order of threads.

use std::sync::Arc;

use loom::model::Builder;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::thread::{self, JoinHandle};
use outrigger_proxy_model::cluster::breaker::{Admit, ClusterBreaker, Permit, Phase};
use outrigger_proxy_model::cluster::endpoint::Outcome::{self, Cancelled, Failure, Success};
use outrigger_snapshot::policy::{Breaker, BreakerWindow};

const MS: u64 = 1_000_000;
/// Half open at the earliest, in a breaker that tripped at 0.
const DUE: u64 = 1_000 * MS;
/// Until then a probe that began at [`DUE`] must have answered.
const DEADLINE: u64 = DUE + 30_000 * MS;
/// How often the scheduler may take a thread off that could go on. Bugs that take more are rare (Musuvathi and Qadeer, 2007), and all
/// orders would take hours.
const PREEMPTIONS: usize = 2;

/// Runs `check` in every order.
fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(check);
}

/// One that trips at the first failure.
fn breaker(probes: u32, successes: u32) -> Arc<ClusterBreaker> {
    let settings = Breaker {
        window: BreakerWindow::Count(1),
        requests_min: 1,
        endpoints_percent: 0,
        probes,
        successes,
        ..Breaker::default()
    };
    Arc::new(ClusterBreaker::new(settings, Arc::default()))
}

fn permit(breaker: &Arc<ClusterBreaker>, now_ns: u64) -> Option<Permit> {
    match breaker.admit(now_ns, 0) {
        Admit::Permit(permit) => Some(permit),
        Admit::Refused { .. } => None,
    }
}

fn call(breaker: &Arc<ClusterBreaker>, outcome: Outcome, now_ns: u64) -> bool {
    permit(breaker, now_ns).map(|permit| permit.finish(outcome, MS, now_ns)).is_some()
}

/// One that has just tripped.
fn open(probes: u32, successes: u32) -> Arc<ClusterBreaker> {
    let breaker = breaker(probes, successes);
    assert!(call(&breaker, Failure, 0));
    assert_eq!(breaker.state().phase, Phase::Open);
    breaker
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("it asserts in its own words"));
}

/// It closes within so many good calls, whatever has happened.
fn closes(breaker: &Arc<ClusterBreaker>, calls: usize, now_ns: u64) {
    for _ in 0..calls {
        assert!(call(breaker, Success, now_ns), "stuck: {:?}", breaker.state());
    }
    assert_eq!(breaker.state().phase, Phase::Closed, "{:?}", breaker.state());
}

#[test]
fn there_are_never_more_probes_than_allowed() {
    for probes in [1, 2] {
        for outcomes in [[Some(Success), Some(Failure), None], [Some(Success), None, Some(Cancelled)]] {
            model(move || {
                let (breaker, under_way) = (open(probes, 2), Arc::new(AtomicU32::new(0)));
                let ask = |outcome: Option<Outcome>| {
                    let (breaker, under_way) = (breaker.clone(), under_way.clone());
                    move || {
                        let Some(permit) = permit(&breaker, DUE) else { return };
                        assert!(permit.is_probe(), "two successes of three: it can't be closed yet");
                        assert!(under_way.fetch_add(1, Relaxed) < probes, "{:?}", breaker.state());
                        under_way.fetch_sub(1, Relaxed);
                        match outcome {
                            Some(outcome) => permit.finish(outcome, MS, DUE),
                            None => drop(permit),
                        }
                    }
                };
                let [first, second, third] = outcomes;
                let threads = [thread::spawn(ask(first)), thread::spawn(ask(second))];
                ask(third)();
                join(threads);
                assert_eq!(breaker.state().probes, 0, "{:?}", breaker.state());
            });
        }
    }
}

#[test]
fn a_place_that_was_lost_is_free_again() {
    model(|| {
        let breaker = open(2, 2);
        let lose = |outcome: Option<Outcome>| {
            let breaker = breaker.clone();
            thread::spawn(move || {
                let permit = permit(&breaker, DUE);
                if let Some((permit, outcome)) = permit.zip(outcome) {
                    permit.finish(outcome, MS, DUE);
                }
            })
        };
        let threads = [lose(None), lose(Some(Cancelled))];
        let succeeded = call(&breaker, Success, DUE);
        join(threads);
        closes(&breaker, 2 - usize::from(succeeded), DUE);
    });
}

/// How often a breaker opened, was half open, opened again, and closed.
fn ways(breaker: &ClusterBreaker) -> [u64; 4] {
    let [failed, slow, due, failed_again, slow_again, lost, well, _grown] = breaker.transitions();
    [failed + slow, due, failed_again + slow_again + lost, well]
}

/// At the same moment that a probe answers, somebody finds that its time is over.
#[test]
fn a_probe_counts_or_is_too_late_and_never_both() {
    for outcome in [Success, Failure, Cancelled] {
        model(move || {
            let breaker = open(1, 1);
            let probe = permit(&breaker, DUE).expect("it is due");
            let asks = thread::spawn({
                let breaker = breaker.clone();
                move || drop(permit(&breaker, DEADLINE))
            });
            let asks_too = thread::spawn({
                let breaker = breaker.clone();
                move || drop(permit(&breaker, DEADLINE))
            });
            probe.finish(outcome, MS, DEADLINE);
            join([asks, asks_too]);
            let [opened, half_opened, opened_again, closed] = ways(&breaker);
            assert_eq!((opened, half_opened), (1, 1));
            assert!(opened_again + closed <= 1, "{opened_again} times failed and {closed} times well");
            assert_eq!(opened_again == 1, breaker.state().phase == Phase::Open);
            assert_eq!(closed == 1, breaker.state().phase == Phase::Closed);
            assert_eq!(breaker.state().probes, 0, "{:?}", breaker.state());
            if closed == 0 {
                closes(&breaker, 1, 2 * DEADLINE);
            }
        });
    }
}

/// Requests from before it opened end while a probe finds out.
#[test]
fn results_of_an_older_time_are_ignored() {
    for outcome in [Success, Failure, Cancelled] {
        model(move || {
            let breaker = breaker(1, 2);
            let early = [(); 2].map(|()| permit(&breaker, 0).expect("it is closed"));
            assert!(call(&breaker, Failure, 0));
            let probe = permit(&breaker, DUE).expect("it is due");
            let ends = early.map(|early| thread::spawn(move || early.finish(outcome, MS, DUE)));
            probe.finish(Success, MS, DUE);
            join(ends);
            let state = breaker.state();
            assert_eq!((state.phase, state.probes, state.successes), (Phase::HalfOpen, 0, 1), "{state:?}");
            closes(&breaker, 1, DUE);
        });
    }
}

/// A probe that was given up ends while the next one finds out.
#[test]
fn a_probe_that_was_given_up_is_ignored() {
    for outcome in [Success, Failure, Cancelled] {
        model(move || {
            let breaker = open(1, 2);
            let given_up = permit(&breaker, DUE).expect("it is due");
            assert!(permit(&breaker, DEADLINE).is_none(), "it opens again");
            let probe = permit(&breaker, 2 * DEADLINE).expect("it is due");
            let end = thread::spawn(move || given_up.finish(outcome, MS, 2 * DEADLINE));
            probe.finish(Success, MS, 2 * DEADLINE);
            join([end]);
            let state = breaker.state();
            assert_eq!((state.phase, state.probes, state.successes), (Phase::HalfOpen, 0, 1), "{state:?}");
            closes(&breaker, 1, 2 * DEADLINE);
        });
    }
}

/// Whoever sees the last failure: it opens once, and for as long as after one opening.
#[test]
fn it_opens_once_whoever_sees_it_first() {
    model(|| {
        let breaker = breaker(1, 1);
        let [first, second] = [(); 2].map(|()| permit(&breaker, 0).expect("it is closed"));
        let end = thread::spawn(move || first.finish(Failure, MS, 0));
        second.finish(Failure, MS, 0);
        join([end]);
        let state = breaker.state();
        assert_eq!((state.phase, state.repeats, state.at_ms), (Phase::Open, 1, DUE / MS), "{state:?}");
        assert_eq!(ways(&breaker), [1, 0, 0, 0]);
        closes(&breaker, 1, DUE);
    });
}
