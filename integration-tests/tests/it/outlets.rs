//! What processes say on standard error, when nobody reads it.

use std::time::Duration;

use http::{Method, StatusCode, Version};
use outrigger_integration_tests::client::{self, Connection};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, ControlPlane, Mesh, Metrics, Process, Proxy, eventually};

use crate::config::{all, service};

const DEADLINE: Duration = Duration::from_secs(30);
/// What an answer may take while the log is stuck: as long as otherwise, within what a busy machine needs.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Calls `cart` over HTTP/2, of which the worker has much to say.
async fn call(connection: &mut Connection) {
    let answer = connection.send(client::request2(Method::GET, "cart", "/", ""));
    let answer = tokio::time::timeout(ANSWER_MAX, answer).await.expect("no request waits for the log");
    assert_eq!(answer.expect("it is answered").status, StatusCode::OK);
}

async fn asked(shop: &Proxy, method: Method, path: &str) {
    let answer = client::send(shop.admin, client::request(method, &shop.admin.to_string(), path, ""));
    let answer = tokio::time::timeout(ANSWER_MAX, answer).await.expect("no page waits for the log");
    assert_eq!(answer.expect("it is answered").status, StatusCode::OK);
}

/// Calls until the log has had to leave lines out.
async fn fill(shop: &Proxy) {
    let before = lost(shop).await.expect("its metrics are served");
    let mut connection = Connection::open(shop.outbound, Version::HTTP_2).await.expect("it listens");
    eventually(DEADLINE, "lines are lost, and counted", async || {
        for _ in 0..50 {
            call(&mut connection).await;
        }
        (lost(shop).await? > before).then_some(())
    })
    .await;
}

async fn lost(shop: &Proxy) -> Option<u64> {
    Some(Metrics::of(shop.metrics).await?.sum(&["outrigger_log_dropped_total", "queue"]))
}

async fn gone(process: &mut Process) {
    eventually(DEADLINE, "it ends", async || (!process.is_running()).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_who_reads_the_log_of_a_sidecar() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let mut shop = Proxy::start(&mesh, Sidecar::beside("shop").with(&["--log", "info,h2=trace"])).await;
    shop.ready().await;
    shop.process.stop_reading();
    fill(&shop).await;
    // The control thread has something to say, too.
    asked(&shop, Method::POST, "/logging?level=info,h2=trace,outrigger_proxy=debug").await;
    asked(&shop, Method::GET, "/ready").await;
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr]), service("late", &[app.addr])]));
    eventually(DEADLINE, "a push arrives", async || {
        let answer = client::fetch(shop.outbound, "late", "/").await.unwrap();
        (answer.status == StatusCode::OK).then_some(())
    })
    .await;
    // Whoever reads again learns that something is missing, and what is said from then on.
    shop.process.read_on();
    shop.process.says("lines of this log are gone").await;
    asked(&shop, Method::POST, "/logging?level=info,h2=trace,hyper=info").await;
    shop.process.says("logs info,h2=trace,hyper=info from now on").await;
    shop.process.stop_reading();
    fill(&shop).await;
    shop.process.terminate();
    gone(&mut shop.process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_who_reads_the_log_of_a_control_plane() {
    let mesh = Mesh::new();
    let mut control_plane = ControlPlane::start(&mesh, "one", &["--log", "info,h2=trace"]).await;
    let metrics = control_plane.process.listening("--metrics").await;
    control_plane.process.stop_reading();
    let mut connection = Connection::open(metrics, Version::HTTP_2).await.unwrap();
    eventually(DEADLINE, "lines are lost, and counted", async || {
        for _ in 0..50 {
            let answer = connection.send(client::request2(Method::GET, "one", "/live", ""));
            let answer = tokio::time::timeout(ANSWER_MAX, answer).await.expect("no probe waits for the log");
            assert_eq!(answer.expect("it is answered").status, StatusCode::OK);
        }
        let lost = Metrics::of(metrics).await?.sum(&["outrigger_control_plane_log_dropped_total"]);
        (lost > 0).then_some(())
    })
    .await;
    control_plane.apply(&mesh, &service("shop", &[]));
    mesh.published().await;
    control_plane.process.terminate();
    gone(&mut control_plane.process).await;
}
