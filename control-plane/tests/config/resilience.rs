//! Policies about failures: every field gets to where the proxies read it.

use http::{HeaderMap, HeaderValue, Method};
use outrigger_control_plane::compile::compile;
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::{
    Backend, Breaker, BreakerWindow, Ejection, HealthCheck, Hedge, PathMatch, Probe, Protocol, Retry,
    RetryBudget, RuleRetry, Subset, ZonePreference,
};
use outrigger_snapshot::router::Router;

use crate::load_text;

pub(crate) const SERVICE: &str = "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: api}, spec: {ports: [\
    {name: grpc, port: 90, protocol: GRPC}, {name: http, port: 80, protocol: HTTP}]}}";
const EVERYTHING: &str = r#"
apiVersion: outrigger.dev/v1alpha1
kind: BackendPolicy
metadata: {name: everything}
spec:
  targetRefs: [{kind: Service, name: api}]
  timeouts: {tunnelIdle: 2h}
  retry:
    attempts: 3
    statuses: [500, 429]
    grpcStatuses: [UNAVAILABLE, resource_exhausted, 10]
    idempotent: true
    backoff: {base: 10ms, max: 100ms}
    bodyBytes: 1024
    budget: {percent: 20, window: 5s, floor: {count: 3, interval: 1m}}
  hedge: {percentile: 90, minDelay: 5ms}
  ejection:
    consecutive: 1
    consecutiveLocal: 2
    failurePercent: 3
    slowPercent: 12
    slowAfter: 4s
    minRequests: 4
    window: 5s
    deviationPermille: 1900
    base: 6s
    max: 7s
    maxPercent: 8
    panicPercent: 9
  breaker:
    failurePercent: 1
    slowPercent: 2
    slowAfter: 3s
    window: {requests: 40}
    minRequests: 5
    endpointsPercent: 6
    open: 7s
    openMax: 8s
    probes: 9
    successes: 10
    ramp: 11s
  healthCheck:
    http: {path: "/health?full", host: api.example}
    interval: 2s
    fastInterval: 500ms
    timeout: 250ms
    unhealthy: 4
    healthy: 5
    waitForFirst: true
  slowStart: 30s
  limits: {endpointRequests: 77}
  zonePreference: {enabled: true, minEndpoints: 9}
  subset: {minEndpoints: 20}
"#;

/// How the ports of `api` are used, by name, where `documents` are pushed beside it.
pub(crate) fn backend(documents: &str, port: &str) -> Backend {
    let text = format!("{SERVICE}\n---\n{documents}");
    let compiled = compile(&load_text(&text).unwrap_or_else(|problems| panic!("{problems}")));
    compiled.policies[0].check().unwrap();
    let service = &compiled.policies[0].services[&"api".parse().unwrap()];
    service.ports.iter().find(|found| found.name == port).unwrap().backend.clone()
}

#[test]
fn every_field_reaches_the_proxies() {
    let found = backend(EVERYTHING, "http");
    let mut expected = Backend::defaults_for(Protocol::Http);
    expected.timeouts.tunnel_idle_ms = 7_200_000;
    expected.retry = Retry {
        attempts: 3,
        statuses: vec![500, 429],
        grpc_statuses: vec![14, 8, 10],
        idempotent: true,
        backoff_base_ms: 10,
        backoff_max_ms: 100,
        body_bytes_max: 1024,
        budget: RetryBudget { percent: 20, window_ms: 5_000, floor_per_1000_s: 50 },
    };
    expected.hedge = Some(Hedge { percentile: 90, delay_min_ms: 5 });
    expected.ejection = Ejection {
        consecutive: 1,
        consecutive_local: 2,
        failure_percent: 3,
        slow_percent: 12,
        slow_ms: 4_000,
        requests_min: 4,
        window_ms: 5_000,
        deviation_permille: 1_900,
        base_ms: 6_000,
        max_ms: 7_000,
        max_percent: 8,
        panic_percent: 9,
    };
    expected.breaker = Breaker {
        failure_percent: 1,
        slow_percent: 2,
        slow_ms: 3_000,
        window: BreakerWindow::Count(40),
        requests_min: 5,
        endpoints_percent: 6,
        open_ms: 7_000,
        open_max_ms: 8_000,
        probes: 9,
        successes: 10,
        ramp_ms: 11_000,
    };
    expected.health_check = Some(HealthCheck {
        probe: Probe::Http { path: "/health?full".into(), host: Some("api.example".into()) },
        interval_ms: 2_000,
        fast_interval_ms: 500,
        timeout_ms: 250,
        unhealthy: 4,
        healthy: 5,
        wait_for_first: true,
    });
    expected.slow_start_ms = 30_000;
    expected.limits.endpoint_requests = 77;
    expected.zone_preference = Some(ZonePreference { endpoints_min: 9 });
    expected.subset = Some(Subset { endpoints_min: 20 });
    assert_eq!(found, expected);
}

/// A `BackendPolicy`.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {{name: {name}}}, spec: {{{spec}}}}}"
    )
}

#[test]
fn a_traffic_policy_sets_the_budget_of_every_port() {
    let traffic = |constraint: &str| {
        format!(
            "{{apiVersion: gateway.networking.x-k8s.io/v1alpha1, kind: XBackendTrafficPolicy, metadata: {{name: t}}, spec: \
             {{targetRefs: [{{group: '', kind: Service, name: api}}]{constraint}}}}}"
        )
    };
    for (constraint, percent, window_ms, floor) in [
        ("", 10, 10_000, 1_000),
        (", retryConstraint: {}", 20, 10_000, 10_000),
        (", retryConstraint: {budget: {percent: 0}}", 0, 10_000, 10_000),
        (", retryConstraint: {budget: {percent: 5, interval: 1m}}", 5, 60_000, 10_000),
        (", retryConstraint: {minRetryRate: {count: 3}}", 20, 10_000, 3_000),
        (", retryConstraint: {minRetryRate: {count: 1, interval: 1h}}", 20, 10_000, 1),
        (", retryConstraint: {minRetryRate: {count: 1000000, interval: 1ms}}", 20, 10_000, u32::MAX),
    ] {
        let documents = format!(
            "{}\n---\n{}",
            policy("p", "targetRefs: [{kind: Service, name: api}], retry: {attempts: 4}"),
            traffic(constraint)
        );
        for port in ["http", "grpc"] {
            let retry = backend(&documents, port).retry;
            let expected = RetryBudget { percent, window_ms, floor_per_1000_s: floor };
            assert_eq!((retry.attempts, retry.budget), (4, expected), "{constraint}");
        }
    }
}

fn rules(kind: &str, port: u16, rules: &str) -> Vec<outrigger_snapshot::policy::Rule> {
    let text = format!(
        "{SERVICE}\n---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: {kind}, metadata: {{name: r}}, spec: \
         {{parentRefs: [{{group: '', kind: Service, name: api}}], rules: [{rules}]}}}}"
    );
    let compiled = compile(&load_text(&text).unwrap_or_else(|problems| panic!("{problems}")));
    compiled.policies[0].check().unwrap();
    let service = &compiled.policies[0].services[&"api".parse().unwrap()];
    service.ports.iter().find(|found| found.port == port).unwrap().rules.clone()
}

#[test]
fn a_route_says_when_it_is_tried_again() {
    let backend = "backendRefs: [{name: api, port: 80}]";
    let found = rules(
        "HTTPRoute",
        80,
        &format!(
            "{{{backend}, retry: {{codes: [500, 504], attempts: 0, backoff: 2s}}}}, {{{backend}, retry: {{}}}}, {{{backend}}}"
        ),
    );
    let said: Vec<Option<RuleRetry>> = found.into_iter().map(|rule| rule.retry).collect();
    let all = RuleRetry { attempts: Some(0), statuses: Some(vec![500, 504]), backoff_base_ms: Some(2_000) };
    assert_eq!(said, [Some(all), Some(RuleRetry::default()), None]);
}

#[test]
fn methods_become_paths() {
    let backend = "backendRefs: [{name: api, port: 90}]";
    let with = |method: &str| format!("{{matches: [{{method: {{{method}}}}}], {backend}}}");
    let written = [
        with("service: cart.v1.Cart, method: Get"),
        with("service: cart.v1.Cart, method: ''"),
        with("method: Get"),
        with("type: RegularExpression, service: 'a|b'"),
        format!("{{{backend}}}"),
    ];
    let found = rules("GRPCRoute", 90, &written.join(", "));
    let paths: Vec<PathMatch> = found.iter().map(|rule| rule.matches[0].path.clone()).collect();
    assert_eq!(
        paths,
        [
            PathMatch::Exact("/cart.v1.Cart/Get".into()),
            PathMatch::Prefix("/cart.v1.Cart".into()),
            PathMatch::Regex("/[^/]+/Get".into()),
            PathMatch::Regex("/(?:a|b)/(?:[^/]+)".into()),
            PathMatch::Prefix("/".into()),
        ]
    );
    assert_eq!(rules("GRPCRoute", 80, &written.join(", ")), []);
}

/// Which rule takes a request, by the router of the proxies.
fn taken(rules: &str, path: &str, canary: bool) -> String {
    let text = format!(
        "{SERVICE}\n---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {{name: r}}, spec: \
         {{parentRefs: [{{group: '', kind: Service, name: api}}], rules: [{rules}]}}}}"
    );
    let compiled = compile(&load_text(&text).unwrap_or_else(|problems| panic!("{problems}")));
    let router = Router::build(&compiled.policies[0], "default", |spec| {
        spec.rule.map_or("", |rule| rule.name.as_str()).to_owned()
    })
    .unwrap();
    let mut headers = HeaderMap::new();
    if canary {
        headers.insert("x-canary", HeaderValue::from_static("yes"));
    }
    let head = RequestHead::new(Method::POST, "api:90".parse().unwrap(), path.parse().unwrap(), headers);
    router.find(&head).map_or_else(|_| "none".to_owned(), |found| found.rule.clone())
}

#[test]
fn a_method_finds_its_rule_by_the_precedence_of_the_specification() {
    let canary = "headers: [{name: x-canary, value: 'yes'}]";
    let rules = [
        format!("{{name: all, matches: [{{{canary}}}]}}"),
        format!("{{name: service-canary, matches: [{{method: {{service: cart.v1.Cart}}, {canary}}}]}}"),
        "{name: service, matches: [{method: {service: cart.v1.Cart}}]}".to_owned(),
        "{name: method, matches: [{method: {service: cart.v1.Cart, method: Get}}]}".to_owned(),
        format!(
            "{{name: method-canary, matches: [{{method: {{service: cart.v1.Cart, method: Get}}, {canary}}}]}}"
        ),
        "{name: late, matches: [{method: {service: cart.v1.Cart}}]}".to_owned(),
        "{name: any-list, matches: [{method: {method: List}}]}".to_owned(),
    ]
    .join(", ");
    for (path, canary, rule) in [
        ("/cart.v1.Cart/Get", false, "default/r#method"),
        ("/cart.v1.Cart/Get", true, "default/r#method-canary"),
        ("/cart.v1.Cart/Put", false, "default/r#service"),
        ("/cart.v1.Cart/Put", true, "default/r#service-canary"),
        ("/cart.v1.Carts/Get", true, "default/r#all"),
        ("/cart.v1.Carts/Get", false, "none"),
        ("/cart.v1.cart/Get", false, "none"),
        ("/shop.Shop/List", false, "default/r#any-list"),
        // The specification leaves a method without a service to the implementation.
        ("/cart.v1.Cart/List", false, "default/r#any-list"),
        ("/shop.Shop/Lists", false, "none"),
    ] {
        assert_eq!(taken(&rules, path, canary), rule, "{path} {canary}");
    }
}

#[test]
fn callers_of_one_namespace_may_have_routes_of_another_kind() {
    let route = |kind: &str, namespace: &str, port: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: {kind}, metadata: {{name: r, namespace: {namespace}}}, spec: \
             {{parentRefs: [{{group: '', kind: Service, name: api, namespace: default{port}}}], rules: [{{}}]}}}}"
        )
    };
    for (first, second, right) in [
        (route("HTTPRoute", "default", ""), route("GRPCRoute", "shop", ""), true),
        (route("HTTPRoute", "default", ", port: 80"), route("GRPCRoute", "default", ""), true),
        (route("GRPCRoute", "default", ""), route("GRPCRoute", "shop", ""), true),
        (route("HTTPRoute", "default", ""), route("GRPCRoute", "default", ""), false),
        (route("HTTPRoute", "shop", ""), route("GRPCRoute", "shop", ""), false),
    ] {
        let found = load_text(&[SERVICE, &first, &second].join("\n---\n"));
        assert_eq!(found.is_ok(), right, "{first}\n{second}");
    }
}

/// Each limit belongs to a rule, so that two of one name are two where their routes are.
#[test]
fn routes_of_two_kinds_and_one_name_have_limits_of_one_name() {
    let route = |kind: &str, port: u16, filter: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: {kind}, metadata: {{name: r}}, spec: {{parentRefs: [{{group: '', \
             kind: Service, name: api, port: {port}}}], rules: [{{backendRefs: [{{name: api, port: {port}}}], filters: [{{type: \
             ExtensionRef, extensionRef: {{group: outrigger.dev, kind: RouteFilter, name: {filter}}}}}]}}]}}}}"
        )
    };
    let filter = |name: &str, requests: u32| {
        format!(
            "{{apiVersion: outrigger.dev/v1alpha1, kind: RouteFilter, metadata: {{name: {name}}}, spec: {{rateLimit: {{name: \
             calls, requests: {requests}, period: 1s}}}}}}"
        )
    };
    let (http, grpc) = (route("HTTPRoute", 80, "few"), route("GRPCRoute", 90, "many"));
    let documents = [SERVICE.to_owned(), http, grpc, filter("few", 10), filter("many", 100)].join("\n---\n");
    let compiled = compile(&load_text(&documents).unwrap_or_else(|problems| panic!("{problems}")));
    let service = &compiled.policies[0].services[&"api".parse().unwrap()];
    let mut scopes: Vec<String> = service
        .ports
        .iter()
        .flat_map(|port| &port.rules)
        .map(outrigger_snapshot::policy::Rule::scope)
        .collect();
    scopes.sort();
    assert_eq!(scopes, ["GRPCRoute default/r#0", "default/r#0"]);
}
