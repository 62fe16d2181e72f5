use std::net::SocketAddr;

use super::log::{FailureLog, KEPT_MAX};
use super::view::{Clocks, FailureView};
use super::*;
use crate::error::ProxyError;
use crate::local_reply::{MISHAPS, ROWS};
use crate::story::{Stories, Story};

fn failure(id: &str, write: impl FnOnce(&Story)) -> Failure {
    let story = Stories::default().begin(Direction::Outbound, 1_000_000);
    let request = http::Request::builder().uri("/pay").header("host", "cart").body(()).unwrap();
    story.arrives(&request.into_parts().0, [0, 0]);
    write(&story);
    let mut failure = Failure::of(&story.told(), Some(503), 3_000_000);
    failure.id = id.to_owned();
    failure
}

#[test]
fn a_flood_of_one_reason_leaves_the_others_where_they_are() {
    let log = FailureLog::default();
    log.keep(failure("rare", |story| story.fails(&ProxyError::NoPlan, 2)));
    for number in 0..1_000 {
        log.keep(failure(&number.to_string(), |story| story.fails(&ProxyError::NoHost, 2)));
    }
    let mut kept: Vec<_> = log.all().map(|failure| failure.id.clone()).collect();
    kept.sort_by_key(|id| id.parse().unwrap_or(0_usize));
    let last = (1_000 - KEPT_MAX..1_000).map(|number| number.to_string());
    assert_eq!(kept, std::iter::once("rare".to_owned()).chain(last).collect::<Vec<_>>());
    assert_eq!(log.count(), 1_001);
}

#[test]
fn every_reason_has_its_own_place_and_says_what_to_do() {
    let mut seen = std::collections::HashSet::new();
    for reason in ROWS.iter().map(|row| row.reason).chain(MISHAPS.iter().map(|mishap| mishap.reason)) {
        let (index, _, meaning) = look_up(reason).unwrap();
        assert!(index < REASONS && seen.insert(index), "{reason}");
        assert!(meaning.len() > 10, "{reason}: {meaning}");
    }
    assert_eq!(seen.len(), REASONS);
    assert!(look_up("no_such").is_none());
}

#[test]
fn a_story_is_told_in_sentences() {
    let address: SocketAddr = "10.0.0.7:80".parse().unwrap();
    let sent = |story: &Story| story.is_sent(address, 1_500_000, false);
    let said = |write: &dyn Fn(&Story)| {
        let clocks = Clocks { now_ns: 1_003_000_000, now_unix_ms: 50_000 };
        let view = FailureView::of(&failure("x", |story| write(story)), clocks);
        assert_eq!((view.at_unix_ms, view.took_ms), (49_000, 2.0));
        view.sentence
    };
    assert_eq!(
        said(&|story| story.fails(&ProxyError::NoHost, 2)),
        "GET cart/pay got 503: no service is called by this host."
    );
    let late = ProxyError::Timeout(crate::error::Timeout::Deadline);
    assert_eq!(
        said(&|story| {
            sent(story);
            story.fails(&late, 3_000_000);
        }),
        "GET cart/pay got 503: a time limit was reached: Deadline. It had taken 2 ms; the caller's deadline: 0 ms. \
         10.0.0.7:80 was still being connected to."
    );
    let culprit = Culprit {
        reason: "upstream_status",
        said: "answered 503".to_owned(),
        endpoint: "healthy".to_owned(),
        breaker: "closed",
        zone: None,
    };
    assert_eq!(
        said(&|story| {
            let number = sent(story);
            story.attempt(number, |attempted| attempted.culprit = Some(Box::new(culprit.clone())));
            story.settles(story.last(), 2);
        }),
        "GET cart/pay got 503: answered 503. It was sent once, last to 10.0.0.7:80: answered 503 (endpoint healthy, breaker \
         closed)."
    );
}
