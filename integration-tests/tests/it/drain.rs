//! The end of a sidecar: what was accepted is finished.

use std::time::Duration;

use http::{Method, StatusCode, Version};
use outrigger_integration_tests::gateway::{Gateway, at, gateway, http, route};
use outrigger_integration_tests::load::Plan;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Failure, Load, Mesh, Proxy, client, eventually, port};

use crate::config::{all, service};

const DEADLINE: Duration = Duration::from_secs(30);

async fn fixture(arguments: &[&str]) -> (Mesh, App, Proxy) {
    fixture_of(1, arguments).await
}

async fn fixture_of(workers: u32, arguments: &[&str]) -> (Mesh, App, Proxy) {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").workers(workers).with(arguments)).await;
    shop.ready().await;
    (mesh, app, shop)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_accepted_request_is_dropped() {
    for (version, keep_alive) in
        [(Version::HTTP_11, false), (Version::HTTP_2, false), (Version::HTTP_2, true)]
    {
        for workers in [1, 2] {
            let (_mesh, _app, mut shop) = fixture_of(workers, &["--drain-grace", "500ms"]).await;
            let mut plan = Plan::new(shop.outbound, "cart", 400);
            plan.path = "/slow/30".to_owned();
            plan.keep_alive = keep_alive;
            plan.version = version;
            let load = Load::start(plan);
            eventually(DEADLINE, "traffic flows", async || (load.succeeded() >= 200).then_some(())).await;
            let before = load.succeeded();
            let status = shop.drain().await;
            let report = load.stop().await;
            assert_eq!(status.code(), Some(0), "{version:?}, {workers} workers");
            // A kept HTTP/2 connection is told to go (GOAWAY). This client does not repeat what it had not sent by then, as RFC 9113 §6.8
            // lets it; anything else would be the proxy's doing.
            let told = |reason: &str| keep_alive && (reason == "closed" || reason.contains("GoAway"));
            let dropped: Vec<_> =
                report.reasons().into_keys().filter(|reason| *reason != "refused" && !told(reason)).collect();
            assert!(
                dropped.is_empty(),
                "{version:?}, kept: {keep_alive}, {workers} workers: of {} requests failed {:?}",
                report.sent,
                report.reasons()
            );
            assert!(report.succeeded > before, "new connections are taken for a grace");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_is_finished_and_its_client_told_to_go() {
    let (_mesh, app, mut shop) = fixture(&["--drain-grace", "100ms"]).await;
    let slow = tokio::spawn(client::fetch(shop.outbound, "cart", "/slow/1500"));
    eventually(DEADLINE, "the request has come through", async || (app.requests() == 1).then_some(())).await;
    let status = shop.drain().await;
    let answer = slow.await.expect("the client does not panic").expect("it is answered");
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(status.code(), Some(0));
    assert_eq!(client::fetch(shop.outbound, "cart", "/").await.unwrap_err(), Failure::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlives_the_deadline_is_cut() {
    let (_mesh, app, mut shop) = fixture(&["--drain-grace", "100ms", "--drain-deadline", "1s"]).await;
    let endless = tokio::spawn(client::fetch(shop.outbound, "cart", "/stall"));
    eventually(DEADLINE, "the request has come through", async || (app.requests() == 1).then_some(())).await;
    shop.process.terminate();
    shop.process.ended(DEADLINE).await;
    assert!(endless.await.expect("the client does not panic").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_goes_first_and_sigint_is_quick() {
    let (_mesh, app, mut shop) = fixture(&["--drain-grace", "20s"]).await;
    shop.process.terminate();
    eventually(DEADLINE, "it is not ready any more", async || {
        let page = client::page(shop.admin, "/ready").await.ok()?;
        (page.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    assert_eq!(
        client::fetch(shop.outbound, "cart", "/").await.unwrap().status,
        StatusCode::OK,
        "within the grace"
    );
    let stuck = tokio::spawn(client::fetch(shop.outbound, "cart", "/never"));
    eventually(DEADLINE, "a request that never ends is there", async || (app.requests() == 2).then_some(()))
        .await;
    shop.process.interrupt();
    shop.process.ended(Duration::from_secs(5)).await;
    assert!(stuck.await.expect("the client does not panic").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_page_can_start_a_drain() {
    let (_mesh, _app, mut shop) = fixture(&["--drain-grace", "100ms"]).await;
    assert_eq!(client::page(shop.admin, "/drain").await.unwrap().status, StatusCode::METHOD_NOT_ALLOWED);
    let post = client::request(Method::POST, "localhost", "/drain", "");
    assert!(client::send(shop.admin, post).await.unwrap().status.is_success());
    assert_eq!(shop.process.ended(DEADLINE).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_of_a_gateway_drops_no_accepted_request() {
    for (version, workers) in [(Version::HTTP_11, "1"), (Version::HTTP_11, "2"), (Version::HTTP_2, "2")] {
        let (mesh, shop) = (Mesh::new(), App::start("shop").await);
        let port = port::free().port();
        let resources = [gateway(&[http("web", port)]), service("shop", &[shop.addr]), route("shop", &[])];
        mesh.publish(&all(&resources));
        let mut edge = Gateway::start(&mesh, "edge", &["--workers", workers]).await;
        edge.ready().await;
        let mut plan = Plan::new(at(port), "shop.test", 400);
        plan.path = "/slow/30".to_owned();
        plan.keep_alive = false;
        plan.version = version;
        let load = Load::start(plan);
        eventually(DEADLINE, "traffic flows", async || (load.succeeded() >= 200).then_some(())).await;
        let before = load.succeeded();
        edge.process.terminate();
        assert_eq!(edge.process.ended(DEADLINE).await.code(), Some(0), "{version:?}, {workers} workers");
        let report = load.stop().await;
        let dropped: Vec<_> = report.reasons().into_keys().filter(|reason| *reason != "refused").collect();
        assert!(dropped.is_empty(), "{version:?}, {workers} workers: {:?}", report.reasons());
        assert!(report.succeeded > before, "new connections are taken for a grace");
    }
}
