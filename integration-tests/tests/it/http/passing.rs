//! What arrives at the upstream and at the client, byte by byte where it matters.

use http::{HeaderValue, Method, StatusCode, Version};
use outrigger_integration_tests::app::raw::{End, RawApp};
use outrigger_integration_tests::frames::{END_STREAM, Frame, Http2, Outcome};
use outrigger_integration_tests::{Mesh, Proxy, client, port, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PATIENCE, answering, fixture};
use crate::config::{all, backend_policy, service};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Sends these bytes as the only request of a connection.
async fn exchange(shop: &Proxy, request: &str) -> String {
    let answer = client::raw(shop.outbound, request.as_bytes(), PATIENCE).await.expect("the proxy listens");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The lines of the last head with this name; what follows a head is no head.
fn lines(app: &RawApp, name: &str) -> Vec<String> {
    let heads = app.heads();
    let head = heads.iter().rfind(|head| head.contains(" HTTP/1.1\r\n")).expect("it was called");
    let named = |line: &&str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
    head.lines().filter(named).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_leave_in_origin_form_with_one_host() {
    let (_mesh, shop, app) = answering(OK, End::Stay).await;
    for (target, host, line, named) in [
        ("/a/b?c=d", "cart", "GET /a/b?c=d HTTP/1.1", "cart"),
        ("/a", "CART.", "GET /a HTTP/1.1", "cart"),
        ("/a", "cart:80", "GET /a HTTP/1.1", "cart:80"),
        ("http://cart/a?b", "elsewhere", "GET /a?b HTTP/1.1", "cart"),
        ("http://CART", "elsewhere", "GET / HTTP/1.1", "cart"),
        ("//evil/x", "cart", "GET //evil/x HTTP/1.1", "cart"),
        ("/a/../b/%2e%2e/c", "cart", "GET /c HTTP/1.1", "cart"),
        ("/a%2fb", "cart", "GET /a%2fb HTTP/1.1", "cart"),
        ("/ä", "cart", "GET /ä HTTP/1.1", "cart"),
        ("/a#b", "cart", "GET /a HTTP/1.1", "cart"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = exchange(&shop, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{target} {host}: {answer:?}");
        assert_eq!(app.heads().last().unwrap().lines().next(), Some(line), "{target} {host}");
        assert_eq!(lines(&app, "host"), [format!("host: {named}")], "{target} {host}");
    }
    let before = app.heads().len();
    for (what, target) in [("user information", "http://u@cart/"), ("a scheme", "ftp://cart/")] {
        let answer = exchange(&shop, &format!("GET {target} HTTP/1.1\r\nhost: cart\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer:?}");
    }
    assert_eq!(app.heads().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_requests_become_http1_requests() {
    let (_mesh, shop, app) = answering(OK, End::Stay).await;
    for (method, path, line) in [("GET", "/a?b", "GET /a?b HTTP/1.1"), ("OPTIONS", "*", "OPTIONS * HTTP/1.1")]
    {
        let mut http2 = Http2::open(shop.outbound).await;
        let fields = [(":method", method), (":scheme", "http"), (":authority", "Cart"), (":path", path)];
        http2.send(&[Frame::headers(1, END_STREAM, &fields)]).await;
        assert!(matches!(http2.outcome(1).await, Outcome::Answered(Some(200), _)), "{line}");
        assert_eq!(app.heads().last().unwrap().lines().next(), Some(line));
        assert_eq!(lines(&app, "host"), ["host: cart"]);
        assert_eq!(lines(&app, "transfer-encoding"), Vec::<String>::new(), "{line}: no body");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_method_loses_a_body_of_unknown_length() {
    let mesh = fixture().await;
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PUT", "PATCH", "REPORT"] {
        let mut request = client::request2(method.parse().unwrap(), "cart", "/echo", "");
        *request.body_mut() = client::pieces(&["one", "two"], None);
        let answer = client::send(mesh.shop.outbound, request).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{method}");
        let seen = mesh.app.last().expect("it was called");
        assert_eq!(
            seen.headers.get_all("transfer-encoding").iter().collect::<Vec<_>>(),
            ["chunked"],
            "{method}"
        );
        if method != "HEAD" {
            assert_eq!(answer.json()["body"], "onetwo", "{method}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_codings_of_a_request_leave_as_one() {
    let chunked = "2\r\nab\r\n0\r\n\r\n";
    for (head, body, codings, lengths) in [
        ("Transfer-Encoding: CHUNKED\r\n", chunked, 1, 0),
        ("transfer-encoding: chunked\r\ncontent-length: 2\r\n", chunked, 1, 0),
        ("content-length: 2\r\n", "ab", 0, 1),
        ("content-length: 2\r\ncontent-length: 2\r\n", "ab", 0, 1),
    ] {
        // One each: the end of a body in chunks looks like a head, and gets an answer that the next request could take for its own.
        let (_mesh, shop, app) = answering(OK, End::Stay).await;
        let request = format!("POST / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n{head}\r\n{body}");
        let answer = exchange(&shop, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{head:?}: {answer:?}");
        assert_eq!(lines(&app, "transfer-encoding").len(), codings, "{head:?}");
        assert_eq!(lines(&app, "content-length").len(), lengths, "{head:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_break_the_rules_are_the_clients_fault() {
    let mesh = fixture().await;
    for (what, chunks) in [
        ("a size in C", "0x2\r\nab\r\n0\r\n\r\n"),
        ("a bare line feed after the size", "2\nab\r\n0\r\n\r\n"),
        ("a line feed in the extension", "2;a\nb\r\nab\r\n0\r\n\r\n"),
        ("no size", "\r\nab\r\n0\r\n\r\n"),
        ("a size beyond all bounds", "fffffffffffffffff\r\nab\r\n0\r\n\r\n"),
        ("data longer than its size", "2\r\nabc\r\n0\r\n\r\n"),
    ] {
        let request =
            format!("POST /echo HTTP/1.1\r\nhost: cart\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        let answer = exchange(&mesh.shop, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{what}: the connection ends: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_a_connection_stays_there_both_ways() {
    let (_mesh, shop, app) = answering(
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x-one\r\nconnection: keep-alive, X-Two\r\nx-one: 1\r\n\
          x-two: 2\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nupgrade: h2c\r\nx-kept: 1\r\n\r\n",
        End::Stay,
    )
    .await;
    let request = "GET / HTTP/1.1\r\nhost: cart\r\nconnection: x-one, close\r\nconnection: X-Two, te\r\nx-one: 1\r\n\
                   x-two: 2\r\nte: gzip\r\nkeep-alive: 5\r\nproxy-connection: close\r\nupgrade: websocket\r\nx-kept: 1\r\n\r\n";
    let answer = exchange(&shop, request).await.to_ascii_lowercase();
    assert!(answer.contains("x-kept: 1\r\n"), "{answer}");
    assert_eq!(lines(&app, "x-kept").len(), 1);
    for name in ["x-one", "x-two", "keep-alive", "proxy-connection", "upgrade", "te"] {
        assert_eq!(lines(&app, name), Vec::<String>::new(), "{name} to the upstream");
        assert!(!answer.contains(&format!("\r\n{name}: ")), "{name} to the client: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_leave_in_lower_case() {
    let (_mesh, shop, app) =
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Answer: A\r\n\r\n", End::Stay).await;
    let request =
        "GET / HTTP/1.1\r\nHost: cart\r\nConnection: close\r\nX-Ask: One\r\nX-Other: 1\r\nX-Ask: Two\r\n\r\n";
    let answer = exchange(&shop, request).await;
    assert!(answer.contains("\r\nx-answer: A\r\n"), "{answer}");
    assert_eq!(lines(&app, "x-ask"), ["x-ask: One", "x-ask: Two"], "lines of one name keep their order");
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_responses_do_not_reach_the_client() {
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let (_mesh, shop, _app) = answering(format!("{early}{early}{whole}").as_bytes(), End::Stay).await;
    let answer = exchange(&shop, "GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok"), "{answer:?}");
    assert!(!answer.contains("103"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expectation_ends_here_and_is_answered_only_if_the_body_is_wanted() {
    let app = RawApp::start(OK, End::Stay).await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[app.addr]),
        service("gone", &[port::free()]),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    for (host, status, wanted) in [("cart", "200", true), ("nobody", "404", false), ("gone", "503", false)] {
        let mut stream = TcpStream::connect(shop.outbound).await.unwrap();
        let head =
            format!("POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nexpect: 100-continue\r\n");
        stream.write_all(format!("{head}content-length: 2\r\n\r\n").as_bytes()).await.unwrap();
        let mut first = [0; 13];
        stream.read_exact(&mut first).await.unwrap();
        let first = String::from_utf8_lossy(&first).into_owned();
        assert_eq!(first == "HTTP/1.1 100 ", wanted, "{host}: {first}");
        if wanted {
            stream.write_all(b"ok").await.unwrap();
        }
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        let line = format!("HTTP/1.1 {status} ");
        assert!(format!("{first}{rest}").contains(&line), "{host}: {first}{rest}");
    }
    assert_eq!(lines(&app, "expect"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_an_upgrade_before_it_is_agreed() {
    let app = RawApp::start(b"", End::Stay).await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[app.addr]),
        backend_policy("cart", "timeouts: {firstByte: 300ms}"),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let request = "GET / HTTP/1.1\r\nhost: cart\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\
                   GET /smuggled HTTP/1.1\r\nhost: cart\r\n\r\n";
    let mut stream = TcpStream::connect(shop.outbound).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 13];
    within(PATIENCE, "a refusal", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 504 ");
    let heads = app.heads();
    assert!(heads.first().is_some_and(|head| head.starts_with("GET / ")), "{heads:?}");
    // What follows may have been sent as a request of its own by now, on a connection of its own.
    assert!(heads.iter().skip(1).all(|head| head.contains("x-request-id: ")), "{heads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_protocol_that_was_asked_for_becomes_a_tunnel() {
    for (asked, agreed, status) in [("websocket", "other", "502"), ("a, WebSocket", "websocket", "101")] {
        let bytes =
            format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {agreed}\r\n\r\n");
        let (_mesh, shop, _app) = answering(bytes.as_bytes(), End::Close).await;
        let request =
            format!("GET / HTTP/1.1\r\nhost: cart\r\nconnection: upgrade\r\nupgrade: {asked}\r\n\r\n");
        let mut stream = TcpStream::connect(shop.outbound).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 13];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status} "), "{asked} and {agreed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_read_is_no_request() {
    let mesh = fixture().await;
    let inner = "GET /smuggled HTTP/1.1\r\nhost: cart\r\n\r\n";
    for framing in [
        format!("content-length: {}\r\n\r\n{inner}", inner.len()),
        format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()),
    ] {
        let follows = "GET /follows HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n";
        let answer =
            exchange(&mesh.shop, &format!("POST / HTTP/1.1\r\nhost: nobody\r\n{framing}{follows}")).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer:?}");
        let answers = answer.matches("HTTP/1.1 ").count();
        assert!(answers <= 2 && !answer.contains("/smuggled"), "{answer:?}");
    }
    assert!(mesh.app.last().is_none_or(|head| head.uri.path() == "/follows"));
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_http1_pass_if_they_are_announced_and_wanted() {
    let app = RawApp::start(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\
          content-length: 9\r\nx-other: 1\r\n\r\n",
        End::Stay,
    )
    .await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let ask = |te: &str| format!("GET / HTTP/1.1\r\nhost: cart\r\nconnection: close, te\r\n{te}\r\n");
    let answer = exchange(&shop, &ask("te: trailers\r\n")).await;
    assert!(answer.ends_with("\r\n0\r\nx-sum: 7\r\n\r\n"), "{answer:?}");
    assert_eq!(lines(&app, "te"), ["te: trailers"]);
    let answer = exchange(&shop, &ask("")).await;
    assert!(answer.ends_with("\r\n0\r\n\r\n"), "{answer:?}");
    let answer = client::send(shop.outbound, client::request2(Method::GET, "cart", "/", "")).await.unwrap();
    assert_eq!(answer.trailers["x-sum"], "7");
    assert!(!answer.trailers.contains_key("content-length"), "{:?}", answer.trailers);
}

/// Of which heads are rid, or which may not stand in trailers, and what may.
const TRAILERS: [&str; 12] = [
    "authorization",
    "content-length",
    "forwarded",
    "grpc-message",
    "grpc-status",
    "host",
    "outrigger-priority",
    "set-cookie",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-sum",
    "x_forwarded_for",
];
const KEPT: [&str; 3] = ["grpc-message", "grpc-status", "x-sum"];

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_requests_do_not_say_what_heads_may_not() {
    let mesh = fixture().await;
    let names = TRAILERS.map(http::HeaderName::from_static);
    let trailers = || names.iter().map(|name| (name.clone(), HeaderValue::from_static("7"))).collect();
    for (host, version) in [
        ("cart", Version::HTTP_11),
        ("cart", Version::HTTP_2),
        ("cart2", Version::HTTP_11),
        ("cart2", Version::HTTP_2),
    ] {
        let mut request = match version {
            Version::HTTP_2 => client::request2(Method::POST, host, "/echo", ""),
            _ => client::request(Method::POST, host, "/echo", ""),
        };
        *request.body_mut() = client::pieces(&["body"], Some(trailers()));
        request.headers_mut().insert("trailer", HeaderValue::try_from(TRAILERS.join(",")).unwrap());
        let seen = client::send(mesh.shop.outbound, request).await.unwrap().json();
        let mut names: Vec<&str> =
            seen["trailers"].as_array().unwrap().iter().filter_map(|pair| pair[0].as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, KEPT, "{version:?} to {host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_responses_do_not_say_what_heads_may_not() {
    let said: String = TRAILERS.iter().map(|name| format!("{name}: 7\r\n")).collect();
    let bytes = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: {}\r\n\r\n2\r\nok\r\n0\r\n{said}\r\n",
        TRAILERS.join(",")
    );
    let (_mesh, shop, _app) = answering(bytes.as_bytes(), End::Stay).await;
    for mut request in
        [client::request(Method::GET, "cart", "/", ""), client::request2(Method::GET, "cart", "/", "")]
    {
        request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        let version = request.version();
        let answer = client::send(shop.outbound, request).await.unwrap();
        let mut names: Vec<&str> = answer.trailers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, KEPT, "{version:?}");
    }
}
