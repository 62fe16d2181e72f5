//! A snapshot that kills the sidecar which applies it is not applied for ever.

use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::mesh::said;
use outrigger_integration_tests::{App, Mesh, client, eventually};

use crate::config::{all, backends, route, service};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn two_deaths_after_an_apply_bring_the_one_before_back() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let mesh = Mesh::new();
    let to = |name: &str| {
        all(&[
            service("shop", &[]),
            service("cart", &[]),
            service("old", &[old.addr]),
            service("new", &[new.addr]),
            route("cart", &[backends(&[(name, 1)])]),
        ])
    };
    mesh.publish(&to("old"));
    let mut shop = mesh.proxy("shop").await;
    shop.ready().await;
    // Only what has run for half a minute is something to go back to.
    shop.remembers("\"settled\":{").await;
    mesh.publish(&to("new"));
    for _ in 0..2 {
        let outbound = shop.outbound;
        eventually(DEADLINE, "the new policy is applied", async || {
            (client::fetch(outbound, "cart", "/").await.ok()?.header("x-app") == "new").then_some(())
        })
        .await;
        shop.process.kill();
        shop.restart().await;
        shop.ready().await;
    }
    let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
    assert_eq!((answer.status, answer.header("x-app")), (StatusCode::OK, "old"), "after the second death");

    shop.process.terminate();
    shop.process.ended(DEADLINE).await;
    let state = mesh.state("shop");
    let out = mesh.outrigger(["unquarantine", "--state-dir", &state.to_string_lossy()]);
    assert!(out.status.success(), "{}", said(&out));
    shop.restart().await;
    eventually(DEADLINE, "let out of quarantine, it is applied again", async || {
        (client::fetch(shop.outbound, "cart", "/").await.ok()?.header("x-app") == "new").then_some(())
    })
    .await;
}
