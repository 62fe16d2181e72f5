//! Every time limit between a client and a real upstream, and what each is called when it has passed.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode, Version};
use outrigger_integration_tests::client::{self, Body};
use outrigger_integration_tests::frames::FrameApp;
use outrigger_integration_tests::{Answer, App, Failure, Mesh, Metrics, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::Fixture;
use crate::config::{all, backend_policy, backends, route, service, service_of};

/// Until something that has a limit of well below a second has ended.
const ENDED_MAX: Duration = Duration::from_secs(5);
/// What a slow client waits between two bytes.
const DRIP: Duration = Duration::from_millis(50);

/// More than the sockets between a client and an upstream hold.
const LARGE_BYTES: usize = 32 << 20;

/// A `cart` of this protocol with these time limits; the rule's are those of the route.
async fn timed(protocol: &str, timeouts: &str, rule: &str) -> Fixture {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    let mut resources = vec![service("shop", &[]), service_of("cart", protocol, &[app.addr])];
    if !timeouts.is_empty() {
        resources.push(backend_policy("cart", &format!("timeouts: {{{timeouts}}}")));
    }
    if !rule.is_empty() {
        resources.push(route("cart", &[format!("timeouts: {{{rule}}}\n{}", backends(&[("cart", 1)]))]));
    }
    mesh.publish(&all(&resources));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    Fixture { shop, app, _mesh: mesh }
}

async fn fetched(fixture: &Fixture, path: &str) -> Result<Answer, Failure> {
    within(ENDED_MAX, "a limit passes", client::fetch(fixture.shop.outbound, "cart", path)).await
}

/// A gRPC call.
fn call(path: &str) -> Request<Body> {
    let mut request = client::request2(Method::POST, "cart", path, "");
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    request
}

/// A socket whose queue is full: the kernel answers no further SYN.
pub(crate) async fn deaf() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    deaf_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
}

/// The same at this very address.
pub(crate) async fn deaf_at(addr: SocketAddr) -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket can be had");
    socket.set_reuseaddr(true).expect("a socket has options");
    socket.bind(addr).expect("the address is free");
    let listener = socket.listen(1).expect("a bound socket can listen");
    let addr = listener.local_addr().expect("a bound socket has an address");
    let mut queued = Vec::new();
    // One more connects than the queue says it holds.
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(addr)).await
    {
        queued.push(stream);
    }
    (listener, queued, addr)
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_has_a_limit() {
    let (_listener, _queued, addr) = deaf().await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[addr]),
        backend_policy("cart", "timeouts: {connect: 200ms}"),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let fetched = within(ENDED_MAX, "connecting ends", client::fetch(shop.outbound, "cart", "/")).await;
    let answer = fetched.unwrap();
    assert_eq!((answer.status, answer.reason()), (StatusCode::GATEWAY_TIMEOUT, "connect_timeout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_on_the_response_head_is_told_by_its_name() {
    for (timeouts, rule, reason) in [
        ("firstByte: 200ms", "", "first_byte_timeout"),
        ("try: 200ms", "", "try_timeout"),
        ("request: 200ms", "", "request_timeout"),
        ("", "request: 10s, backendRequest: 200ms", "try_timeout"),
        ("", "request: 200ms", "request_timeout"),
        ("request: 10m", "request: 200ms", "request_timeout"),
    ] {
        for protocol in ["HTTP", "HTTP2"] {
            let mesh = timed(protocol, timeouts, rule).await;
            let what = format!("{protocol}, policy {timeouts:?}, rule {rule:?}");
            let answer = fetched(&mesh, "/never").await.unwrap();
            assert_eq!(
                (answer.status, answer.reason()),
                (StatusCode::GATEWAY_TIMEOUT, reason),
                "{what}: {}",
                answer.text()
            );
            let answer = fetched(&mesh, "/").await.unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{what}: the next one is served");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_body_is_cut_by_each_limit_that_spans_it() {
    for (timeouts, rule) in [
        ("bodyStall: 200ms", ""),
        ("try: 200ms", ""),
        ("request: 200ms", ""),
        ("", "request: 10s, backendRequest: 200ms"),
        ("", "request: 200ms"),
    ] {
        for protocol in ["HTTP", "HTTP2"] {
            let mesh = timed(protocol, timeouts, rule).await;
            let what = format!("{protocol}, policy {timeouts:?}, rule {rule:?}");
            assert!(fetched(&mesh, "/stall").await.is_err(), "{what} over HTTP/1.1");
            let request = client::request2(Method::GET, "cart", "/stall", "");
            let sent = within(ENDED_MAX, &what, client::send(mesh.shop.outbound, request)).await;
            assert!(sent.is_err(), "{what} over HTTP/2: {sent:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_body_that_moves_is_not_stalled() {
    for protocol in ["HTTP", "HTTP2"] {
        let mesh = timed(protocol, "firstByte: 800ms, bodyStall: 800ms", "").await;
        let answer = fetched(&mesh, "/drip/20").await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 20), "{protocol}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_body_that_stalls_is_the_clients_fault() {
    for protocol in ["HTTP", "HTTP2"] {
        let mesh = timed(protocol, "bodyStall: 200ms", "").await;
        for framing in ["content-length: 10\r\n\r\n123", "transfer-encoding: chunked\r\n\r\n3\r\n123\r\n"] {
            let mut stream = TcpStream::connect(mesh.shop.outbound).await.unwrap();
            let head = format!("POST /echo HTTP/1.1\r\nhost: cart\r\n{framing}");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let read = stream.read_to_string(&mut answer);
            within(ENDED_MAX, "an answer, and the connection ends", read).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 408 "), "{protocol}: {answer:?}");
            assert!(answer.contains("outrigger-reason: request_body_timeout\r\n"), "{answer:?}");
            assert!(answer.contains("connection: close\r\n"), "{answer:?}");
        }
        let request = client::request2(Method::POST, "cart", "/echo", "");
        let unfinished = http_body_util::StreamBody::new(futures_util::stream::pending());
        let request = request.map(|_| http_body_util::BodyExt::boxed_unsync(unfinished));
        let sent = within(ENDED_MAX, "over HTTP/2", client::send(mesh.shop.outbound, request)).await;
        let answer = sent.unwrap();
        assert_eq!(
            (answer.status, answer.reason()),
            (StatusCode::REQUEST_TIMEOUT, "request_body_timeout"),
            "{protocol}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_body_that_is_not_taken_is_the_upstreams_fault() {
    // The one never reads, the other never opens its window.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = FrameApp::start(|_, _| Vec::new()).await;
    for (protocol, addr) in [("HTTP", deaf.local_addr().unwrap()), ("HTTP2", closed.addr)] {
        let mesh = Mesh::new();
        mesh.publish(&all(&[
            service("shop", &[]),
            service_of("cart", protocol, &[addr]),
            backend_policy("cart", "timeouts: {bodyStall: 300ms}"),
        ]));
        let shop = mesh.proxy("shop").await;
        shop.ready().await;
        let request = client::request2(Method::POST, "cart", "/", vec![0; LARGE_BYTES]);
        let sent = within(ENDED_MAX, protocol, client::send(shop.outbound, request)).await;
        let answer = sent.unwrap();
        assert_eq!(
            (answer.status, answer.reason()),
            (StatusCode::GATEWAY_TIMEOUT, "upstream_body_timeout"),
            "{protocol}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_body_that_drips_ends_with_the_request() {
    let mesh = timed("HTTP", "request: 1500ms, bodyStall: 1s", "").await;
    let stream = TcpStream::connect(mesh.shop.outbound).await.unwrap();
    let (mut reads, mut writes) = stream.into_split();
    let drip = tokio::spawn(async move {
        let _ =
            writes.write_all(b"POST /echo HTTP/1.1\r\nhost: cart\r\ncontent-length: 100000\r\n\r\n").await;
        while writes.write_all(b"x").await.is_ok() {
            tokio::time::sleep(DRIP).await;
        }
    });
    let mut answer = Vec::new();
    // Bytes that were not read make the end a reset.
    let _ = within(ENDED_MAX, "an answer, and the end", reads.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer:?}");
    assert!(answer.contains("outrigger-reason: request_timeout\r\n"), "{answer:?}");
    drip.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_upstream_connection_is_not_used_again() {
    for protocol in ["HTTP", "HTTP2"] {
        for (idle, connections) in [("1m", 1), ("1ms", 2)] {
            let mesh = timed(protocol, &format!("idle: {idle}"), "").await;
            for _ in 0..2 {
                assert_eq!(fetched(&mesh, "/").await.unwrap().status, StatusCode::OK);
                tokio::time::sleep(DRIP).await;
            }
            assert_eq!(mesh.app.connections(), connections, "{protocol}, idle for {idle}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_upstream_connection_is_closed() {
    for protocol in ["HTTP", "HTTP2"] {
        let mesh = timed(protocol, "idle: 100ms", "").await;
        assert_eq!(fetched(&mesh, "/").await.unwrap().status, StatusCode::OK);
        eventually(Duration::from_secs(20), "no upstream connection is left", async || {
            Metrics::of(mesh.shop.metrics).await?.say(&["outrigger_upstream_connections "], 0).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_is_told_what_time_remains() {
    let mesh = timed("GRPC", "request: 5s", "").await;
    for (sent, most) in [
        (&[("outrigger-deadline-ms", "3000")][..], 3_000),
        (&[("outrigger-deadline-ms", "600000")], 5_000),
        (&[("grpc-timeout", "2S")], 2_000),
        (&[("grpc-timeout", "1H")], 5_000),
        (&[("grpc-timeout", "4S"), ("outrigger-deadline-ms", "1000")], 1_000),
        (&[("grpc-timeout", "1S"), ("outrigger-deadline-ms", "4000")], 1_000),
        (&[("outrigger-deadline-ms", "soon")], 5_000),
        (&[], 5_000),
    ] {
        let mut request = call("/");
        for (name, value) in sent {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        let answer = client::send(mesh.shop.outbound, request).await.unwrap();
        assert_eq!((answer.status, answer.reason()), (StatusCode::OK, ""), "{sent:?}");
        let told = mesh.app.last().expect("it was called").headers;
        let told = |name: &str| told.get(name).map(|value| value.to_str().unwrap().to_owned());
        let remaining: u64 = told("outrigger-deadline-ms").expect("there is a deadline").parse().unwrap();
        // Every request here is answered in well under a second.
        assert!((1..=most).contains(&remaining), "{sent:?}: {remaining}");
        let asked = sent.iter().any(|(name, _)| *name == "grpc-timeout");
        assert_eq!(told("grpc-timeout"), asked.then(|| format!("{remaining}m")), "{sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_deadline_ends_the_request() {
    let mesh = timed("GRPC", "", "").await;
    for (name, value, reason) in [
        ("grpc-timeout", "500m", "request_timeout"),
        ("outrigger-deadline-ms", "500", "request_timeout"),
        ("grpc-timeout", "10u", "deadline_exceeded"),
        ("outrigger-deadline-ms", "0", "deadline_exceeded"),
    ] {
        let before = mesh.app.requests();
        let mut request = call("/never");
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        let sent = within(ENDED_MAX, "a deadline passes", client::send(mesh.shop.outbound, request)).await;
        let answer = sent.unwrap();
        assert_eq!((answer.status, answer.reason()), (StatusCode::OK, reason), "{name}: {value}");
        assert_eq!(answer.header("grpc-status"), "4");
        assert_eq!(answer.header("content-type"), "application/grpc");
        let sent = u64::from(reason == "request_timeout");
        assert_eq!(mesh.app.requests() - before, sent, "nothing is sent for a caller who is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_call_that_times_out_gets_a_grpc_status() {
    for (timeouts, reason, status) in [
        ("firstByte: 200ms", "first_byte_timeout", "4"),
        ("try: 200ms", "try_timeout", "4"),
        ("request: 200ms", "request_timeout", "4"),
    ] {
        let mesh = timed("GRPC", timeouts, "").await;
        let sent = client::send(mesh.shop.outbound, call("/never"));
        let answer = within(ENDED_MAX, "a limit passes", sent).await.unwrap();
        assert_eq!((answer.status, answer.version), (StatusCode::OK, Version::HTTP_2), "{timeouts}");
        assert_eq!((answer.reason(), answer.header("grpc-status")), (reason, status), "{timeouts}");
        assert!(answer.header("grpc-message").starts_with(reason), "{answer:?}");
        assert!(answer.body.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_ends_when_nothing_moves_and_no_sooner() {
    let fixture = timed("HTTP", "tunnelIdle: 400ms", "").await;
    let mut stream = TcpStream::connect(fixture.shop.outbound).await.unwrap();
    let head = "GET /upgrade HTTP/1.1\r\nhost: cart\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("the head comes whole"));
    }
    // For longer than the limit, a byte now and then.
    for _ in 0..20 {
        tokio::time::sleep(DRIP).await;
        stream.write_all(b".").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'.');
    }
    let rest = within(ENDED_MAX, "the tunnel ends", stream.read_u8()).await;
    assert!(rest.is_err(), "{rest:?}");
}
