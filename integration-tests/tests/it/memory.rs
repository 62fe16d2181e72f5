//! What a sidecar needs when much is pushed while much is going on.

use std::env;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, Version};
use outrigger_integration_tests::client::{self, Connection};
use outrigger_integration_tests::{App, Mesh, Metrics, Proxy, eventually};
use tokio::task::JoinSet;

use crate::config::{all, backend_policy, backends, route, service};

const DEADLINE: Duration = Duration::from_secs(60);
const ROUTES: usize = 10_000;
/// As many rules as one route of the Gateway API holds.
const RULES_OF_A_ROUTE: usize = 16;
const STREAMS: usize = 1_000;
const CONNECTIONS: usize = 20;
/// Pushes, unless `OUTRIGGER_MEMORY_PUSHES` says otherwise.
const PUSHES: usize = 40;
const SLACK_KIB: u64 = 32 * 1024;
/// Endpoints that are replaced by each push, and how often.
const CHURN: usize = 2_000;
const CHURN_PUSHES: usize = 60;
/// Of what was replaced, a few plans may be held for a moment; all of them would be more than twice this.
const CHURN_SLACK_KIB: u64 = 16 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn long_streams_hold_no_plans() {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    let control_plane = mesh.control_plane("one").await;
    control_plane.apply(&mesh, &all(&[service("shop", &[]), service("cart", &[app.addr])]));
    mesh.published().await;
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let streams = open_streams(&shop, &app).await;
    let before = shop.process.resident_kib();

    let mut applied = applies(&shop).await.expect("the metrics page is there");
    control_plane.apply(&mesh, &many_routes());
    applied = one_more_apply(&shop, applied).await;
    let plan = shop.process.resident_kib().saturating_sub(before);

    let pushes =
        env::var("OUTRIGGER_MEMORY_PUSHES").map_or(PUSHES, |pushes| pushes.parse().expect("a number"));
    for push in 0..pushes {
        control_plane
            .apply(&mesh, &backend_policy("cart", &format!("timeouts: {{connect: {}ms}}", 2001 + push)));
        applied = one_more_apply(&shop, applied).await;
    }
    let after = shop.process.resident_kib();
    assert_eq!(streams.len(), STREAMS, "every stream is still open");
    let bound = before + 2 * plan + SLACK_KIB;
    assert!(
        after <= bound,
        "{before} KiB before, a plan of {plan} KiB, then {after} KiB after {pushes} pushes"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_sidecar_forgets_the_endpoints_of_old_plans() {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    let services = |push: usize| {
        let addresses = (0..CHURN).map(|index| {
            let number = push * CHURN + index;
            SocketAddr::from(([10, (number >> 16) as u8, (number >> 8) as u8, number as u8], 80))
        });
        let many = service("many", &addresses.collect::<Vec<_>>());
        all(&[service("shop", &[]), service("cart", &[app.addr]), many])
    };
    mesh.publish(&services(0));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    // The worker has seen a plan, and will see no other.
    client::fetch(shop.outbound, "cart", "/").await.unwrap();
    let mut applied = applies(&shop).await.expect("the metrics page is there");
    let before = shop.process.resident_kib();
    for push in 1..=CHURN_PUSHES {
        mesh.publish_shrunk(&services(push));
        applied = one_more_apply(&shop, applied).await;
    }
    let after = shop.process.resident_kib();
    assert!(
        after <= before + CHURN_SLACK_KIB,
        "{before} KiB before, {after} KiB after {CHURN_PUSHES} pushes"
    );
}

/// Responses that have begun and do not end, over HTTP/2.
async fn open_streams(shop: &Proxy, app: &App) -> JoinSet<()> {
    let mut streams = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let connection = Connection::open(shop.outbound, Version::HTTP_2).await.expect("the sidecar listens");
        let connection = std::sync::Arc::new(tokio::sync::Mutex::new(connection));
        for _ in 0..STREAMS / CONNECTIONS {
            let request = client::request2(Method::GET, "cart", "/stall", "");
            let begun = connection.lock().await.begin(request).await.expect("the head comes");
            streams.spawn(async move {
                // Held, and not read: it ends with the test.
                let _begun = begun;
                std::future::pending().await
            });
        }
    }
    eventually(DEADLINE, "all streams are open", async || (app.requests() >= STREAMS as u64).then_some(()))
        .await;
    streams
}

async fn one_more_apply(shop: &Proxy, before: u64) -> u64 {
    eventually(DEADLINE, "the push is applied", async || applies(shop).await.filter(|count| *count > before))
        .await
}

async fn applies(shop: &Proxy) -> Option<u64> {
    Some(Metrics::of(shop.metrics).await?.sum(&["outrigger_snapshot_applies_total "]))
}

fn many_routes() -> String {
    let rule = |number: usize| {
        format!(
            "matches: [{{path: {{type: PathPrefix, value: /route/{number}}}}}]\n{}",
            backends(&[("cart", 1)])
        )
    };
    let routes: Vec<String> = (0..ROUTES)
        .step_by(RULES_OF_A_ROUTE)
        .map(|first| {
            let rules: Vec<String> = (first..ROUTES.min(first + RULES_OF_A_ROUTE)).map(rule).collect();
            route("cart", &rules).replacen(
                "metadata: {name: cart}",
                &format!("metadata: {{name: cart-{first}}}"),
                1,
            )
        })
        .collect();
    all(&routes)
}
