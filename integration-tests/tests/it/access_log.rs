//! The access log of real sidecars: files that are moved, that cannot be written, and what clients write into it.

use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::collector::{Collector, Logged};
use outrigger_integration_tests::mesh::{Sidecar, program};
use outrigger_integration_tests::{
    App, Load, Mesh, Metrics, Process, Proxy, binaries, client, eventually, load, port,
};
use serde_json::Value;
use tokio::io::AsyncBufReadExt;

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

/// A pipe that nobody reads is a file that cannot be written yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_without_a_reader_holds_nothing_up() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    publish(&mesh, &app);
    let pipe = mesh.folder().join("access.pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let sidecar = Sidecar::beside("shop").with(&["--access-log", &pipe.display().to_string()]);
    let mut shop = Proxy::start(&mesh, sidecar).await;
    shop.ready().await;
    assert_eq!(client::fetch(shop.outbound, "cart", "/unread").await.unwrap().status, StatusCode::OK);
    let lost = ["outrigger_access_log_dropped_total", "write"];
    eventually(DEADLINE, "its line is lost", async || {
        Metrics::of(shop.metrics).await?.say(&lost, 1).then_some(())
    })
    .await;
    let reader = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&pipe).unwrap();
    let mut read = tokio::io::BufReader::new(reader).lines();
    let load = Load::start(load::Plan::new(shop.outbound, "cart", 50));
    let line = tokio::time::timeout(DEADLINE, read.next_line()).await.expect("lines come").unwrap();
    assert!(line.is_some_and(|line| line.contains("\"url.path\":\"/\"")));
    // From now on nobody reads, though someone could.
    load.stop().await;
    assert_eq!(shop.drain().await.code(), Some(0));
}

/// What is in the file is counted as written, and nothing else is.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_grow_costs_lines_and_nothing_else() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    publish(&mesh, &app);
    let path = mesh.folder().join("access.log");
    let sidecar = Sidecar::beside("shop").with(&["--access-log", &path.display().to_string()]);
    let mut shop = Proxy::start(&mesh, sidecar).await;
    shop.ready().await;
    shop.process.limit_files(16 * 1024);
    let load = Load::start(load::Plan::new(shop.outbound, "cart", 200));
    let metrics = eventually(DEADLINE, "lost lines are counted", async || {
        let metrics = Metrics::of(shop.metrics).await?;
        (metrics.sum(&["outrigger_access_log_dropped_total", "write"]) > 20).then_some(metrics)
    })
    .await;
    let whole = read(&path).len() as u64;
    assert_eq!(metrics.sum(&["outrigger_access_log_lines_total"]), whole);
    assert!(whole > 20, "{whole}");
    let report = load.stop().await;
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    // Someone makes room.
    std::fs::write(&path, "").unwrap();
    eventually(DEADLINE, "lines are written again", async || {
        client::fetch(shop.outbound, "cart", "/again").await.unwrap();
        std::fs::read_to_string(&path).unwrap().contains("/again").then_some(())
    })
    .await;
    assert_eq!(shop.drain().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_may_be_moved_in_a_drain_and_before_the_first_plan() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    publish(&mesh, &app);
    let (path, moved) = (mesh.folder().join("access.log"), mesh.folder().join("access.log.1"));
    let log = path.display().to_string();
    let there = async |process: &Process| {
        std::fs::rename(&path, &moved).unwrap();
        process.user1();
        eventually(DEADLINE, "the file is there again", async || path.exists().then_some(())).await;
    };
    let sidecar = Sidecar::beside("shop").with(&[
        "--access-log",
        &log,
        "--drain-grace",
        "1h",
        "--drain-deadline",
        "2h",
    ]);
    let shop = Proxy::start(&mesh, sidecar).await;
    shop.ready().await;
    shop.process.terminate();
    shop.process.says("draining").await;
    there(&shop.process).await;
    client::fetch(shop.outbound, "cart", "/late").await.unwrap();
    assert_eq!(lines(&path, 1).await[0]["url.path"], "/late");
    drop(shop);
    // A store that does not answer.
    let store = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = crate::starting::public_key(&mesh, "waits.key");
    let mut command = program(binaries::proxy());
    command.args([
        "--trust-key",
        &key,
        "--service",
        "shop",
        "--store",
        "s3://mesh",
        "--access-log",
        &log,
        "--state-dir",
    ]);
    command.arg(mesh.state("waits")).args(["--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command
        .args(["--metrics", "127.0.0.1:0"])
        .env("AWS_ENDPOINT", format!("http://{}", store.local_addr().unwrap()));
    command.envs([("AWS_ALLOW_HTTP", "true"), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]);
    let mut waits = Process::start("waits", &mut command);
    waits.listening("--admin").await;
    let _unanswered = store.accept().await.expect("it asks the store");
    there(&waits).await;
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

/// Exports at once, so that tests need not wait.
const SOON: (&str, &str) = ("OTEL_BLRP_SCHEDULE_DELAY", "20");

async fn records(collector: &Collector, count: usize) -> Vec<Logged> {
    let what = format!("{count} log records; so far {:#?}", collector.records());
    let mut records = eventually(DEADLINE, &what, async || {
        let records = collector.records();
        (records.len() >= count).then_some(records)
    })
    .await;
    records.sort_by_key(|record| record.time_ns.0);
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_what_a_line_says_with_its_trace() {
    for protocol in ["grpc", "http/protobuf"] {
        let (mesh, app, collector) = (Mesh::new(), App::start("cart").await, Collector::start().await);
        publish(&mesh, &app);
        let variables = [
            SOON,
            ("OTEL_TRACES_SAMPLER", "always_on"),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret"),
        ];
        let sidecar = Sidecar::beside("shop").with(&["--access-log", "otlp", "--otlp", &collector.url()]);
        let mut shop = Proxy::start(&mesh, sidecar.told(&variables)).await;
        shop.ready().await;
        let request =
            client::request(http::Method::POST, "cart", "/bytes/70000?token=hush", "x".repeat(5_000));
        assert_eq!(client::send(shop.outbound, request).await.unwrap().status, StatusCode::OK);
        let lost = client::fetch(shop.outbound, "away", "/").await.unwrap();
        let found = records(&collector, 2).await;
        let [good, bad] = &found[..] else { panic!("{protocol}: {found:#?}") };
        for (name, value) in [
            ("outrigger.direction", "outbound"),
            ("http.request.method", "POST"),
            ("server.address", "cart"),
            ("url.path", "/bytes/70000"),
            ("http.response.status_code", "200"),
            ("error.type", ""),
            ("http.request.body.size", "5000"),
            ("http.response.body.size", "70000"),
            ("client.address", "127.0.0.1"),
            ("outrigger.rule", "default/cart:80"),
            ("outrigger.cluster", "default/cart:80"),
            ("outrigger.tries", "1"),
            ("network.peer.address", "127.0.0.1"),
            ("network.peer.port", &app.addr.port().to_string()),
        ] {
            assert_eq!(good.attribute(name), value, "{protocol}: {name} of {good:#?}");
        }
        assert_eq!((good.by.as_str(), good.event.as_str()), ("default/shop", "outrigger.request"));
        assert_eq!((good.severity.as_str(), good.severity_number), ("INFO", 9));
        assert_eq!((bad.severity.as_str(), bad.severity_number), ("ERROR", 17));
        assert_eq!(bad.attribute("error.type"), "connect_failed");
        assert_eq!(bad.attribute("outrigger.request_id"), lost.header("x-request-id"));
        assert_eq!(bad.body, "GET away / 503 connect_failed");
        let took_ms = (good.time_ns.1 - good.time_ns.0) as f64 / 1e6;
        let said_ms: f64 = good.attribute("duration_ms").parse().unwrap();
        assert!((took_ms - said_ms).abs() < 0.01, "{took_ms} {said_ms}");
        let span = eventually(DEADLINE, "its span", async || {
            collector.spans().into_iter().find(|span| span.span == good.span)
        })
        .await;
        assert_eq!((&span.trace, span.attribute("url.path")), (&good.trace, "/bytes/70000"));
        assert!(!format!("{found:?}").contains("hush"), "a query may hold secrets");
        assert_eq!(collector.authorization(), "Bearer secret", "{protocol}");
        client::fetch(shop.outbound, "cart", "/last").await.unwrap();
        assert_eq!(shop.drain().await.code(), Some(0));
        assert_eq!(collector.records().len(), 3, "the last is exported before the end");
    }
}

/// The collector goes away, or takes everything and answers nothing: requests do not notice, and what waits has a bound.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_waits_for_a_collector_of_the_access_log() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    publish(&mesh, &app);
    for hangs in [true, false] {
        let collector = Collector::start().await;
        let url = collector.url();
        let sidecar = Sidecar::beside("shop").with(&["--access-log", "otlp", "--otlp", &url]);
        let variables = [
            SOON,
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
            ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "8"),
        ];
        let mut shop = Proxy::start(&mesh, sidecar.told(&variables)).await;
        shop.ready().await;
        let load = Load::start(load::Plan::new(shop.outbound, "cart", 300));
        eventually(DEADLINE, "records come", async || (collector.records().len() > 100).then_some(())).await;
        assert!(collector.largest() <= 8, "{}", collector.largest());
        let before = load.sent();
        let collector = if hangs {
            collector.hang();
            Some(collector)
        } else {
            drop(collector);
            None
        };
        eventually(DEADLINE, "drops are counted", async || {
            let metrics = Metrics::of(shop.metrics).await?;
            let lost = metrics.sum(&["outrigger_access_log_dropped_total", "export"]);
            (lost > 0 && load.sent() > before + 300).then_some(())
        })
        .await;
        let report = load.stop().await;
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        assert_eq!(shop.process.log().matches("does not take the access log").count(), 1, "said once");
        assert_eq!(shop.drain().await.code(), Some(0), "it ends in time all the same");
        drop(collector);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_nobody_names_is_named_as_missing() {
    let mesh = Mesh::new();
    for (arguments, says) in [
        (&["--access-log", "otlp"][..], "there is none"),
        (&["--access-log", "otlp", "--otlp", "http://a:1", "--access-log-format", "text"], "writes none"),
    ] {
        let mut refused = Proxy::start_unchecked(&mesh, Sidecar::beside("shop").with(arguments));
        assert_eq!(refused.ended(DEADLINE).await.code(), Some(2), "{arguments:?}");
        refused.says(says).await;
    }
}
