use http::{HeaderMap, Method};

use super::*;

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn read(names: &str, fields: &[(&'static str, String)]) -> Option<(String, u64, Option<bool>)> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let head = RequestHead::new(Method::GET, "cart:80".parse().unwrap(), "/".parse().unwrap(), headers);
    let trace = Propagators::read_names(names).unwrap().read(&head)?;
    Some((trace.id.to_string(), trace.parent, trace.sampled))
}

fn found(sampled: Option<bool>) -> Option<(String, u64, Option<bool>)> {
    Some((ID.to_owned(), 0x00f0_67aa_0ba9_02b7, sampled))
}

#[test]
fn traces_are_read_in_the_ways_that_are_asked_for() {
    let w3c = || ("traceparent", format!("00-{ID}-{SPAN}-01"));
    let b3 = |rest: &str| ("b3", format!("{ID}-{SPAN}{rest}"));
    let multi = |sampled: &str| {
        vec![
            ("x-b3-traceid", ID.to_owned()),
            ("x-b3-spanid", SPAN.to_owned()),
            ("x-b3-sampled", sampled.to_owned()),
        ]
    };
    assert_eq!(read("tracecontext,baggage", &[w3c()]), found(Some(true)));
    assert_eq!(read("b3", &[w3c()]), None);
    assert_eq!(read("tracecontext", &[b3("-1")]), None);
    for (rest, sampled) in [
        ("-1", Some(true)),
        ("-d", Some(true)),
        ("-0", Some(false)),
        ("", None),
        ("-1-05e3ac9a4f6e3b90", Some(true)),
    ] {
        assert_eq!(read("tracecontext,b3", &[b3(rest)]), found(sampled), "{rest}");
    }
    assert_eq!(read("b3multi", &multi("1")), found(Some(true)));
    assert_eq!(read("b3multi", &multi("0")), found(Some(false)));
    assert_eq!(read("b3", &multi("1")), None);
    let debug = [multi("0"), vec![("x-b3-flags", "1".to_owned())]].concat();
    assert_eq!(read("b3multi", &debug), found(Some(true)));
    // Both: the first that is asked for.
    let both = [w3c(), ("b3", format!("{}-{SPAN}-0", "1".repeat(32)))];
    assert_eq!(read("b3,tracecontext", &both), found(Some(true)));
    // Half as long, it is the lower half.
    let short = read("b3", &[("b3", format!("{}-{SPAN}-1", &ID[16..]))]).unwrap();
    assert_eq!(short.0, format!("{:0>32}", &ID[16..]));
}

#[test]
fn who_is_to_be_told_may_be_said_without_a_place() {
    let unplaced = |sampled| Some(("0".repeat(32), 0, Some(sampled)));
    for (value, sampled) in [("0", false), ("1", true), ("d", true)] {
        assert_eq!(read("b3", &[("b3", value.to_owned())]), unplaced(sampled));
        assert_eq!(read("tracecontext", &[("b3", value.to_owned())]), None);
    }
    assert_eq!(read("b3multi", &[("x-b3-sampled", "0".to_owned())]), unplaced(false));
    assert_eq!(read("b3multi", &[("x-b3-flags", "1".to_owned())]), unplaced(true));
}

#[test]
fn what_is_absurd_names_no_trace() {
    for value in [
        String::new(),
        "x".repeat(60_000),
        format!("{}-{SPAN}-1", "0".repeat(32)),
        format!("{ID}-{}-1", "0".repeat(16)),
        format!("{ID}-1"),
        format!("{}-{SPAN}-1", "f".repeat(4_096)),
    ] {
        assert_eq!(read("b3", &[("b3", value.clone())]), None, "{value:.60}");
        assert_eq!(read("tracecontext", &[("traceparent", value.clone())]), None, "{value:.60}");
    }
    assert!(Propagators::read_names("jaeger").is_err());
}

#[test]
fn what_is_written_is_read_again() {
    let trace = Trace { id: TraceId(u128::MAX - 1), parent: 1, sampled: None, span: u64::MAX };
    for names in ["tracecontext", "b3", "b3multi", "tracecontext,b3,b3multi"] {
        let propagators = Propagators::read_names(names).unwrap();
        let mut head =
            RequestHead::new(Method::GET, "cart:80".parse().unwrap(), "/".parse().unwrap(), HeaderMap::new());
        propagators.write(&trace, 0xbeef, true, &mut |name, value| head.set_header(name, value));
        let read = propagators.read(&head).unwrap();
        assert_eq!((read.id, read.parent, read.sampled), (trace.id, 0xbeef, Some(true)), "{names}");
    }
}
