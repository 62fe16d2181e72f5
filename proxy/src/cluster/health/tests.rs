use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;

use super::cluster::{counts, fails, is_ejected, is_troubled, is_unavailable};
use super::*;

mod slow;

const SECOND: u64 = 1_000 * MS;

/// A cluster of so many endpoints under `ejection`.
fn cluster(count: usize, ejection: Ejection) -> (Arc<ClusterHealth>, Vec<Health>) {
    let cluster = Arc::new(ClusterHealth::default());
    cluster.rule(Rules { ejection, slow_start_ms: 0 });
    let endpoints: Vec<_> = (0..count).map(|_| Health::default()).collect();
    for endpoint in &endpoints {
        endpoint.join(&cluster, 0, false, false);
    }
    (cluster, endpoints)
}

impl Health {
    /// Reports one request that was sent in the present generation.
    fn answer(&self, cluster: &ClusterHealth, outcome: Outcome, now_ns: u64) -> Effect {
        let report = Report { generation: self.standing().generation, outcome, slow: false, again: false };
        self.report(cluster, report, now_ns, 0)
    }

    fn out(&self) -> bool {
        self.standing().phase != Phase::In
    }
}

fn only(consecutive: u32, consecutive_local: u32, failure_percent: u32) -> Ejection {
    Ejection { consecutive, consecutive_local, failure_percent, max_percent: 100, ..Ejection::default() }
}

#[test]
fn five_failures_in_a_row_eject_and_one_success_begins_anew() {
    use Outcome::{Cancelled, Failure, Overloaded, Success, Unreachable};
    for (rules, outcomes, expected) in [
        (only(5, 0, 0), &[Failure; 5][..], Some(Cause::Consecutive)),
        (only(5, 0, 0), &[Failure; 4], None),
        (only(5, 0, 0), &[Failure, Failure, Failure, Failure, Success, Failure], None),
        (only(3, 0, 0), &[Failure, Cancelled, Failure, Overloaded, Failure], Some(Cause::Consecutive)),
        (only(3, 0, 0), &[Unreachable; 9], None),
        (only(0, 3, 0), &[Failure; 9], None),
        (only(0, 3, 0), &[Unreachable; 3], Some(Cause::ConsecutiveLocal)),
        (only(0, 3, 0), &[Unreachable, Unreachable, Failure, Unreachable], None),
        (only(0, 3, 0), &[Unreachable, Unreachable, Overloaded, Unreachable], None),
        (only(0, 0, 0), &[Failure; 40], None),
        (only(0, 0, 50), &[Failure; 19], None),
        (only(0, 0, 50), &[Failure; 20], Some(Cause::FailurePercent)),
        (only(0, 0, 50), &[Overloaded; 40], None),
    ] {
        let (cluster, endpoints) = cluster(2, rules);
        for outcome in outcomes {
            endpoints[0].answer(&cluster, *outcome, SECOND);
        }
        let standing = endpoints[0].standing();
        let found = (standing.phase == Phase::Out).then_some(standing.cause);
        assert_eq!(found, expected, "{rules:?} {outcomes:?}");
    }
}

#[test]
fn the_rate_counts_the_last_ten_seconds() {
    let (cluster, endpoints) = cluster(2, only(0, 0, 50));
    let endpoint = &endpoints[0];
    for _ in 0..15 {
        endpoint.answer(&cluster, Outcome::Success, SECOND);
    }
    for _ in 0..14 {
        endpoint.answer(&cluster, Outcome::Failure, 9 * SECOND);
    }
    assert!(!endpoint.out(), "14 of 29");
    for _ in 0..5 {
        endpoint.answer(&cluster, Outcome::Failure, 11 * SECOND);
        assert!(!endpoint.out(), "the successes are gone, and what is left is too few");
    }
    endpoint.answer(&cluster, Outcome::Failure, 11 * SECOND);
    assert!(endpoint.out(), "20 of 20");
}

#[test]
fn a_response_that_breaks_off_was_one_request() {
    let (cluster, endpoints) = cluster(2, only(0, 0, 50));
    for _ in 0..25 {
        endpoints[0].answer(&cluster, Outcome::Success, SECOND);
        let generation = endpoints[0].standing().generation;
        let report = Report { generation, outcome: Outcome::Failure, slow: false, again: true };
        endpoints[0].report(&cluster, report, SECOND, 0);
    }
    assert_eq!((endpoints[0].out(), cluster.ejections(Cause::FailurePercent)), (true, 1));
}

/// Ejects, lets the time pass, fails the trial, and so on.
#[test]
fn each_ejection_is_twice_as_long_up_to_the_longest() {
    let (cluster, endpoints) = cluster(2, only(1, 0, 0));
    let (endpoint, mut now_ms, mut times) = (&endpoints[0], 100_u64, Vec::new());
    endpoint.answer(&cluster, Outcome::Failure, now_ms * MS);
    for _ in 0..7 {
        let until_ms = endpoint.standing().at_ms;
        times.push((until_ms - now_ms) / 1_000);
        assert!(!endpoint.claim(&cluster, (until_ms - 1) * MS), "too early");
        now_ms = until_ms;
        assert!(endpoint.claim(&cluster, now_ms * MS), "in time");
        assert!(!endpoint.claim(&cluster, now_ms * MS), "one trial at a time");
        endpoint.answer(&cluster, Outcome::Failure, now_ms * MS);
    }
    assert_eq!(times, [10, 20, 40, 80, 160, 300, 300]);
    assert_eq!((cluster.ejections(Cause::Consecutive), cluster.ejections(Cause::Trial)), (1, 7));

    now_ms = endpoint.standing().at_ms;
    endpoint.claim(&cluster, now_ms * MS);
    assert_eq!(endpoint.answer(&cluster, Outcome::Success, now_ms * MS), Effect::Recovered);
    // Eight ejections so far; five windows of rest take five off.
    now_ms += 50_000;
    endpoint.answer(&cluster, Outcome::Failure, now_ms * MS);
    assert_eq!(endpoint.standing().at_ms - now_ms, 80_000);
}

#[test]
fn jitter_adds_up_to_half() {
    assert_eq!(jittered(10_000, 0), 10_000);
    assert_eq!(jittered(10_000, u64::MAX), 14_999);
    assert_eq!(jittered(10_000, u64::MAX / 2), 12_499);
    assert_eq!(jittered(u64::MAX / 4, u64::MAX), u64::MAX / 4 + u64::MAX / 8 - 1);
    let rules = Ejection { base_ms: 40_000, max_ms: 1_000, ..Ejection::default() };
    assert_eq!(ejection_ms(&rules, 63), 40_000, "no shorter than the first");
    assert_eq!(ejection_ms(&Ejection { base_ms: u64::MAX, ..rules }, 64), u64::MAX);
}

#[test]
fn three_of_ten_go_by_their_failure_rate_and_no_more_than_the_cap() {
    for (bad, max_percent, expected) in
        [(3, 50, 3), (3, 20, 2), (8, 50, 5), (10, 50, 5), (3, 0, 0), (1, 9, 0)]
    {
        let rules =
            Ejection { consecutive: 0, max_percent, deviation_permille: 1_900, ..Ejection::default() };
        let (cluster, endpoints) = cluster(10, rules);
        for _ in 0..30 {
            for (nth, endpoint) in endpoints.iter().enumerate() {
                let outcome = if nth < bad { Outcome::Failure } else { Outcome::Success };
                endpoint.answer(&cluster, outcome, SECOND);
            }
        }
        cluster.sweep(&endpoints.iter().collect::<Vec<_>>(), SECOND, &mut || 0);
        assert_eq!(cluster.ejected(), expected, "{bad} of 10, {max_percent} %");
        assert_eq!(cluster.healthy(), 10 - expected);
        assert_eq!(cluster.overflows() > 0, (expected as usize) < bad);
        assert_eq!(cluster.ejections(Cause::Deviation), 0, "three of ten do not deviate");
    }
}

#[test]
fn one_that_deviates_goes_at_the_sweep() {
    let rules = Ejection { deviation_permille: 1_900, failure_percent: 0, ..Ejection::default() };
    let (cluster, endpoints) = cluster(6, rules);
    for nth in 0..100 {
        for (index, endpoint) in endpoints.iter().enumerate() {
            let failed = index == 2 && nth % 4 == 0;
            let outcome = if failed { Outcome::Failure } else { Outcome::Success };
            endpoint.answer(&cluster, outcome, SECOND);
        }
    }
    assert_eq!(cluster.ejected(), 0);
    cluster.sweep(&endpoints.iter().collect::<Vec<_>>(), SECOND, &mut || 0);
    assert_eq!((cluster.ejected(), endpoints[2].standing().cause), (1, Cause::Deviation));
}

#[test]
fn a_trial_that_never_answers_ends_at_its_deadline() {
    let (cluster, endpoints) = cluster(2, only(1, 0, 0));
    let endpoint = &endpoints[0];
    endpoint.answer(&cluster, Outcome::Failure, 0);
    assert!(endpoint.claim(&cluster, 10 * SECOND));
    let late = Report {
        generation: endpoint.standing().generation,
        outcome: Outcome::Success,
        slow: false,
        again: false,
    };
    let all: Vec<_> = endpoints.iter().collect();
    cluster.sweep(&all, 20 * SECOND - MS, &mut || 0);
    assert_eq!(endpoint.standing().phase, Phase::Trial);
    cluster.sweep(&all, 20 * SECOND, &mut || 0);
    assert_eq!((endpoint.standing().phase, endpoint.standing().at_ms), (Phase::Out, 40_000));
    endpoint.report(&cluster, late, 21 * SECOND, 0);
    assert!(endpoint.out(), "its answer is of another generation");
}

#[test]
fn a_result_from_before_the_ejection_does_not_judge_the_trial() {
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Cancelled] {
        let (cluster, endpoints) = cluster(2, only(1, 0, 0));
        let endpoint = &endpoints[0];
        let early = Report { generation: endpoint.standing().generation, outcome, slow: false, again: false };
        endpoint.answer(&cluster, Outcome::Failure, 0);
        assert!(endpoint.claim(&cluster, 10 * SECOND));
        let trial = endpoint.standing();
        endpoint.report(&cluster, early, 11 * SECOND, 0);
        endpoint.lost(&cluster, early.generation);
        assert_eq!(endpoint.standing(), trial, "{outcome:?}");
    }
}

/// Neither for nor against an endpoint that came in again meanwhile.
#[test]
fn a_result_from_before_the_ejection_does_not_count_after_it() {
    let (cluster, endpoints) = cluster(2, only(3, 0, 0));
    let endpoint = &endpoints[0];
    let generation = endpoint.standing().generation;
    let early = |outcome| {
        endpoint.report(&cluster, Report { generation, outcome, slow: false, again: false }, 11 * SECOND, 0)
    };
    for _ in 0..3 {
        endpoint.answer(&cluster, Outcome::Failure, 0);
    }
    assert!(endpoint.claim(&cluster, 10 * SECOND));
    assert_eq!(endpoint.answer(&cluster, Outcome::Success, 10 * SECOND), Effect::Recovered);
    for _ in 0..3 {
        early(Outcome::Failure);
    }
    assert!(endpoint.standing().is_available());
    for _ in 0..3 {
        assert!(!endpoint.out(), "it takes three in a row");
        endpoint.answer(&cluster, Outcome::Failure, 11 * SECOND);
        early(Outcome::Success);
    }
    assert!(endpoint.out());
}

#[test]
fn a_check_that_succeeds_brings_back_at_once() {
    let (cluster, endpoints) = cluster(2, only(1, 0, 0));
    let endpoint = &endpoints[0];
    endpoint.answer(&cluster, Outcome::Failure, 0);
    assert_eq!(endpoint.checked(&cluster, true, SECOND), Effect::Recovered);
    assert!(endpoint.standing().is_available() && cluster.ejected() == 0);
    assert_eq!(endpoint.checked(&cluster, true, SECOND), Effect::None);

    endpoint.checked(&cluster, false, 2 * SECOND);
    endpoint.answer(&cluster, Outcome::Failure, 2 * SECOND);
    assert!(!endpoint.claim(&cluster, 100 * SECOND), "no trial while the check fails");
    assert_eq!((cluster.healthy(), cluster.is_panicking(50), cluster.is_panicking(51)), (1, false, true));
    endpoint.checked(&cluster, true, 100 * SECOND);
    assert_eq!((cluster.healthy(), cluster.is_troubled()), (2, false));
}

/// What a request may still do: it belongs to a generation, and may be the trial.
type Flying = (u16, bool);

/// Everything that requests, sweeps, checks and plans can do to one endpoint, in every order, to the depth given. A step is one
/// compare-and-swap, so orders of steps are all there is.
#[test]
fn in_every_order_there_is_one_trial_and_a_way_back() {
    const DEPTH: usize = 7;
    let start = Standing::NEW.joined(0, false, false).unwrap();
    let mut waiting: VecDeque<(usize, Standing, Vec<Flying>)> = VecDeque::from([(0, start, Vec::new())]);
    let mut seen = HashSet::new();
    while let Some((depth, standing, flying)) = waiting.pop_front() {
        let trials = flying.iter().filter(|(generation, trial)| *trial && *generation == standing.generation);
        assert!(
            trials.clone().count() <= usize::from(standing.phase == Phase::Trial),
            "{standing:?} {flying:?}"
        );
        assert_eq!(Standing::unpack(standing.pack()), standing);
        if standing.member {
            let well = standing.checked(true, 9, false).unwrap_or(standing);
            assert!(well.is_available(), "a check brings it back");
            let out = match standing.phase {
                Phase::Trial => standing.failed_again(9).unwrap(),
                Phase::In | Phase::Out => standing,
            };
            let due = Standing { check: Check::Well, ..out };
            assert!(due.phase == Phase::In || due.claimed(9, 9).is_some(), "a way out of {standing:?}");
        }
        if depth == DEPTH || !seen.insert((standing, flying.clone())) {
            continue;
        }
        let mut steps: Vec<(Option<Standing>, Vec<Flying>)> = vec![
            (standing.ejected(1, Cause::Consecutive), flying.clone()),
            (standing.failed_again(1), flying.clone()),
            (standing.checked(false, 1, false), flying.clone()),
            (standing.checked(true, 1, true), flying.clone()),
            (standing.left(), flying.clone()),
            (standing.joined(1, false, true), flying.clone()),
        ];
        if flying.len() < 3 {
            let sent = |trial, generation| flying.iter().copied().chain([(generation, trial)]).collect();
            steps.push((Some(standing), sent(false, standing.generation)));
            if let Some(claimed) = standing.claimed(1, 2) {
                steps.push((Some(claimed), sent(true, claimed.generation)));
            }
        }
        for (index, (generation, _)) in flying.iter().enumerate() {
            let mut rest = flying.clone();
            rest.remove(index);
            let current = *generation == standing.generation && standing.phase == Phase::Trial;
            let verdicts = [standing.recovered(1, false), standing.failed_again(1), standing.given_back()];
            for verdict in verdicts.into_iter().filter(|_| current) {
                steps.push((verdict, rest.clone()));
            }
            steps.push((Some(standing), rest));
        }
        for (next, flying) in steps {
            waiting.extend(next.map(|next| (depth + 1, next, flying)));
        }
    }
    assert!(seen.len() > 1_000, "{} states", seen.len());
}

proptest! {
    /// The cluster's counts are what its endpoints add up to, whatever happens to them.
    #[test]
    fn counts_are_what_endpoints_add_up_to(
        steps in prop::collection::vec((0_usize..6, 0_u8..10, 0_u64..8_000), 1..300),
        max_percent in 0_u32..=100,
    ) {
        let rules = Ejection { max_percent, consecutive: 2, ..Ejection::default() };
        let (cluster, endpoints) = cluster(6, rules);
        let mut now_ns = 0;
        for (index, step, wait_ms) in steps {
            now_ns += wait_ms * MS;
            let endpoint = &endpoints[index];
            match step {
                0..=3 => { endpoint.answer(&cluster, Outcome::Failure, now_ns); }
                4 => { endpoint.answer(&cluster, Outcome::Success, now_ns); }
                5 => { endpoint.claim(&cluster, now_ns); }
                6 => cluster.sweep(&endpoints.iter().collect::<Vec<_>>(), now_ns, &mut || 0),
                7 => { endpoint.checked(&cluster, wait_ms % 2 == 0, now_ns); }
                8 => endpoint.leave(&cluster),
                _ => endpoint.join(&cluster, now_ns, wait_ms % 2 == 0, wait_ms % 3 == 0),
            }
            let of = |is: fn(Standing) -> bool| endpoints.iter().filter(|endpoint| is(endpoint.standing())).count() as u32;
            prop_assert_eq!(cluster.ejected(), of(is_ejected));
            prop_assert_eq!(cluster.endpoints(), of(counts));
            prop_assert_eq!(cluster.endpoints() - cluster.healthy(), of(is_unavailable));
            prop_assert_eq!(cluster.is_troubled(), of(is_troubled) > 0);
            prop_assert!(!cluster.fails(100) || of(fails) == of(counts));
        }
    }
}

/// Eight workers that all see every endpoint fail.
#[test]
fn the_cap_holds_whoever_ejects() {
    let rules = Ejection { consecutive: 1, max_percent: 30, ..Ejection::default() };
    let (cluster, endpoints) = cluster(40, rules);
    std::thread::scope(|scope| {
        for worker in 0..8_usize {
            let (cluster, endpoints) = (&cluster, &endpoints);
            scope.spawn(move || {
                for nth in 0..4_000 {
                    let endpoint = &endpoints[(nth * 7 + worker * 5) % 40];
                    let now_ns = nth as u64 * 100 * MS;
                    endpoint.claim(cluster, now_ns);
                    let outcome = if nth % 3 == 0 { Outcome::Success } else { Outcome::Failure };
                    endpoint.answer(cluster, outcome, now_ns);
                    assert!(cluster.ejected() <= 12, "{}", cluster.ejected());
                }
            });
        }
    });
    assert!(cluster.overflows() > 0 && cluster.ejections(Cause::Consecutive) > 12);
    let out = endpoints.iter().filter(|endpoint| endpoint.out()).count();
    assert_eq!(cluster.ejected() as usize, out);
}
