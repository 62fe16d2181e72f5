//! What a sidecar tells about itself, asked by those who will ask.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use http::{Method, StatusCode, Version};
use outrigger_integration_tests::client::Connection;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Mesh, Metrics, Process, Proxy, client, eventually, port};

use crate::config::{all, service};

const DEADLINE: Duration = Duration::from_secs(40);

/// Families that dashboards are built on.
const FAMILIES: [&str; 12] = [
    "outrigger_requests_total",
    "http_client_request_duration_seconds_bucket",
    "http_client_active_requests",
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

/// A real one, which scrapes a sidecar.
struct Prometheus {
    addr: SocketAddr,
    _process: Process,
}

impl Prometheus {
    fn start(mesh: &Mesh, shop: &Proxy, arguments: &[&str]) -> Self {
        let addr = port::free();
        let scrape = format!(
            "global: {{scrape_interval: 200ms}}\nscrape_configs:\n- job_name: outrigger\n  static_configs: [{{targets: ['{}']}}]\n",
            shop.metrics
        );
        let config = mesh.file(&scrape);
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", mesh.folder().join("prometheus").display()));
        command.arg(format!("--web.listen-address={addr}")).args(arguments);
        Self { addr, _process: Process::start("prometheus", &mut command) }
    }

    /// What it makes of an expression, which has nothing to be escaped.
    async fn query(&self, expression: &str) -> Option<Vec<serde_json::Value>> {
        let path = format!("/api/v1/query?query={expression}");
        Some(client::page(self.addr, &path).await.ok()?.json()["data"]["result"].as_array()?.clone())
    }

    /// The number that it makes of it.
    async fn number(&self, expression: &str) -> Option<f64> {
        self.query(expression).await?.first()?["value"][1].as_str()?.parse().ok()
    }
}

/// The classic form has 25 to 50 ms for the next bounds around; the native one has them 9 % apart.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_answers_from_native_histograms() {
    const REQUESTS: u64 = 20;
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    for _ in 0..REQUESTS {
        client::fetch(shop.outbound, "cart", "/slow/40").await.unwrap();
    }
    let sum = Metrics::of(shop.metrics).await.expect("metrics are served");
    let sum = sum.text().lines().find(|line| line.starts_with("http_client_request_duration_seconds_sum{"));
    let sum = sum.and_then(|line| line.rsplit(' ').next()).expect("it is there");
    let mean = sum.parse::<f64>().expect("a number") / REQUESTS as f64;
    let prometheus =
        Prometheus::start(&mesh, &shop, &["--enable-feature=native-histograms,exemplar-storage"]);
    let all = "sum(http_client_request_duration_seconds)";
    eventually(DEADLINE, "Prometheus has all of them", async || {
        let count = prometheus.number(&format!("histogram_count({all})")).await?;
        (count == REQUESTS as f64).then_some(())
    })
    .await;
    let found = prometheus.number(&format!("histogram_sum({all})")).await.expect("Prometheus answers");
    assert!((found / REQUESTS as f64 - mean).abs() < 1e-9, "{found} of {mean}");
    let least = prometheus.number(&format!("histogram_quantile(0,{all})")).await.expect("it answers");
    let most = prometheus.number(&format!("histogram_quantile(1,{all})")).await.expect("it answers");
    assert!(0.035 < least && least <= mean && mean <= most, "{least} to {most}, and {mean} on average");
    let rest = prometheus.query("http_client_request_duration_seconds_bucket").await.expect("it answers");
    assert!(rest.is_empty(), "the native form alone was taken");
    assert_eq!(prometheus.number("outrigger_requests_total").await, Some(REQUESTS as f64));
}

/// What clients choose never becomes a label.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_hosts_paths_and_methods_are_no_series() {
    let app = App::start("cart").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").inbound_to(app.addr)).await;
    shop.ready().await;
    let inbound = shop.inbound.expect("asked for above");
    let flood = async |from: u32, to: u32| {
        let mut outbound =
            Connection::open(shop.outbound, Version::HTTP_11).await.expect("it takes connections");
        let mut inbound = Connection::open(inbound, Version::HTTP_11).await.expect("it takes connections");
        for number in from..to {
            let method = Method::from_bytes(format!("M{number}").as_bytes()).expect("a token");
            let host = format!("host-{number}.example");
            outbound
                .send(client::request(method.clone(), &host, &format!("/{number}"), ""))
                .await
                .expect("an answer");
            inbound.send(client::request(method, &host, &format!("/{number}"), "")).await.expect("an answer");
        }
    };
    flood(0, 10).await;
    let series = async || {
        let page = Metrics::of(shop.metrics).await.expect("metrics are served");
        assert!(!page.text().contains("host-"), "{}", page.text());
        page.text().lines().filter(|line| !line.starts_with('#')).count()
    };
    let few = series().await;
    flood(10, 10_000).await;
    let many = series().await;
    // Such as say of the connection how it ended, or which endpoint was picked for what.
    assert!(many <= few + 20, "{few} series have become {many}");
}

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
    let prometheus = Prometheus::start(&mesh, &shop, &[]);
    for family in FAMILIES {
        eventually(DEADLINE, &format!("Prometheus has {family}"), async || {
            (!prometheus.query(family).await?.is_empty()).then_some(())
        })
        .await;
    }
    let up = prometheus.query("up").await.expect("Prometheus answers");
    assert_eq!(up[0]["value"][1], "1", "{up:?}");
    let counted = prometheus.query("sum(outrigger_requests_total)").await.expect("Prometheus answers");
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
