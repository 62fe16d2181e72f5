use std::rc::Rc;

use allocation_counter::measure;
use http::{HeaderValue, Method, Request};

use super::*;
use crate::error::ProxyError;
use crate::http::normalize::normalize_request;
use crate::story::Stories;
use crate::telemetry::metrics::Direction;

const W3C: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
/// A second and its half, in nanoseconds.
const SECOND: u64 = 1_000_000_000;

fn traces(share: f64, room: usize) -> (Traces, tokio::sync::mpsc::Receiver<Box<Kept>>) {
    let (handing, taken) = Handing::new(room, 512);
    let choice =
        Choice { sampler: Sampler::ratio(share, true), slow_ns: SECOND, propagators: Propagators::default() };
    (Traces::new(Shared { choice, handing: handing.into() }), taken)
}

fn head(fields: &[(&'static str, &'static str)]) -> RequestHead {
    // Room for what a proxy adds, as there is in a head that has been read.
    let mut headers = HeaderMap::with_capacity(16);
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    RequestHead::new(Method::GET, "cart:80".parse().unwrap(), "/".parse().unwrap(), headers)
}

/// A request with these fields, as far as its head.
fn arrived(traces: &Traces, head: &RequestHead) -> Rc<Story> {
    let story = Stories::default().begin(Direction::Outbound, 0);
    let mut parts = Request::builder().uri("http://cart:80/").body(()).unwrap().into_parts().0;
    parts.version = http::Version::HTTP_2;
    story.arrives(&parts, [1, 2]);
    parts.headers = head.clone().into_parts().3;
    let named = normalize_request(parts).unwrap().named;
    story.is_named(head, named, false, Some(traces));
    story
}

#[test]
fn b3_is_joined_and_its_decision_kept_without_any_other_name() {
    const B3: &str = "463ac35c9f6413ad48485a3953bb6124-0020000000000001-0";
    let (mut traces, _taken) = traces(1.0, 8);
    traces.shared.choice.propagators = Propagators::read_names("b3,b3multi").unwrap();
    let several = |sampled| {
        let id = ("x-b3-traceid", "463ac35c9f6413ad48485a3953bb6124");
        [id, ("x-b3-spanid", "0020000000000001"), ("x-b3-sampled", sampled)]
    };
    for (fields, joined, told) in [
        (&[("b3", B3)][..], true, false),
        (&[("b3", &B3[..49])], true, true),
        (&[("b3", "0")], false, false),
        (&several("0"), true, false),
        (&several("1"), true, true),
        (&several("0")[2..], false, false),
        (&[("x-b3-flags", "1")], false, true),
        (&[], false, true),
    ] {
        let mut head = head(fields);
        let before = head.clone().into_parts().3;
        let story = arrived(&traces, &head);
        traces.decide(&story, &mut head, false, 7);
        let place = story.told().place();
        assert_eq!(place.id.to_string() == B3[..32], joined, "{fields:?}");
        assert_eq!((place.span != 0, place.id == TraceId::NONE), (told, false), "{fields:?}");
        if !told {
            assert_eq!(head.into_parts().3, before, "{fields:?}");
        }
    }
}

#[test]
fn what_is_not_told_of_costs_no_allocation_and_goes_on_as_it_came() {
    let (traces, mut taken) = traces(0.0, 8);
    for fields in [&[][..], &[("traceparent", UNSAMPLED), ("tracestate", "a=b")], &[("x-request-id", "mine")]]
    {
        let mut head = head(fields);
        let before = head.clone().into_parts().3;
        let story = arrived(&traces, &head);
        let cost = measure(|| {
            traces.decide(&story, &mut head, false, 7);
            traces.over(&story.told(), Some(200), SECOND / 2, || 9);
        });
        assert_eq!(cost.count_total, 0, "{fields:?}");
        assert_eq!(head.into_parts().3, before, "{fields:?}");
        assert_eq!(story.traced(), None);
    }
    assert!(taken.try_recv().is_err(), "nobody is told");
}

#[test]
fn a_drawn_request_names_its_span_to_those_after_it_and_is_handed_on() {
    let (traces, mut taken) = traces(0.0, 8);
    let mut head = head(&[("traceparent", W3C), ("tracestate", "a=b"), ("baggage", "c=d")]);
    let story = arrived(&traces, &head);
    traces.decide(&story, &mut head, false, 0xabc);
    let trace = story.traced().expect("those before have drawn it");
    assert_eq!((trace.parent, trace.span), (0x00f0_67aa_0ba9_02b7, 0xabc));
    let value = |head: &RequestHead, name: &'static str| {
        head.header(&http::HeaderName::from_static(name)).unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(value(&head, "traceparent"), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000abc-01");
    assert_eq!((value(&head, "tracestate"), value(&head, "baggage")), ("a=b".into(), "c=d".into()));
    let mut tries = Vec::new();
    for number in [0, 1] {
        let mut headers = HeaderMap::new();
        traces.tell_try(&trace, number, &mut headers);
        tries.push(headers["traceparent"].to_str().unwrap()[36..52].to_owned());
    }
    assert_ne!(tries[0], tries[1]);
    traces.over(&story.told(), Some(200), 5, || unreachable!("it has a span"));
    assert_eq!(taken.try_recv().unwrap().trace, trace);
}

#[test]
fn a_request_of_no_trace_is_of_the_one_that_its_id_names() {
    let (traces, _taken) = traces(1.0, 8);
    for (id, name) in [
        (None, "00000000000040018000000000000002"),
        (Some("0af76519-16cd-43dd-8448-eb211c80319c"), "0af7651916cd43dd8448eb211c80319c"),
        (Some("0AF7651916CD43DD8448EB211C80319C"), "0af7651916cd43dd8448eb211c80319c"),
    ] {
        let mut head = head(&id.map(|id| ("x-request-id", id)).into_iter().collect::<Vec<_>>());
        let story = arrived(&traces, &head);
        traces.decide(&story, &mut head, false, 1);
        assert_eq!(story.traced().unwrap().id.to_string(), name);
    }
    let of = |id: &str| TraceId::of_request(id.as_bytes());
    assert_eq!(of("mine"), of("mine"), "by every proxy that it passes");
    assert_ne!(of("mine"), of("yours"));
    assert_ne!(of(&"0".repeat(32)).0, 0);
}

#[test]
fn of_a_stranger_only_the_draw_counts_here_and_further_on() {
    const MOST: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    let (traces, _taken) = traces(0.5, 8);
    let decide = |fields: &[(&'static str, &'static str)], stranger, random| {
        let mut head = head(fields);
        let story = arrived(&traces, &head);
        traces.decide(&story, &mut head, stranger, random);
        let next = arrived(&traces, &head);
        traces.decide(&next, &mut head, false, 0xabc);
        (story.traced().is_some(), next.traced().is_some())
    };
    for named in [[("traceparent", W3C)], [("x-request-id", MOST)]] {
        assert_eq!(decide(&named, false, 1), (true, true), "{named:?}");
        assert_eq!(decide(&named, true, 1), (false, false), "{named:?}");
        assert_eq!(decide(&named, true, sampler::DRAW_MAX), (true, true), "{named:?}");
    }
    assert_eq!(decide(&[("traceparent", UNSAMPLED)], true, sampler::DRAW_MAX), (true, true));
}

#[test]
fn what_belongs_to_no_trace_does_not_go_on_with_another() {
    let (traces, _taken) = traces(1.0, 8);
    for (fields, state) in [
        (&[("traceparent", "00-x"), ("tracestate", "a=b")][..], false),
        (&[("traceparent", W3C), ("traceparent", UNSAMPLED), ("tracestate", "a=b")], false),
        (&[("traceparent", W3C), ("traceparent", W3C), ("tracestate", "a=b")], true),
    ] {
        let mut head = head(fields);
        let story = arrived(&traces, &head);
        traces.decide(&story, &mut head, false, 1);
        let name = http::HeaderName::from_static("tracestate");
        assert_eq!(head.header(&name).is_some(), state, "{fields:?}");
    }
}

#[test]
fn what_fails_or_is_slow_is_told_of_within_a_budget_per_second() {
    let (traces, mut taken) = traces(0.0, 1_000);
    let end = |status, started_ns, now_ns| {
        let head = head(&[]);
        let story = arrived(&traces, &head);
        if status >= 500 {
            story.fails(&ProxyError::NoHost, now_ns);
        }
        traces.over(&story.told(), Some(status), started_ns + now_ns, || 3);
    };
    end(200, 0, SECOND);
    assert!(taken.try_recv().is_err(), "as slow as is usual");
    end(200, 0, SECOND + 1);
    assert!(taken.try_recv().unwrap().failure.is_none());
    for _ in 0..2 * KEPT_PER_SECOND_MAX {
        end(503, 0, 5 * SECOND);
    }
    end(503, 0, 6 * SECOND);
    let kept: Vec<_> = std::iter::from_fn(|| taken.try_recv().ok()).collect();
    assert_eq!(kept.len(), KEPT_PER_SECOND_MAX as usize + 1, "the next second has its own");
    assert!(kept.iter().all(|kept| kept.failure.as_ref().unwrap().0 == "no_host" && kept.trace.span == 3));
    let handing = &traces.shared.handing;
    assert_eq!(handing.count_kept(), [0, u64::from(KEPT_PER_SECOND_MAX) + 1, 1]);
    assert_eq!(handing.count_lost(), [u64::from(KEPT_PER_SECOND_MAX), 0, 0]);
}

#[test]
fn what_finds_no_room_is_counted_and_never_made() {
    let (traces, _taken) = traces(1.0, 2);
    let mut head = head(&[]);
    let story = arrived(&traces, &head);
    traces.decide(&story, &mut head, false, 1);
    let mut costs = Vec::new();
    for _ in 0..5 {
        costs.push(measure(|| traces.over(&story.told(), Some(200), 5, || 3)).count_total);
    }
    assert_eq!(traces.shared.handing.count_lost(), [0, 3, 0]);
    assert_eq!(costs[2..], [0, 0, 0]);
}
