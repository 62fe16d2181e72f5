//! The access log of real sidecars: files that are moved, that cannot be written, and what clients write into it.

use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Load, Mesh, Metrics, Proxy, client, eventually, load, port};
use serde_json::Value;

use crate::config::{all, service};

const DEADLINE: Duration = Duration::from_secs(20);

fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

async fn lines(path: &Path, count: usize) -> Vec<Value> {
    let what = format!("{count} lines in {}", path.display());
    eventually(DEADLINE, &what, async || Some(read(path)).filter(|lines| lines.len() >= count)).await
}

fn publish(mesh: &Mesh, app: &App) {
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[app.addr]),
        service("away", &[port::free()]),
    ]));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_a_line_and_the_file_may_be_moved() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    publish(&mesh, &app);
    let (path, moved) = (mesh.folder().join("access.log"), mesh.folder().join("access.log.1"));
    let log = path.display().to_string();
    let mut shop = Proxy::start(&mesh, Sidecar::beside("shop").with(&["--access-log", &log])).await;
    shop.ready().await;
    let body = "x".repeat(5_000);
    let request = client::request(http::Method::POST, "cart", "/bytes/70000?token=hush", body);
    assert_eq!(client::send(shop.outbound, request).await.unwrap().status, StatusCode::OK);
    let lost = client::fetch(shop.outbound, "away", "/").await.unwrap();
    let found = lines(&path, 2).await;
    assert_eq!(found[0]["url.path"], "/bytes/70000");
    assert_eq!([&found[0]["http.request.body.size"], &found[0]["http.response.body.size"]], [5_000, 70_000]);
    assert_eq!(found[1]["error.type"], "connect_failed");
    assert_eq!(found[1]["outrigger.request_id"], lost.header("x-request-id"));
    std::fs::rename(&path, &moved).unwrap();
    shop.process.user1();
    eventually(DEADLINE, "the file is there again", async || path.exists().then_some(())).await;
    client::fetch(shop.outbound, "cart", "/after").await.unwrap();
    assert_eq!(lines(&path, 1).await[0]["url.path"], "/after");
    assert_eq!(read(&moved).len(), 2);
    client::fetch(shop.outbound, "cart", "/last").await.unwrap();
    assert_eq!(shop.drain().await.code(), Some(0));
    assert_eq!(read(&path)[1]["url.path"], "/last", "the last is written before the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_named_at_the_start_and_counted_later() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    publish(&mesh, &app);
    let nowhere = mesh.folder().join("nowhere/access.log").display().to_string();
    let mut refused =
        Proxy::start_unchecked(&mesh, Sidecar::beside("shop").with(&["--access-log", &nowhere]));
    assert_eq!(refused.ended(DEADLINE).await.code(), Some(2));
    refused.says(&format!("cannot write the access log {nowhere} (--access-log): No such file")).await;
    // A device that is always full.
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").with(&["--access-log", "/dev/full"])).await;
    shop.ready().await;
    let load = Load::start(load::Plan::new(shop.outbound, "cart", 200));
    eventually(DEADLINE, "lost lines are counted", async || {
        let metrics = Metrics::of(shop.metrics).await?;
        (metrics.sum(&["outrigger_access_log_dropped_total", "write"]) > 200).then_some(())
    })
    .await;
    let report = load.stop().await;
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(shop.process.log().matches("the access log cannot be written").count(), 1, "said once");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_failures_and_as_words() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    publish(&mesh, &app);
    let arguments = ["--access-log", "stdout", "--access-log-format", "text", "--access-log-sampling", "0"];
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").with(&arguments)).await;
    shop.ready().await;
    client::fetch(shop.outbound, "cart", "/good").await.unwrap();
    client::fetch(shop.outbound, "away", "/bad").await.unwrap();
    shop.process.says("outbound GET away /bad 503").await;
    assert!(!shop.process.log().contains("/good"));
}
