//! Documents as people have them: the example of the README, JSON, lists, and what kubectl prints.

use outrigger_control_plane::compile::compile;
use outrigger_control_plane::config::{Kind, load, parse};
use outrigger_snapshot::policy::PathMatch;
use serde_json::json;

use crate::{load_text, source};

const CART: &str = r#"
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {name: cart}
spec:
  ports: [{name: http, port: 80, protocol: HTTP}]            # HTTP | HTTP2 | GRPC | TCP | TLS
  endpoints:
    static: [{address: '127.0.0.1:9001'}, {address: '127.0.0.1:9002', weight: 2, zone: a}]
    # or  dns: {name: cart.internal, port: 8080}   or  srv: {name: _http._tcp.cart.internal}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart}
spec:
  parentRefs: [{group: "", kind: Service, name: cart}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /}}]
    timeouts: {request: 10s, backendRequest: 2s}
    backendRefs: [{name: cart-v1, port: 80, weight: 90}, {name: cart-v2, port: 80, weight: 10}]
---
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {name: cart-v1}
spec:
  ports: [{name: http, port: 80, protocol: HTTP}]
  endpoints: {dns: {name: cart.internal, port: 8080}}
---
apiVersion: outrigger.dev/v1alpha1
kind: Service
metadata: {name: cart-v2}
spec:
  ports: [{name: http, port: 80, protocol: HTTP}]
  endpoints: {srv: {name: _http._tcp.cart.internal}}
"#;

#[test]
fn the_documented_example_compiles() {
    let compiled = compile(&load_text(CART).unwrap());
    assert_eq!((compiled.scopes.len(), compiled.policies.len(), compiled.facts.len()), (3, 1, 1));
    let policy = &compiled.policies[0];
    let rule = &policy.services[&"cart".parse().unwrap()].ports[0].rules[0];
    assert_eq!(rule.name, "default/cart#0");
    assert_eq!(rule.matches[0].path, PathMatch::Prefix("/".into()));
    assert_eq!((rule.request_timeout_ms, rule.try_timeout_ms), (Some(10_000), Some(2_000)));
    let shares: Vec<_> =
        rule.backends.iter().map(|backend| (backend.service.to_string(), backend.weight)).collect();
    assert_eq!(shares, [("default/cart-v1".to_owned(), 90), ("default/cart-v2".to_owned(), 10)]);
    let discoveries: Vec<_> =
        compiled.facts[0].clusters.values().map(|cluster| json!(cluster.discovery)).collect();
    assert_eq!(
        json!(discoveries),
        json!([
            { "static": [
                { "address": "127.0.0.1:9001", "weight": 1, "zone": null, "tls": "none" },
                { "address": "127.0.0.1:9002", "weight": 2, "zone": "a", "tls": "none" }
            ] },
            { "dns": { "name": "cart.internal", "port": 8080, "tls": "none" } },
            { "srv": { "name": "_http._tcp.cart.internal", "tls": "none" } }
        ])
    );
}

#[test]
fn json_and_lists_are_read_too() {
    let yaml = parse(&[source("cart.yaml", CART)]).unwrap();
    let items: Vec<_> = yaml.iter().map(|resource| resource.value().clone()).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items });
    for text in [
        serde_json::to_string(&list).unwrap(),
        serde_json::to_string_pretty(&list).unwrap().replace("  ", "\t"),
        serde_saphyr::to_string(&list).unwrap(),
    ] {
        assert_eq!(parse(&[source("cart.json", &text)]).unwrap(), yaml, "{text}");
    }
}

#[test]
fn json_escapes_mean_what_they_mean_in_json() {
    let text = r#"{"apiVersion": "outrigger.dev\/v1alpha1", "kind": "Service", "metadata": {"name": "a", "labels": {"k": "\u00e9\ud83d\ude00\t\"\\"}},
        "spec": {"ports": [{"port": 80, "protocol": "HTTP"}]}}"#;
    let value = parse(&[source("a.json", text)]).unwrap()[0].value().clone();
    assert_eq!(value["metadata"]["labels"]["k"], "é😀\t\"\\");
}

/// What `kubectl get -o yaml` prints, with everything a server adds.
#[test]
fn fields_that_servers_own_are_dropped() {
    let printed = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"gateway.networking.k8s.io/v1"}
    team: shop
  creationTimestamp: "2026-01-01T00:00:00Z"
  generation: 3
  managedFields: [{manager: kubectl, operation: Apply}]
  name: cart
  namespace: shop
  resourceVersion: "123"
  uid: 5f1d
spec:
  hostnames: [cart.example]
  parentRefs: [{group: "", kind: Service, name: cart, port: null}]
  rules: [{backendRefs: [{group: "", kind: Service, name: cart, port: 80, weight: 1}]}]
status:
  parents: [{controllerName: x}]
"#;
    let resources = parse(&[source("cart.yaml", printed)]).unwrap();
    assert_eq!(resources[0].kind(), Kind::HttpRoute);
    assert_eq!(
        resources[0].value(),
        &json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": { "annotations": { "team": "shop" }, "name": "cart", "namespace": "shop" },
            "spec": {
                "hostnames": ["cart.example"],
                "parentRefs": [{ "group": "", "kind": "Service", "name": "cart" }],
                "rules": [{ "backendRefs": [{ "group": "", "kind": "Service", "name": "cart", "port": 80, "weight": 1 }] }]
            }
        })
    );
}

/// What the specification has answered with 500, or with a redirect to the same place.
#[test]
fn rules_that_lead_nowhere_are_taken_as_the_specification_has_them() {
    let route = |rule: &str| {
        format!(
            "{CART}\n---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: z}}, \
             spec: {{parentRefs: [{{group: '', kind: Service, name: cart-v1}}], rules: [{rule}]}}}}"
        )
    };
    for (rule, weights) in [
        ("{}", &[][..]),
        ("{backendRefs: []}", &[]),
        ("{filters: [{type: URLRewrite, urlRewrite: {hostname: a.example}}]}", &[]),
        (
            "{backendRefs: [{name: cart-v1, port: 80, weight: 0}, {name: cart-v2, port: 80, weight: 0}]}",
            &[0, 0],
        ),
        ("{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 307}}]}", &[]),
    ] {
        let compiled = compile(&load_text(&route(rule)).unwrap_or_else(|problems| panic!("{problems}")));
        let policy = &compiled.policies[0];
        policy.check().unwrap_or_else(|invalid| panic!("{rule}: {invalid}"));
        let compiled_rule = &policy.services[&"cart-v1".parse().unwrap()].ports[0].rules[0];
        let found: Vec<u32> = compiled_rule.backends.iter().map(|backend| backend.weight).collect();
        assert_eq!(found, weights, "{rule}");
    }
}

#[test]
fn kinds_are_found_as_people_name_them() {
    for (text, kind) in [
        ("service", Some(Kind::Service)),
        ("Services", Some(Kind::Service)),
        ("httproutes", Some(Kind::HttpRoute)),
        ("BackendPolicies", Some(Kind::BackendPolicy)),
        ("backendpolicy", Some(Kind::BackendPolicy)),
        ("grpcroutes", Some(Kind::GrpcRoute)),
        ("XBackendTrafficPolicies", Some(Kind::XBackendTrafficPolicy)),
        ("inboundpolicies", Some(Kind::InboundPolicy)),
        ("telemetrypolicies", Some(Kind::TelemetryPolicy)),
        ("RouteFilters", Some(Kind::RouteFilter)),
        ("pod", None),
    ] {
        assert_eq!(Kind::named(text), kind, "{text}");
    }
}

#[test]
fn the_quickstart_is_right_at_every_step() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart");
    let file = |name: &str| source(name, &std::fs::read_to_string(folder.join(name)).unwrap());
    let mut steps = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("canary-") && name.ends_with(".yaml") {
            let pushed = [file("mesh.yaml"), file(&name)];
            load(&[], &pushed).unwrap_or_else(|problems| panic!("{problems}"));
            steps += 1;
        }
    }
    assert!(steps > 1);
}

#[test]
fn the_examples_in_the_reference_are_right() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for (name, examples) in [("CONFIG.md", 6), ("GATEWAY-API.md", 1)] {
        let text = std::fs::read_to_string(docs.join(name)).unwrap();
        let blocks: Vec<&str> =
            text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(blocks.len(), examples, "{name}");
        let checked =
            load_text(&blocks.join("---\n")).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        assert!(checked.resources().len() > 1, "{name}");
    }
}

#[test]
fn what_editors_leave_in_a_file_does_no_harm() {
    let plain = parse(&[source("cart.yaml", CART)]).unwrap();
    let windows = format!("\u{feff}{}", CART.replace('\n', "\r\n"));
    let commented = format!("# first\n---\n# nothing here\n---{CART}\n...\n---\n");
    for text in [windows, commented] {
        assert_eq!(parse(&[source("cart.yaml", &text)]).unwrap(), plain, "{text}");
    }
    assert_eq!(parse(&[source("empty.yaml", "")]).unwrap(), []);
}
