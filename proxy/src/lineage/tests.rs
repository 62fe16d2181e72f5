use http::{HeaderMap, HeaderValue, Method};

use super::*;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SAME_TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00";

fn head(traceparent: Option<&str>, id: Option<&str>) -> RequestHead {
    let mut headers = HeaderMap::new();
    for (name, value) in [(TRACEPARENT, traceparent), (REQUEST_ID, id)] {
        if let Some(value) = value {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
    }
    RequestHead::new(Method::GET, "cart".parse().unwrap(), "/".parse().unwrap(), headers)
}

fn inheritance(deadline_ns: u64) -> Inheritance {
    Inheritance { deadline_ns, priority: Priority::DEFAULT, retried: false }
}

#[test]
fn calls_are_found_by_what_applications_pass_on() {
    for (came, went, found) in [
        ((Some(TRACE), None), (Some(SAME_TRACE), None), true),
        ((Some(TRACE), Some("a")), (Some(SAME_TRACE), Some("b")), true),
        // A trace of the application's own.
        ((None, Some("a")), (Some(TRACE), Some("a")), true),
        ((None, Some("a")), (None, Some("a")), true),
        ((None, Some("a")), (None, Some("b")), false),
        ((Some(TRACE), Some("a")), (None, Some("a")), true),
        ((Some(TRACE), Some("a")), (None, None), false),
        // Not as specified.
        ((Some("00-0af7651916cd43dd8448eb211c80319c"), None), (Some(SAME_TRACE), None), false),
        ((Some(TRACE), None), (Some(&SAME_TRACE.replacen('a', "x", 1)), None), false),
    ] {
        let lineages = Lineages::default();
        let names = lineages.remember(&head(came.0, came.1), inheritance(7));
        let parent = lineages.parent(&head(went.0, went.1));
        assert_eq!(parent.is_some(), found, "{came:?} {went:?}");
        assert!(parent.is_none_or(|parent| names.known().any(|key| key == parent.key)));
    }
    let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
    assert_eq!(Lineages::default().remember(&head(Some(zero), None), inheritance(7)), Names::default());
}

#[test]
fn a_call_is_forgotten_when_the_last_of_its_name_is_over() {
    let (lineages, head) = (Lineages::default(), head(Some(TRACE), Some("a")));
    let first = lineages.remember(&head, inheritance(7));
    let urgent = Inheritance { deadline_ns: 5, priority: Priority::CRITICAL, retried: true };
    let second = lineages.remember(&head, urgent);
    let generous = Inheritance { deadline_ns: 7, priority: Priority::CRITICAL, retried: false };
    let parent = lineages.parent(&head).unwrap();
    assert_eq!((parent.inheritance, lineages.remembered()), (generous, 2));

    assert!(!lineages.is_spent(first));
    lineages.spend(parent.key);
    lineages.forget(first);
    assert!(lineages.is_spent(second));
    lineages.forget(second);
    assert_eq!((lineages.parent(&head), lineages.remembered()), (None, 0));
    lineages.spend(parent.key);
    assert!(!lineages.is_spent(second), "what is over is not brought back");
}

#[test]
fn a_flood_of_calls_is_bounded_and_takes_nothing_from_those_before() {
    let lineages = Lineages::default();
    let remember = |id: usize| lineages.remember(&head(None, Some(&id.to_string())), inheritance(7));
    let kept = (0..2 * NAMES_MAX).filter(|id| remember(*id) != Names::default()).count();
    assert!(kept <= NAMES_MAX && kept == lineages.remembered());
    assert_eq!(lineages.unremembered(), (2 * NAMES_MAX - kept) as u64);
    assert!(lineages.parent(&head(None, Some("0"))).is_some());
}
