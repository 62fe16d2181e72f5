//! Idempotent traffic to three endpoints while things happen to them: nobody who asks may notice.

use std::time::Duration;

use outrigger_integration_tests::load::{Plan, Report};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Load, Mesh, Proxy, eventually, port};

use crate::config::{all, backend_policy, service};

/// A second.
const RATE: u32 = 500;
/// That must succeed after a fault.
const REQUESTS: u64 = 2_500;
const DEADLINE: Duration = Duration::from_secs(60);

/// Three sidecars with an application each, all of one service, and a caller.
struct Site {
    apps: Vec<App>,
    endpoints: Vec<Proxy>,
    shop: Proxy,
    _mesh: Mesh,
}

impl Site {
    async fn start() -> Self {
        let (mesh, addresses) = (Mesh::new(), [port::free(), port::free(), port::free()]);
        let policy = backend_policy("cart", "timeouts: {try: 1s}");
        mesh.publish(&all(&[service("shop", &[]), service("cart", &addresses), policy]));
        let (mut apps, mut endpoints) = (Vec::new(), Vec::new());
        for (index, address) in addresses.into_iter().enumerate() {
            let app = App::start(&format!("cart-{index}")).await;
            let sidecar = Sidecar::beside("cart").node(&format!("cart-{index}")).inbound_to(app.addr);
            let endpoint = Proxy::start_inbound(&mesh, sidecar, address).await;
            endpoint.ready().await;
            apps.push(app);
            endpoints.push(endpoint);
        }
        let shop = mesh.proxy("shop").await;
        shop.ready().await;
        Self { apps, endpoints, shop, _mesh: mesh }
    }

    fn load(&self) -> Load {
        Load::start(Plan::new(self.shop.outbound, "cart", RATE))
    }
}

/// Waits for as many requests as it takes to see what came of something.
async fn go_on(load: &Load) {
    let until = load.so_far().sent + REQUESTS;
    eventually(DEADLINE, "the requests", async || (load.so_far().sent >= until).then_some(())).await;
}

fn unnoticed(what: &str, report: &Report) {
    println!(
        "{what}: {} of {}; p50 {:?}, p99 {:?}, longest {:?}; {:?}",
        report.succeeded,
        report.sent,
        report.latency(0.5),
        report.latency(0.99),
        report.latency(1.0),
        report.by_app,
    );
    assert_eq!(report.succeeded, report.sent, "{what}: {:?}", report.reasons());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_goes_unnoticed() {
    let mut site = Site::start().await;
    let load = site.load();
    go_on(&load).await;
    for endpoint in &mut site.endpoints {
        endpoint.drain().await;
        endpoint.restart().await;
        endpoint.ready().await;
        go_on(&load).await;
    }
    unnoticed("rolling restart", &load.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_endpoint_goes_unnoticed() {
    let mut site = Site::start().await;
    let load = site.load();
    go_on(&load).await;
    site.endpoints[0].process.kill();
    go_on(&load).await;
    site.endpoints[0].restart().await;
    go_on(&load).await;
    unnoticed("kill -9", &load.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_endpoint_goes_unnoticed() {
    let site = Site::start().await;
    let load = site.load();
    go_on(&load).await;
    site.endpoints[0].process.freeze();
    go_on(&load).await;
    site.endpoints[0].process.unfreeze();
    go_on(&load).await;
    unnoticed("stopped", &load.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_half_of_its_requests_goes_unnoticed() {
    let site = Site::start().await;
    let load = site.load();
    go_on(&load).await;
    site.apps[0].fail_half(true);
    go_on(&load).await;
    site.apps[0].fail_half(false);
    go_on(&load).await;
    unnoticed("half 503", &load.stop().await);
}
