//! What sidecars report, from the sidecar to the person who asks.

use std::time::Duration;

use http::{HeaderValue, Method};
use outrigger_integration_tests::app::raw::{End, RawApp};
use outrigger_integration_tests::mesh::{Sidecar, said};
use outrigger_integration_tests::{App, ControlPlane, Mesh, Metrics, Proxy, client, eventually};
use serde_json::Value;

use crate::config::{all, service};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_each_sidecar_that_reports_what_it_runs_and_how_old() {
    let mesh = Mesh::new();
    let control_plane = mesh.control_plane("one").await;
    control_plane.apply(&mesh, &all(&[service("shop", &[]), service("cart", &[])]));
    mesh.published().await;
    let none = control_plane.outrigger(&mesh, "status", &[]);
    assert!(said(&none).contains("none reports"), "{}", said(&none));
    let url = format!("http://{}", control_plane.api);
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").node("s1").with(&["--report", &url])).await;
    let _cart = Proxy::start(&mesh, Sidecar::beside("cart").node("c1").with(&["--report", &url])).await;
    covered(&mesh, &control_plane, 2, 2, 1).await;
    let table = said(&control_plane.outrigger(&mesh, "status", &[]));
    for part in ["proxies    2 reporting, 2 current", "default/shop", "s1", "default/cart", "c1"] {
        assert!(table.contains(part), "no {part:?} in {table}");
    }
    let row = table.lines().find(|line| line.trim().starts_with("default/shop")).expect("checked above");
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(&words[..3], ["default/shop", "s1", "1"], "service, node, release: {row}");
    assert!(words[3].ends_with('s') && words[4].ends_with('s'), "since when, seen how long ago: {row}");
    assert_eq!(words.last(), Some(&"current"), "{row}");

    // One that stands still while something new is published is behind.
    shop.process.freeze();
    control_plane.apply(&mesh, &service("late", &[]));
    covered(&mesh, &control_plane, 2, 1, 2).await;
    shop.process.unfreeze();
    let status = covered(&mesh, &control_plane, 2, 2, 2).await;
    let newest = &status["release"]["release"];
    for proxy in status["proxies"].as_array().expect("a list") {
        assert_eq!(&proxy["report"]["running"]["n"], newest, "{proxy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_learns_with_how_many_it_shares_a_budget() {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    let control_plane = mesh.control_plane("one").await;
    control_plane.apply(&mesh, &all(&[service("shop", &[]), service("cart", &[app.addr])]));
    mesh.published().await;
    let url = format!("http://{}", control_plane.api);
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").node("s1").with(&["--report", &url])).await;
    shop.ready().await;
    let peers = async || {
        let dump = client::page(shop.admin, "/config_dump").await.ok()?.json();
        dump["facts"]["clusters"]["default/cart:80"]["peers"].as_u64()
    };
    assert_eq!(peers().await, Some(16), "what is taken while nobody has counted");
    assert_eq!(client::fetch(shop.outbound, "cart", "/").await.unwrap().header("x-app"), "cart");
    eventually(DEADLINE, "the call is reported", async || {
        let out = control_plane.outrigger(&mesh, "status", &["-o", "json"]);
        let status: Value = serde_json::from_slice(&out.stdout).ok()?;
        (status["proxies"][0]["report"]["calls"] == serde_json::json!(["default/cart:80"])).then_some(())
    })
    .await;

    // Sixteen more, as they would report.
    for number in 0..16 {
        let calls = ["default/cart:80", "default/not-of-this-mesh:80"];
        let report = serde_json::json!({
            "node": format!("other-{number}"), "service": "default/shop", "version": "0", "calls": calls,
        });
        let address = control_plane.api.to_string();
        let mut post = client::request(Method::POST, &address, "/v1/reports", report.to_string());
        post.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        let taken = client::send(control_plane.api, post).await.unwrap();
        assert_eq!(taken.status, 200, "{}", taken.text());
    }
    eventually(DEADLINE, "17 callers share", async || (peers().await? == 32).then_some(())).await;
    let status = control_plane.outrigger(&mesh, "status", &["-o", "json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["release"]["revision"], 1, "nobody has pushed");
    assert_eq!(status["release"]["release"], 2, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_reports_needs_no_control_plane() {
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[])]));
    let folder = mesh.folder().join("reports").display().to_string();
    let store = mesh.store().display().to_string();
    let url = format!("file://{folder}");
    let reporting = Sidecar::beside("shop").node("s1").with(&["--report", &url]);
    let _shop = Proxy::start(&mesh, reporting).await;
    let status = || mesh.outrigger(["status", &store, "--reports", &folder]);
    eventually(DEADLINE, "the report is there", async || {
        said(&status()).contains("1 reporting, 1 current").then_some(())
    })
    .await;
    std::fs::write(format!("{folder}/stray.json"), "{}").unwrap();
    std::fs::write(format!("{folder}/notes.txt"), "nothing to do with it").unwrap();
    let out = status();
    assert_eq!(out.status.code(), Some(0));
    let (table, remarks) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    for part in ["release    1, of revision 1", "default/shop", "s1", "current"] {
        assert!(table.contains(part), "no {part:?} in {table}");
    }
    assert!(remarks.contains("left out") && remarks.contains("stray.json"), "{remarks}");
    assert!(!remarks.contains("notes.txt"), "{remarks}");

    let control_plane = mesh.control_plane("one").await;
    let both = said(&control_plane.outrigger(&mesh, "status", &["--reports", &folder]));
    assert!(both.contains("1 reporting, 1 current"), "{both}");
    let nowhere = mesh.outrigger(["status", &store, "--reports", "/nowhere/at/all"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(said(&nowhere).contains("/nowhere/at/all (--reports)"), "{}", said(&nowhere));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_fails_is_only_a_metric() {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    // Nobody listens; somebody does who can't; a file where a folder should be.
    let failing = RawApp::start(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", End::Close).await;
    let failing = format!("http://{}", failing.addr);
    let no_folder = mesh.file("").display().to_string();
    for (number, url) in ["http://127.0.0.1:9", &failing, &no_folder].into_iter().enumerate() {
        let node = format!("n{number}");
        let mut shop =
            Proxy::start(&mesh, Sidecar::beside("shop").node(&node).with(&["--report", url])).await;
        shop.ready().await;
        let failed = ["outrigger_reports_total{result=\"failed\"}"];
        eventually(DEADLINE, "the failure is counted", async || {
            (Metrics::of(shop.metrics).await?.sum(&failed) > 0).then_some(())
        })
        .await;
        for _ in 0..20 {
            assert_eq!(client::fetch(shop.outbound, "cart", "/").await.unwrap().header("x-app"), "cart");
        }
        shop.ready().await;
        assert_eq!(shop.drain().await.code(), Some(0), "{}", shop.process.log());
    }
}

/// Waits until `status` counts so many sidecars, of which `current` run release `release`, the newest.
async fn covered(
    mesh: &Mesh,
    control_plane: &ControlPlane,
    reporting: u64,
    current: u64,
    release: u64,
) -> Value {
    let what = format!("{reporting} report, {current} run release {release}");
    eventually(DEADLINE, &what, async || {
        let out = control_plane.outrigger(mesh, "status", &["-o", "json"]);
        let status: Value = serde_json::from_slice(&out.stdout).ok()?;
        let coverage = &status["coverage"];
        let is = coverage["reporting"] == reporting
            && coverage["current"] == current
            && status["release"]["release"] == release;
        is.then_some(status)
    })
    .await
}
