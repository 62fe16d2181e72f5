//! The time for a request: all its tries are within it, and each of them, on each hop, is told how much of it is left.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use outrigger_integration_tests::app::faulty::{Execution, Faulty};
use outrigger_integration_tests::app::raw::{End, RawApp};
use outrigger_integration_tests::app::relay::Relay;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Mesh, Proxy, client, eventually, port, within};
use tokio::task::JoinSet;

use crate::config::{all, backend_policy, backends, route, service, service_of};
use crate::retries::count;

const DEADLINE: Duration = Duration::from_secs(60);
const REQUESTS: u64 = 50;
/// For a request, in milliseconds; and for one of its tries, of which ten more may follow.
const REQUEST_MS: u64 = 300;
const TRY_MS: u64 = 80;

/// What each try was told to be left, by their numbers.
fn left(executions: &[Execution]) -> Vec<u64> {
    let number = |execution: &Execution, name| execution.fields.get(name).and_then(|text| text.parse().ok());
    let mut tries: Vec<(u64, u64)> = executions
        .iter()
        .map(|execution| {
            let left = number(execution, "outrigger-deadline-ms").expect("it is told");
            (number(execution, "outrigger-attempt").unwrap_or(1), left)
        })
        .collect();
    tries.sort_unstable();
    tries.into_iter().map(|(_, left)| left).collect()
}

/// Deadlines are looked at every 2 ms, and by a timer of whole milliseconds, so that a request lasts up to 3 ms longer on a quiet machine; the
/// buckets of the sidecar's own histogram leave a busy one room for more.
#[tokio::test(flavor = "multi_thread")]
async fn retries_take_no_longer_than_the_request_may() {
    let (app, mesh) = (Faulty::start().await, Mesh::new());
    let policy = format!(
        "timeouts: {{request: {REQUEST_MS}ms, try: {TRY_MS}ms}}\n  ejection: {{maxPercent: 0}}\n  \
         breaker: {{failurePercent: 0}}\n  retry: {{attempts: 10, backoff: {{base: 1ms}}, budget: {{percent: 100, floor: {{count: 1000, interval: 1s}}}}}}"
    );
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[app.addr]),
        backend_policy("cart", &policy),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let mut requests = JoinSet::new();
    for id in 0..REQUESTS {
        let mut request = client::request(Method::GET, "cart", "/hold", "");
        request.headers_mut().insert("x-id", id.into());
        requests.spawn(client::send(shop.outbound, request));
    }
    for answer in within(DEADLINE, "all are answered", requests.join_all()).await {
        let answer = answer.expect("the sidecar answers");
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
        // The last try may be over before the request is, with no time for another.
        assert!(["request_timeout", "try_timeout"].contains(&answer.reason()), "{}", answer.reason());
    }
    for id in 0..REQUESTS {
        let left = left(&app.executions(id));
        assert!(left.len() >= 3, "{left:?}: on a busy machine there may be fewer than four tries");
        let at_most = |nth: u64| REQUEST_MS.saturating_sub(nth * TRY_MS);
        let falls = left.is_sorted_by(|one, next| one > next);
        assert!(falls && left.iter().zip(0..).all(|(left, nth)| *left <= at_most(nth)), "{left:?}");
    }
    // By the sidecar's own clock.
    let within = async |bound| {
        count(&shop, &["http_client_request_duration_seconds_bucket{", "/cart:", &format!("le=\"{bound}\"")])
            .await
    };
    assert_eq!((within("0.25").await, within("0.5").await), (0, REQUESTS));
    let page = client::page(shop.metrics, "/metrics").await.expect("metrics are served").text();
    let sum = |line: &&str| {
        line.starts_with("http_client_request_duration_seconds_sum{") && line.contains("/cart:")
    };
    println!("{:?} for {REQUESTS} requests", page.lines().find(sum));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_again_that_would_likely_come_too_late() {
    let (app, mesh) = (App::start("cart").await, Mesh::new());
    let policy = "ejection: {maxPercent: 0}\n  breaker: {failurePercent: 0}\n  \
         retry: {attempts: 2, budget: {percent: 100, floor: {count: 100, interval: 1s}}}";
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr]), backend_policy("cart", policy)]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let tries = async |left_ms: u64| {
        let before = app.requests();
        let mut request = client::request(Method::GET, "cart", "/status/503", "");
        request.headers_mut().insert("outrigger-deadline-ms", left_ms.into());
        let answer = client::send(shop.outbound, request).await.expect("the sidecar answers");
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        app.requests() - before
    };
    assert_eq!(tries(1_000).await, 3, "nobody knows how long an answer takes");
    let answer = client::fetch(shop.outbound, "cart", "/slow/2000").await.expect("the sidecar answers");
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!((tries(1_000).await, tries(30_000).await), (1, 3));
    assert_eq!(count(&shop, &["outrigger_retry_obstacles_total", "obstacle=\"deadline\""]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_hop_to_hop_and_try_to_try_less_time_is_left() {
    let (mesh, leaf, inbound) = (Mesh::new(), Faulty::start().await, port::free());
    let relay = Relay::start(&["traceparent"]).await;
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[inbound]),
        service("leaf", &[leaf.addr]),
        backend_policy("cart", "timeouts: {request: 2s}"),
        backend_policy("leaf", "retry: {attempts: 3, budget: {floor: {count: 10, interval: 1s}}}"),
        "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {name: cart}\nspec:\n  \
         targetRefs: [{kind: Service, name: cart}]\n  trustedSources: [127.0.0.1]"
            .to_owned(),
    ]));
    let cart = Sidecar::beside("cart").inbound_to(relay.addr);
    let cart = Proxy::start_inbound(&mesh, cart, inbound).await;
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    cart.ready().await;
    relay.ask(cart.outbound, "leaf");

    let mut request = client::request(Method::GET, "cart", "/busy", "");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.headers_mut().insert("traceparent", trace.parse().expect("digits and hyphens"));
    let answer = client::send(shop.outbound, request).await.expect("the sidecar answers");
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let first: u64 = relay.last()["outrigger-deadline-ms"].to_str().unwrap().parse().unwrap();
    let mut all = vec![2_000, first];
    all.extend(left(&leaf.executions(0)));
    assert_eq!(all.len(), 2 + 4, "{all:?}");
    assert!(all.is_sorted_by(|one, next| one >= next) && all[5] + 3 * 20 <= all[2], "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_grpc_is_told_in_its_words() {
    let (app, mesh) = (App::start("cart").await, Mesh::new());
    mesh.publish(&all(&[
        service("shop", &[]),
        service_of("cart", "GRPC", &[app.addr]),
        backend_policy("cart", "timeouts: {try: 200ms}"),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let mut request = client::request2(Method::POST, "cart", "/hang/1", "");
    for (name, value) in
        [("content-type", "application/grpc"), ("grpc-timeout", "2S"), ("idempotency-key", "k1")]
    {
        request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let answer = client::send(shop.outbound, request).await.expect("the sidecar answers");
    assert_eq!((answer.status, app.requests()), (StatusCode::OK, 2));
    let told = app.last().expect("it was asked").headers;
    let left: u64 = told["outrigger-deadline-ms"].to_str().unwrap().parse().unwrap();
    assert!(left <= 1_800, "{told:?}");
    assert_eq!(told["grpc-timeout"], format!("{left}m"));
}

/// What the application was told to be left of `said` milliseconds, or of the service's own.
async fn told(shop: &Proxy, app: &App, path: &str, said: Option<u64>) -> u64 {
    let mut request = client::request(Method::GET, "cart", path, "");
    if let Some(said) = said {
        request.headers_mut().insert("outrigger-deadline-ms", said.into());
    }
    let answer = client::send(shop.outbound, request).await.expect("the sidecar answers");
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.reason());
    let asked = app.last().expect("it was asked");
    let told = asked.headers["outrigger-deadline-ms"].to_str().ok().and_then(|text| text.parse().ok());
    told.expect("it was told a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn time_spent_in_the_proxy_is_not_left_and_a_hop_costs_a_millisecond() {
    let (app, mesh) = (App::start("cart").await, Mesh::new());
    let fault = "filters: [{type: ExtensionRef, extensionRef: \
                 {group: outrigger.dev, kind: RouteFilter, name: late}}]";
    let to_cart = backends(&[("cart", 1)]);
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[app.addr]),
        backend_policy("cart", "timeouts: {request: 20s, connect: 10s}\n  limits: {connections: 1}"),
        route(
            "cart",
            &[format!("matches: [{{path: {{value: /late}}}}]\n{fault}\n{to_cart}"), to_cart.clone()],
        ),
        "apiVersion: outrigger.dev/v1alpha1\nkind: RouteFilter\nmetadata: {name: late}\n\
         spec: {fault: {delay: {percent: 100, duration: 700ms}}}"
            .to_owned(),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let left = told(&shop, &app, "/", None).await;
    assert!((19_000..=20_000).contains(&left), "{left}");
    let left = told(&shop, &app, "/", Some(5_000)).await;
    assert!((4_000..5_000).contains(&left), "{left}");
    let left = told(&shop, &app, "/late", None).await;
    assert!((10_000..=19_300).contains(&left), "held up: {left}");

    // One waits until the only connection is free again.
    let before = app.requests();
    let slow =
        tokio::spawn(client::send(shop.outbound, client::request(Method::GET, "cart", "/slow/500", "")));
    eventually(DEADLINE, "one is under way", async || (app.requests() > before).then_some(())).await;
    let left = told(&shop, &app, "/", None).await;
    assert!((10_000..=19_600).contains(&left), "in the queue: {left}");
    assert!(slow.await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_counted_what_a_request_was_at_when_its_time_was_over() {
    let (app, mesh, hung) = (Faulty::start().await, Mesh::new(), Faulty::start().await);
    let begun = RawApp::start(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun", End::Stay).await;
    let busy = b"HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    let busy = RawApp::start(busy, End::Stay).await;
    let fault = "filters: [{type: ExtensionRef, extensionRef: \
                 {group: outrigger.dev, kind: RouteFilter, name: late}}]";
    let time = "timeouts: {request: 400ms}";
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[app.addr]),
        service("full", &[hung.addr]),
        service("begun", &[begun.addr]),
        service("busy", &[busy.addr]),
        backend_policy("cart", time),
        backend_policy("full", "timeouts: {request: 1m, connect: 10s}\n  limits: {connections: 1}"),
        backend_policy("begun", time),
        backend_policy("busy", time),
        route(
            "cart",
            &[
                format!("matches: [{{path: {{value: /late}}}}]\n{fault}\n{}", backends(&[("cart", 1)])),
                backends(&[("cart", 1)]),
            ],
        ),
        "apiVersion: outrigger.dev/v1alpha1\nkind: RouteFilter\nmetadata: {name: late}\n\
         spec: {fault: {delay: {percent: 100, duration: 10s}}}"
            .to_owned(),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let mut none_left = client::request(Method::GET, "cart", "/", "");
    none_left.headers_mut().insert("outrigger-deadline-ms", 1.into());
    client::send(shop.outbound, none_left).await.expect("the sidecar answers");
    for (host, path) in [("cart", "/late"), ("cart", "/hold"), ("busy", "/")] {
        let mut request = client::request(Method::GET, host, path, "");
        request.headers_mut().insert("x-id", 1.into());
        client::send(shop.outbound, request).await.expect("the sidecar answers");
    }
    client::fetch(shop.outbound, "begun", "/").await.expect_err("the answer is cut short");
    // One has the only connection, and the other waits for it.
    let mut first = client::request(Method::GET, "full", "/hold", "");
    first.headers_mut().insert("x-id", 1.into());
    let _first = tokio::spawn(client::send(shop.outbound, first));
    eventually(DEADLINE, "one is under way", async || hung.executions(1).first().map(|_| ())).await;
    let mut second = client::request(Method::GET, "full", "/hold", "");
    second.headers_mut().insert("outrigger-deadline-ms", 300.into());
    client::send(shop.outbound, second).await.expect("the sidecar answers");
    for (stage, cluster, expected) in [
        ("arrival", "/cart:", 1),
        ("delay", "/cart:", 1),
        ("head", "/cart:", 1),
        ("backoff", "/busy:", 1),
        ("body", "/begun:", 1),
        ("connect", "/full:", 1),
        ("", "", 6),
    ] {
        let stage = format!("stage=\"{stage}");
        let found = count(&shop, &["outrigger_deadline_exceeded_total{", cluster, &stage]).await;
        assert_eq!(found, expected, "{stage} of {cluster}");
    }
}
