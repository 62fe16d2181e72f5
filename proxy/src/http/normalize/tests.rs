use http::{Request, request};

use super::*;

fn parts(method: &str, target: &str, version: Version, headers: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().method(method).uri(target).version(version);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn http1(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Normalized, ProxyError> {
    normalize_request(parts(method, target, Version::HTTP_11, headers))
}

fn fields(normalized: Normalized) -> Vec<String> {
    let (_, _, _, headers) = normalized.head.into_parts();
    let mut fields: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    fields.sort();
    fields
}

/// What a request is refused for.
fn refusal(result: Result<Normalized, ProxyError>) -> Malformed {
    match result {
        Err(ProxyError::Malformed(malformed)) => malformed,
        other => panic!("{other:?} is no malformed request"),
    }
}

/// RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a Host header
/// field and to any request message that contains more than one Host header field line or a Host header field with an invalid field value."
#[test]
fn a_request_names_exactly_one_host() {
    assert_eq!(refusal(http1("GET", "/", &[])), Malformed::HostMissing);
    assert_eq!(refusal(http1("GET", "http://cart/", &[])), Malformed::HostMissing);
    assert_eq!(refusal(http1("GET", "/", &[("host", "a"), ("host", "a")])), Malformed::HostTwice);
    for host in ["", "user@cart", "cart/x", "ca rt", "cart:http"] {
        assert!(matches!(refusal(http1("GET", "/", &[("host", host)])), Malformed::Host(_)), "{host:?}");
    }
}

/// RFC 3875 §4.1.18: a gateway to programs writes `-` and `_` alike.
#[test]
fn what_programs_would_read_as_the_word_of_a_proxy_is_dropped() {
    let forged = [
        ("x_forwarded_client_cert", "URI=spiffe://a/admin"),
        ("X-Forwarded_For", "10.0.0.1"),
        ("outrigger_priority", "0"),
        ("outrigger-spent_x", "0"),
        ("x_request_id", "kept"),
        ("x-forwarded-for", "10.0.0.2"),
    ];
    let headers = [&[("host", "cart")], forged.as_slice()].concat();
    let kept = ["host: cart", "x-forwarded-for: 10.0.0.2", "x_request_id: kept"];
    assert_eq!(fields(http1("GET", "/", &headers).unwrap()), kept);
}

/// RFC 9112 §3.2.2: "the origin server MUST ignore the received Host header field (if any) and instead use the host information of the
/// request-target." A proxy MUST replace the received Host with that.
#[test]
fn an_absolute_target_replaces_the_host() {
    let normalized = http1("GET", "http://Cart:8080/a?b", &[("host", "other")]).unwrap();
    assert_eq!(normalized.head.authority().as_str(), "cart:8080");
    assert_eq!(normalized.head.path_and_query().as_str(), "/a?b");
    assert_eq!(fields(normalized), ["host: cart:8080"]);
    assert_eq!(refusal(http1("GET", "ftp://cart/", &[("host", "cart")])), Malformed::Scheme);
}

#[test]
fn a_target_has_the_form_that_its_method_allows() {
    for (method, target) in [("GET", "*"), ("GET", "cart:80")] {
        let malformed = refusal(http1(method, target, &[("host", "cart")]));
        assert_eq!(malformed, Malformed::Target, "{method} {target}");
    }
    assert_eq!(http1("OPTIONS", "*", &[("host", "cart")]).unwrap().head.path(), "*");
    assert!(matches!(http1("CONNECT", "cart:80", &[("host", "cart:80")]), Err(ProxyError::Connect)));
}

#[test]
fn dot_segments_are_resolved_before_anything_is_matched() {
    for (target, path) in [
        ("/a/./b", "/a/b"),
        ("/a/../b?x=/../", "/b?x=/../"),
        ("/a/%2e%2E/b", "/b"),
        ("/../../b", "/b"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/.a/..b/c.d", "/.a/..b/c.d"),
        ("/a%2fb/%2e.x", "/a%2fb/%2e.x"),
        ("//a/.../b", "//a/.../b"),
    ] {
        let normalized = http1("GET", target, &[("host", "cart")]).unwrap();
        assert_eq!(normalized.head.path_and_query().as_str(), path, "{target}");
    }
}

/// RFC 9112 §6.1: what is not exactly one "chunked" may be framed differently by the next hop.
#[test]
fn only_one_transfer_encoding_is_understood() {
    for lines in [
        &["gzip, chunked"][..],
        &["chunked", "chunked"],
        &["identity", "chunked"],
        &["chunked, chunked"],
        &["xchunked"],
    ] {
        let mut headers = vec![("host", "cart")];
        headers.extend(lines.iter().map(|line| ("transfer-encoding", *line)));
        assert_eq!(refusal(http1("POST", "/", &headers)), Malformed::TransferEncoding, "{lines:?}");
    }
    let normalized = http1("POST", "/", &[("host", "cart"), ("transfer-encoding", "Chunked")]).unwrap();
    assert_eq!(fields(normalized), ["host: cart"], "the next hop frames anew");
}

/// RFC 9110 §7.6.1: "Intermediaries MUST parse a received Connection header field before a message is forwarded and, for each
/// connection-option in this field, remove any header or trailer field(s) from the message with the same name as the connection-option,
/// and then remove the Connection header field itself."
#[test]
fn fields_of_the_connection_stay_on_it() {
    let normalized = http1(
        "GET",
        "/",
        &[
            ("host", "cart"),
            ("connection", "x-secret, close"),
            ("connection", "X-Other,host"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("keep-alive", "5"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip, trailers"),
            ("expect", "100-continue"),
            ("upgrade", "websocket"),
            ("x-kept", "1"),
        ],
    )
    .unwrap();
    assert!(normalized.trailers);
    assert_eq!(normalized.upgrade, None, "not named by Connection");
    assert_eq!(fields(normalized), ["host: cart", "x-kept: 1"]);
}

#[test]
fn a_connection_line_counts_whatever_bytes_are_in_it() {
    let mut parts = parts("GET", "/", Version::HTTP_11, &[("host", "cart"), ("x-secret", "1")]);
    parts.headers.insert("connection", HeaderValue::from_bytes(b"x-secret, \xff").unwrap());
    assert_eq!(fields(normalize_request(parts).unwrap()), ["host: cart"]);
}

#[test]
fn an_upgrade_is_taken_only_as_it_may_be_made() {
    let upgrade = |method: &str, protocol: &str| {
        http1(method, "/", &[("host", "cart"), ("connection", "keep-alive, Upgrade"), ("upgrade", protocol)])
    };
    assert_eq!(upgrade("GET", "websocket").unwrap().upgrade.unwrap(), "websocket");
    // What carries requests itself would carry them around every rule.
    for offer in ["h2c", "H2C", "HTTP/2.0", "TLS/1.2, HTTP/1.1", "h2c, h2c", " h2c ,", "TLS/1.3"] {
        assert_eq!(upgrade("GET", offer).unwrap().upgrade, None, "{offer}");
    }
    for (offer, left) in
        [("websocket, h2c", "websocket"), ("h2c,websocket , TLS/1.2,echo", "websocket, echo")]
    {
        assert_eq!(upgrade("GET", offer).unwrap().upgrade.unwrap(), left, "{offer}");
    }
    let fields_of =
        |name| fields(http1("GET", "/", &[("host", "cart"), ("upgrade", "h2c"), (name, "AAMA")]).unwrap());
    assert_eq!(fields_of("http2-settings"), ["host: cart"], "whether or not Connection names it");
    assert_eq!(refusal(upgrade("POST", "websocket")), Malformed::Upgrade);
}

#[test]
fn http2_requests_become_what_http1_can_carry() {
    let http2 =
        |headers: &[(&str, &str)]| normalize_request(parts("GET", "http://cart/a", Version::HTTP_2, headers));
    let normalized = http2(&[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]).unwrap();
    assert!(normalized.trailers);
    assert_eq!(fields(normalized), ["cookie: a=1; b=2", "host: cart"]);
    assert_eq!(refusal(http2(&[("host", "other")])), Malformed::HostDiffers);
    assert!(http2(&[("host", "CART")]).is_ok());
    assert_eq!(refusal(normalize_request(parts("GET", "/", Version::HTTP_2, &[]))), Malformed::HostMissing);
}

/// A server in C would take the path for `/admin`.
#[test]
fn an_escaped_nul_is_refused_in_the_path() {
    let asked = |target: &str| http1("GET", target, &[("host", "cart")]);
    for target in ["/admin%00", "/admin%00/x", "/%00", "/a/../b%00"] {
        assert_eq!(refusal(asked(target)), Malformed::Nul, "{target}");
    }
    for target in ["/admin?x=%00", "/admin%3fx", "/admin%23", "/100%25%20", "/admin%0"] {
        assert!(asked(target).is_ok(), "{target}");
    }
}

#[test]
fn grpc_is_known_by_its_content_type() {
    for (value, grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc-web", false),
        ("text/plain", false),
    ] {
        let normalized = http1("POST", "/", &[("host", "cart"), ("content-type", value)]).unwrap();
        assert_eq!(normalized.grpc, grpc, "{value}");
    }
}

#[test]
fn responses_leave_with_one_framing() {
    let normalized = |headers: &[(&'static str, &'static str)]| {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| {
            map.append(*name, HeaderValue::from_static(value));
        });
        normalize_response(&mut map, Marks::Kept);
        let mut fields: Vec<_> =
            map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        fields.sort();
        fields
    };
    assert_eq!(normalized(&[("content-length", "2"), ("transfer-encoding", "chunked")]), [""; 0]);
    assert_eq!(normalized(&[("content-length", "2, 2")]), ["content-length: 2"]);
    assert_eq!(normalized(&[("content-length", "2"), ("content-length", "2")]), ["content-length: 2"]);
    assert_eq!(
        normalized(&[("connection", "x-a"), ("x-a", "1"), ("keep-alive", "5"), ("x-b", "1")]),
        ["x-b: 1"]
    );
    assert_eq!(normalized(&[("upgrade", "h2c"), ("trailer", "x")]), ["trailer: x"]);
}

#[test]
fn what_proxies_say_in_answers_goes_no_further_than_they_do() {
    let names = ["outrigger-no-retry", "outrigger-reason", "outrigger-shed", "x-other"];
    for (believed, to_stranger, left) in [
        (true, false, &names[..]),
        (true, true, &["outrigger-reason", "x-other"]),
        (false, false, &["x-other"]),
        (false, true, &["x-other"]),
    ] {
        let fields = names.map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")));
        let mut headers = HeaderMap::from_iter(fields);
        normalize_response(&mut headers, Marks::of(believed, to_stranger));
        let mut kept: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        kept.sort_unstable();
        assert_eq!(kept, left, "believed: {believed}, to a stranger: {to_stranger}");
    }
}

/// RFC 9113 §8.2.1: "A field value MUST NOT start or end with an ASCII whitespace character". HTTP/2 carries them, HTTP/1.1 drops them.
#[test]
fn values_lose_their_outer_blanks() {
    let padded = [("host", " cart\t"), ("x-a", "  one two "), ("x-b", " "), ("x-c", "3")];
    let normalized = normalize_request(parts("GET", "http://cart/", Version::HTTP_2, &padded)).unwrap();
    assert_eq!(fields(normalized), ["host: cart", "x-a: one two", "x-b: ", "x-c: 3"]);

    let mut headers = HeaderMap::new();
    headers.insert("x-a", HeaderValue::from_static(" 1 "));
    normalize_response(&mut headers, Marks::Kept);
    assert_eq!(headers["x-a"], "1");
}
