//! Endpoints that answer well, and slowly.

use super::*;

#[test]
fn slow_answers_eject_where_they_are_looked_at_and_a_slow_trial_fails() {
    for (slow_percent, slow, fast, expected) in
        [(50, 10, 10, true), (50, 9, 11, false), (50, 19, 0, false), (0, 40, 0, false)]
    {
        let rules = Ejection { slow_percent, slow_ms: 100, ..only(0, 0, 0) };
        let (cluster, endpoints) = cluster(2, rules);
        let endpoint = &endpoints[0];
        let answer = |rtt_ms: u64, now_ns: u64| {
            let (generation, outcome) = (endpoint.standing().generation, Outcome::Success);
            let report = Report { generation, outcome, slow: cluster.is_slow(rtt_ms * MS), again: false };
            endpoint.report(&cluster, report, now_ns, 0)
        };
        for _ in 0..fast {
            answer(99, SECOND);
        }
        for _ in 0..slow {
            answer(100, SECOND);
        }
        assert_eq!(
            (endpoint.out(), cluster.ejections(Cause::Slow)),
            (expected, expected.into()),
            "{slow} of {}",
            slow + fast
        );
        if !expected {
            continue;
        }
        let due_ns = endpoint.standing().at_ms * MS;
        assert!(endpoint.claim(&cluster, due_ns));
        assert_eq!(answer(100, due_ns), Effect::None, "as slow as before");
        assert!(endpoint.out());
        let due_ns = endpoint.standing().at_ms * MS;
        assert!(endpoint.claim(&cluster, due_ns));
        assert_eq!(answer(99, due_ns), Effect::Recovered);
        for _ in 0..19 {
            answer(100, due_ns);
        }
        assert!(!endpoint.out(), "what was slow before is forgotten");
    }
}
