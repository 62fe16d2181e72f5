//! A service that answers nothing, and another one that must not notice.

use std::time::Duration;

use outrigger_integration_tests::load::Plan;
use outrigger_integration_tests::{App, Load, Mesh, eventually};

use crate::config::{all, backend_policy, service};

/// Requests a second to each.
const RATE: u32 = 200;
/// To the one that is well.
const REQUESTS: u64 = 1_000;
/// What the other may have in flight.
const LIMIT: u64 = 50;
const DEADLINE: Duration = Duration::from_secs(60);
/// For what 50 requests and their connections may take.
const ROOM_KIB: u64 = 16 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_hangs_takes_nothing_from_another() {
    let (well, hung) = (App::start("well").await, App::start("hung").await);
    let mesh = Mesh::new();
    let policy = format!(
        "limits: {{connections: {LIMIT}, pending: {LIMIT}, requests: {LIMIT}}}\n  timeouts: {{request: 60s}}"
    );
    mesh.publish(&all(&[
        service("shop", &[]),
        service("well", &[well.addr]),
        service("hung", &[hung.addr]),
        backend_policy("hung", &policy),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let before_kib = shop.process.resident_kib();

    let mut plan = Plan::new(shop.outbound, "hung", RATE);
    plan.path = "/never".to_owned();
    let hanging = Load::start(plan);
    let full = async || (hung.requests() >= LIMIT && !hanging.so_far().failed.is_empty()).then_some(());
    eventually(DEADLINE, "the limit", full).await;
    let load = Load::start(Plan::new(shop.outbound, "well", RATE));
    eventually(DEADLINE, "the requests", async || (load.so_far().sent >= REQUESTS).then_some(())).await;
    let report = load.stop().await;
    println!("p50 {:?}, p99 {:?} beside it", report.latency(0.5), report.latency(0.99));
    assert_eq!(report.succeeded, report.sent, "{:?}", report.reasons());

    let refused = hanging.so_far();
    assert_eq!(hung.requests(), LIMIT);
    assert_eq!(refused.reasons().keys().copied().collect::<Vec<_>>(), ["503 limit_requests"]);
    let grown_kib = shop.process.resident_kib().saturating_sub(before_kib);
    assert!(grown_kib <= ROOM_KIB, "{grown_kib} KiB more");
}
