use http::{HeaderMap, HeaderValue, Method, Request};

use super::text::{ID_BYTES_MAX, PATH_BYTES_MAX};
use super::*;

fn arrived(path: &str, id: Option<&str>, traceparent: Option<&str>) -> Rc<Story> {
    let story = Stories::default().begin(Direction::Outbound, 1);
    let parts = Request::builder().method("GET").uri(path).header("host", "cart:80").body(()).unwrap();
    story.arrives(&parts.into_parts().0, [1, 2]);
    let mut headers = HeaderMap::new();
    for (name, value) in [("x-request-id", id), ("traceparent", traceparent)] {
        value.into_iter().for_each(|value| drop(headers.insert(name, HeaderValue::from_str(value).unwrap())));
    }
    let head = RequestHead::new(Method::GET, "cart:80".parse().unwrap(), "/".parse().unwrap(), headers);
    story.is_named(&head, id.is_some() || traceparent.is_some(), false, None);
    story
}

#[test]
fn a_request_is_told_by_what_it_says_and_no_more_than_there_is_room_for() {
    let long = format!("/{}", "x".repeat(60_000));
    for (path, kept) in
        [("/basket/7?token=hush", "/basket/7"), ("*", "*"), (long.as_str(), &long[..PATH_BYTES_MAX])]
    {
        let story = arrived(path, None, None);
        let told = story.told();
        assert_eq!((&*told.method(), &*told.host(), &*told.path()), ("GET", "cart:80", kept));
    }
    let id = "i".repeat(1_000);
    for (brought, kept) in [
        (None, "00000000-0000-4001-8000-000000000002"),
        (Some("mine"), "mine"),
        (Some(id.as_str()), &id[..ID_BYTES_MAX]),
    ] {
        assert_eq!(arrived("/", brought, None).told().id(), kept);
    }
}

#[test]
fn a_trace_is_known_by_a_name_that_is_one() {
    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (value, known) in [
        (format!("00-{ID}-00f067aa0ba902b7-01"), true),
        (format!("cc-{ID}-00f067aa0ba902b7-01-more"), true),
        (format!("00-{ID}-00f067aa0ba902b7"), false),
        (format!("00-{ID}-00f067aa0ba902b7-01-more"), false),
        (format!("ff-{ID}-00f067aa0ba902b7-01"), false),
        (format!("00-{ID}-0000000000000000-01"), false),
        (format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()), false),
        (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
        (format!("00-{}-00f067aa0ba902b7-01", "g".repeat(32)), false),
        (format!("00_{ID}_00f067aa0ba902b7_01"), false),
        ("x".repeat(70_000), false),
        (String::new(), false),
    ] {
        let trace = arrived("/", None, Some(&value)).told().trace.map(|trace| trace.id.to_string());
        assert_eq!(trace.as_deref(), known.then_some(ID), "{value:.60}");
    }
}

#[test]
fn room_is_used_again_and_what_stood_there_is_gone() {
    let stories = Stories::default();
    let first = stories.begin(Direction::Inbound, 7);
    let parts = Request::builder().uri("/secret").header("x-request-id", "a").body(()).unwrap();
    first.arrives(&parts.into_parts().0, [3, 4]);
    first.is_sent("127.0.0.1:80".parse().unwrap(), 8, false);
    first.fails(&ProxyError::NoHost, 9);
    let address = Rc::as_ptr(&first);
    stories.end(&first);
    drop(first);
    let second = stories.begin(Direction::Outbound, 10);
    assert_eq!(Rc::as_ptr(&second), address, "the same room");
    {
        let told = second.told();
        assert!(told.ending.is_none() && told.tries.is_empty() && told.path().is_empty());
        assert_eq!((told.direction, told.started_ns), (Direction::Outbound, 10));
    }
    // Held by someone else, it is theirs.
    let held = second.clone();
    stories.end(&second);
    drop(second);
    assert!(!std::ptr::eq(Rc::as_ptr(&stories.begin(Direction::Outbound, 11)), Rc::as_ptr(&held)));
}

#[test]
fn tries_are_told_as_far_as_there_is_room() {
    let story = Stories::default().begin(Direction::Outbound, 1);
    let address = "127.0.0.1:80".parse().unwrap();
    for number in 0..TRIES_MAX {
        assert_eq!(usize::from(story.is_sent(address, 1, false)), number);
    }
    let beyond = story.is_sent(address, 1, false);
    story.attempt(beyond, |_| panic!("there is no room for it"));
    assert_eq!((story.told().tries.len(), story.told().tries_omitted), (TRIES_MAX, 1));
}

#[test]
fn the_first_that_is_said_of_an_end_counts() {
    let story = Stories::default().begin(Direction::Outbound, 1);
    story.fails(&ProxyError::NoHost, 5);
    story.fails(&ProxyError::ClientGone, 6);
    story.mishap(UPSTREAM_STATUS, 7);
    let told = story.told();
    let ending = told.ending.as_ref().unwrap();
    assert_eq!((ending.reason, ending.at_ns), ("no_host", 5));
}
