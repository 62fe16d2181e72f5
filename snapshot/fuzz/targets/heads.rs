//! Heads as they come off a connection: made fit to be passed on, in the version that they name and as HTTP/2.
#![no_main]

use std::collections::HashSet;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri, Version, request};
use libfuzzer_sys::fuzz_target;
use outrigger_proxy::http::forwarded::{Certificate, add_forwarded};
use outrigger_proxy::http::normalize::{Marks, normalize_request, normalize_response, normalize_trailers};
use outrigger_snapshot::head::{Authority, RequestHead};

/// Fields of one head.
const FIELDS_MAX: usize = 32;

/// Fields that belong to one connection (RFC 9110 §7.6.1, RFC 9113 §8.2.2).
const OF_THE_CONNECTION: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// Fields that `Connection` cannot take away: the message would mean something else without them.
const KEPT: [&str; 5] = ["host", "content-length", "content-type", "authorization", "cookie"];

fn parse(data: &[u8]) -> Option<request::Parts> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    parsed.parse(data).ok()?;
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = parsed.method?.parse().ok()?;
    parts.uri = Uri::try_from(parsed.path?).ok()?;
    parts.version = if parsed.version? == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        parts.headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(parts)
}

/// What the `Connection` lines name, but for what they cannot take away.
fn named(headers: &HeaderMap) -> HashSet<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    let options = lines.flat_map(|line| line.split(|byte| *byte == b','));
    options
        .filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
        .filter(|name| !KEPT.contains(&name.as_str()))
        .collect()
}

fn values<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> Vec<&'a [u8]> {
    values.map(|value| value.as_bytes().trim_ascii()).collect()
}

fn check(parts: request::Parts) {
    let (before, version) = (parts.headers.clone(), parts.version);
    let Ok(normalized) = normalize_request(parts) else { return };
    let head = normalized.head;
    let named = named(&before);
    for name in named.iter().map(HeaderName::as_str).chain(OF_THE_CONNECTION).chain(["expect"]) {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("it is one");
        assert!(head.header(&name).is_none(), "{name} is passed on");
    }
    assert_eq!(values(head.headers_named(&header::HOST)), [head.authority().as_header().as_bytes()]);
    assert_eq!(Authority::parse(head.authority().as_header()).as_ref(), Ok(head.authority()));
    check_path(&head);
    for name in before.keys().filter(|name| !named.contains(*name)) {
        let dropped = OF_THE_CONNECTION.contains(&name.as_str()) || name == header::EXPECT;
        let changed = name == header::HOST || (version == Version::HTTP_2 && name == header::COOKIE);
        if !dropped && !changed {
            assert_eq!(
                values(head.headers_named(name)),
                values(before.get_all(name).iter()),
                "{name} was altered"
            );
        }
    }
    check_again(&head);
    let mut head = head;
    add_forwarded(&mut head, &HeaderValue::from_static("127.0.0.1"), Certificate::Keep, &mut || 4);
    assert!(head.header(&HeaderName::from_static("x-forwarded-for")).is_some());
}

fn check_path(head: &RequestHead) {
    let path = head.path();
    assert!(path.starts_with('/') || (path == "*" && head.method() == Method::OPTIONS), "{path:?}");
    for element in path.split('/') {
        let spelled_out = element.to_ascii_lowercase().replace("%2e", ".");
        assert!(!matches!(spelled_out.as_str(), "." | ".."), "{path:?} has a dot segment");
    }
    assert_ne!(head.method(), Method::CONNECT);
}

/// What was made fit is fit.
fn check_again(head: &RequestHead) {
    let (method, authority, path, headers) = head.clone().into_parts();
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.headers) = (method, Uri::from(path), headers);
    let again = normalize_request(parts).expect("what was made fit is fit").head;
    let written = head.path_and_query().as_str();
    assert_eq!((again.authority(), again.path_and_query().as_str()), (&authority, written));
    assert!(again.into_parts().3 == head.clone().into_parts().3, "the fields change a second time");
}

fn check_response(mut headers: HeaderMap) {
    normalize_response(&mut headers, Marks::Dropped);
    for name in OF_THE_CONNECTION {
        assert!(!headers.contains_key(name), "{name} is passed on in a response");
    }
    let mut trailers = headers;
    normalize_trailers(&mut trailers);
    assert!(!trailers.contains_key(header::CONTENT_LENGTH) && !trailers.contains_key(header::HOST));
}

fuzz_target!(|data: &[u8]| {
    let Some(parts) = parse(data) else { return };
    check_response(parts.headers.clone());
    let mut later = parts.clone();
    later.version = Version::HTTP_2;
    check(parts);
    check(later);
});
