//! gRPC calls that fail, be it in the head of an answer or in its trailers, to endpoints that answer every request with 200.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, Method, Request, Version};
use outrigger_integration_tests::app::calls::{Calls, MESSAGE, Manner};
use outrigger_integration_tests::client::{self, Answer, Body, Connection};
use outrigger_integration_tests::frames::{DATA, END_STREAM, Frame, FrameApp};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{Mesh, Metrics, Proxy};

use crate::config::{all, backend_policy, service, service_of};
use crate::retries::count;

/// Calls at a time.
const CALLERS: u64 = 16;

async fn mesh(endpoints: &[SocketAddr], policy: &str) -> (Mesh, Proxy) {
    let mesh = Mesh::new();
    let policy = backend_policy("cart", policy);
    mesh.publish(&all(&[service("shop", &[]), service_of("cart", "GRPC", endpoints), policy]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    (mesh, shop)
}

/// A call that may not be made twice.
fn call() -> Request<Body> {
    let mut request = client::request2(Method::POST, "cart", "/shop.Cart/Add", MESSAGE);
    let grpc = HeaderValue::from_static("application/grpc");
    request.headers_mut().insert(HeaderName::from_static("content-type"), grpc);
    request
}

/// In the head or in the trailers; empty if it is in neither.
fn status(answer: &Answer) -> &str {
    let value = answer.headers.get("grpc-status").or(answer.trailers.get("grpc-status"));
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// One after the other.
async fn calls(to: SocketAddr, number: u64) -> Vec<Answer> {
    let mut connection = Connection::open(to, Version::HTTP_2).await.expect("the sidecar takes connections");
    let mut answers = Vec::new();
    for _ in 0..number {
        answers.push(connection.send(call()).await.expect("an answer"));
    }
    answers
}

/// So many for each caller.
async fn at_a_time(to: SocketAddr, number: u64) -> Vec<Answer> {
    let callers = (0..CALLERS).map(|_| calls(to, number));
    join_all(callers).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_whose_calls_fail_fast_draws_a_thousandth() {
    for dead in [Manner::InHead(14), Manner::InTrailers(14)] {
        let dead = Calls::start(dead).await;
        let mut well = Vec::new();
        for after_ms in [0, 10, 10] {
            well.push(Calls::start(Manner::Well(Duration::from_millis(after_ms))).await);
        }
        let endpoints: Vec<_> = well.iter().chain([&dead]).map(|app| app.addr).collect();
        let (_mesh, shop) = mesh(&endpoints, "timeouts: {connect: 1s}").await;
        let answers = at_a_time(shop.outbound, 750).await;
        let failed = answers.iter().filter(|answer| status(answer) == "14").count() as u64;
        assert_eq!(failed, dead.seen(), "none was sent twice");
        assert!(failed >= 1 && failed * 1_000 <= answers.len() as u64, "{failed} of {}", answers.len());
        assert!(answers.iter().all(|answer| ["0", "14"].contains(&status(answer))));
        assert!(count(&shop, &["outrigger_endpoint_failures_total"]).await >= 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_after_its_message_is_ejected() {
    let (one, two) =
        (Calls::start(Manner::AfterMessage(13)).await, Calls::start(Manner::Well(Duration::ZERO)).await);
    let (_mesh, shop) = mesh(&[one.addr, two.addr], "balance: {policy: RoundRobin}").await;
    calls(shop.outbound, 200).await;
    assert_eq!(count(&shop, &["outrigger_ejections_total", "failure_percent"]).await, 1);
    assert!((10..=25).contains(&one.seen()), "half of at least 20: {}", one.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_calls_fail_the_breaker_opens() {
    for dead in [Manner::InHead(14), Manner::InTrailers(13), Manner::InTrailers(2)] {
        let dead = Calls::start(dead).await;
        let (_mesh, shop) = mesh(&[dead.addr], "timeouts: {connect: 1s}").await;
        let answers = calls(shop.outbound, 500).await;
        let refused = answers.iter().filter(|answer| answer.reason() == "breaker_open").count() as u64;
        assert_eq!(dead.seen() + refused, 500);
        assert!((50..100).contains(&dead.seen()), "{} calls are made", dead.seen());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_did_wrong_and_what_is_too_much_says_nothing_about_an_endpoints_health() {
    for code in [5, 8, 12, 16] {
        for manner in [Manner::InHead(code), Manner::InTrailers(code)] {
            let app = Calls::start(manner).await;
            let (_mesh, shop) = mesh(&[app.addr], "timeouts: {connect: 1s}").await;
            let answers = calls(shop.outbound, 100).await;
            assert!(answers.iter().all(|answer| status(answer) == code.to_string()));
            assert_eq!(app.seen(), 100);
            assert_eq!(count(&shop, &["outrigger_ejections_total"]).await, 0, "{manner:?}");
        }
    }
}

/// What applications send that find out late: the status comes in frames of its own after the head, and the first message commits it.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_in_trailers_is_tried_again_until_the_first_message() {
    const NOTHING: Option<&[u8]> = None;
    for (data, again) in [(NOTHING, 1), (Some(b""), 1), (Some(b"\0\0\0\0\x02ok"), 0)] {
        let app = FrameApp::start(move |number, stream| {
            let head = [(":status", "200"), ("content-type", "application/grpc")];
            let status = if number == 0 { "14" } else { "0" };
            let mut frames = vec![Frame::headers(stream, 0, &head)];
            frames.extend(data.map(|data| Frame::new(DATA, 0, stream, data)));
            frames.push(Frame::headers(stream, END_STREAM, &[("grpc-status", status)]));
            frames
        })
        .await;
        let policy = "retry: {idempotent: true, budget: {percent: 100}}";
        let (_mesh, shop) = mesh(&[app.addr], policy).await;
        let answers = calls(shop.outbound, 1).await;
        assert_eq!(status(&answers[0]), if again == 1 { "0" } else { "14" }, "{data:?}");
        let retries = count(&shop, &["outrigger_retries_total", "reason=\"grpc_status\""]).await;
        assert_eq!(retries, again, "{data:?}");
    }
}

/// The same where head and trailers come one after the other: for up to 100 ms the head is held back, and then it is passed on with whatever comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_comes_after_its_head_is_tried_again_if_it_comes_soon() {
    for (pause, again) in [(Duration::from_millis(10), true), (Duration::from_secs(1), false)] {
        let app = FrameApp::start_slow(pause, |number, stream| {
            let head = [(":status", "200"), ("content-type", "application/grpc")];
            let status = if number % 2 == 0 { "14" } else { "0" };
            vec![
                Frame::headers(stream, 0, &head),
                Frame::headers(stream, END_STREAM, &[("grpc-status", status)]),
            ]
        })
        .await;
        let policy = "retry: {idempotent: true, budget: {percent: 100}}";
        let (_mesh, shop) = mesh(&[app.addr], policy).await;
        let (mut mended, mut passed_on) = (0, 0);
        for _ in 0..6 {
            let before = app.requests();
            let answers = calls(shop.outbound, 1).await;
            match (status(&answers[0]), app.requests() - before) {
                ("0", 2) => mended += 1,
                ("14", 1) => passed_on += 1,
                // After one that was passed on.
                ("0", 1) => {}
                other => unreachable!("{other:?}"),
            }
        }
        // A busy machine may hold up what should come soon.
        let as_said = if again { mended > passed_on } else { mended == 0 && passed_on > 0 };
        assert!(as_said, "{pause:?}: {mended} were mended, {passed_on} passed on");
        let retries = count(&shop, &["outrigger_retries_total", "reason=\"grpc_status\""]).await;
        assert_eq!(retries > 0, again, "{pause:?}");
    }
}

/// The other side has not looked at it, so that it may be sent again whatever it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_shed_is_made_again_elsewhere_and_counts_as_load() {
    let (busy, well) =
        (Calls::start(Manner::Shed(40)).await, Calls::start(Manner::Well(Duration::ZERO)).await);
    let policy = "balance: {policy: RoundRobin}\n  retry: {budget: {percent: 100}}";
    let (_mesh, shop) = mesh(&[busy.addr, well.addr], policy).await;
    let begun = std::time::Instant::now();
    let answers = calls(shop.outbound, 40).await;
    assert!(answers.iter().all(|answer| status(answer) == "0"), "{:?}", answers.last());
    let again = busy.seen();
    assert!(again >= 20 && well.seen() == 40, "{again} and {}", well.seen());
    assert!(begun.elapsed() >= Duration::from_millis(40 * again), "it says when");
    assert_eq!(count(&shop, &["outrigger_retries_total", "reason=\"grpc_status\""]).await, again);
    assert_eq!(count(&shop, &["outrigger_ejections_total"]).await, 0);
}

/// An error comes too soon to tell how long the application's work takes.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_fail_are_no_measure_of_what_the_application_can_do() {
    for (manner, measured) in [
        (Manner::Well(Duration::from_millis(5)), true),
        (Manner::InHead(14), false),
        (Manner::InTrailers(13), false),
    ] {
        let app = Calls::start(manner).await;
        let mesh = Mesh::new();
        mesh.publish(&service_of("cart", "GRPC", &[]));
        let cart = Proxy::start(&mesh, Sidecar::beside("cart").inbound_to(app.addr)).await;
        cart.ready().await;
        at_a_time(cart.inbound.expect("asked for above"), 200).await;
        let metrics = Metrics::of(cart.metrics).await.expect("metrics are served");
        let found =
            metrics.text().lines().filter(|line| line.starts_with("outrigger_overload_sample_seconds"));
        let found: Vec<f64> = found.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        assert_eq!(found.iter().any(|seconds| *seconds > 0.0), measured, "{manner:?}: {found:?}");
    }
}
