//! Endpoints that are not well, seen from a running sidecar.

use std::collections::BTreeSet;
use std::time::Duration;

use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::pki::Authority;
use outrigger_integration_tests::{App, Mesh, Metrics, Proxy, client, eventually, port};

use crate::config::{all, backend_policy, service};
use crate::retries::count;

const DEADLINE: Duration = Duration::from_secs(30);
/// Enough for each of two endpoints to get one, by any chance that matters.
const REQUESTS: usize = 40;

/// Who answers requests to the cart.
async fn answerers(shop: &Proxy) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..REQUESTS {
        let answer = client::fetch(shop.outbound, "cart", "/").await.expect("the proxy answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
        names.insert(answer.header("x-app").to_owned());
    }
    names
}

async fn page(shop: &Proxy, path: &str) -> String {
    client::page(shop.admin, path).await.expect("the sidecar has an admin page").text()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_whose_health_page_fails_leaves_traffic_and_returns() {
    let (one, two) = (App::start("one").await, App::start("two").await);
    let mesh = Mesh::new();
    let check = "healthCheck: {http: {path: /health}, interval: 250ms, fastInterval: 250ms, timeout: 250ms}";
    let cart = service("cart", &[one.addr, two.addr]);
    mesh.publish(&all(&[service("shop", &[]), cart, backend_policy("cart", check)]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    eventually(DEADLINE, "both answer", async || {
        (answerers(&shop).await == names(&["one", "two"])).then_some(())
    })
    .await;

    one.sicken(true);
    let why = format!("{}  weight 1  in flight 0", one.addr);
    eventually(DEADLINE, "the page says why it gets nothing", async || {
        let text = page(&shop, "/clusters").await;
        let line = text.lines().find(|line| line.contains(&why))?;
        line.contains("fails its health check: it answered 503").then_some(())
    })
    .await;
    let before = one.requests();
    assert_eq!((answerers(&shop).await, one.requests()), (names(&["two"]), before));

    let turned = ["outrigger_health_check_transitions_total{", "/cart:", "to=\"unhealthy\""];
    assert_eq!(count(&shop, &turned).await, 1);

    one.sicken(false);
    eventually(DEADLINE, "both answer again", async || {
        (answerers(&shop).await == names(&["one", "two"])).then_some(())
    })
    .await;
    let metrics = Metrics::of(shop.metrics).await.expect("metrics are served");
    assert!(metrics.sum(&["outrigger_health_checks_total{result=\"failed\"}"]) > 0, "{}", metrics.text());
    assert!(
        metrics.say(&["outrigger_endpoints_healthy{cluster=\"default/cart:80\"}"], 2),
        "{}",
        metrics.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_nobody_can_reach_is_ejected_and_costs_no_request() {
    let app = App::start("one").await;
    let mesh = Mesh::new();
    let cart = service("cart", &[app.addr, port::free()]);
    mesh.publish(&all(&[
        service("shop", &[]),
        cart,
        backend_policy("cart", "balance: {policy: RoundRobin}"),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    assert_eq!(answerers(&shop).await, names(&["one"]));
    let metrics = Metrics::of(shop.metrics).await.expect("metrics are served");
    assert!(
        metrics.say(&["outrigger_ejections_active{cluster=\"default/cart:80\"}"], 1),
        "{}",
        metrics.text()
    );
    assert!(page(&shop, "/clusters").await.contains("ejected for"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_passes_by_the_certificate_of_the_service_and_no_other() {
    let (authority, mesh) = (Authority::new(), Mesh::new());
    let (one, two) = (App::start("one").await, App::start("two").await);
    let at = [port::free(), port::free()];
    let check = "healthCheck: {http: {path: /health}, interval: 1s, fastInterval: 250ms, timeout: 250ms}";
    mesh.publish(&all(&[
        authority.mesh("Strict"),
        service("shop", &[]),
        service("cart", &at),
        service("front", &[]),
        backend_policy("cart", check),
    ]));
    let pair = |name: &str, proves: &str| {
        let folder = mesh.folder().join(name);
        std::fs::create_dir_all(&folder).expect("the mesh's folder can be written");
        authority.identify(&folder, proves)
    };
    let beside = |app: &App, name: &str, service: &str| {
        Sidecar::beside(service).node(name).inbound_to(app.addr).proving(&pair(name, service))
    };
    let right = beside(&one, "one", "cart");
    let _right = Proxy::start_inbound(&mesh, right, at[0]).await;
    let mut wrong = Proxy::start_inbound(&mesh, beside(&two, "two", "front"), at[1]).await;
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").proving(&pair("shop", "shop"))).await;
    shop.ready().await;
    let healthy = "outrigger_endpoints_healthy{cluster=\"default/cart:80\"}";
    let why = format!("{}  weight 1  in flight 0", at[1]);
    eventually(DEADLINE, "the probe says what is wrong", async || {
        let text = page(&shop, "/clusters").await;
        let line = text.lines().find(|line| line.contains(&why))?;
        (line.contains("fails its health check") && line.contains("certificate")).then_some(())
    })
    .await;
    assert!(Metrics::of(shop.metrics).await.expect("metrics are served").say(&[healthy], 1));
    assert_eq!(answerers(&shop).await, names(&["one"]));
    assert_eq!(two.requests(), 0);

    wrong.process.kill();
    let _mended = Proxy::start_inbound(&mesh, beside(&two, "mended", "cart"), at[1]).await;
    eventually(DEADLINE, "both answer", async || {
        (answerers(&shop).await == names(&["one", "two"])).then_some(())
    })
    .await;
    assert!(Metrics::of(shop.metrics).await.expect("metrics are served").say(&[healthy], 2));
}
