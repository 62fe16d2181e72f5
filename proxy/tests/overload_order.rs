//! Who is turned away first where a workload has all that it can take: what comes too late anyway, then whatever its class says.

use std::sync::Arc;

use http::HeaderValue;
use outrigger_proxy::overload::queue::WAITING_MAX;
use outrigger_proxy::overload::ticket::Ticket;
use outrigger_proxy::overload::{Admission, Cause, Overload, Permit, Priority, TOLERANCE};

const MS: u64 = 1_000_000;
/// How long the workload takes.
const WORK: u64 = 50 * MS;
const NEVER: u64 = u64::MAX;

/// What a caller says of a request: its priority, and which try it is.
fn class(priority: &'static str, attempt: &'static str) -> Priority {
    let value = HeaderValue::from_static;
    Priority::read(Some(&value(priority)), Some(&value(attempt)))
}

/// Protection of a workload of which it knows how long it takes, with all places taken.
fn full() -> (Arc<Overload>, Vec<Permit>, u64) {
    let overload = Overload::new(TOLERANCE);
    let mut now = MS;
    for _ in 0..20 {
        let permits: Vec<_> = (0..10).filter_map(|_| overload.enter(now)).collect();
        now += WORK;
        permits.into_iter().for_each(|permit| permit.answered(true, now));
    }
    let mut held = Vec::new();
    while overload.in_flight() < overload.limit() {
        let Admission::Enters(permit) = overload.admit(Priority::CRITICAL, NEVER, now) else {
            unreachable!("there is room for {} of {}", overload.in_flight(), overload.limit())
        };
        held.push(permit);
    }
    (overload, held, now)
}

fn waits(overload: &Arc<Overload>, priority: Priority, now: u64) -> Arc<Ticket> {
    match overload.admit(priority, NEVER, now) {
        Admission::Waits(ticket) => ticket,
        other => unreachable!("{other:?}"),
    }
}

fn cause(admission: Admission) -> Option<Cause> {
    match admission {
        Admission::Shed(shed) => Some(shed.cause),
        Admission::Enters(_) | Admission::Waits(_) => None,
    }
}

#[test]
fn the_expired_go_first_then_the_least_and_retries_before_first_tries() {
    let (overload, held, now) = full();
    // What is of least importance, retries of what is of some, and first tries of that: a third each.
    let kinds = [class("3", "1"), class("1", "2"), class("1", "1")];
    let mut queued: [Vec<Arc<Ticket>>; 3] = Default::default();
    for number in 0..WAITING_MAX {
        queued[number % 3].push(waits(&overload, kinds[number % 3], now));
    }
    let displaced = |kind: usize| queued[kind].iter().filter(|ticket| ticket.is_displaced()).count();

    // Even the critical is refused where its answer would come too late, and takes nobody's place.
    for deadline in [now, now + WORK / 2] {
        assert_eq!(cause(overload.admit(Priority::CRITICAL, deadline, now)), Some(Cause::Expired));
    }
    assert_eq!([displaced(0), displaced(1), displaced(2)], [0, 0, 0]);
    // Whoever matters no more than the least of those who wait finds no place.
    assert_eq!(cause(overload.admit(kinds[0], NEVER, now)), Some(Cause::Full));

    let mut came = Vec::new();
    for number in 1..=WAITING_MAX {
        came.push(waits(&overload, Priority::CRITICAL, now));
        let gone = [displaced(0), displaced(1), displaced(2)];
        let all = [queued[0].len(), queued[1].len(), queued[2].len()];
        assert_eq!(gone.iter().sum::<usize>(), number, "each takes one place");
        assert!(gone[1] == 0 || gone[0] == all[0], "a retry goes before the least is gone: {gone:?}");
        assert!(gone[2] == 0 || gone[1] == all[1], "a first try goes before the retries are gone: {gone:?}");
    }
    assert_eq!(cause(overload.admit(Priority::CRITICAL, NEVER, now)), Some(Cause::Full));
    let counts = overload.counts();
    assert_eq!(counts.shed_total(Priority::CRITICAL.class(), Cause::Expired), 2);

    // They have the places that come free.
    held.into_iter().for_each(|permit| permit.answered(false, now));
    assert!(came.iter().all(|ticket| ticket.entered_ns().is_some()));
}

/// Of one class a second try is turned away where a first one is not: it is as much as one class less.
#[test]
fn a_retry_finds_no_room_where_a_first_try_does() {
    let (overload, mut held, now) = full();
    for (priority, attempt) in [("0", "2"), ("1", "3"), ("2", "2")] {
        let (first, again) = (class(priority, "1"), class(priority, attempt));
        while overload.in_flight() > again.share(overload.limit()) {
            held.pop().expect("places are taken").answered(false, now);
        }
        let ticket = waits(&overload, again, now);
        assert!(overload.leave_queue(&ticket, now).is_none(), "{priority}: it has no place");
        match overload.admit(first, NEVER, now) {
            Admission::Enters(permit) => permit.answered(false, now),
            other => unreachable!("{priority}: {other:?}"),
        }
    }
}
