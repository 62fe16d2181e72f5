//! How long a downstream connection may take for what, and how much it may say.

use std::time::Duration;

use http::{Method, StatusCode, Version};
use outrigger_integration_tests::app::raw::End;
use outrigger_integration_tests::client::{self, Connection};
use outrigger_integration_tests::frames::{ACK, Frame, GOAWAY, Http2, Outcome, PING, PREFACE};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Mesh, Proxy, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Fixture, answering};
use crate::config::{all, service};

/// Until a connection is closed; well below the limits that a test does not shorten.
const CLOSED_MAX: Duration = Duration::from_secs(5);
/// What a slow client waits between two bytes.
const DRIP: Duration = Duration::from_millis(50);

/// The flags that a test shortens.
const IDLE: &[&str] = &["--downstream-idle", "400ms"];
const HEAD: &[&str] = &["--downstream-head", "400ms"];
const AGE: &[&str] = &["--downstream-age", "400ms"];

async fn limited(arguments: &[&str]) -> Fixture {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").with(arguments)).await;
    shop.ready().await;
    Fixture { shop, app, _mesh: mesh }
}

async fn connected(fixture: &Fixture, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(fixture.shop.outbound).await.expect("the proxy listens");
    stream.write_all(first).await.expect("a new connection takes some bytes");
    stream
}

/// All that comes until the connection is closed.
async fn rest(stream: &mut TcpStream, what: &str) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = within(CLOSED_MAX, what, stream.read_to_end(&mut rest)).await;
    rest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_is_closed() {
    let mesh = limited(IDLE).await;
    let mut stream = connected(&mesh, b"").await;
    assert_eq!(rest(&mut stream, "a silent connection is closed").await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_that_stops_half_way_is_closed() {
    let mesh = limited(HEAD).await;
    for length in [1, 14, PREFACE.len() - 1] {
        let mut stream = connected(&mesh, &PREFACE[..length]).await;
        let what = format!("{length} bytes of a preface");
        assert_eq!(rest(&mut stream, &what).await, b"", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_without_a_request_is_closed() {
    let mesh = limited(IDLE).await;
    let mut stream = connected(&mesh, PREFACE).await;
    rest(&mut stream, "a preface without SETTINGS").await;
    let mut http2 = Http2::open(mesh.shop.outbound).await;
    assert_eq!(within(CLOSED_MAX, "SETTINGS without a request", http2.end()).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http1_connection_is_closed_and_a_busy_one_is_not() {
    let mesh = limited(IDLE).await;
    let mut connection = Connection::open(mesh.shop.outbound, Version::HTTP_11).await.unwrap();
    for path in ["/", "/slow/1500", "/"] {
        let answer = connection.send(client::request(Method::GET, "cart", path, "")).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    eventually(CLOSED_MAX, "an idle connection is closed", async || (!connection.is_open()).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_has_a_limit_of_its_own() {
    let mesh = limited(HEAD).await;
    let whole = b"GET /first HTTP/1.1\r\nhost: cart\r\n\r\n";
    // As the first request of a connection and as a later one; the idle limit is that of the default.
    for before in [&b""[..], whole] {
        let mut stream = connected(&mesh, before).await;
        if !before.is_empty() {
            let mut answer = Vec::new();
            while !answer.ends_with(b"}") {
                answer.push(stream.read_u8().await.expect("an answer to the first request"));
            }
        }
        let (mut reads, mut writes) = stream.into_split();
        let drip = tokio::spawn(async move {
            let _ = writes.write_all(b"GET /slow HTTP/1.1\r\nhost: cart\r\nx-drip: ").await;
            while writes.write_all(b"x").await.is_ok() {
                tokio::time::sleep(DRIP).await;
            }
        });
        let mut rest = Vec::new();
        let _ = within(CLOSED_MAX, "a slow head is cut", reads.read_to_end(&mut rest)).await;
        assert_eq!(rest, b"");
        drip.abort();
    }
    assert_eq!(mesh.app.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http2_connection_is_closed_and_a_busy_one_is_not() {
    let mesh = limited(IDLE).await;
    let mut http2 = Http2::open(mesh.shop.outbound).await;
    http2.send(&[Frame::get(1, "cart", "/slow/1500")]).await;
    assert!(matches!(http2.outcome(1).await, Outcome::Answered(Some(200), _)));
    // PING is no request.
    let (mut pings, started) = (0, tokio::time::Instant::now());
    while http2.send(&[Frame::new(PING, 0, 0, b"are you?")]).await {
        assert!(started.elapsed() < CLOSED_MAX, "{pings} pings kept the connection");
        match http2.next().await {
            None => break,
            Some(frame) => pings += u32::from(frame.kind == PING && frame.flags & ACK != 0),
        }
        tokio::time::sleep(DRIP).await;
    }
    assert!(pings > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_http2_connection_is_told_to_end_and_finishes() {
    let mesh = limited(AGE).await;
    let mut http2 = Http2::open(mesh.shop.outbound).await;
    http2.send(&[Frame::get(1, "cart", "/slow/1500")]).await;
    let goaway = http2.until(GOAWAY).await;
    assert_eq!(goaway.code(), 0);
    assert!(matches!(http2.outcome(1).await, Outcome::Answered(Some(200), _)), "what is under way goes on");
    assert_eq!(within(CLOSED_MAX, "an old connection ends", http2.end()).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_a_size() {
    let (_mesh, shop, app) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", End::Stay).await;
    let fields = |count: usize| -> String { (2..count).map(|number| format!("x-{number}: 1\r\n")).collect() };
    let large = |bytes: usize| format!("x-large: {}\r\n", "x".repeat(bytes));
    let target = |bytes: usize| format!("/{}", "x".repeat(bytes));
    let passed = [
        ("128 fields", target(0), fields(128)),
        ("a target of 60 KB", target(60_000), String::new()),
        ("60 KB of fields", target(0), large(60_000)),
    ];
    let refused = [
        ("129 fields", target(0), fields(129), "431"),
        ("a target of 66 KB", target(66_000), String::new(), "431"),
        ("500 KB of fields", target(0), large(500_000), "431"),
    ];
    let passed = passed.into_iter().map(|(what, target, fields)| (what, target, fields, "200"));
    for (what, target, fields, status) in passed.chain(refused) {
        let close = if status == "200" { "close" } else { "keep-alive" };
        let head = format!("GET {target} HTTP/1.1\r\nhost: cart\r\nconnection: {close}\r\n{fields}\r\n");
        let mut stream = TcpStream::connect(shop.outbound).await.unwrap();
        // The answer may come before all is written.
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = rest(&mut stream, what).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer:?}");
    }
    assert_eq!(app.heads().len(), 3);
}
