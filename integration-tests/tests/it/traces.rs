//! Traces, as a collector gets them from real sidecars.

use std::time::Duration;

use http::{Method, StatusCode};
use outrigger_integration_tests::collector::{Collector, Told};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::pki::Authority;
use outrigger_integration_tests::{App, Load, Mesh, Metrics, Proxy, client, eventually, load, port};

use crate::config::{all, backend_policy, service};

const DEADLINE: Duration = Duration::from_secs(20);
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
/// Exports at once, so that tests need not wait.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "20");
const ALL: (&str, &str) = ("OTEL_TRACES_SAMPLER", "always_on");
const NONE: (&str, &str) = ("OTEL_TRACES_SAMPLER", "always_off");

/// So many spans, in the order in which they began.
async fn spans(collector: &Collector, count: usize) -> Vec<Told> {
    let what = format!("{count} spans; so far {:#?}", collector.spans());
    let mut spans = eventually(DEADLINE, &what, async || {
        let spans = collector.spans();
        (spans.len() >= count).then_some(spans)
    })
    .await;
    assert_eq!(spans.len(), count, "{spans:#?}");
    spans.sort_by_key(|span| span.time_ns.0);
    spans
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sidecars_tell_one_trace_with_the_right_parents() {
    for protocol in ["grpc", "http/protobuf"] {
        let (mesh, app, collector) = (Mesh::new(), App::start("cart").await, Collector::start().await);
        let (inbound, url) = (port::free(), collector.url());
        mesh.publish(&all(&[service("shop", &[]), service("cart", &[inbound])]));
        let variables = [
            SOON,
            ALL,
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret"),
        ];
        let beside = Sidecar::beside("cart").inbound_to(app.addr).told(&variables);
        let cart = Proxy::start_inbound(&mesh, beside, inbound).await;
        let shop = Proxy::start(&mesh, Sidecar::beside("shop").told(&variables)).await;
        shop.ready().await;
        cart.ready().await;
        let answer = client::fetch(shop.outbound, "cart", "/basket?token=hush").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        let spans = spans(&collector, 4).await;
        let of = |by: &str, kind: i32, top: bool| {
            let found = spans.iter().find(|span| {
                span.by == by && span.kind == kind && span.attributes.contains_key("outrigger.tries") == top
            });
            found.unwrap_or_else(|| panic!("no span of {by}: {spans:#?}")).clone()
        };
        let (asked, sent) = (of("default/shop", CLIENT, true), of("default/shop", CLIENT, false));
        let (served, passed) = (of("default/cart", SERVER, true), of("default/cart", CLIENT, false));
        assert!(spans.iter().all(|span| span.trace == asked.trace && !span.failed), "{spans:#?}");
        assert_eq!(asked.trace, asked.attribute("outrigger.request_id").replace('-', ""));
        assert_eq!(asked.parent, "");
        let links = [&sent.parent, &served.parent, &passed.parent];
        assert_eq!(links, [&asked.span, &sent.span, &served.span]);
        let seen = app.last().unwrap().headers["traceparent"].to_str().unwrap().to_owned();
        assert_eq!(seen, format!("00-{}-{}-01", passed.trace, passed.span), "what the workload passes on");
        let named = [
            ("http.request.method", "GET"),
            ("server.address", "cart"),
            ("url.path", "/basket"),
            ("http.response.status_code", "200"),
            ("outrigger.cluster", "default/cart:80"),
            ("outrigger.tries", "1"),
        ];
        for (name, value) in named {
            assert_eq!(asked.attribute(name), value, "{asked:#?}");
        }
        assert_eq!(asked.name, "GET");
        assert_eq!(sent.attribute("network.peer.port"), inbound.port().to_string());
        assert_eq!(sent.events, ["connected", "sent"]);
        assert!(asked.time_ns.0 <= sent.time_ns.0 && sent.time_ns.1 <= asked.time_ns.1);
        assert!(!format!("{spans:?}").contains("hush"), "a query may hold secrets");
        assert_eq!(collector.authorization(), "Bearer secret", "{protocol}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_try_is_a_span_and_those_before_decide() {
    let (mesh, app, collector) = (Mesh::new(), App::start("cart").await, Collector::start().await);
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[app.addr]),
        service("away", &[port::free()]),
    ]));
    let url = collector.url();
    let sidecar = Sidecar::beside("shop").with(&["--otlp", &url, "--trace-slow", "100ms"]);
    let variables =
        [SOON, ("OTEL_TRACES_SAMPLER", "parentbased_always_off"), ("OTEL_PROPAGATORS", "tracecontext,b3")];
    let shop = Proxy::start(&mesh, sidecar.told(&variables)).await;
    shop.ready().await;
    let call = async |host: &str, path: &str, field: Option<(&'static str, &str)>| {
        let mut request = client::request(Method::GET, host, path, "");
        if let Some((name, value)) = field {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        client::send(shop.outbound, request).await.unwrap().status
    };
    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = |flags: &str| format!("00-{ID}-00f067aa0ba902b7-{flags}");
    // Told of by nobody's wish, and goes on as it came.
    assert_eq!(call("cart", "/", Some(("traceparent", &parent("00")))).await, StatusCode::OK);
    assert_eq!(app.last().unwrap().headers["traceparent"], parent("00").as_str());
    assert_eq!(call("cart", "/", None).await, StatusCode::OK);
    assert!(!app.last().unwrap().headers.contains_key("traceparent"));
    // Told of because those before say so.
    assert_eq!(call("cart", "/later/3", Some(("traceparent", &parent("01")))).await, StatusCode::OK);
    let retried = spans(&collector, 3).await;
    let [asked, first, second] = &retried[..] else { unreachable!("there are three") };
    assert_eq!((asked.trace.as_str(), asked.parent.as_str()), (ID, "00f067aa0ba902b7"));
    assert_eq!([&first.parent, &second.parent], [&asked.span; 2]);
    assert_eq!([asked.failed, first.failed, second.failed], [false, true, false]);
    assert_eq!(first.attribute("error.type"), "upstream_status");
    assert_eq!([first, second].map(|span| span.attribute("http.request.resend_count")), ["", "1"]);
    assert_eq!(app.last().unwrap().headers["b3"], format!("{ID}-{}-1", second.span).as_str());
    // Told of although nobody has asked for it: they end badly.
    assert_eq!(call("away", "/", None).await, StatusCode::SERVICE_UNAVAILABLE);
    let failed = spans(&collector, retried.len() + 4).await.split_off(3);
    let top = failed.iter().find(|span| span.parent.is_empty()).expect("the request's own");
    assert!(top.failed && top.attribute("error.type") == "connect_failed", "{failed:#?}");
    assert_eq!(top.attribute("outrigger.tries"), "3");
    assert_eq!(call("cart", "/slow/200", None).await, StatusCode::OK);
    let slow = spans(&collector, 9).await.split_off(7);
    assert_eq!(slow[0].attribute("url.path"), "/slow/200");
    eventually(DEADLINE, "what became of them is counted", async || {
        let metrics = Metrics::of(shop.metrics).await?;
        let kept = |why: &str| metrics.sum(&["outrigger_traces_kept_total", why]);
        let kept = [kept("sampled"), kept("failed"), kept("slow")];
        (kept == [1, 1, 1] && metrics.sum(&["outrigger_traces_exported_total"]) == 3).then_some(())
    })
    .await;
}

/// The collector goes away, or takes everything and answers nothing: requests do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_waits_for_the_collector() {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[app.addr]),
        backend_policy("cart", "retry: {attempts: 0}"),
    ]));
    for hangs in [true, false] {
        let collector = Collector::start().await;
        let url = collector.url();
        let variables = [
            SOON,
            ALL,
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "64"),
        ];
        let mut shop = Proxy::start(&mesh, Sidecar::beside("shop").told(&variables)).await;
        shop.ready().await;
        let load = Load::start(load::Plan::new(shop.outbound, "cart", 300));
        eventually(DEADLINE, "spans come", async || (collector.spans().len() > 100).then_some(())).await;
        let before = load.sent();
        let collector = if hangs {
            collector.hang();
            Some(collector)
        } else {
            drop(collector);
            None
        };
        let lost = |metrics: &Metrics, reason: &str| metrics.sum(&["outrigger_traces_dropped_total", reason]);
        eventually(DEADLINE, "drops are counted", async || {
            let metrics = Metrics::of(shop.metrics).await?;
            let hung = !hangs || lost(&metrics, "queue") > 0;
            (hung && lost(&metrics, "export") > 0 && load.sent() > before + 300).then_some(())
        })
        .await;
        let report = load.stop().await;
        assert_eq!(report.failed_but_for("").len(), 0, "{report:?}");
        let metrics = Metrics::of(shop.metrics).await.unwrap();
        assert_eq!(metrics.sum(&["outrigger_requests_total", "5xx"]), 0);
        assert_eq!(shop.drain().await.code(), Some(0), "it ends in time all the same");
        drop(collector);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_is_exported_at_the_end() {
    let (mesh, app, collector) = (Mesh::new(), App::start("cart").await, Collector::start().await);
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let late = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let sidecar = Sidecar::beside("shop").with(&["--otlp", &collector.url()]).told(&[ALL, late]);
    let mut shop = Proxy::start(&mesh, sidecar).await;
    shop.ready().await;
    client::fetch(shop.outbound, "cart", "/").await.unwrap();
    assert_eq!(collector.exports(), 0);
    assert_eq!(shop.drain().await.code(), Some(0));
    assert_eq!(collector.spans().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_wish_nothing_is_told() {
    let (mesh, app, collector) = (Mesh::new(), App::start("cart").await, Collector::start().await);
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[app.addr]),
        service("away", &[port::free()]),
    ]));
    let url = collector.url();
    let variables = [SOON, NONE, ("OTEL_EXPORTER_OTLP_ENDPOINT", &url), ("OTEL_SDK_DISABLED", "true")];
    let mut shop = Proxy::start(&mesh, Sidecar::beside("shop").told(&variables)).await;
    shop.ready().await;
    client::fetch(shop.outbound, "away", "/").await.unwrap();
    assert!(!Metrics::of(shop.metrics).await.unwrap().text().contains("outrigger_traces"));
    shop.drain().await;
    assert_eq!(collector.exports(), 0);
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TelemetryPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: {name}}}]\n  {spec}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_says_what_is_told_of_a_service() {
    let (mesh, app, collector) = (Mesh::new(), App::start("cart").await, Collector::start().await);
    mesh.publish(&all(&[
        service("shop", &[]),
        service("quiet", &[app.addr]),
        policy("quiet", "accessLog: {enabled: false}"),
        service("told", &[app.addr]),
        policy("told", "traces: {sampling: 100%}\n  accessLog: {sampling: 0%}"),
        service("slow", &[app.addr]),
        policy("slow", "traces: {slow: 1ms}"),
    ]));
    let log = mesh.folder().join("access.log");
    let path = log.display().to_string();
    let sidecar = Sidecar::beside("shop").with(&["--otlp", &collector.url(), "--access-log", &path]);
    let shop =
        Proxy::start(&mesh, sidecar.told(&[SOON, ("OTEL_TRACES_SAMPLER", "parentbased_always_off")])).await;
    shop.ready().await;
    for host in ["quiet", "told", "slow"] {
        client::fetch(shop.outbound, host, "/slow/5").await.unwrap();
    }
    let hosts: Vec<_> =
        spans(&collector, 4).await.iter().map(|span| span.attribute("server.address").to_owned()).collect();
    assert_eq!(hosts, ["told", "told", "slow", "slow"]);
    let text = eventually(DEADLINE, "a line", async || {
        std::fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n'))
    })
    .await;
    assert!(text.lines().count() == 1 && text.contains("\"slow\""), "{text}");
    let store = mesh.store().display().to_string();
    let explained = mesh.outrigger(["explain", "GET", "http://told/", "--store", &store]);
    let said = outrigger_integration_tests::mesh::said(&explained);
    assert!(said.contains("traces of 100%"), "{said}");
}

/// The collector asks for a certificate, and shows one of an authority that no system knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_told_over_tls_if_its_authority_is_known_and_knows_us() {
    let (mesh, app, authority) = (Mesh::new(), App::start("cart").await, Authority::new());
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let folder = mesh.folder();
    let ours = folder.join("ours.crt");
    std::fs::write(&ours, &authority.pem).unwrap();
    let others = folder.join("others.crt");
    std::fs::write(&others, &Authority::new().pem).unwrap();
    let pair = authority.identify(folder, "shop");
    let text = |path: &std::path::Path| path.display().to_string();
    let (ours, others) = (text(&ours), text(&others));
    let (certificate, key) = (text(&pair.certificate), text(&pair.key));
    let shown = [
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate.as_str()),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key),
    ];
    for protocol in ["grpc", "http/protobuf"] {
        for (ca, shows, taken) in
            [(ours.as_str(), &shown[..], true), (&others, &shown, false), (&ours, &[], false)]
        {
            let collector = Collector::start_tls(&authority).await;
            let url = collector.url();
            let mut variables = vec![
                SOON,
                ALL,
                ("OTEL_BLRP_SCHEDULE_DELAY", "20"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca),
            ];
            variables.extend(shows);
            let sidecar = Sidecar::beside("shop").with(&["--otlp", &url, "--access-log", "otlp"]);
            let shop = Proxy::start(&mesh, sidecar.told(&variables)).await;
            shop.ready().await;
            assert_eq!(client::fetch(shop.outbound, "cart", "/").await.unwrap().status, StatusCode::OK);
            let what = format!("{protocol}, told: {taken}, shows {shows:?}");
            eventually(DEADLINE, &what, async || {
                let metrics = Metrics::of(shop.metrics).await?;
                let counted = |name: &str, reason: &str| metrics.sum(&[name, reason]) == 1;
                let (traces, lines) = if taken {
                    let lines = counted("outrigger_access_log_lines_total", "");
                    (counted("outrigger_traces_exported_total", ""), lines)
                } else {
                    let lines = counted("outrigger_access_log_dropped_total", "export");
                    (counted("outrigger_traces_dropped_total", "export"), lines)
                };
                (traces && lines).then_some(())
            })
            .await;
            assert_eq!(
                (collector.spans().len(), collector.records().len()),
                if taken { (2, 1) } else { (0, 0) }
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_stand_on_spans_and_lines_and_end_neither() {
    let (mesh, app, collector) = (Mesh::new(), App::start("cart").await, Collector::start().await);
    let labels = "labels: [{name: team, value: shop & co}, {name: shop.tenant, header: X-Tenant}]";
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[app.addr]),
        policy("cart", labels),
        service("plain", &[app.addr]),
    ]));
    let log = mesh.folder().join("access.log");
    let path = log.display().to_string();
    let told = [SOON, ALL, ("OTEL_BLRP_SCHEDULE_DELAY", "20")];
    let json =
        Sidecar::beside("shop").node("json").with(&["--otlp", &collector.url(), "--access-log", &path]);
    let json = Proxy::start(&mesh, json.told(&told)).await;
    let otlp =
        Sidecar::beside("shop").node("otlp").with(&["--otlp", &collector.url(), "--access-log", "otlp"]);
    let otlp = Proxy::start(&mesh, otlp.told(&[NONE, told[0], told[2]])).await;
    let words = ["--access-log", "stdout", "--access-log-format", "text"];
    let words = Proxy::start(&mesh, Sidecar::beside("shop").node("words").with(&words)).await;
    let long = format!("a\"b\\ c\u{1f}{}", "x".repeat(1_000)).replace('\u{1f}', "\t");
    let cut = &long[..256];
    for proxy in [&json, &otlp, &words] {
        proxy.ready().await;
        for (host, tenant) in [("cart", Some(long.as_str())), ("cart", None), ("plain", Some("a"))] {
            let mut request = client::request(Method::GET, host, "/", "");
            if let Some(tenant) = tenant {
                request.headers_mut().insert("x-tenant", tenant.parse().unwrap());
            }
            assert_eq!(client::send(proxy.outbound, request).await.unwrap().status, StatusCode::OK);
        }
    }
    let expected = [["shop & co", cut], ["shop & co", ""], ["", ""]];
    // Each request has its span and that of its try.
    let spans = spans(&collector, 6).await;
    let of_span = |span: &Told| ["team", "shop.tenant"].map(|name| span.attribute(name).to_owned());
    let seen: Vec<_> = spans.iter().map(of_span).collect();
    for (index, expected) in expected.iter().enumerate() {
        assert!(seen[2 * index..][..2].iter().all(|seen| seen == expected), "{spans:#?}");
    }
    let records = eventually(DEADLINE, "three log records", async || {
        let mut records = collector.records();
        records.sort_by_key(|record| record.time_ns.0);
        (records.len() == 3).then_some(records)
    })
    .await;
    let seen = records.iter().map(|record| ["team", "shop.tenant"].map(|name| record.attribute(name)));
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    let text = eventually(DEADLINE, "three lines", async || {
        std::fs::read_to_string(&log).ok().filter(|text| text.lines().count() == 3 && text.ends_with('\n'))
    })
    .await;
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let seen =
        lines.map(|line| ["team", "shop.tenant"].map(|name| line[name].as_str().unwrap_or("").to_owned()));
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    words.process.says(" team=shop\\x20&\\x20co shop.tenant=a\\x22b\\x5c\\x20c\\x09xxx").await;
    let store = mesh.store().display().to_string();
    let explained = mesh.outrigger(["explain", "GET", "http://cart/", "--store", &store]);
    let said = outrigger_integration_tests::mesh::said(&explained);
    assert!(said.contains("labels team, shop.tenant"), "{said}");
}

/// A collector that does not know the path.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_is_told_of_once() {
    let (mesh, app, collector) = (Mesh::new(), App::start("cart").await, Collector::start().await);
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[app.addr])]));
    let nowhere = format!("{}/v1/nowhere", collector.url());
    let variables = [
        SOON,
        ALL,
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &nowhere),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
    ];
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").told(&variables)).await;
    shop.ready().await;
    for _ in 0..20 {
        client::fetch(shop.outbound, "cart", "/").await.unwrap();
    }
    eventually(DEADLINE, "all are lost", async || {
        let metrics = Metrics::of(shop.metrics).await?;
        (metrics.sum(&["outrigger_traces_dropped_total", "export"]) == 20).then_some(())
    })
    .await;
    shop.process.says("does not take traces").await;
    assert_eq!(shop.process.log().matches("404").count(), 1, "{}", shop.process.log());
}
