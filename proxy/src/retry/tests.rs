use super::*;

const MS: u64 = 1_000_000;

fn again(reason: Reason, counted: bool, wait_ns: u64) -> Verdict {
    Verdict::Again { reason, counted, wait_ns }
}

fn policy() -> RetryPolicy {
    RetryPolicy::new(&Retry::default(), None)
}

#[test]
fn what_is_sent_again() {
    let unsafe_ = Verdict::Last(Obstacle::Unsafe);
    for (ended, safe, otherwise) in [
        (Ended::Unsent, again(Reason::Unsent, false, 0), again(Reason::Unsent, false, 0)),
        (Ended::Unreachable, again(Reason::Unsent, true, 0), again(Reason::Unsent, true, 0)),
        (Ended::Stale, again(Reason::Reset, false, 0), unsafe_),
        (Ended::Refused, again(Reason::Refused, false, 0), again(Reason::Refused, false, 0)),
        (Ended::RefusedAgain, again(Reason::Refused, true, 0), again(Reason::Refused, true, 0)),
        (Ended::Shed { grpc: false }, again(Reason::Status, true, 0), again(Reason::Status, true, 0)),
        (Ended::Shed { grpc: true }, again(Reason::GrpcStatus, true, 0), again(Reason::GrpcStatus, true, 0)),
        (Ended::Broken, again(Reason::Reset, true, 0), unsafe_),
        (Ended::Late, again(Reason::Timeout, true, 0), unsafe_),
        (Ended::Status(502), again(Reason::Status, true, 0), unsafe_),
        (Ended::Status(503), again(Reason::Status, true, 0), unsafe_),
        (Ended::Grpc(14), again(Reason::GrpcStatus, true, 0), unsafe_),
        (Ended::Status(500), Verdict::Done, Verdict::Done),
        (Ended::Status(429), Verdict::Done, Verdict::Done),
        (Ended::Status(200), Verdict::Done, Verdict::Done),
        (Ended::Grpc(0), Verdict::Done, Verdict::Done),
        (Ended::Grpc(4_000), Verdict::Done, Verdict::Done),
        (Ended::Final, Verdict::Done, Verdict::Done),
    ] {
        let judged = |safe| policy().judge(ended, safe, (0, 0), Pushback::Unsaid, 0);
        assert_eq!((judged(true), judged(false)), (safe, otherwise), "{ended:?}");
    }
}

#[test]
fn what_may_be_executed_twice() {
    let mut policy = policy();
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(policy.safe(&method.parse().unwrap(), false), "{method}");
    }
    for method in ["POST", "PATCH", "BREW"] {
        assert!(!policy.safe(&method.parse().unwrap(), false), "{method}");
        assert!(policy.safe(&method.parse().unwrap(), true), "{method} with a key");
    }
    policy.idempotent = true;
    assert!(policy.safe(&Method::POST, false));
}

#[test]
fn waits_grow_and_are_drawn_from_zero() {
    let wait =
        |counted, random| match policy().judge(Ended::Broken, true, (counted, 0), Pushback::Unsaid, random) {
            Verdict::Again { wait_ns, .. } => wait_ns,
            other => panic!("{other:?}"),
        };
    assert_eq!((wait(0, u64::MAX) + 1, wait(1, u64::MAX) + 1), (25 * MS, 50 * MS));
    assert_eq!((wait(0, 0), wait(1, u64::MAX / 2) / MS), (0, 24));
    let patient = RetryPolicy { attempts: 10, ..policy() };
    for counted in 4..10 {
        let judged = patient.judge(Ended::Broken, true, (counted, 0), Pushback::Unsaid, u64::MAX);
        assert_eq!(judged, again(Reason::Reset, true, 250 * MS - 1), "capped");
    }
}

#[test]
fn it_ends() {
    let policy = policy();
    let judge = |ended, counts| policy.judge(ended, true, counts, Pushback::Unsaid, 0);
    assert_eq!(judge(Ended::Broken, (2, 0)), Verdict::Last(Obstacle::Attempts));
    assert_eq!(judge(Ended::Unsent, (0, UNCOUNTED_MAX)), Verdict::Last(Obstacle::Attempts));
    assert_eq!(judge(Ended::Unsent, (2, 0)), again(Reason::Unsent, false, 0), "unsent is not counted");
}

#[test]
fn an_upstream_is_not_asked_before_it_wants_to_be() {
    let judge = |pushback| policy().judge(Ended::Status(503), true, (0, 0), pushback, u64::MAX);
    assert_eq!(judge(Pushback::Wait(1_000)), again(Reason::Status, true, 1_000 * MS));
    assert_eq!(judge(Pushback::Wait(1)), again(Reason::Status, true, 25 * MS - 1));
    assert_eq!(judge(Pushback::Never), Verdict::Last(Obstacle::Pushback));
    assert_eq!(judge(Pushback::Away(60_000)), again(Reason::Status, true, 25 * MS - 1), "another");
    let shed = |pushback| policy().judge(Ended::Shed { grpc: false }, true, (0, 0), pushback, u64::MAX);
    assert_eq!(shed(Pushback::Away(1_000)), again(Reason::Status, true, 0), "another may have room");
    assert_eq!(shed(Pushback::Wait(1_000)), again(Reason::Status, true, 1_000 * MS));
}

#[test]
fn without_attempts_only_what_was_not_sent_goes_again() {
    let none = RetryPolicy::new(&Retry { attempts: 0, ..Retry::default() }, None);
    for (policy, stale) in [(none, Verdict::Done), (RetryPolicy::never(), again(Reason::Reset, false, 0))] {
        let judge = |ended| policy.judge(ended, true, (0, 0), Pushback::Unsaid, 0);
        for ended in [Ended::Broken, Ended::Status(503), Ended::Refused, Ended::RefusedAgain] {
            assert_eq!(judge(ended), Verdict::Done, "{ended:?}");
        }
        assert_eq!(judge(Ended::Unsent), again(Reason::Unsent, false, 0));
        assert_eq!(judge(Ended::Stale), stale);
        let unsafe_ = policy.judge(Ended::Stale, false, (0, 0), Pushback::Unsaid, 0);
        assert_eq!(unsafe_, Verdict::Done, "an order");
    }
}

#[test]
fn a_rule_has_the_last_word() {
    let rule = RuleRetry { attempts: Some(1), statuses: Some(vec![500]), backoff_base_ms: Some(1_000) };
    let policy = RetryPolicy::new(&Retry::default(), Some(&rule));
    let judge =
        |status, counted| policy.judge(Ended::Status(status), true, (counted, 0), Pushback::Unsaid, u64::MAX);
    assert_eq!(judge(500, 0), again(Reason::Status, true, 1_000 * MS - 1));
    assert_eq!((judge(500, 1), judge(503, 0)), (Verdict::Last(Obstacle::Attempts), Verdict::Done));
}
