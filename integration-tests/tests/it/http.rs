//! HTTP as a proxy has to speak it: what is passed on, what is changed, what is refused.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use outrigger_integration_tests::app::raw::{End, RawApp};
use outrigger_integration_tests::{App, Mesh, Proxy, client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::{all, service, service_of};

mod frames;
mod limits;
mod passing;
mod resting;
pub(crate) mod timeouts;
mod upstreams;

/// How long a raw exchange may be silent.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Fixture {
    pub(crate) shop: Proxy,
    app: App,
    _mesh: Mesh,
}

/// One application, called as `cart` over HTTP/1.1 and as `cart2` over HTTP/2.
pub(crate) async fn fixture() -> Fixture {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[app.addr]),
        service_of("cart2", "HTTP2", &[app.addr]),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    Fixture { shop, app, _mesh: mesh }
}

/// A sidecar in front of an application that answers with these bytes.
async fn answering(bytes: &[u8], end: End) -> (Mesh, Proxy, RawApp) {
    let app = RawApp::start(bytes, end).await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    (mesh, shop, app)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_pass_both_ways_in_every_pair_of_versions() {
    let mesh = fixture().await;
    for host in ["cart", "cart2"] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            for known in [true, false] {
                let mut request = match version {
                    Version::HTTP_2 => client::request2(Method::POST, host, "/echo", "one two"),
                    _ => client::request(Method::POST, host, "/echo", "one two"),
                };
                if !known {
                    *request.body_mut() = client::pieces(&["one", " ", "two"], None);
                }
                let what = format!("{version:?} to {host}, length known: {known}");
                let answer = client::send(mesh.shop.outbound, request).await.unwrap();
                assert_eq!(answer.status, StatusCode::OK, "{what}: {}", answer.text());
                assert_eq!(answer.version, version, "{what}");
                let seen = answer.json();
                assert_eq!(seen["body"], "one two", "{what}");
                assert_eq!(seen["version"], if host == "cart" { "HTTP/1.1" } else { "HTTP/2.0" }, "{what}");
                let named = mesh.app.last().map(|head| {
                    head.headers.get("host").cloned().or_else(|| {
                        head.uri
                            .authority()
                            .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
                    })
                });
                assert_eq!(named, Some(Some(HeaderValue::from_static(host))), "{what}");
            }
            let path = "/chunked/300";
            let request = match version {
                Version::HTTP_2 => client::request2(Method::GET, host, path, ""),
                _ => client::request(Method::GET, host, path, ""),
            };
            let answer = client::send(mesh.shop.outbound, request).await.unwrap();
            assert_eq!(answer.body.len(), 300 * 1024, "{version:?} to {host}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_both_ways() {
    let mesh = fixture().await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-request-sum", HeaderValue::from_static("7"));
    let mut request = client::request2(Method::POST, "cart2", "/echo", "");
    *request.body_mut() = client::pieces(&["summed"], Some(trailers));
    let seen = client::send(mesh.shop.outbound, request).await.unwrap().json();
    assert_eq!(seen["trailers"][0][0], "x-request-sum", "{seen}");
    let request = client::request2(Method::GET, "cart2", "/trailers", "");
    let answer = client::send(mesh.shop.outbound, request).await.unwrap();
    assert_eq!(answer.trailers["x-sum"], "42");
    assert_eq!(answer.text(), "summed up");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_one_connection_stay_there_and_ours_are_added() {
    let mesh = fixture().await;
    let mut request = client::request(Method::GET, "cart", "/", "");
    for (name, value) in [
        ("connection", "x-secret, keep-alive"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "trailers"),
        ("x-kept", "1"),
    ] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let answer = client::send(mesh.shop.outbound, request).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let seen = mesh.app.last().expect("it was called").headers;
    for gone in ["x-secret", "keep-alive", "proxy-connection"] {
        assert!(!seen.contains_key(gone), "{gone}: {seen:?}");
    }
    assert_eq!(seen["x-kept"], "1");
    assert!(seen.contains_key("x-request-id"), "{seen:?}");
    assert_eq!(seen["x-forwarded-proto"], "http");
    assert_eq!(seen["x-forwarded-for"], "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_that_came_in_stays() {
    let mesh = fixture().await;
    let mut request = client::request(Method::GET, "cart", "/", "");
    request.headers_mut().insert("x-request-id", HeaderValue::from_static("mine"));
    client::send(mesh.shop.outbound, request).await.unwrap();
    assert_eq!(mesh.app.last().expect("it was called").headers["x-request-id"], "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_requests_are_refused_and_never_passed_on() {
    let mesh = fixture().await;
    let chunked = "0\r\n\r\n";
    for (what, head, body) in [
        ("no host", "GET / HTTP/1.1\r\n", ""),
        ("two hosts", "GET / HTTP/1.1\r\nhost: cart\r\nhost: cart\r\n", ""),
        ("user information", "GET / HTTP/1.1\r\nhost: a@cart\r\n", ""),
        ("a path in the host", "GET / HTTP/1.1\r\nhost: cart/x\r\n", ""),
        ("two lengths", "POST / HTTP/1.1\r\nhost: cart\r\ncontent-length: 1\r\ncontent-length: 2\r\n", "ab"),
        ("two codings", "POST / HTTP/1.1\r\nhost: cart\r\ntransfer-encoding: gzip, chunked\r\n", chunked),
        (
            "two lines",
            "POST / HTTP/1.1\r\nhost: cart\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            chunked,
        ),
        (
            "identity",
            "POST / HTTP/1.1\r\nhost: cart\r\ntransfer-encoding: identity\r\ntransfer-encoding: chunked\r\n",
            chunked,
        ),
        ("an unknown coding", "POST / HTTP/1.1\r\nhost: cart\r\ntransfer-encoding: xchunked\r\n", chunked),
        ("a star", "GET * HTTP/1.1\r\nhost: cart\r\n", ""),
        ("an authority", "GET cart:80 HTTP/1.1\r\nhost: cart\r\n", ""),
        ("a folded line", "GET / HTTP/1.1\r\nhost: cart\r\nx-a: 1\r\n 2\r\n", ""),
        ("a blank before the colon", "GET / HTTP/1.1\r\nhost : cart\r\n", ""),
        ("a NUL", "GET / HTTP/1.1\r\nhost: cart\r\nx-a: \0\r\n", ""),
    ] {
        let answer =
            client::raw(mesh.shop.outbound, format!("{head}\r\n{body}").as_bytes(), PATIENCE).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{what}: the connection ends: {answer:?}");
    }
    assert_eq!(mesh.app.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_framings_at_once_smuggle_nothing() {
    let mesh = fixture().await;
    let smuggled = "POST / HTTP/1.1\r\nhost: cart\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: cart\r\n\r\n";
    let answer = client::raw(mesh.shop.outbound, smuggled.as_bytes(), PATIENCE).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "one answer, and the connection ends: {answer:?}");
    assert!(mesh.app.last().is_none_or(|head| head.uri.path() != "/smuggled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_request_body_is_the_clients_fault() {
    let mesh = fixture().await;
    let request =
        "POST /echo HTTP/1.1\r\nhost: cart\r\ntransfer-encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n";
    let answer = client::raw(mesh.shop.outbound, request.as_bytes(), PATIENCE).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{:?}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_leave_with_one_framing() {
    for (what, bytes, end) in [
        (
            "both framings",
            &b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"[..],
            End::Close,
        ),
        ("the length twice", b"HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello", End::Stay),
        ("no length", b"HTTP/1.1 200 OK\r\n\r\nhello", End::Close),
        ("HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\nhello", End::Close),
    ] {
        let (_mesh, shop, _app) = answering(bytes, end).await;
        let answer = client::fetch(shop.outbound, "cart", "/").await;
        assert!(answer.is_ok(), "{what}: {answer:?}");
        let answer = answer.expect("checked one line above");
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "hello"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_upstreams_become_502_with_a_reason() {
    for (bytes, end, reason) in [
        (
            &b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"[..],
            End::Stay,
            "upstream_upgrade",
        ),
        (b"", End::Reset, "upstream_reset"),
        (b"", End::Close, "upstream_reset"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", End::Close, "upstream_malformed"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na",
            End::Close,
            "upstream_malformed",
        ),
    ] {
        let (_mesh, shop, _app) = answering(bytes, end).await;
        let answer = client::fetch(shop.outbound, "cart", "/").await.expect("the proxy answers");
        assert_eq!((answer.status, answer.reason()), (StatusCode::BAD_GATEWAY, reason), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_breaks_off_is_not_passed_off_as_whole() {
    let (_mesh, shop, _app) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel", End::Close).await;
    let answer = client::fetch(shop.outbound, "cart", "/").await;
    assert!(answer.is_err(), "{answer:?}");
    let mesh = fixture().await;
    for request in [
        client::request(Method::GET, "cart", "/broken", ""),
        client::request2(Method::GET, "cart2", "/broken", ""),
    ] {
        let answer = client::send(mesh.shop.outbound, request).await;
        assert!(answer.is_err(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expected_100_comes_before_the_body() {
    let mesh = fixture().await;
    let mut stream = TcpStream::connect(mesh.shop.outbound).await.unwrap();
    let head = "POST /echo HTTP/1.1\r\nhost: cart\r\ncontent-length: 5\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"body\":\"hello\""), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_become_tunnels() {
    let mesh = fixture().await;
    let mut stream = TcpStream::connect(mesh.shop.outbound).await.unwrap();
    let head = "GET /upgrade HTTP/1.1\r\nhost: cart\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("the head comes whole"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    for _ in 0..3 {
        stream.write_all(b"ping").await.unwrap();
        let mut echoed = [0; 4];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"ping");
    }
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "the end is passed on, too");
}
