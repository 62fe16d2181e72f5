//! What a proxy tells by OTLP, read by somebody else's code: that of OpenTelemetry for Python.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Mesh, Process, Proxy, binaries, client, eventually};
use serde_json::{Value, json};

use crate::config::{all, service};

const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn spans_and_records_are_what_opentelemetrys_own_code_reads() {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/receiver/receiver.py");
    let mut command = Command::new(binaries::tool("opentelemetry-proto/bin/python"));
    let mut receiver = Process::start("receiver", command.arg(script));
    let url = format!("http://{}", receiver.listening("--otlp").await);
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let sidecar = Sidecar::beside("shop").with(&["--otlp", &url, "--access-log", "otlp"]).told(&[
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_SAMPLER", "always_on"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "20"),
    ]);
    let shop = Proxy::start(&mesh, sidecar).await;
    shop.ready().await;
    let mut request = client::request(Method::GET, "cart", "/basket", "");
    request.headers_mut().insert("x-request-id", HeaderValue::from_static("of-the-client"));
    assert_eq!(client::send(shop.outbound, request).await.unwrap().status, StatusCode::OK);
    let told = eventually(DEADLINE, "two spans and a record", async || {
        let log = receiver.log();
        let told: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (told.len() == 3).then_some(told)
    })
    .await;
    let of = |kind: &str, named: &str| {
        let found = told.iter().find(|told| told["kind"] == kind && !told["attributes"][named].is_null());
        found.unwrap_or_else(|| panic!("no {kind} with {named}: {told:#?}"))
    };
    let (asked, sent) = (of("span", "outrigger.tries"), of("span", "outrigger.connection.reused"));
    let record = of("record", "duration_ms");
    assert_eq!((&record["trace"], &record["span"]), (&asked["trace"], &asked["span"]));
    assert_eq!(&sent["trace"], &asked["trace"]);
    assert_eq!(sent["whole"]["parentSpanId"], asked["whole"]["spanId"]);
    assert_eq!(
        (&asked["whole"]["kind"], &asked["whole"]["name"]),
        (&json!("SPAN_KIND_CLIENT"), &json!("GET"))
    );
    let severity = (&record["whole"]["severityNumber"], &record["whole"]["severityText"]);
    assert_eq!(severity, (&json!("SEVERITY_NUMBER_INFO"), &json!("INFO")));
    for told in [asked, record] {
        assert_eq!(told["resource"]["service.name"], "shop");
        assert_eq!(told["scope"], "outrigger-proxy");
        let attributes = &told["attributes"];
        assert_eq!(attributes["url.path"], "/basket");
        assert_eq!(attributes["http.response.status_code"], 200);
        assert_eq!(attributes["outrigger.request_id"], "of-the-client");
    }
}
