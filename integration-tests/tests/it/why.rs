//! Each way to fail, once, and what `outrigger why` tells of it: one story, of the right reason, that names the culprit.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, StatusCode};
use outrigger_integration_tests::app::raw::{End, RawApp};
use outrigger_integration_tests::mesh::{Sidecar, said};
use outrigger_integration_tests::{App, Mesh, Metrics, Proxy, client, eventually, port};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::{all, backend_policy, backends, route, service};

const DEADLINE: Duration = Duration::from_secs(20);
const BROKEN: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
const PARTIAL: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
const NONSENSE: &[u8] = b"SMTP ready\r\n\r\n";
const ALONE: &str = "retry: {attempts: 0}, breaker: {failurePercent: 0}";

/// One way to fail.
struct Scene {
    /// The service that is called.
    host: &'static str,
    path: &'static str,
    /// What is told of it.
    reason: &'static str,
    fault: &'static str,
    /// What the sentence says.
    says: &'static [&'static str],
    /// How often it was sent.
    tries: usize,
}

const fn scene(
    host: &'static str,
    path: &'static str,
    reason: &'static str,
    fault: &'static str,
    says: &'static [&'static str],
    tries: usize,
) -> Scene {
    Scene { host, path, reason, fault, says, tries }
}

const SCENES: [Scene; 14] = [
    scene("nobody", "/", "no_host", "configuration", &["got 404", "no service is called by this host"], 0),
    scene("cart:81", "/", "no_port", "configuration", &["no HTTP port of this number"], 0),
    scene("ruled", "/other", "no_rule", "configuration", &["no rule of the service matches"], 0),
    scene("ruled", "/nowhere", "no_backend", "configuration", &["no backend that takes traffic"], 0),
    scene("ruled", "/fault", "fault_injected", "configuration", &["got 418", "a fault was injected"], 0),
    scene("ruled", "/rated", "rate_limited", "client", &["rate limit once, per 86400 s: 1"], 0),
    scene("empty", "/", "no_endpoint", "upstream", &["default/empty:80 has no endpoint"], 0),
    scene("away", "/", "connect_failed", "upstream", &["cannot connect to 127.0.0.1", "refused"], 2),
    scene("broken", "/", "upstream_status", "upstream", &["got 503", "answered 503", "breaker closed"], 1),
    scene(
        "cut",
        "/",
        "upstream_reset",
        "upstream",
        &["got 502", "closed the connection before it answered"],
        1,
    ),
    scene("nonsense", "/", "upstream_malformed", "upstream", &["response is malformed"], 1),
    scene("partial", "/", "response_broken", "upstream", &["got 200", "broke off"], 1),
    scene("slow", "/slow/5000", "try_timeout", "upstream", &["timeouts.backendRequest: 50 ms"], 1),
    scene(
        "late",
        "/slow/5000",
        "request_timeout",
        "upstream",
        &["timeouts.request", ": 50 ms", "had not answered"],
        1,
    ),
];

struct Site {
    mesh: Mesh,
    shop: Proxy,
    _apps: Vec<RawApp>,
    _app: App,
}

/// Services that fail each in its way.
async fn site() -> Site {
    let (mesh, app) = (Mesh::new(), App::start("cart").await);
    let mut apps = Vec::new();
    let mut resources = vec![service("shop", &[]), service("cart", &[app.addr]), service("empty", &[])];
    for (name, answer, end) in [
        ("broken", BROKEN, End::Stay),
        ("cut", &b""[..], End::Close),
        ("nonsense", NONSENSE, End::Close),
        ("partial", PARTIAL, End::Close),
        ("endless", PARTIAL, End::Stay),
    ] {
        let raw = RawApp::start(answer, end).await;
        resources.push(service(name, &[raw.addr]));
        resources.push(backend_policy(name, &ALONE.replace(", breaker", "\n  breaker")));
        apps.push(raw);
    }
    for (name, at, policy) in [
        ("away", port::free(), ""),
        ("slow", app.addr, "\n  timeouts: {try: 50ms}"),
        ("late", app.addr, "\n  timeouts: {request: 50ms}"),
        ("ruled", app.addr, ""),
    ] {
        resources.push(service(name, &[at]));
        resources.push(backend_policy(name, &format!("retry: {{attempts: 0}}{policy}")));
    }
    let filter = |name: &str, spec: &str| {
        format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: RouteFilter\nmetadata: {{name: {name}}}\nspec: {{{spec}}}"
        )
    };
    resources.push(filter("teapot", "fault: {abort: {percent: 100, status: 418}}"));
    resources.push(filter("once", "rateLimit: {name: once, requests: 1, period: 24h}"));
    let to = |path: &str, rest: &str| format!("matches: [{{path: {{value: {path}}}}}]\n{rest}");
    let own = |name: &str| {
        let reference = format!("{{group: outrigger.dev, kind: RouteFilter, name: {name}}}");
        format!("filters: [{{type: ExtensionRef, extensionRef: {reference}}}]\n{}", backends(&[("ruled", 1)]))
    };
    resources.push(route(
        "ruled",
        &[
            to("/nowhere", &backends(&[("ruled", 0)])),
            to("/fault", &own("teapot")),
            to("/rated", &own("once")),
        ],
    ));
    mesh.publish(&all(&resources));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    Site { mesh, shop, _apps: apps, _app: app }
}

/// What `outrigger why` finds.
fn why(mesh: &Mesh, admin: SocketAddr, arguments: &[&str]) -> Vec<Value> {
    let admin = admin.to_string();
    let out = mesh.outrigger(["why", "--json", "--proxy", &admin].iter().chain(arguments));
    assert!(out.status.success(), "{arguments:?}: {}", said(&out));
    serde_json::from_slice(&out.stdout).expect("it is JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_has_one_story_that_names_the_culprit() {
    let site = site().await;
    client::fetch(site.shop.outbound, "ruled", "/rated").await.expect("the first is let through");
    for (number, scene) in SCENES.iter().enumerate() {
        let id = format!("scene-{number}");
        let mut request = client::request(Method::POST, scene.host, scene.path, "");
        request.headers_mut().insert("x-request-id", id.parse().unwrap());
        let trace = format!("{:032x}", number + 1);
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");
        request.headers_mut().insert("traceparent", parent.parse().unwrap());
        // A broken answer is an error here.
        let answer = client::send(site.shop.outbound, request).await;
        if let Ok(answer) = &answer
            && !answer.reason().is_empty()
        {
            assert_eq!((answer.reason(), answer.header("x-request-id")), (scene.reason, id.as_str()));
        }
        let stories = eventually(DEADLINE, &format!("the story of {}", scene.reason), async || {
            let admin = site.shop.admin;
            let page = client::page(admin, &format!("/debug/failures?id={id}")).await.ok()?;
            let found = page.json()["failures"].as_array()?.clone();
            (!found.is_empty()).then_some(found)
        })
        .await;
        let [story] = &stories[..] else { panic!("one story of {}: {stories:#?}", scene.reason) };
        assert_eq!(story["reason"], scene.reason, "{story:#}");
        assert_eq!(story["fault"], scene.fault, "{story:#}");
        assert_eq!(story["trace_id"], trace.as_str());
        let sentence = story["sentence"].as_str().unwrap();
        for text in scene.says {
            assert!(sentence.contains(text), "{text}: {sentence}");
        }
        assert_eq!(story["tries"].as_array().unwrap().len(), scene.tries, "{story:#}");
        assert!(!story["next"].as_str().unwrap().is_empty());
        assert!(story["release"].as_u64().unwrap() > 0);
    }
    let all = why(&site.mesh, site.shop.admin, &["--last", "--count", "100"]);
    assert_eq!(all.len(), SCENES.len(), "what ended well has none");
    assert_eq!(all[0]["id"], format!("scene-{}", SCENES.len() - 1), "the last first");
    let of_route = why(&site.mesh, site.shop.admin, &["--route", "ruled"]);
    assert_eq!(of_route.len(), 3, "those that met a rule of it");
    let of_reason = why(&site.mesh, site.shop.admin, &["--reason", "no_host"]);
    assert_eq!((of_reason.len(), &of_reason[0]["host"]), (1, &Value::from("nobody")));
    let metrics = Metrics::of(site.shop.admin).await.expect("it serves metrics");
    let failures = "outrigger_request_failures_total{";
    for Scene { reason, fault, .. } in SCENES {
        let (reason, fault) = (format!("reason=\"{reason}\""), format!("fault=\"{fault}\""));
        assert!(metrics.sum(&[failures, &reason, &fault]) > 0, "{reason}: {}", metrics.text());
    }
    assert_eq!(metrics.sum(&[failures]), SCENES.len() as u64, "{}", metrics.text());
    let broken = ["http_client_request_duration_seconds_count", "error_type=\"response_broken\""];
    assert_eq!(metrics.sum(&broken), 1, "{}", metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_a_stream_has_met_no_failure() {
    let site = site().await;
    let mut stream = TcpStream::connect(site.shop.outbound).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: endless\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"half") {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "{}", String::from_utf8_lossy(&read));
    }
    drop(stream);
    let metrics = eventually(DEADLINE, "it is over", async || {
        let metrics = Metrics::of(site.shop.admin).await?;
        let over = ["outrigger_requests_total", "default/endless", "code_class=\"2xx\""];
        (metrics.sum(&over) == 1).then_some(metrics)
    })
    .await;
    assert_eq!(metrics.sum(&["outrigger_request_failures_total{"]), 0, "{}", metrics.text());
    let out = site.mesh.outrigger(["why", "--last", "--proxy", &site.shop.admin.to_string()]);
    assert!(said(&out).contains("knows of no such failure"), "{}", said(&out));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_it() {
    let site = site().await;
    let answer = client::fetch(site.shop.outbound, "away", "/basket?token=hush").await.unwrap();
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let id = answer.header("x-request-id").to_owned();
    let admin = site.shop.admin.to_string();
    let out = site.mesh.outrigger(["why", id.as_str(), "--proxy", &admin]);
    let text = said(&out);
    assert!(out.status.success(), "{text}");
    for part in [
        "GET away/basket got 503: cannot connect to 127.0.0.1:",
        "connect_failed; whose fault: upstream",
        "release 1 (revision 1)",
        "1. 127.0.0.1:",
        "never connected",
        "breaker closed",
        "retries in the cluster's budget",
        "The endpoint refused the connection, or cannot be reached.",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("hush"), "a query may hold secrets: {text}");
    // One of several does not answer, and is named.
    let away = format!("127.0.0.1:{}", port::free().port());
    let out = site.mesh.outrigger(["why", id.as_str(), "--proxy", &format!("{away},{admin}")]);
    assert!(out.status.success(), "{}", said(&out));
    let (told, asked) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(told.contains("connect_failed") && asked.contains(&away), "{told}{asked}");
    let out = site.mesh.outrigger(["why", id.as_str(), "--proxy", &away]);
    assert_eq!(out.status.code(), Some(3), "{}", said(&out));
    let out = site.mesh.outrigger(["why", "no-such-id", "--proxy", &admin]);
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).contains("knows of no failure of no-such-id"), "{}", said(&out));
    let out = site.mesh.outrigger(["why", "--reason", "no_such", "--proxy", &admin]);
    assert!(said(&out).contains("there is no reason \"no_such\""), "{}", said(&out));
    let out = site.mesh.outrigger(["why"]);
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_write_moves_no_cursor() {
    let site = site().await;
    let mut request = client::request(Method::GET, "away", "/", "");
    let id = "a\u{9b}2Jb";
    request.headers_mut().insert("x-request-id", id.parse().unwrap());
    client::send(site.shop.outbound, request).await.unwrap();
    let admin = site.shop.admin.to_string();
    let out = site.mesh.outrigger(["why", "--last", "--proxy", &admin]);
    assert!(said(&out).contains("a?2Jb") && !said(&out).contains('\u{9b}'), "{}", said(&out));
    let out = site.mesh.outrigger(["why", "--last", "--json", "--proxy", &admin]);
    assert!(!said(&out).contains('\u{9b}'), "{}", said(&out));
    let stories: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(stories[0]["id"], id);
}

/// What the workload's sidecar refuses, both sidecars tell of, each from where it stands.
#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_hop_tell_of_it() {
    let (mesh, app, inbound) = (Mesh::new(), App::start("cart").await, port::free());
    let denied = "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {name: cart}\nspec:\n  \
                  targetRefs: [{group: \"\", kind: Service, name: cart}]\n  \
                  rateLimits: [{name: calls, requests: 1, period: 24h}]";
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[inbound]), denied.to_owned()]));
    let cart = Proxy::start_inbound(&mesh, Sidecar::beside("cart").inbound_to(app.addr), inbound).await;
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    cart.ready().await;
    app.sicken(false);
    for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        assert_eq!(client::fetch(shop.outbound, "cart", "/").await.unwrap().status, status);
    }
    let [story] = &why(&mesh, cart.admin, &["--last", "--count", "9"])[..] else { panic!("one story") };
    assert_eq!((&story["reason"], &story["direction"]), (&"rate_limited".into(), &"inbound".into()));
    assert_eq!(story["limit"]["limit"], "rate limit calls, per 86400 s");
}
