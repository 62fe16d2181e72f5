//! Where requests go, and what becomes of them on the way.

use std::time::Duration;

use http::{Method, StatusCode};
use outrigger_integration_tests::load::Plan;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{Answer, App, Load, Mesh, Proxy, client, eventually, port};

use crate::config::{all, backend_policy, backends, route, service};

const DEADLINE: Duration = Duration::from_secs(20);

/// A mesh with the services `shop`, `cart` (no endpoint of its own), `v1` and `v2`, and a sidecar beside the shop.
struct Fixture {
    shop: Proxy,
    v1: App,
    v2: App,
    _mesh: Mesh,
}

impl Fixture {
    async fn new(more: &[String]) -> Self {
        let (v1, v2) = (App::start("v1").await, App::start("v2").await);
        let mesh = Mesh::new();
        let services = [
            service("shop", &[]),
            service("cart", &[]),
            service("v1", &[v1.addr]),
            service("v2", &[v2.addr]),
        ];
        mesh.publish(&all(&[&services, more].concat()));
        let shop = mesh.proxy("shop").await;
        shop.ready().await;
        Self { shop, v1, v2, _mesh: mesh }
    }

    async fn fetch(&self, host: &str, path: &str) -> Answer {
        client::fetch(self.shop.outbound, host, path).await.expect("the proxy answers")
    }
}

fn rule(matches: &str, to: &str) -> String {
    format!("matches: [{matches}]\n{}", backends(&[(to, 1)]))
}

#[tokio::test(flavor = "multi_thread")]
async fn matches_follow_the_precedence_of_the_gateway_api() {
    let mesh = Fixture::new(&[route(
        "cart",
        &[
            rule("{path: {type: PathPrefix, value: /}}", "v1"),
            rule("{path: {type: PathPrefix, value: /a}}", "v2"),
            rule("{path: {type: Exact, value: /a/exact}}", "v1"),
            rule("{path: {type: PathPrefix, value: /a}, method: DELETE}", "v1"),
            rule("{path: {type: PathPrefix, value: /b}, headers: [{name: X-Canary, value: 'yes'}]}", "v2"),
            rule("{path: {type: PathPrefix, value: /b}, queryParams: [{name: canary, value: '1'}]}", "v2"),
            rule("{path: {type: RegularExpression, value: '/item/[0-9]+'}}", "v2"),
        ],
    )])
    .await;
    for (path, expected) in [
        ("/", "v1"),
        ("/ab", "v1"),
        ("/a", "v2"),
        ("/a/b", "v2"),
        ("/a/exact", "v1"),
        ("/b", "v1"),
        ("/b?canary=1", "v2"),
        ("/b?canary=2", "v1"),
        ("/item/42", "v2"),
        ("/item/42/x", "v1"),
        ("/x/../a", "v2"),
    ] {
        assert_eq!(mesh.fetch("cart", path).await.header("x-app"), expected, "{path}");
    }
    let mut request = client::request(Method::GET, "cart", "/b", "");
    request.headers_mut().insert("x-canary", "yes".parse().expect("a valid value"));
    assert_eq!(client::send(mesh.shop.outbound, request).await.unwrap().header("x-app"), "v2");
    let request = client::request(Method::DELETE, "cart", "/a", "");
    assert_eq!(client::send(mesh.shop.outbound, request).await.unwrap().header("x-app"), "v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_of_a_service_is_a_host_and_no_other() {
    let mesh = Fixture::new(&[]).await;
    for host in ["v1", "v1:80", "v1.default", "v1.default:80", "v1.default.svc", "v1.default.svc:80", "V1"] {
        let answer = mesh.fetch(host, "/").await;
        assert_eq!((answer.status, answer.header("x-app")), (StatusCode::OK, "v1"), "{host}");
    }
    for (host, reason) in
        [("v3", "no_host"), ("v1.other", "no_host"), ("v1:81", "no_port"), ("cart", "no_endpoint")]
    {
        let answer = mesh.fetch(host, "/").await;
        assert_eq!(answer.reason(), reason, "{host}: {}", answer.text());
    }
    assert_eq!(mesh.fetch("v3", "/").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_split_traffic() {
    let mesh = Fixture::new(&[route("cart", &[backends(&[("v1", 90), ("v2", 10)])])]).await;
    let load = Load::start(Plan::new(mesh.shop.outbound, "cart", 1000));
    eventually(DEADLINE, "2,000 answers", async || (load.succeeded() >= 2000).then_some(())).await;
    let report = load.stop().await;
    assert!(report.failed.is_empty(), "{:?}", report.reasons());
    let share = report.by_app["v2"] as f64 / report.succeeded as f64;
    // Five standard deviations of 2,000 trials.
    assert!((share - 0.1).abs() < 0.034, "10 % were asked for, v2 got {share}");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_edit_redirect_and_rewrite() {
    let filtered = |path: &str, filter: &str| {
        format!(
            "matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\nfilters: [{filter}]\n{}",
            backends(&[("v1", 1)])
        )
    };
    let mesh = Fixture::new(&[route(
        "cart",
        &[
            filtered("/in", "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: s}], add: [{name: x-add, value: a}], remove: [x-gone]}}"),
            filtered("/out", "{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-set, value: s}], remove: [content-type]}}"),
            filtered("/old", "{type: URLRewrite, urlRewrite: {hostname: other.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}"),
            "matches: [{path: {type: PathPrefix, value: /away}}]\nfilters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: away.example, statusCode: 302}}]".to_owned(),
        ],
    )])
    .await;

    let mut request = client::request(Method::GET, "cart", "/in", "");
    request.headers_mut().insert("x-gone", "1".parse().expect("a valid value"));
    request.headers_mut().insert("x-add", "0".parse().expect("a valid value"));
    let seen = client::send(mesh.shop.outbound, request).await.unwrap().json();
    assert_eq!(header(&seen, "x-set"), ["s"]);
    assert_eq!(header(&seen, "x-add"), ["0", "a"]);
    assert!(header(&seen, "x-gone").is_empty());

    let answer = mesh.fetch("cart", "/out").await;
    assert_eq!((answer.header("x-set"), answer.header("content-type")), ("s", ""));

    let seen = mesh.fetch("cart", "/old/thing?q=1").await.json();
    assert_eq!(
        (&seen["target"], header(&seen, "host")),
        (&"/new/thing?q=1".into(), vec!["other.example".to_owned()])
    );

    let answer = mesh.fetch("cart", "/away/from?here").await;
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!(answer.header("location"), "https://away.example/away/from?here");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_variable_http_proxy_is_enough() {
    let mesh = Fixture::new(&[]).await;
    let request = "GET http://v1/path?q HTTP/1.1\r\nhost: ignored.example\r\nconnection: close\r\n\r\n";
    let answer = client::raw(mesh.shop.outbound, request.as_bytes(), DEADLINE).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let head = mesh.v1.last().expect("it was called");
    assert_eq!(head.uri, "/path?q");
    assert_eq!(head.headers["host"], "v1");
    assert_eq!(mesh.v2.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_limits_end_what_takes_too_long() {
    let limits = backend_policy("v2", "timeouts: {connect: 300ms, firstByte: 300ms}");
    let mesh = Fixture::new(&[
        limits,
        route(
            "cart",
            &[
                format!("matches: [{{path: {{type: PathPrefix, value: /never}}}}]\ntimeouts: {{request: 300ms}}\n{}", backends(&[("v1", 1)])),
                format!("timeouts: {{request: 5s, backendRequest: 300ms}}\n{}", backends(&[("v1", 1)])),
            ],
        ),
    ])
    .await;
    for (host, path, reason) in [
        ("cart", "/never", "request_timeout"),
        ("cart", "/slow/60000", "try_timeout"),
        ("v2", "/never", "first_byte_timeout"),
    ] {
        let answer = mesh.fetch(host, path).await;
        assert_eq!((answer.status, answer.reason()), (StatusCode::GATEWAY_TIMEOUT, reason), "{path}");
    }
    assert_eq!(mesh.fetch("cart", "/slow/50").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_travels() {
    let mesh =
        Fixture::new(&[route("cart", &[format!("timeouts: {{request: 10s}}\n{}", backends(&[("v1", 1)]))])])
            .await;
    let told = |app: &App| {
        let head = app.last().expect("it was called");
        let told = head.headers.get("outrigger-deadline-ms")?.to_str().ok()?.parse::<u64>().ok();
        told.filter(|told| *told > 0)
    };
    mesh.fetch("cart", "/").await;
    assert!(told(&mesh.v1).is_some_and(|told| told <= 10_000), "{:?}", told(&mesh.v1));

    let mut request = client::request(Method::GET, "cart", "/slow/60000", "");
    request.headers_mut().insert("outrigger-deadline-ms", "400".parse().expect("a valid value"));
    let answer = client::send(mesh.shop.outbound, request).await.unwrap();
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "{}", answer.text());
    assert!(told(&mesh.v1).is_some_and(|told| told <= 400), "{:?}", told(&mesh.v1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_endpoint_costs_no_request_while_another_lives() {
    let alive = App::start("alive").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[port::free(), alive.addr]),
        service("gone", &[port::free()]),
    ]));
    let shop = Proxy::start(&mesh, Sidecar::beside("shop")).await;
    shop.ready().await;
    for _ in 0..100 {
        let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
        assert_eq!((answer.status, answer.header("x-app")), (StatusCode::OK, "alive"), "{}", answer.text());
    }
    let answer = client::fetch(shop.outbound, "gone", "/").await.unwrap();
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "connect_failed"));
}

/// The values of a request header, as the application saw it.
fn header(seen: &serde_json::Value, name: &str) -> Vec<String> {
    let pairs = seen["headers"].as_array().into_iter().flatten();
    pairs.filter(|pair| pair[0] == name).filter_map(|pair| pair[1].as_str()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn inbound_goes_by_the_port_of_its_own_hosts_only() {
    let (public, operators) = (App::start("public").await, App::start("operators").await);
    let mesh = Mesh::new();
    let cart = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: cart}}\nspec:\n  ports:\n  \
         - {{name: public, port: 80, targetPort: {}, protocol: HTTP}}\n  \
         - {{name: operators, port: 8080, targetPort: {}, protocol: HTTP}}",
        public.addr.port(),
        operators.addr.port(),
    );
    // Another service, whose routes may lead here: its port 8080 is not that of the cart.
    mesh.publish(&all(&[cart, service("front", &[])]));
    let app = std::net::SocketAddr::from((public.addr.ip(), 0));
    let sidecar = Proxy::start(&mesh, Sidecar::beside("cart").inbound_to(app)).await;
    sidecar.ready().await;
    let inbound = sidecar.inbound.expect("asked for above");
    for (host, answers) in [
        ("cart", "public"),
        ("cart:80", "public"),
        ("cart:8080", "operators"),
        ("cart.default.svc:8080", "operators"),
        ("front:8080", "public"),
        ("elsewhere:8080", "public"),
        ("cart:9999", "public"),
    ] {
        let answer = client::fetch(inbound, host, "/").await.unwrap();
        assert_eq!(answer.header("x-app"), answers, "{host}");
    }
}
