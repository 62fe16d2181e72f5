//! Replacing the root of a mesh, as docs/IDENTITY.md tells it, with certificates of seconds and under load.

use std::time::Duration;

use outrigger_integration_tests::app::App;
use outrigger_integration_tests::enrol::{self, control_plane, init, keep, token};
use outrigger_integration_tests::load::{Load, Plan};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{Mesh, Metrics, Proxy, eventually, port};

use crate::config::{all, service};
use crate::retries::count;

const DEADLINE: Duration = Duration::from_secs(60);

/// The certificates of one role that a sidecar has.
async fn serials(proxy: &Proxy, role: &str) -> Vec<String> {
    let role = format!("role=\"{role}\"");
    let metrics = Metrics::of(proxy.metrics).await.expect("it serves metrics");
    let lines = metrics.text().lines().filter(|line| line.starts_with("outrigger_certificate_expiry"));
    let serial = |line: &str| line.split("serial=\"").nth(1)?.split('"').next().map(str::to_owned);
    lines.filter(|line| line.contains(&role)).filter_map(serial).collect()
}

/// The certificates in a Mesh resource, as they are written there.
fn bundle(mesh: &str) -> &str {
    mesh.split_once("trustBundle: |\n").expect("certs init wrote it").1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_replaced_under_load_without_a_failed_request() {
    let (mesh, app, inbound) = (Mesh::new(), App::start("cart").await, port::free());
    let old = init(&mesh, enrol::FOLDER, "Strict");
    let (control_plane, at) = control_plane(&mesh, "one", &["--certificate-lifetime", "12s"]).await;
    let push = |believed: &str| {
        let services = [believed.to_owned(), service("shop", &[]), service("cart", &[inbound])];
        control_plane.apply(&mesh, &all(&services));
    };
    push(&old);
    mesh.published().await;
    let sidecar = |service: &str| {
        let file = keep(&mesh, service, &token(&mesh, &control_plane, service, &[]).1);
        // Connections are opened anew all the time.
        Sidecar::beside(service).enrolling(at, &file).with(&["--downstream-age", "200ms"])
    };
    let cart = Proxy::start_inbound(&mesh, sidecar("cart").inbound_to(app.addr), inbound).await;
    let shop = Proxy::start(&mesh, sidecar("shop")).await;
    cart.ready().await;
    shop.ready().await;
    let before = serials(&shop, "intermediate").await;
    let load = Load::start(Plan::new(shop.outbound, "cart", 100));

    // 1. Both are believed.
    let new = init(&mesh, "next", "Strict");
    push(&format!("{}{}", old.trim_end_matches('\n').to_owned() + "\n", bundle(&new)));
    for proxy in [&cart, &shop] {
        eventually(DEADLINE, "both are believed", async || {
            (serials(proxy, "root").await.len() == 2).then_some(())
        })
        .await;
    }
    // 2. The new one makes certificates, and all have one of it.
    for file in ["ca.key", "ca.crt", "root.crt"] {
        std::fs::copy(mesh.folder().join("next").join(file), mesh.folder().join(enrol::FOLDER).join(file))
            .unwrap();
    }
    for proxy in [&cart, &shop] {
        eventually(DEADLINE, "all certificates are the new one's", async || {
            let now = serials(proxy, "intermediate").await;
            (!now.is_empty() && now != before).then_some(())
        })
        .await;
    }
    // 3. The new one alone is believed.
    push(&new);
    for proxy in [&cart, &shop] {
        eventually(DEADLINE, "the new one alone is believed", async || {
            (serials(proxy, "root").await.len() == 1).then_some(())
        })
        .await;
    }
    // And so it goes on.
    for proxy in [&cart, &shop] {
        let renewals = count(proxy, &["outrigger_certificate_renewals_total"]).await;
        eventually(DEADLINE, "certificates are renewed", async || {
            (count(proxy, &["outrigger_certificate_renewals_total"]).await >= renewals + 2).then_some(())
        })
        .await;
        assert_eq!(count(proxy, &["outrigger_certificate_failures_total"]).await, 0);
        assert_eq!(count(proxy, &["outrigger_certificate_refusals_total"]).await, 0);
    }
    let report = load.stop().await;
    let opened = count(&shop, &["outrigger_tls_handshakes_total", "result=\"ok\""]).await;
    assert!(opened > 50, "{opened} connections");
    assert!(report.sent > 500, "{} requests", report.sent);
    assert!(report.failed.is_empty(), "{:?}", report.reasons());
}

/// A new authority that makes certificates before anybody believes it is an accident that must not be passed on.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_the_mesh_does_not_believe_is_not_put_into_force() {
    let (mesh, app, inbound) = (Mesh::new(), App::start("cart").await, port::free());
    let old = init(&mesh, enrol::FOLDER, "Strict");
    let (control_plane, at) = control_plane(&mesh, "one", &["--certificate-lifetime", "20s"]).await;
    control_plane.apply(&mesh, &all(&[old, service("shop", &[]), service("cart", &[inbound])]));
    mesh.published().await;
    let file = keep(&mesh, "cart", &token(&mesh, &control_plane, "cart", &[]).1);
    let cart = Sidecar::beside("cart").enrolling(at, &file).inbound_to(app.addr);
    let cart = Proxy::start_inbound(&mesh, cart, inbound).await;
    cart.ready().await;
    let before = serials(&cart, "leaf").await;
    init(&mesh, "next", "Strict");
    for file in ["ca.key", "ca.crt", "root.crt"] {
        std::fs::copy(mesh.folder().join("next").join(file), mesh.folder().join(enrol::FOLDER).join(file))
            .unwrap();
    }
    cart.process.says("does not prove that it is the control plane of this mesh").await;
    assert_eq!(serials(&cart, "leaf").await, before);
    assert!(count(&cart, &["outrigger_certificate_failures_total"]).await > 0);
}
