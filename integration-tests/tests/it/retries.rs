//! Requests that are sent again, and those that must not be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use outrigger_integration_tests::app::raw::{End, RawApp};
use outrigger_integration_tests::frames::{Frame, FrameApp, REFUSED_STREAM, RST_STREAM};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Mesh, Metrics, Proxy, client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::config::{all, backend_policy, service, service_of};

const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";

async fn mesh(endpoints: &[SocketAddr], policy: &str) -> (Mesh, Proxy) {
    let mesh = Mesh::new();
    let policy = backend_policy("cart", policy);
    mesh.publish(&all(&[service("shop", &[]), service("cart", endpoints), policy]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    (mesh, shop)
}

async fn plain(endpoints: &[SocketAddr]) -> (Mesh, Proxy) {
    mesh(endpoints, "timeouts: {connect: 1s}").await
}

/// A counter of `/metrics`, summed over the series whose line has all of `parts`.
pub(crate) async fn count(proxy: &Proxy, parts: &[&str]) -> u64 {
    Metrics::of(proxy.metrics).await.expect("metrics are served").sum(parts)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_idempotent_is_tried_elsewhere_and_the_rest_is_not() {
    let (good, bad) = (App::start("cart").await, RawApp::start(UNAVAILABLE, End::Stay).await);
    let (_mesh, shop) = plain(&[good.addr, bad.addr]).await;
    for _ in 0..40 {
        let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
    }
    let again = count(&shop, &["outrigger_retries_total", "reason=\"status\""]).await;
    assert!(again >= 1);
    assert_eq!(again, count(&shop, &["outrigger_retry_answers_total"]).await);
    let before = good.requests() + bad.heads().len() as u64;
    assert_eq!(before, 40 + again);

    let mut refused = 0;
    for _ in 0..40 {
        let request = client::request(Method::POST, "cart", "/", "order");
        let answer = client::send(shop.outbound, request).await.unwrap();
        refused += u64::from(answer.status == StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(good.requests() + bad.heads().len() as u64, before + 40, "each was sent once");
    assert_eq!(refused, count(&shop, &["outrigger_retry_obstacles_total", "obstacle=\"unsafe\""]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_a_post_safe_and_the_next_try_is_numbered() {
    let app = App::start("cart").await;
    let (_mesh, shop) = plain(&[app.addr]).await;
    let mut request = client::request(Method::POST, "cart", "/later/1", "order");
    request.headers_mut().insert("idempotency-key", "k1".parse().unwrap());
    let answer = client::send(shop.outbound, request).await.unwrap();
    assert_eq!((answer.status, app.requests()), (StatusCode::OK, 2));
    assert_eq!(answer.json()["body"], "order");
    assert_eq!(app.last().unwrap().headers["outrigger-attempt"], "2");
    let attempts = async |le: &str| count(&shop, &["outrigger_request_attempts_bucket{", le]).await;
    assert_eq!((attempts("le=\"1\"").await, attempts("le=\"2\"").await), (0, 1));
    assert_eq!(count(&shop, &["outrigger_picks_total{", "reason=\"only\""]).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_sent_again_whole_or_not_at_all() {
    for (bytes, status, tries) in
        [(64 * 1024, StatusCode::OK, 2), (64 * 1024 + 1, StatusCode::SERVICE_UNAVAILABLE, 1)]
    {
        let app = App::start("cart").await;
        let (_mesh, shop) = plain(&[app.addr]).await;
        let request = client::request(Method::PUT, "cart", "/later/1", vec![b'x'; bytes]);
        let answer = client::send(shop.outbound, request).await.unwrap();
        assert_eq!((answer.status, app.requests()), (status, tries), "{bytes} bytes");
        assert_eq!(answer.json()["body_bytes"], bytes, "it arrived whole");
    }
}

/// Where there is nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_waited_for_within_reason() {
    for (seconds, waits) in [("1", true), ("1000000000000000000000", false)] {
        let head = format!("HTTP/1.1 503 Busy\r\nretry-after: {seconds}\r\ncontent-length: 0\r\n\r\n");
        let app = RawApp::start(head.as_bytes(), End::Stay).await;
        let (_mesh, shop) = plain(&[app.addr]).await;
        let begun = Instant::now();
        let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.header("retry-after"), seconds);
        assert_eq!(app.heads().len() > 1, waits, "{seconds}");
        assert!(!waits || begun.elapsed() >= Duration::from_secs(1));
    }
}

/// `Retry-After` speaks for who says it.
#[tokio::test(flavor = "multi_thread")]
async fn others_are_asked_at_once_while_one_wants_to_be_left_alone() {
    for seconds in ["2", "1000000000000000000000000000000", "soon"] {
        let head = format!("HTTP/1.1 503 Busy\r\nretry-after: {seconds}\r\ncontent-length: 0\r\n\r\n");
        let (away, good) = (RawApp::start(head.as_bytes(), End::Stay).await, App::start("cart").await);
        let policy = format!(
            "balance: {{policy: RoundRobin}}\n  retry: {{budget: {{percent: 100}}}}\n  {ONLY_RETRIES}"
        );
        let (_mesh, shop) = mesh(&[away.addr, good.addr], &policy).await;
        for _ in 0..20 {
            let begun = Instant::now();
            let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{seconds}");
            assert!(begun.elapsed() < Duration::from_secs(1), "{seconds}: {:?}", begun.elapsed());
        }
        assert_eq!(away.heads().len(), 10, "{seconds}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_stay_within_their_budget() {
    const REQUESTS: usize = 200;
    let app = RawApp::start(UNAVAILABLE, End::Stay).await;
    // A breaker would end it sooner.
    let (_mesh, shop) = mesh(&[app.addr], "breaker: {failurePercent: 0}").await;
    for _ in 0..REQUESTS {
        let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "no"));
    }
    let extra = app.heads().len() - REQUESTS;
    assert!((REQUESTS / 20..=REQUESTS / 10 + 3).contains(&extra), "{extra} retries");
    assert!(count(&shop, &["outrigger_retry_obstacles_total", "obstacle=\"budget\""]).await > 0);
    assert_eq!(count(&shop, &["outrigger_retry_budget_balance{", "cart"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_take_nobodys_turn() {
    let (good, bad) = (App::start("cart").await, RawApp::start(UNAVAILABLE, End::Stay).await);
    let policy =
        "balance: {policy: RoundRobin}\n  ejection: {maxPercent: 0}\n  retry: {budget: {percent: 100}}";
    let (_mesh, shop) = mesh(&[good.addr, bad.addr], policy).await;
    for _ in 0..40 {
        let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
    }
    // The good one also has the second tries of what the bad one failed.
    assert_eq!((bad.heads().len(), good.requests()), (20, 40));
}

/// Answers the first request of each connection and closes it under the second; tells how many came. `begins` is what it says to that one.
async fn forgetful(begins: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let (addr, seen) = (listener.local_addr().expect("it is bound"), Arc::new(AtomicUsize::new(0)));
    let counted = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = counted.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                for answer in [&b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..], begins] {
                    match stream.read(&mut bytes).await {
                        Ok(count) if count > 0 => seen.fetch_add(1, Relaxed),
                        _ => return,
                    };
                    let _ = stream.write_all(answer).await;
                }
            });
        }
    });
    (addr, seen)
}

/// Longer than a connection carries nothing in quick use.
const LULL: Duration = Duration::from_millis(150);

/// Nothing but what is retried.
const ONLY_RETRIES: &str = "breaker: {failurePercent: 0}\n  ejection: {maxPercent: 0}";
/// The same, of which the budget allows none in a hundred requests.
const NO_BUDGET: &str = "retry: {budget: {percent: 1, floor: {count: 0}}}\n  \
    breaker: {failurePercent: 0}\n  ejection: {maxPercent: 0}";

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_has_rested_and_closes_under_a_request_costs_only_what_may_have_been_executed() {
    let (addr, seen) = forgetful(b"").await;
    let (_mesh, shop) = mesh(&[addr], NO_BUDGET).await;
    for _ in 0..10 {
        let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        tokio::time::sleep(LULL).await;
    }
    assert!(count(&shop, &["outrigger_retries_total", "reason=\"reset\""]).await >= 5);
    let (before, mut broken) = (seen.load(Relaxed), 0);
    for _ in 0..10 {
        let request = client::request(Method::POST, "cart", "/", "order");
        let answer = client::send(shop.outbound, request).await.unwrap();
        broken += usize::from(answer.reason() == "upstream_reset");
        tokio::time::sleep(LULL).await;
    }
    assert!(broken > 0);
    assert_eq!(seen.load(Relaxed), before + 10, "each order was sent once");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_begun_to_answer_has_seen_the_request() {
    let (addr, seen) = forgetful(b"HTTP/1.1 200").await;
    let (_mesh, shop) = mesh(&[addr], NO_BUDGET).await;
    for status in [StatusCode::OK, StatusCode::BAD_GATEWAY] {
        let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
        assert_eq!(answer.status, status);
        tokio::time::sleep(LULL).await;
    }
    assert_eq!(seen.load(Relaxed), 2);
}

/// What closes connections in quick use, or resets streams of connections that live, is no race: somebody died of the request.
#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_in_quick_use_is_sent_again_within_the_budget() {
    const REQUESTS: usize = 200;
    const INTERNAL_ERROR: u32 = 2;
    let (forgets, seen) = forgetful(b"").await;
    let (resets, counted) = (Arc::new(AtomicUsize::new(0)), seen.clone());
    let reset = resets.clone();
    let app = FrameApp::start(move |_, stream| {
        reset.fetch_add(1, Relaxed);
        vec![Frame::new(RST_STREAM, 0, stream, &INTERNAL_ERROR.to_be_bytes())]
    })
    .await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[forgets]),
        service_of("stock", "HTTP2", &[app.addr]),
        backend_policy("cart", ONLY_RETRIES),
        backend_policy("stock", ONLY_RETRIES),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    for (name, sent) in [("cart", counted), ("stock", resets)] {
        let opened = count(&shop, &["outrigger_upstream_connections_total"]).await;
        for _ in 0..REQUESTS {
            client::fetch(shop.outbound, name, "/").await.expect("the sidecar answers");
        }
        let extra = sent.load(Relaxed) - REQUESTS;
        assert!((REQUESTS / 20..=REQUESTS / 10 + 3).contains(&extra), "{name}: {extra} retries");
        let opened = count(&shop, &["outrigger_upstream_connections_total"]).await - opened;
        assert!(name == "cart" || opened <= 2, "{name}: {opened} connections");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_sent_again_once_for_nothing_and_then_by_the_policy() {
    const REQUESTS: usize = 50;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let app = FrameApp::start(move |_, stream| {
        counted.fetch_add(1, Relaxed);
        vec![Frame::new(RST_STREAM, 0, stream, &REFUSED_STREAM.to_be_bytes())]
    })
    .await;
    for (attempts, least, most) in [(2, 2 * REQUESTS, 2 * REQUESTS + 10), (0, REQUESTS, REQUESTS)] {
        let policy = format!("retry: {{attempts: {attempts}}}\n  {ONLY_RETRIES}");
        let mesh = Mesh::new();
        let cart = service_of("cart", "HTTP2", &[app.addr]);
        mesh.publish(&all(&[service("shop", &[]), cart, backend_policy("cart", &policy)]));
        let shop = mesh.proxy("shop").await;
        shop.ready().await;
        sent.store(0, Relaxed);
        for _ in 0..REQUESTS {
            let request = client::request(Method::POST, "cart", "/", "order");
            let answer = client::send(shop.outbound, request).await.unwrap();
            assert_eq!(answer.reason(), "upstream_refused");
        }
        let sent = sent.load(Relaxed);
        assert!((least..=most).contains(&sent), "{attempts}: {sent}");
    }
}

/// The caller's sidecar cannot know whether an order was seen, and a stranger has none: the one beside the workload makes good for its own connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_the_workload_survives_its_keep_alive() {
    let (addr, seen) = forgetful(b"").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("cart", &[])]));
    let cart = Proxy::start(&mesh, Sidecar::beside("cart").inbound_to(addr)).await;
    cart.ready().await;
    let inbound = cart.inbound.expect("it has an application");
    for nth in 0..6 {
        let answer = client::fetch(inbound, "cart", "/").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{nth}");
        tokio::time::sleep(LULL).await;
    }
    assert!(seen.load(Relaxed) > 6, "some were sent twice");
    let mut broken = 0;
    for method in [Method::POST, Method::DELETE, Method::DELETE, Method::POST] {
        let answer = client::send(inbound, client::request(method, "cart", "/", "")).await.unwrap();
        broken += usize::from(answer.reason() == "upstream_reset");
        tokio::time::sleep(LULL).await;
    }
    assert_eq!(broken, 2, "nothing else is repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_is_not_waited_for_where_another_endpoint_can_be_asked() {
    let app = App::start("cart").await;
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoints = [app.addr, hung.local_addr().unwrap()];
    // Up to half of the requests are hedged, and what is not is tried again after a while.
    let policy =
        "hedge: {percentile: 50, minDelay: 20ms}\n  timeouts: {try: 2s}\n  retry: {budget: {percent: 100}}";
    let (_mesh, shop) = mesh(&endpoints, policy).await;
    for _ in 0..20 {
        let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
    }
    let (sent, won) = (
        count(&shop, &["outrigger_hedges_total"]).await,
        count(&shop, &["outrigger_hedge_wins_total"]).await,
    );
    assert!(sent >= 1 && won == sent, "{won} of {sent}");
    assert_eq!(app.requests(), 20, "each was answered once");
    let request = client::request(Method::POST, "cart", "/slow/100", "order");
    let begun = tokio::time::timeout(Duration::from_secs(1), client::send(shop.outbound, request)).await;
    assert!(begun.is_err() || app.requests() == 21, "an order is sent to one of them");
    assert_eq!(count(&shop, &["outrigger_hedges_total"]).await, sent);
}
