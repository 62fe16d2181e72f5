//! From clear text to mutual TLS, as docs/IDENTITY.md tells it, under load: nobody notices.

use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::app::App;
use outrigger_integration_tests::load::{Load, Plan};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::pki::Authority;
use outrigger_integration_tests::{Mesh, Metrics, Proxy, client, eventually, port};

use crate::config::{all, service};

const DEADLINE: Duration = Duration::from_secs(20);
const PLAINTEXT: &str = "outrigger_plaintext_requests_total";
/// Requests that must pass before a counter is said to stand still.
const WATCHED: u64 = 100;

/// Two carts, and shops that call them.
struct Site {
    authority: Authority,
    mesh: Mesh,
    apps: [App; 2],
    carts: [Proxy; 2],
}

impl Site {
    async fn new() -> Self {
        let (authority, mesh) = (Authority::new(), Mesh::new());
        let apps = [App::start("one").await, App::start("two").await];
        let at = [port::free(), port::free()];
        mesh.publish(&all(&[service("shop", &[]), service("cart", &at)]));
        let [one, two] = ["one", "two"].map(|node| Sidecar::beside("cart").node(node));
        let carts = [
            Proxy::start_inbound(&mesh, one.inbound_to(apps[0].addr), at[0]).await,
            Proxy::start_inbound(&mesh, two.inbound_to(apps[1].addr), at[1]).await,
        ];
        for cart in &carts {
            cart.ready().await;
        }
        Self { authority, mesh, apps, carts }
    }

    /// A sidecar that calls the carts, with an identity or without.
    async fn shop(&self, node: &str, proves: bool) -> Proxy {
        let mut shop = Sidecar::beside("shop").node(node);
        if proves {
            shop = shop.proving(&self.authority.identify(self.mesh.folder(), "shop"));
        }
        let shop = Proxy::start(&self.mesh, shop).await;
        shop.ready().await;
        shop
    }

    fn push(&self, mtls: &str) {
        let at = [0, 1].map(|index: usize| self.carts[index].inbound.expect("it takes calls"));
        self.mesh.publish(&all(&[self.authority.mesh(mtls), service("shop", &[]), service("cart", &at)]));
    }

    /// Gives each cart an identity, one after the other: it leaves in order and comes back at its place.
    async fn identify(&mut self) {
        let pair = self.authority.identify(self.mesh.folder(), "cart");
        for (index, node) in ["one", "two"].into_iter().enumerate() {
            let at = self.carts[index].inbound.expect("it takes calls");
            assert!(self.carts[index].drain().await.success());
            let sidecar = Sidecar::beside("cart").node(node).inbound_to(self.apps[index].addr).proving(&pair);
            self.carts[index] = Proxy::start_inbound(&self.mesh, sidecar, at).await;
            self.carts[index].ready().await;
        }
    }

    async fn plaintext(&self) -> u64 {
        let mut sum = 0;
        for cart in &self.carts {
            sum += Metrics::of(cart.metrics).await.expect("it serves metrics").sum(&[PLAINTEXT]);
        }
        sum
    }
}

async fn passes(load: &Load, requests: u64) {
    let before = load.succeeded();
    eventually(DEADLINE, "calls go on", async || (load.succeeded() >= before + requests).then_some(())).await;
}

/// The sum of the handshakes that a sidecar has begun and ended well.
async fn handshakes(shop: &Proxy) -> u64 {
    let metrics = Metrics::of(shop.metrics).await.expect("it serves metrics");
    metrics.sum(&["outrigger_tls_handshakes_total", "result=\"ok\""])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_in_clear_text_becomes_strict_without_a_failed_request() {
    let mut site = Site::new().await;
    let late = site.shop("late", false).await;
    let load = Load::start(Plan::new(late.outbound, "cart", 50));
    passes(&load, WATCHED).await;

    // 1. Identities, one after the other, and nothing changes.
    site.identify().await;
    let early = site.shop("early", true).await;
    let early_load = Load::start(Plan::new(early.outbound, "cart", 50));
    passes(&load, WATCHED).await;
    passes(&early_load, WATCHED).await;

    // 2. Who is believed, and nothing changes.
    site.push("Disabled");
    for proxy in site.carts.iter().chain([&early]) {
        eventually(DEADLINE, "it knows whom to believe", async || {
            let metrics = Metrics::of(proxy.metrics).await?;
            (metrics.sum(&["outrigger_certificate_expiry_timestamp_seconds", "role=\"root\""]) > 0)
                .then_some(())
        })
        .await;
    }
    passes(&load, WATCHED).await;
    assert_eq!((site.plaintext().await, handshakes(&early).await), (0, 0));

    // 3. Permissive: who can prove itself does, and the others are counted.
    site.push("Permissive");
    eventually(DEADLINE, "it proves itself", async || (handshakes(&early).await > 0).then_some(())).await;
    eventually(DEADLINE, "the other is counted", async || (site.plaintext().await > 0).then_some(())).await;
    passes(&early_load, WATCHED).await;

    // 4. The last caller gets its identity, and the counter stands still.
    let last = site.shop("last", true).await;
    let last_load = Load::start(Plan::new(last.outbound, "cart", 50));
    passes(&last_load, WATCHED).await;
    let report = load.stop().await;
    assert!(report.failed.is_empty(), "{:?}", report.reasons());
    let before = site.plaintext().await;
    passes(&last_load, WATCHED).await;
    passes(&early_load, WATCHED).await;
    assert_eq!(site.plaintext().await, before, "nobody calls in clear text any more");

    // 5. Strict: whoever was left behind is told so.
    site.push("Strict");
    eventually(DEADLINE, "clear text is refused", async || {
        let answer = client::fetch(late.outbound, "cart", "/").await.ok()?;
        ((answer.status, answer.reason()) == (StatusCode::FORBIDDEN, "identity_required")).then_some(())
    })
    .await;
    for load in [early_load, last_load] {
        passes(&load, WATCHED).await;
        let report = load.stop().await;
        assert!(report.failed.is_empty(), "{:?}", report.reasons());
    }
}
