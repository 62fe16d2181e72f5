//! The whole line, once: a push, a control plane, a folder, a sidecar, a request.

use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::mesh::{Sidecar, said};
use outrigger_integration_tests::{App, Mesh, Metrics, Proxy, client, eventually};

use crate::config::{all, backends, route, service};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn apply_reaches_a_sidecar_and_a_request_the_application() {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    let control_plane = mesh.control_plane("one").await;
    control_plane.apply(&mesh, &all(&[service("shop", &[]), service("cart", &[app.addr])]));
    mesh.published().await;
    let shop = mesh.proxy("shop").await;
    shop.ready().await;

    let answer = client::fetch(shop.outbound, "cart", "/checkout?now=1").await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.header("x-app"), "cart");
    assert_eq!(answer.json()["target"], "/checkout?now=1");
    assert_eq!(answer.reason(), "", "the proxy altered nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_takes_effect_without_a_restart() {
    let (one, two) = (App::start("v1").await, App::start("v2").await);
    let mesh = Mesh::new();
    let control_plane = mesh.control_plane("one").await;
    let services = all(&[
        service("shop", &[]),
        service("cart", &[]),
        service("v1", &[one.addr]),
        service("v2", &[two.addr]),
    ]);
    control_plane.apply(&mesh, &services);
    control_plane.apply(&mesh, &route("cart", &[backends(&[("v1", 1), ("v2", 0)])]));
    mesh.published().await;
    let shop = mesh.proxy("shop").await;
    let answered_by = async |name: &str| {
        let answer = client::fetch(shop.outbound, "cart", "/").await.ok()?;
        (answer.header("x-app") == name).then_some(())
    };
    eventually(DEADLINE, "v1 answers", async || answered_by("v1").await).await;
    control_plane.apply(&mesh, &route("cart", &[backends(&[("v1", 0), ("v2", 1)])]));
    eventually(DEADLINE, "v2 answers", async || answered_by("v2").await).await;
    let before = one.requests();
    for _ in 0..50 {
        assert_eq!(client::fetch(shop.outbound, "cart", "/").await.unwrap().header("x-app"), "v2");
    }
    assert_eq!(one.requests(), before, "weight 0 gets nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_needs_no_control_plane() {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    assert_eq!(client::fetch(shop.outbound, "cart", "/").await.unwrap().header("x-app"), "cart");
    assert!(mesh.folder().join("store.key").exists(), "the key lies beside the store, never in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_what_the_proxy_does() {
    let (one, two) = (App::start("v1").await, App::start("v2").await);
    let mesh = Mesh::new();
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[]),
        service("v1", &[one.addr]),
        service("v2", &[two.addr]),
        route(
            "cart",
            &[
                format!("matches: [{{path: {{type: Exact, value: /new}}}}]\n{}", backends(&[("v2", 1)])),
                format!("matches: [{{path: {{type: PathPrefix, value: /old}}}}]\n{}", backends(&[("v1", 1)])),
            ],
        ),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let store = mesh.store();
    for (path, name) in [("/new", "v2"), ("/old/thing", "v1")] {
        let answer = client::fetch(shop.outbound, "cart", path).await.unwrap();
        let out = mesh.outrigger([
            "explain",
            "GET",
            &format!("http://cart{path}"),
            "--store",
            &store.to_string_lossy(),
        ]);
        assert!(out.status.success(), "{}", said(&out));
        assert_eq!(answer.header("x-app"), name);
        assert!(said(&out).contains(&format!("default/{name}:80")), "{path}: {}", said(&out));
    }
    let nowhere = client::fetch(shop.outbound, "cart", "/neither").await.unwrap();
    let out = mesh.outrigger(["explain", "GET", "http://cart/neither", "--store", &store.to_string_lossy()]);
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(!nowhere.reason().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sidecars_make_a_hop() {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let cart = Proxy::start(&mesh, Sidecar::beside("cart").inbound_to(app.addr)).await;
    let inbound = cart.inbound.expect("asked for above");
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[inbound])]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    cart.ready().await;
    let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
    assert_eq!((answer.status, answer.header("x-app")), (StatusCode::OK, "cart"));
    let metrics = Metrics::of(cart.metrics).await.unwrap();
    assert_eq!(metrics.sum(&["outrigger_requests_total{", "inbound"]), 1, "{}", metrics.text());
}
