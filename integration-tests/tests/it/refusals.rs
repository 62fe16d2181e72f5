//! What is wrong is refused, with a sentence, and the old state stays.

use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::mesh::{Sidecar, said};
use outrigger_integration_tests::{App, Mesh, Metrics, Proxy, client, eventually};

use crate::config::{all, backends, route, service};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_push_names_every_problem_and_applies_nothing() {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    let control_plane = mesh.control_plane("one").await;
    control_plane.apply(&mesh, &all(&[service("shop", &[]), service("cart", &[app.addr])]));
    mesh.published().await;
    let resources = || said(&control_plane.outrigger(&mesh, "get", &["-o", "yaml"]));
    let before = resources();
    let wrong = all(&[
        service("late", &[app.addr]),
        route("cart", &[backends(&[("crat", 1)])]),
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {name: x}\nspec:\n  prots: [{port: 80}]".to_owned(),
    ]);
    let out = control_plane.try_apply(&mesh, &wrong);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    for expected in ["prots", "ports", "crat", "cart", "config-1.yaml"] {
        assert!(said(&out).contains(expected), "no {expected} in {}", said(&out));
    }
    assert_eq!(resources(), before, "nothing of it was applied");
    let out = control_plane.outrigger(&mesh, "get", &["Service/late"]);
    assert!(!out.status.success(), "{}", said(&out));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_release_is_refused_and_the_old_plan_stays() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[old.addr])]));
    let mut shop = mesh.proxy("shop").await;
    shop.ready().await;
    shop.process.freeze();
    let known = objects(&mesh);
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[new.addr])]));
    for object in objects(&mesh).into_iter().filter(|object| !known.contains(object)) {
        let mut bytes = std::fs::read(&object).expect("an object can be read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(&object, bytes).expect("an object can be overwritten");
    }
    shop.process.unfreeze();
    eventually(DEADLINE, "the refusal is counted", async || {
        (Metrics::of(shop.metrics).await?.sum(&["outrigger_snapshot_refusals_total{"]) > 0).then_some(())
    })
    .await;
    let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
    assert_eq!((answer.status, answer.header("x-app")), (StatusCode::OK, "old"));
    assert!(shop.process.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_signed_by_a_stranger_is_refused() {
    let (ours, theirs) = (App::start("ours").await, App::start("theirs").await);
    let (mesh, stranger) = (Mesh::new(), Mesh::new());
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[ours.addr])]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    stranger.publish(&all(&[service("shop", &[]), service("cart", &[theirs.addr])]));
    std::fs::rename(mesh.store(), mesh.folder().join("away")).expect("the store is there");
    std::fs::rename(stranger.store(), mesh.store()).expect("both lie on one disk");
    eventually(DEADLINE, "the refusal is counted", async || {
        (Metrics::of(shop.metrics).await?.sum(&["outrigger_snapshot_refusals_total{"]) > 0).then_some(())
    })
    .await;
    assert_eq!(client::fetch(shop.outbound, "cart", "/").await.unwrap().header("x-app"), "ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_with_its_flag() {
    let mesh = Mesh::new();
    mesh.publish(&service("shop", &[]));
    let mut first = mesh.proxy("shop").await;
    first.ready().await;
    // The other holder is a second Outrigger.
    let arguments = ["--outbound".to_owned(), first.outbound.to_string()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut second = Proxy::start_unchecked(&mesh, Sidecar::beside("shop").node("second").with(&arguments));
    let status = second.ended(DEADLINE).await;
    assert!(!status.success());
    let log = second.log();
    for expected in [first.outbound.to_string().as_str(), "--outbound"] {
        assert!(log.contains(expected), "no {expected} in {log}");
    }
    assert!(first.process.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_store_is_explained() {
    let mesh = Mesh::new();
    let mut proxy = Proxy::start_unchecked(&mesh, Sidecar::beside("shop"));
    let status = proxy.ended(DEADLINE).await;
    assert!(!status.success());
    assert!(proxy.log().contains(&*mesh.store().to_string_lossy()), "{}", proxy.log());
}

/// The files below `objects/`.
fn objects(mesh: &Mesh) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![mesh.store().join("objects")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the folder is there").flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found
}
