use std::cell::RefCell;

use http::Request;

use super::*;
use crate::story::Stories;
use crate::telemetry::metrics::Direction;

fn desk() -> Rc<Desk> {
    Desk::new(vec![Arc::default(), Arc::default()])
}

/// A request for `path` that is answered with `status` at `now_ns`, by the worker of that number.
fn ends(desk: &Desk, worker: usize, path: &str, status: u16, now_ns: u64) {
    let stories = Stories::default();
    let story = stories.begin(Direction::Outbound, 0);
    let (parts, ()) = Request::get(format!("http://cart:81{path}")).body(()).unwrap().into_parts();
    story.arrives(&parts, [1, 2]);
    let taps = &desk.workers[worker].taps;
    if taps.watched() {
        taps.show(&story.told(), Some(status), now_ns);
    }
}

fn paths(watch: &RefCell<Watch>) -> Vec<String> {
    let mut watch = watch.borrow_mut();
    std::iter::from_fn(|| watch.summaries.try_recv().ok()).map(|summary| summary.path).collect()
}

#[test]
fn each_sees_what_it_asked_for_of_all_workers() {
    let desk = desk();
    let watch = |query| RefCell::new(desk.watch(Asked::read(query).unwrap()).unwrap());
    let (all, failed, below) = (watch(""), watch("status=5xx"), watch("path=/a&method=get"));
    ends(&desk, 0, "/a?token=hush", 200, 1);
    ends(&desk, 1, "/b", 503, 2);
    for (watch, seen) in [(&all, &["/a", "/b"][..]), (&failed, &["/b"]), (&below, &["/a"])] {
        assert_eq!(paths(watch), seen);
    }
    drop((all, failed, below));
    assert!(desk.workers.iter().all(|worker| !worker.taps.watched()), "nobody watches any more");
}

#[test]
fn more_than_the_rate_is_left_out_until_the_next_second() {
    let desk = desk();
    let watch = RefCell::new(desk.watch(Asked::read("rate=2").unwrap()).unwrap());
    for number in 0..5 {
        ends(&desk, number % 2, "/a", 200, SECOND_NS + number as u64);
    }
    assert_eq!((paths(&watch).len(), watch.borrow().omitted()), (2, [3, 0]));
    ends(&desk, 0, "/b", 200, 2 * SECOND_NS);
    assert_eq!(paths(&watch), ["/b"]);
}

#[test]
fn one_that_is_slow_misses_some_and_holds_nobody_up() {
    let desk = desk();
    let watch = desk.watch(Asked::read("rate=5000").unwrap()).unwrap();
    for _ in 0..WAITING_MAX + 7 {
        ends(&desk, 0, "/a", 200, 1);
    }
    assert_eq!(watch.omitted(), [0, 7]);
}

#[test]
fn only_so_many_watch() {
    let desk = desk();
    let watching: Vec<_> = (0..WATCHERS_MAX).map(|_| desk.watch(Asked::read("").unwrap()).unwrap()).collect();
    assert_eq!(desk.watch(Asked::read("").unwrap()).err(), Some(Crowded));
    drop(watching);
    assert!(desk.watch(Asked::read("").unwrap()).is_ok());
}

#[test]
fn what_nobody_can_mean_is_refused() {
    for query in ["status=6xx", "status=20", "status=x", "reason=none", "rate=0", "rate=5001", "who=me"] {
        assert!(Asked::read(query).is_err(), "{query}");
    }
}

#[test]
fn names_may_be_given_in_part() {
    for (asked, whole, end, is) in [
        ("web", "shop/web#1", '#', true),
        ("shop/web", "shop/web#1", '#', true),
        ("shop/web#1", "shop/web#1", '#', true),
        ("web#1", "shop/web#1", '#', false),
        ("shop/cart:80", "shop/cart:80", ':', true),
        ("car", "shop/cart:80", ':', false),
        ("", "", ':', false),
    ] {
        assert_eq!(filter::names(asked, whole, end), is, "{asked} {whole}");
    }
}
