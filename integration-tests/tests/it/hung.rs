//! Peers that hang: endpoints that do not answer or do not read, clients that do not read.

use std::time::Duration;

use http::Version;
use outrigger_integration_tests::client::{self, Connection, Failure};
use outrigger_integration_tests::{App, Mesh, Metrics, Proxy, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::config::{all, backend_policy, service, service_of};
use crate::http::timeouts::deaf;

const DEADLINE: Duration = Duration::from_secs(20);
const REQUESTS: usize = 60;
/// Under way while the sidecar is halted, for so long.
const HALTED: u64 = 24;
const HALT: Duration = Duration::from_secs(4);
/// Some find out, and one may be under way while they do.
const FOUND_OUT_BY: usize = 4;

/// An address where connections are accepted by the kernel and nothing else happens.
async fn silence() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("there is a free port")
}

async fn mesh(endpoints: &[std::net::SocketAddr], policy: &str) -> (Mesh, Proxy) {
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", endpoints), backend_policy("cart", policy)]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    (mesh, shop)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_misses_deadlines_is_avoided() {
    let (app, hung) = (App::start("cart").await, silence().await);
    let endpoints = [app.addr, hung.local_addr().unwrap()];
    let (_mesh, shop) = mesh(&endpoints, "timeouts: {request: 200ms}").await;
    let mut late = 0;
    for _ in 0..REQUESTS {
        let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
        late += usize::from(answer.reason() == "request_timeout");
    }
    assert!((1..=FOUND_OUT_BY).contains(&late), "{late} of {REQUESTS} went to the endpoint that hangs");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_clients_give_up_on_is_avoided() {
    let (app, hung) = (App::start("cart").await, silence().await);
    let (_mesh, shop) = mesh(&[app.addr, hung.local_addr().unwrap()], "timeouts: {connect: 1s}").await;
    let mut given_up = 0;
    for _ in 0..REQUESTS {
        let answer =
            tokio::time::timeout(Duration::from_millis(300), client::fetch(shop.outbound, "cart", "/"));
        given_up += usize::from(answer.await.is_err());
    }
    assert!(
        (1..=FOUND_OUT_BY).contains(&given_up),
        "{given_up} of {REQUESTS} went to the endpoint that hangs"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_read_is_to_blame() {
    let hung = silence().await;
    let (_mesh, shop) = mesh(&[hung.local_addr().unwrap()], "timeouts: {bodyStall: 300ms}").await;
    let mut client = TcpStream::connect(shop.outbound).await.unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: 100000000\r\n\r\n").await.unwrap();
    let (mut reads, mut writes) = client.into_split();
    let sending = tokio::spawn(async move { while writes.write_all(&[b'x'; 65536]).await.is_ok() {} });
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    let text = tokio::time::timeout(DEADLINE, async {
        loop {
            let count = reads.read(&mut part).await.expect("the answer comes before the end");
            answer.extend_from_slice(&part[..count]);
            let text = String::from_utf8_lossy(&answer).into_owned();
            if text.contains("\r\n\r\n") || count == 0 {
                return text;
            }
        }
    });
    let text = text.await.expect("it is answered");
    sending.abort();
    assert!(text.starts_with("HTTP/1.1 504") && text.contains("upstream_body_timeout"), "{text}");
}

/// Requests that the sidecar has under way.
async fn in_flight(shop: &Proxy) -> Option<u64> {
    Some(Metrics::of(shop.metrics).await?.sum(&["http_client_active_requests{"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_keeps_nothing_for_long() {
    for policy in ["timeouts: {request: 1s}", "timeouts: {bodyStall: 500ms}"] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let app = App::start("cart").await;
            let (_mesh, shop) = mesh(&[app.addr], policy).await;
            let mut connection = Connection::open(shop.outbound, version).await.unwrap();
            let request = match version {
                Version::HTTP_2 => client::request2(http::Method::GET, "cart", "/chunked/100000", ""),
                _ => client::request(http::Method::GET, "cart", "/chunked/100000", ""),
            };
            // Its head is read, its body is not.
            let unread = connection.begin(request).await.unwrap();
            assert_eq!(unread.status(), 200);
            eventually(DEADLINE, "the request ends", async || {
                in_flight(&shop).await.filter(|count| *count == 0)
            })
            .await;
            if version == Version::HTTP_2 {
                let other = connection.send(client::request2(http::Method::GET, "cart", "/", "")).await;
                assert_eq!(
                    other.map(|answer| answer.status.as_u16()),
                    Ok::<_, Failure>(200),
                    "other streams go on"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_connection_that_fails_fails_with_it() {
    let (_listener, _queued, addr) = deaf().await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[
        service("shop", &[]),
        service_of("cart", "HTTP2", &[addr]),
        // Five attempts one after the other would take longer.
        backend_policy("cart", "timeouts: {connect: 300ms, request: 1200ms}"),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let mut answers = JoinSet::new();
    for _ in 0..5 {
        let outbound = shop.outbound;
        answers.spawn(async move { client::fetch(outbound, "cart", "/").await });
    }
    for answer in answers.join_all().await {
        assert_eq!(answer.unwrap().reason(), "connect_timeout");
    }
}

/// A machine that is suspended, a container that is frozen: what ran out meanwhile is nobody's fault.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_sidecar_was_halted_no_endpoint_was_late() {
    // Answers that are there when it goes on, and such as come later yet.
    for (policy, path) in [("timeouts: {request: 2s}", "/slow/500"), ("timeouts: {try: 2s}", "/slow/5000")] {
        let apps = [App::start("cart").await, App::start("cart").await];
        let (_mesh, shop) = mesh(&[apps[0].addr, apps[1].addr], policy).await;
        let mut requests = JoinSet::new();
        for _ in 0..HALTED {
            requests.spawn(client::send(shop.outbound, client::request(http::Method::GET, "cart", path, "")));
        }
        let sent = || apps.iter().map(App::requests).sum::<u64>();
        eventually(DEADLINE, "all are under way", async || (sent() == HALTED).then_some(())).await;
        shop.process.freeze();
        tokio::time::sleep(HALT).await;
        shop.process.unfreeze();
        for answer in requests.join_all().await {
            let answer = answer.expect("the sidecar answers");
            assert_eq!((answer.status.as_u16(), answer.reason()), (200, ""), "{policy}");
        }
        let counts = Metrics::of(shop.metrics).await.expect("metrics are served");
        assert_eq!((sent(), counts.sum(&["outrigger_endpoint_failures_total"])), (HALTED, 0));
        assert!(counts.sum(&["outrigger_worker_halts_total"]) > 0, "a halt is told of");
    }
}
