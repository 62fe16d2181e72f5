//! A second try beside the first: what it is worth, what it costs, and for whom it is not made.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use outrigger_integration_tests::app::calls::{Calls, MESSAGE, Manner};
use outrigger_integration_tests::app::faulty::Faulty;
use outrigger_integration_tests::app::relay::Relay;
use outrigger_integration_tests::app::slots::Slots;
use outrigger_integration_tests::load::{Plan, Report};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Load, Mesh, Metrics, Proxy, client, eventually};

use crate::config::{all, backend_policy, service, service_of};
use crate::retries::count;

/// As many as are worth it, and no retries.
const NO_RETRIES: &str = "retry: {attempts: 0, budget: {percent: 100, floor: {count: 1000, interval: 1s}}}";

/// Requests a second to each of two services.
const RATE: u32 = 250;
/// To each: so that p99.9 lies among some that were slow.
const REQUESTS: u64 = 5_000;
const DEADLINE: Duration = Duration::from_secs(60);
const USUAL: Duration = Duration::from_millis(5);
/// What one endpoint of four takes for one request in twelve.
const SLOW: Duration = Duration::from_millis(400);

fn sometimes_slow() -> Duration {
    if fastrand::u8(..12) == 0 { SLOW } else { USUAL }
}

/// A quarter takes long, and some of it longer than most of that.
fn spread() -> Duration {
    if fastrand::u8(..4) == 0 { Duration::from_millis(fastrand::u64(50..250)) } else { USUAL }
}

/// Load on one service, to its end.
async fn loaded(shop: &Proxy, host: &str, requests: u64) -> Report {
    let load = Load::start(Plan::new(shop.outbound, host, RATE));
    eventually(DEADLINE, "the requests", async || (load.succeeded() >= requests).then_some(())).await;
    load.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn hedges_cut_the_tail_for_few_requests_more_and_the_loser_is_let_go() {
    let mut apps = vec![Slots::start(1_000, sometimes_slow).await];
    for _ in 0..3 {
        apps.push(Slots::start(1_000, || USUAL).await);
    }
    let endpoints: Vec<_> = apps.iter().map(|app| app.addr).collect();
    let mesh = Mesh::new();
    // By turns, as the endpoint that is slow at times would be avoided else.
    let turns = "balance: {policy: RoundRobin}";
    let hedged = format!("{turns}\n  hedge: {{minDelay: 40ms}}");
    mesh.publish(&all(&[
        service("shop", &[]),
        service("plain", &endpoints),
        service("hedged", &endpoints),
        backend_policy("plain", turns),
        backend_policy("hedged", &hedged),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;

    let (plain, with) = tokio::join!(loaded(&shop, "plain", REQUESTS), loaded(&shop, "hedged", REQUESTS));
    let sent = count(&shop, &["outrigger_hedges_total", "/hedged:"]).await;
    let won = count(&shop, &["outrigger_hedge_wins_total", "/hedged:"]).await;
    let let_go = || apps.iter().map(Slots::abandoned).sum::<u64>();
    let enough = async || (let_go() * 100 >= won * 95).then_some(());
    eventually(DEADLINE, "95 of 100 losers are told", enough).await;
    let tail = with.latency(0.999).as_secs_f64() / plain.latency(0.999).as_secs_f64();
    println!(
        "p99.9 {:?} with hedges, {:?} without: {tail:.3}; {sent} hedges for {} requests, {won} won, {} let go",
        with.latency(0.999),
        plain.latency(0.999),
        with.sent,
        let_go(),
    );
    assert!(tail <= 0.65, "{tail}");
    // One a second is the floor of the budget.
    assert!(won >= 20 && sent * 20 <= with.sent + 20 * (REQUESTS / u64::from(RATE)), "{sent} hedges");
    assert_eq!((plain.succeeded, with.succeeded), (plain.sent, with.sent));
}

/// Whatever is guessed of how slow the slowest are.
#[tokio::test(flavor = "multi_thread")]
async fn hedges_keep_to_the_share_that_they_are_for() {
    let (one, two) = (Slots::start(1_000, spread).await, Slots::start(1_000, spread).await);
    let mesh = Mesh::new();
    // Half of the requests are worth one, by time.
    let policy = "hedge: {percentile: 95}\n  retry: {budget: {percent: 100}}";
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[one.addr, two.addr]),
        backend_policy("cart", policy),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let report = loaded(&shop, "cart", 3_000).await;
    let sent = count(&shop, &["outrigger_hedges_total"]).await;
    println!("{sent} hedges for {} requests", report.sent);
    // And the floor: one a second, shared with fifteen others.
    assert!(sent > 0 && sent * 20 <= report.sent + 20 * 2, "{sent} hedges for {} requests", report.sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_never_hedged() {
    // Over HTTP/2 a request is kept even if it may not be repeated, as the endpoint may refuse it.
    for protocol in ["HTTP", "HTTP2"] {
        let (one, two) = (App::start("one").await, App::start("two").await);
        let mesh = Mesh::new();
        let policy = backend_policy("cart", "hedge: {minDelay: 20ms}\n  retry: {budget: {percent: 100}}");
        let cart = service_of("cart", protocol, &[one.addr, two.addr]);
        mesh.publish(&all(&[service("shop", &[]), cart, policy]));
        let shop = mesh.proxy("shop").await;
        shop.ready().await;
        let hedges = async || count(&shop, &["outrigger_hedges_total"]).await;
        // So that what takes long is known to be unusual.
        for _ in 0..60 {
            client::fetch(shop.outbound, "cart", "/").await.unwrap();
        }
        let (before, asked) = (hedges().await, one.requests() + two.requests());
        for body in ["order", "", "order", ""] {
            let order = client::request(Method::POST, "cart", "/slow/300", body);
            assert_eq!(client::send(shop.outbound, order).await.unwrap().status, StatusCode::OK);
        }
        assert_eq!((hedges().await, one.requests() + two.requests()), (before, asked + 4), "{protocol}");
        // What may be asked twice is.
        client::fetch(shop.outbound, "cart", "/slow/300").await.unwrap();
        assert_eq!(hedges().await, before + 1, "{protocol}");
    }
}

/// A call of gRPC is one of them: it always has a body.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_body_is_hedged_once_that_is_there() {
    for (protocol, method, idempotent) in [("HTTP", Method::PUT, false), ("GRPC", Method::POST, true)] {
        let (one, two) = (App::start("one").await, App::start("two").await);
        let mesh = Mesh::new();
        let policy = format!(
            "hedge: {{minDelay: 20ms}}\n  retry: {{idempotent: {idempotent}, budget: {{percent: 100}}}}"
        );
        let cart = service_of("cart", protocol, &[one.addr, two.addr]);
        mesh.publish(&all(&[service("shop", &[]), cart, backend_policy("cart", &policy)]));
        let shop = mesh.proxy("shop").await;
        shop.ready().await;
        let ask = async |path: &str, body: &'static str| {
            let mut request = client::request(method.clone(), "cart", path, body);
            if protocol == "GRPC" {
                let grpc = HeaderValue::from_static("application/grpc");
                request.headers_mut().insert(HeaderName::from_static("content-type"), grpc);
            }
            let answer = client::send(shop.outbound, request).await.unwrap();
            assert_eq!((answer.status, answer.json()["body"].as_str()), (StatusCode::OK, Some(body)));
        };
        let hedges = async || count(&shop, &["outrigger_hedges_total"]).await;
        for _ in 0..60 {
            ask("/", "order").await;
        }
        let (before, asked) = (hedges().await, one.requests() + two.requests());
        ask("/slow/300", "a body that both are to get").await;
        assert_eq!((hedges().await, one.requests() + two.requests()), (before + 1, asked + 2), "{protocol}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_call_that_was_sent_before_hedges_draw_on_what_retries_do() {
    let (one, two) = (App::start("one").await, App::start("two").await);
    let relay = Relay::start(&["x-request-id"]).await;
    let mesh = Mesh::new();
    let inbound = "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {name: cart}\nspec:\n  \
                   targetRefs: [{kind: Service, name: cart}]\n  trustedSources: [127.0.0.1]";
    // Nothing but a floor, which such a call does not have.
    let floor = "retry: {budget: {percent: 0, floor: {count: 100, interval: 1s}}}";
    mesh.publish(&all(&[
        service("cart", &[relay.addr]),
        service("leaf", &[one.addr, two.addr]),
        backend_policy("leaf", &format!("hedge: {{minDelay: 20ms}}\n  {floor}")),
        inbound.to_owned(),
    ]));
    let cart = Proxy::start(&mesh, Sidecar::beside("cart").inbound_to(relay.addr)).await;
    cart.ready().await;
    relay.ask(cart.outbound, "leaf");
    let ask = async |path: &str, attempt: &'static str| {
        let mut request = client::request(Method::GET, "cart", path, "");
        let name = HeaderName::from_static("outrigger-attempt");
        request.headers_mut().insert(name, HeaderValue::from_static(attempt));
        client::send(cart.inbound.expect("asked for above"), request).await.unwrap().status
    };

    assert_eq!(ask("/slow/200", "2").await, StatusCode::OK);
    assert_eq!((count(&cart, &["outrigger_hedges_total"]).await, one.requests() + two.requests()), (0, 1));
    // By now hedges wait for as long as that took.
    assert_eq!(ask("/slow/1000", "1").await, StatusCode::OK);
    assert_eq!((count(&cart, &["outrigger_hedges_total"]).await, one.requests() + two.requests()), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hedge_needs_no_retries_and_says_how_much_time_is_left_by_then() {
    let (one, two) = (Faulty::start().await, Faulty::start().await);
    let mesh = Mesh::new();
    let policy = "timeouts: {request: 1s}\n  hedge: {minDelay: 300ms}\n  retry: {attempts: 0}";
    let policy = backend_policy("cart", policy);
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[one.addr, two.addr]), policy]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let answer = client::fetch(shop.outbound, "cart", "/hold").await.unwrap();
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    let mut left: Vec<u64> = [&one, &two]
        .map(|app| app.executions(0)[0].fields["outrigger-deadline-ms"].parse().expect("milliseconds"))
        .into();
    left.sort_unstable();
    assert!(left[0] <= 700 && left[1] > 700, "{left:?}");
}

/// What a try comes to that is not returned says as much of its endpoint as any, be it the hedge or the first; and its connection is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_try_that_fails_beside_another_is_held_against_its_endpoint() {
    const SERVICES: usize = 16;
    // It fails after 20 ms, when a hedge is under way, and long before the other answers.
    let (bad, good) = (Faulty::start().await, Slots::start(1_000, || Duration::from_millis(300)).await);
    let mesh = Mesh::new();
    // By chance the first try goes to either.
    let policy = format!("hedge: {{minDelay: 10ms}}\n  ejection: {{consecutive: 1}}\n  {NO_RETRIES}");
    let mut resources = vec![service("shop", &[])];
    for index in 0..SERVICES {
        let name = format!("cart{index}");
        resources.extend([service(&name, &[bad.addr, good.addr]), backend_policy(&name, &policy)]);
    }
    mesh.publish(&all(&resources));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    for index in 0..SERVICES {
        let answer = client::fetch(shop.outbound, &format!("cart{index}"), "/busy").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
    }
    let asked = bad.executions(0).len();
    assert_eq!(asked, SERVICES, "one try of each");
    let won = count(&shop, &["outrigger_hedge_wins_total"]).await;
    assert!(0 < won && won < SERVICES as u64, "{won} first tries failed, and some hedges");
    assert_eq!(count(&shop, &["outrigger_ejections_total", "consecutive"]).await, SERVICES as u64);
    assert_eq!(count(&shop, &["outrigger_endpoint_failures_total"]).await, SERVICES as u64);
    let open = Metrics::of(shop.metrics)
        .await
        .expect("metrics are served")
        .sum(&["outrigger_upstream_connections "]);
    assert_eq!(open, 2 * SERVICES as u64, "those of answers that nobody saw, too");
    let failures = client::page(shop.admin, "/debug/failures").await.unwrap().json();
    assert_eq!(failures["found"], 0, "no request has failed: {failures}");
}

/// A call that a hedge cannot answer waits for the other try, wherever the hedge says that it has failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_not_lost_to_a_hedge_that_fails() {
    for failing in [Manner::InTrailers(14), Manner::InHead(14)] {
        let slow = Calls::start(Manner::Well(Duration::from_millis(300))).await;
        let failing = Calls::start(failing).await;
        let mesh = Mesh::new();
        let policy = "balance: {policy: RoundRobin}\n  ejection: {maxPercent: 0}\n  breaker: {failurePercent: 0}\n  \
                      hedge: {percentile: 50, minDelay: 50ms}\n  retry: {attempts: 0, idempotent: true, \
                      budget: {percent: 100, floor: {count: 1000, interval: 1s}}}";
        let cart = service_of("cart", "GRPC", &[slow.addr, failing.addr]);
        mesh.publish(&all(&[service("shop", &[]), cart, backend_policy("cart", policy)]));
        let shop = mesh.proxy("shop").await;
        shop.ready().await;
        let mut answered = 0;
        for _ in 0..10 {
            let mut call = client::request2(Method::POST, "cart", "/shop.Cart/Add", MESSAGE);
            let grpc = HeaderValue::from_static("application/grpc");
            call.headers_mut().insert(HeaderName::from_static("content-type"), grpc);
            let answer = client::send(shop.outbound, call).await.unwrap();
            let status = answer.headers.get("grpc-status").or(answer.trailers.get("grpc-status"));
            answered += usize::from(status.is_some_and(|status| status == "0"));
        }
        let (hedges, won) = (
            count(&shop, &["outrigger_hedges_total"]).await,
            count(&shop, &["outrigger_hedge_wins_total"]).await,
        );
        println!("{answered} of 10 answered, {hedges} hedges, {won} won");
        assert!(hedges >= 1 && won == 0 && failing.seen() >= hedges, "{hedges} hedges, {won} won");
        assert!(answered as u64 >= hedges, "{answered} answered, {hedges} of them hedged");
        assert_eq!(count(&shop, &["outrigger_endpoint_failures_total"]).await, failing.seen());
    }
}

/// So that whoever has too much to do lets go of it first.
#[tokio::test(flavor = "multi_thread")]
async fn a_hedge_says_that_it_is_no_first_try() {
    let (one, two) = (Faulty::start().await, Faulty::start().await);
    let mesh = Mesh::new();
    let policy = format!("timeouts: {{request: 500ms}}\n  hedge: {{minDelay: 50ms}}\n  {NO_RETRIES}");
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[one.addr, two.addr]),
        backend_policy("cart", &policy),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    client::fetch(shop.outbound, "cart", "/hold").await.unwrap();
    let mut said = [&one, &two].map(|app| app.executions(0)[0].fields.get("outrigger-attempt").cloned());
    said.sort_unstable();
    assert_eq!(said, [None, Some("2".to_owned())]);
}
