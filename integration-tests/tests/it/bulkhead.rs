//! A service that answers nothing, and another one that must not notice.

use std::collections::BTreeSet;
use std::time::Duration;

use outrigger_integration_tests::frames::{Frame, Http2};
use outrigger_integration_tests::load::Plan;
use outrigger_integration_tests::{App, Load, Mesh, client, eventually};

use crate::config::{all, backend_policy, service, service_of};

/// Requests a second to each.
const RATE: u32 = 200;
/// To the one that is well.
const REQUESTS: u64 = 1_000;
/// What the other may have in flight in the first test, and by default as connections.
const LIMIT: u64 = 50;
const CONNECTIONS: u64 = 1_024;
/// The same as requests, and streams that a caller's connection may have.
const REQUESTS_MAX: u64 = 16_384;
const STREAMS: u64 = 100;
const DEADLINE: Duration = Duration::from_secs(60);

/// `hung` with this policy is asked until it has `held` requests and others fail, and then `well`, too, at a quarter of the rate. What the
/// former fail of, once the latter have all succeeded; and how many KiB the sidecar has more.
async fn beside(policy: &str, rate: u32, held: u64) -> (BTreeSet<String>, u64) {
    let (well, hung) = (App::start("well").await, App::start("hung").await);
    let mesh = Mesh::new();
    mesh.publish(&all(&[
        service("shop", &[]),
        service("well", &[well.addr]),
        service("hung", &[hung.addr]),
        backend_policy("hung", policy),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let before_kib = shop.process.resident_kib();

    let mut plan = Plan::new(shop.outbound, "hung", rate);
    plan.path = "/never".to_owned();
    let hanging = Load::start(plan);
    let full = async || (hung.requests() >= held && !hanging.so_far().failed.is_empty()).then_some(());
    eventually(DEADLINE, "the limit", full).await;
    let load = Load::start(Plan::new(shop.outbound, "well", RATE));
    eventually(DEADLINE, "the requests", async || (load.so_far().sent >= REQUESTS).then_some(())).await;
    let report = load.stop().await;
    let grown_kib = shop.process.resident_kib().saturating_sub(before_kib);
    println!("p50 {:?}, p99 {:?}, {grown_kib} KiB more", report.latency(0.5), report.latency(0.99));
    assert_eq!(report.succeeded, report.sent, "{:?}", report.reasons());
    assert!(hung.connections() <= held, "{} connections", hung.connections());
    let refused = hanging.so_far();
    println!("{:?}", refused.reasons());
    (refused.reasons().keys().map(|&reason| reason.to_owned()).collect(), grown_kib)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_hangs_takes_nothing_from_another() {
    let policy = format!(
        "limits: {{connections: {LIMIT}, pending: {LIMIT}, requests: {LIMIT}}}\n  timeouts: {{request: 60s}}"
    );
    let (reasons, grown_kib) = beside(&policy, RATE, LIMIT).await;
    assert_eq!(reasons, ["503 limit_requests".to_owned()].into());
    assert!(grown_kib <= 16 * 1024, "{grown_kib} KiB more for {LIMIT} requests and their connections");
}

/// Nobody has said what it may have.
#[tokio::test(flavor = "multi_thread")]
async fn nor_does_it_with_the_limits_that_hold_by_default() {
    let (reasons, grown_kib) = beside("timeouts: {request: 60s}", 4 * RATE, CONNECTIONS).await;
    assert_eq!(reasons, ["503 limit_pending".to_owned()].into());
    // Those that have a connection, and as many that wait for one.
    assert!(grown_kib <= 64 * 1024, "{grown_kib} KiB more");
}

/// Over HTTP/2 it is requests that there may be so many of: connections hold more than that.
#[tokio::test(flavor = "multi_thread")]
async fn nor_does_it_with_as_many_requests_as_it_may_have() {
    let (well, hung) = (App::start("well").await, App::start("hung").await);
    let mesh = Mesh::new();
    mesh.publish(&all(&[
        service("shop", &[]),
        service("well", &[well.addr]),
        service_of("hung", "HTTP2", &[hung.addr]),
        backend_policy("hung", "timeouts: {firstByte: 10m}"),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let before_kib = shop.process.resident_kib();
    let mut callers = Vec::new();
    while hung.requests() < REQUESTS_MAX {
        let all = (hung.requests() + STREAMS).min(REQUESTS_MAX);
        let mut caller = Http2::open(shop.outbound).await;
        let streams = (0..STREAMS as u32).map(|number| Frame::get(2 * number + 1, "hung", "/never"));
        assert!(caller.send(&streams.collect::<Vec<_>>()).await, "they are taken");
        callers.push(caller);
        // Those that wait for a connection have a limit of their own.
        eventually(DEADLINE, "they hang", async || (hung.requests() >= all).then_some(())).await;
    }
    let refused = client::fetch(shop.outbound, "hung", "/never").await.expect("the sidecar answers");
    assert_eq!((refused.status.as_u16(), refused.reason()), (503, "limit_requests"));

    let load = Load::start(Plan::new(shop.outbound, "well", RATE));
    eventually(DEADLINE, "the requests", async || (load.so_far().sent >= REQUESTS).then_some(())).await;
    let report = load.stop().await;
    let grown_kib = shop.process.resident_kib().saturating_sub(before_kib);
    println!("p50 {:?}, p99 {:?}, {grown_kib} KiB more", report.latency(0.5), report.latency(0.99));
    assert_eq!(report.succeeded, report.sent, "{:?}", report.reasons());
    assert_eq!(hung.requests(), REQUESTS_MAX, "and no more");
    assert!(grown_kib <= 16 * REQUESTS_MAX, "{grown_kib} KiB more");
}
