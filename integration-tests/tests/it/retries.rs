//! Requests that are sent again, and those that must not be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use outrigger_integration_tests::app::raw::{End, RawApp};
use outrigger_integration_tests::{App, Mesh, Metrics, Proxy, client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::config::{all, backend_policy, service};

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
    let policy = "balance: {policy: RoundRobin}\n  ejection: {maxPercent: 0}\n  retry: {budget: {percent: 100}}";
    let (_mesh, shop) = mesh(&[good.addr, bad.addr], policy).await;
    for _ in 0..40 {
        let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
    }
    // The good one also has the second tries of what the bad one failed.
    assert_eq!((bad.heads().len(), good.requests()), (20, 40));
}

/// Answers the first request of each connection and closes it under the second; tells how many came.
async fn forgetful() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let (addr, seen) = (listener.local_addr().expect("it is bound"), Arc::new(AtomicUsize::new(0)));
    let counted = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = counted.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                for number in 0..2 {
                    match stream.read(&mut bytes).await {
                        Ok(count) if count > 0 => seen.fetch_add(1, Relaxed),
                        _ => return,
                    };
                    if number == 0 {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                    }
                }
            });
        }
    });
    (addr, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_closes_under_a_request_costs_only_what_may_have_been_executed() {
    let (addr, seen) = forgetful().await;
    let (_mesh, shop) = plain(&[addr]).await;
    for _ in 0..20 {
        let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
    }
    let (before, mut broken) = (seen.load(Relaxed), 0);
    for _ in 0..20 {
        let request = client::request(Method::POST, "cart", "/", "order");
        let answer = client::send(shop.outbound, request).await.unwrap();
        broken += usize::from(answer.reason() == "upstream_reset");
    }
    assert!(broken > 0);
    assert_eq!(seen.load(Relaxed), before + 20, "each order was sent once");
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
