//! Calls whose caller has gone: what they take of a workload until it is done with them.

use std::time::Duration;

use http::{Method, Version};
use outrigger_integration_tests::app::slots::Slots;
use outrigger_integration_tests::client::{self, Connection};
use outrigger_integration_tests::frames::FrameApp;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{Mesh, Metrics, Proxy, eventually};
use tokio::task::JoinSet;

use crate::config::service_of;

const DEADLINE: Duration = Duration::from_secs(20);
const CALLERS: usize = 5;
/// Long enough for everything that is looked at meanwhile, and less than the 10 s after which a request counts no more.
const WORK: Duration = Duration::from_secs(4);
/// Well before those 10 s.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A workload's sidecar, and callers whose requests are under way.
async fn beside(protocol: &str, app: std::net::SocketAddr) -> (Mesh, Proxy, JoinSet<()>) {
    let mesh = Mesh::new();
    mesh.publish(&service_of("cart", protocol, &[]));
    let cart = Proxy::start(&mesh, Sidecar::beside("cart").inbound_to(app)).await;
    cart.ready().await;
    let inbound = cart.inbound.expect("it takes calls");
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(async move {
            let mut connection = Connection::open(inbound, Version::HTTP_11).await.expect("it listens");
            let _ = connection.send(client::request(Method::GET, "cart", "/", "")).await;
        });
    }
    (mesh, cart, callers)
}

/// Requests that the sidecar carries, and those that count as the workload's.
async fn counts(cart: &Proxy) -> (u64, u64) {
    let metrics = Metrics::of(cart.metrics).await.expect("metrics are served");
    (metrics.sum(&["http_server_active_requests{"]), metrics.sum(&["outrigger_overload_in_flight{"]))
}

async fn until(cart: &Proxy, expected: (u64, u64)) {
    until_in(DEADLINE, cart, expected).await;
}

async fn until_in(deadline: Duration, cart: &Proxy, expected: (u64, u64)) {
    let what = format!("{expected:?} are under way");
    eventually(deadline, &what, async || (counts(cart).await == expected).then_some(())).await;
}

/// Over HTTP/1.1 nothing tells a workload that nobody waits: it works on, and has no room for others before it is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_is_not_told_is_busy_until_it_has_answered() {
    let app = Slots::start(CALLERS, || WORK).await;
    let (_mesh, cart, mut callers) = beside("HTTP", app.addr).await;
    let all = CALLERS as u64;
    until(&cart, (all, all)).await;
    callers.shutdown().await;
    until(&cart, (0, all)).await;
    assert_eq!(app.abandoned(), 0, "its connections are kept");
    until(&cart, (0, 0)).await;
    assert_eq!((app.requests(), app.abandoned()), (all, 0), "each was answered");
}

/// Over HTTP/2 it is told at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_is_told_is_free_at_once() {
    let app = FrameApp::start(|_, _| Vec::new()).await;
    let (_mesh, cart, mut callers) = beside("HTTP2", app.addr).await;
    let all = CALLERS as u64;
    until(&cart, (all, all)).await;
    assert_eq!(app.resets(), 0);
    callers.shutdown().await;
    eventually(AT_ONCE, "it is told", async || (app.resets() as usize == CALLERS).then_some(())).await;
    until_in(AT_ONCE, &cart, (0, 0)).await;
}
