//! What a sidecar tells about itself, asked by those who will ask.

use std::process::Command;
use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::{App, Mesh, Process, client, eventually, port};

use crate::config::{all, service};

const DEADLINE: Duration = Duration::from_secs(40);

/// Families that dashboards are built on.
const FAMILIES: [&str; 12] = [
    "outrigger_requests_total",
    "outrigger_request_duration_seconds_bucket",
    "outrigger_requests_in_flight",
    "outrigger_downstream_connections",
    "outrigger_upstream_connections",
    "outrigger_upstream_connections_total",
    "outrigger_snapshot_release",
    "outrigger_snapshot_age_seconds",
    "outrigger_snapshot_applies_total",
    "outrigger_snapshot_refusals_total",
    "outrigger_store_reachable",
    "outrigger_local_replies_total",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_takes_every_family() {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    for host in ["cart", "cart", "cart", "nobody"] {
        client::fetch(shop.outbound, host, "/").await.unwrap();
    }
    let prometheus = port::free();
    let scrape = format!(
        "global: {{scrape_interval: 200ms}}\nscrape_configs:\n- job_name: outrigger\n  static_configs: [{{targets: ['{}']}}]\n",
        shop.metrics
    );
    let config = mesh.file(&scrape);
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", mesh.folder().join("prometheus").display()));
    command.arg(format!("--web.listen-address={prometheus}"));
    let _process = Process::start("prometheus", &mut command);
    let query = async |expression: &str| {
        let path = format!("/api/v1/query?query={expression}");
        Some(client::page(prometheus, &path).await.ok()?.json()["data"]["result"].as_array()?.clone())
    };
    for family in FAMILIES {
        eventually(DEADLINE, &format!("Prometheus has {family}"), async || {
            (!query(family).await?.is_empty()).then_some(())
        })
        .await;
    }
    let up = query("up").await.expect("Prometheus answers");
    assert_eq!(up[0]["value"][1], "1", "{up:?}");
    let counted = query("sum(outrigger_requests_total)").await.expect("Prometheus answers");
    assert_eq!(counted[0]["value"][1], "4", "{counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_pages_answer_under_the_names_people_know() {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    for path in ["/live", "/ready", "/healthz", "/metrics", "/clusters", "/config_dump", "/server_info"] {
        let answer = client::page(shop.admin, path).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    }
    assert!(client::page(shop.admin, "/clusters").await.unwrap().text().contains(&app.addr.to_string()));
    let dump = client::page(shop.admin, "/config_dump").await.unwrap().json();
    assert!(dump.to_string().contains("default/cart"), "{dump}");
    for path in ["/config_dump", "/clusters"] {
        let answer = client::page(shop.metrics, path).await.unwrap();
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path} is for the admin address alone");
    }
}
