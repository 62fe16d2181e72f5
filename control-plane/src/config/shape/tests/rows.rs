//! Each row of the tables, driven through the parser.

use serde_json::{Value, json};

use super::super::super::resource::{Kind, Resource};
use super::super::super::{Problems, Source, load, parse};
use super::super::Presence;
use super::{Row, rows};
use crate::compile::compile;

/// Right documents of a kind that have all its supported fields between them.
fn samples(kind: Kind) -> Vec<Value> {
    let specs = match kind {
        Kind::Service => vec![
            json!({
                "ports": [{ "port": 80, "name": "http", "targetPort": 8080, "protocol": "TCP", "appProtocol": "http" }],
                "endpoints": { "static": [{ "address": "10.0.0.1", "weight": 2, "zone": "a" }] },
                "hosts": ["cart.example"],
                "uses": ["cart"],
                "mtls": "Strict",
            }),
            json!({ "ports": [{ "port": 5432, "protocol": "TCP", "proxyProtocol": { "version": "V2", "writtenBy": "Callers" } }] }),
            json!({ "ports": [{ "port": 80, "protocol": "HTTP" }], "endpoints": { "dns": { "name": "a.example", "port": 80 } } }),
            json!({ "ports": [{ "port": 80, "protocol": "HTTP" }], "endpoints": { "srv": { "name": "_http._tcp.a.example" } } }),
        ],
        Kind::HttpRoute => {
            let parent = json!({
                "group": "", "kind": "Service", "namespace": "default", "name": "web", "sectionName": "http", "port": 80
            });
            let headers = json!([{ "name": "x-a", "value": "b" }]);
            let edit = json!({ "set": headers, "add": headers, "remove": ["x-b"] });
            let first = json!({
                "name": "first",
                "matches": [{
                    "path": { "type": "PathPrefix", "value": "/a" },
                    "headers": [{ "type": "Exact", "name": "x-a", "value": "b" }],
                    "queryParams": [{ "type": "RegularExpression", "name": "a", "value": "b+" }],
                    "method": "GET",
                }],
                "filters": [
                    { "type": "RequestHeaderModifier", "requestHeaderModifier": edit },
                    { "type": "ResponseHeaderModifier", "responseHeaderModifier": edit },
                    { "type": "URLRewrite", "urlRewrite": {
                        "hostname": "a.example", "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": "/b" }
                    } },
                    extension(),
                ],
                "backendRefs": [{
                    "group": "", "kind": "Service", "namespace": "default", "name": "web", "port": 80, "weight": 1,
                    "filters": [{ "type": "URLRewrite", "urlRewrite": {
                        "path": { "type": "ReplaceFullPath", "replaceFullPath": "/b" }
                    } }],
                }],
                "timeouts": { "request": "2s", "backendRequest": "1s" },
                "retry": { "codes": [500], "attempts": 1, "backoff": "10ms" },
            });
            let redirect = |path: Value| json!({ "filters": [{ "type": "RequestRedirect", "requestRedirect": {
                "scheme": "https", "hostname": "a.example", "path": path, "port": 443, "statusCode": 301
            } }] });
            let full = redirect(json!({ "type": "ReplaceFullPath", "replaceFullPath": "/a" }));
            let prefix = redirect(json!({ "type": "ReplacePrefixMatch", "replacePrefixMatch": "/a" }));
            let rewrite = json!({
                "filters": [{ "type": "URLRewrite", "urlRewrite": { "path": { "type": "ReplaceFullPath", "replaceFullPath": "/a" } } }],
                "backendRefs": [{ "name": "web", "port": 80 }],
            });
            [first, full, prefix, rewrite]
                .map(|rule| json!({ "parentRefs": [parent], "hostnames": ["*.example"], "rules": [rule] }))
                .to_vec()
        }
        Kind::GrpcRoute => vec![grpc_route()],
        Kind::TcpRoute => vec![connection_route("tcp", 5432)],
        Kind::TlsRoute => {
            let mut route = connection_route("tls", 443);
            route["hostnames"] = json!(["*.example"]);
            vec![route]
        }
        Kind::XBackendTrafficPolicy => vec![json!({
            "targetRefs": [{ "group": "", "kind": "Service", "name": "web" }],
            "retryConstraint": {
                "budget": { "percent": 25, "interval": "5s" }, "minRetryRate": { "count": 3, "interval": "1s" }
            },
        })],
        Kind::BackendPolicy => [("header", "http", "time"), ("cookie", "grpc", "requests"), ("source", "tcp", "time")]
            .map(|(key, probe, window)| {
                let value = if key == "source" { json!(true) } else { json!("a") };
                let asked = match probe {
                    "http" => json!({ "path": "/health?full", "host": "a.example" }),
                    "grpc" => json!({ "service": "cart.v1.Cart" }),
                    _ => json!({}),
                };
                let over = if window == "time" { json!("10s") } else { json!(100) };
                let resilience = resilience(probe, &asked, window, &over);
                let mut spec = json!({
                    "targetRefs": [{ "group": "", "kind": "Service", "name": "web", "sectionName": "http" }],
                    "balance": { "policy": "ShuffleShard", "hash": { key: value }, "shardSize": 2 },
                    "timeouts": {
                        "connect": "1s", "request": "2s", "try": "1s", "firstByte": "0s", "idle": "1m", "bodyStall": "1m",
                        "tunnelIdle": "1h"
                    },
                    "limits": { "connections": 1, "pending": 1, "requests": 1, "endpointRequests": 1 },
                    "zonePreference": { "enabled": false, "minEndpoints": 3 },
                    "subset": { "enabled": false, "minEndpoints": 12 },
                    "discovery": { "onEmpty": "drain" },
                    "tls": { "clientCertificateRef": { "group": "", "kind": "Secret", "namespace": "default", "name": "pair" } },
                });
                if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), resilience) {
                    spec.extend(more);
                }
                spec
            })
            .to_vec(),
        Kind::InboundPolicy => KEYS
            .map(|key| {
                json!({
                    "targetRefs": [{ "group": "", "kind": "Service", "name": "web", "sectionName": "http" }],
                    "shed": { "enabled": true, "tolerance": 150, "exempt": ["/ready"] },
                    "rateLimits": [rate_limit(key)],
                    "authorization": { "default": "Deny", "dryRun": true, "rules": [{
                        "name": "shop", "access": "Allow", "identities": ["spiffe://mesh.test/ns/shop/**"],
                        "namespaces": ["shop"], "methods": ["GET"],
                        "paths": [{ "type": "PathPrefix", "value": "/orders" }], "sources": ["10.0.0.0/8"],
                    }] },
                    "priorities": [{
                        "priority": 3, "identities": ["spiffe://mesh.test/ns/shop/**"], "namespaces": ["shop"],
                        "methods": ["GET"], "paths": [{ "type": "Exact", "value": "/orders" }], "sources": ["::1"],
                    }],
                    "trustedSources": ["10.1.0.0/16", "::1"],
                    "tls": {
                        "certificateRefs": [{ "group": "", "kind": "Secret", "namespace": "default", "name": "web" }],
                        "minVersion": "1.3",
                        "validation": {
                            "caCertificateRefs": [
                                { "group": "", "kind": "ConfigMap", "namespace": "default", "name": "ca" },
                            ],
                            "mode": "AllowInsecureFallback",
                        },
                        "cleartext": "Allowed",
                    },
                })
            })
            .to_vec(),
        Kind::TelemetryPolicy => [("value", "shop"), ("header", "X-Tenant")]
            .map(|(from, said)| {
                json!({
                    "targetRefs": [{ "group": "", "kind": "Service", "name": "web", "sectionName": "http" }],
                    "traces": { "sampling": "0.5%", "slow": "250ms" },
                    "accessLog": { "enabled": true, "sampling": "10%" },
                    "labels": [{ "name": "shop.tenant", from: said }],
                })
            })
            .to_vec(),
        Kind::RouteFilter => {
            let limits = KEYS.map(|key| json!({ "rateLimit": rate_limit(key) }));
            let fault = json!({ "fault": {
                "delay": { "percent": 10, "duration": "1s" },
                "abort": { "percent": 5, "status": 500, "grpcStatus": "INTERNAL" },
            } });
            limits.into_iter().chain([fault]).collect()
        }
        Kind::Mesh => vec![json!({
            "trustDomain": "mesh.test", "trustBundle": ROOT, "revocations": REVOCATIONS, "mtls": "Permissive",
        })],
        Kind::Gateway => vec![gateway()],
        Kind::BackendTlsPolicy => backend_tls_policies(),
        Kind::ConfigMap => return vec![config_map()],
    };
    specs.into_iter().map(|spec| whole(kind, spec)).collect()
}

fn gateway() -> Value {
    let authorities = json!([{ "group": "", "kind": "ConfigMap", "namespace": "default", "name": "ca" }]);
    let validation = json!({ "validation": { "caCertificateRefs": authorities, "mode": "AllowValidOnly" } });
    json!({
        "gatewayClassName": "outrigger",
        "listeners": [{
            "name": "https", "hostname": "*.example", "port": 443, "protocol": "HTTPS",
            "tls": {
                "mode": "Terminate",
                "certificateRefs": [{ "group": "", "kind": "Secret", "namespace": "default", "name": "pair" }],
                "options": { "outrigger.dev/min-version": "1.3" },
            },
            "allowedRoutes": {
                "namespaces": { "from": "All" },
                "kinds": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute" }],
            },
        }],
        "tls": { "frontend": { "default": validation, "perPort": [{ "port": 443, "tls": validation }] } },
    })
}

fn backend_tls_policies() -> Vec<Value> {
    let policy = |validation: Value| {
        json!({
            "targetRefs": [{ "group": "", "kind": "Service", "name": "outside", "sectionName": "http" }],
            "validation": validation,
        })
    };
    let authorities = json!([{ "group": "", "kind": "ConfigMap", "name": "ca" }]);
    vec![
        policy(json!({
            "caCertificateRefs": authorities, "hostname": "a.example",
            "subjectAltNames": [{ "type": "Hostname", "hostname": "b.example" }],
        })),
        policy(json!({
            "wellKnownCACertificates": "System", "hostname": "a.example",
            "subjectAltNames": [{ "type": "URI", "uri": "spiffe://a.example/b" }],
        })),
    ]
}

fn config_map() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "ca", "namespace": "default", "labels": { "a": "b" }, "annotations": { "a": "b" } },
        "data": { "ca.crt": ROOT },
        "immutable": true,
    })
}

/// What requests can be counted by.
const KEYS: [&str; 4] = ["header", "source", "identity", "pathElement"];

/// An authority, and what it has taken back.
const ROOT: &str = include_str!("root.pem");
const REVOCATIONS: &str = include_str!("revocations.pem");

fn rate_limit(key: &str) -> Value {
    let value = match key {
        "header" => json!("x-user"),
        "source" | "identity" => json!(true),
        _ => json!(1),
    };
    json!({
        "name": "calls", "requests": 100, "period": "1m", "burst": 20, "keys": [{ key: value }], "global": true
    })
}

fn extension() -> Value {
    let reference = json!({ "group": "outrigger.dev", "kind": "RouteFilter", "name": "limit" });
    json!({ "type": "ExtensionRef", "extensionRef": reference })
}

/// What the samples refer to.
fn surroundings() -> String {
    let web = json!({ "ports": [
        { "port": 80, "name": "http", "protocol": "HTTP2" },
        { "port": 443, "name": "tls", "protocol": "TLS" },
        { "port": 5432, "name": "tcp", "protocol": "TCP" },
    ] });
    let limit = json!({ "rateLimit": { "name": "calls", "requests": 1, "period": "1s" } });
    let outside =
        json!({ "mtls": "Disabled", "ports": [{ "port": 80, "name": "http", "protocol": "HTTP" }] });
    let around = [
        (Kind::Service, web, "web"),
        (Kind::Service, outside, "outside"),
        (Kind::RouteFilter, limit, "limit"),
    ];
    let around = around.map(|(kind, spec, name)| whole(kind, spec).to_string().replace("cart", name));
    around.join("\n---\n")
}

/// The sample, and what it refers to.
fn in_its_surroundings(kind: Kind, sample: &Value) -> String {
    let mesh = samples(Kind::Mesh).swap_remove(0);
    let mut around = surroundings();
    if kind == Kind::BackendPolicy {
        // Or the certificate of its sample would be shown to nobody.
        let by_tls = whole(Kind::BackendTlsPolicy, backend_tls_policies().swap_remove(0)).to_string();
        let web = around.replacen("\"spec\":{", "\"spec\":{\"mtls\":\"Disabled\",", 1);
        around = format!("{web}\n---\n{}", by_tls.replace("outside", "web"));
    }
    if kind != Kind::ConfigMap {
        around = format!("{around}\n---\n{}", config_map());
    }
    if kind == Kind::Mesh {
        format!("{around}\n---\n{sample}")
    } else {
        format!("{around}\n---\n{mesh}\n---\n{sample}")
    }
}

fn connection_route(section: &str, port: u16) -> Value {
    json!({
        "parentRefs": [{
            "group": "", "kind": "Service", "namespace": "default", "name": "web", "sectionName": section, "port": port
        }],
        "rules": [{
            "name": "first",
            "backendRefs": [{
                "group": "", "kind": "Service", "namespace": "default", "name": "web", "port": 443, "weight": 1
            }],
        }],
    })
}

fn grpc_route() -> Value {
    let headers = json!([{ "name": "x-a", "value": "b" }]);
    let edit = json!({ "set": headers, "add": headers, "remove": ["x-b"] });
    json!({
        "parentRefs": [{
            "group": "", "kind": "Service", "namespace": "default", "name": "web", "sectionName": "http", "port": 80
        }],
        "hostnames": ["*.example"],
        "rules": [{
            "name": "first",
            "matches": [{
                "method": { "type": "Exact", "service": "cart.v1.Cart", "method": "Get" },
                "headers": [{ "type": "Exact", "name": "x-a", "value": "b" }],
            }],
            "filters": [
                { "type": "RequestHeaderModifier", "requestHeaderModifier": edit },
                { "type": "ResponseHeaderModifier", "responseHeaderModifier": edit },
                extension(),
            ],
            "backendRefs": [{
                "group": "", "kind": "Service", "namespace": "default", "name": "web", "port": 80, "weight": 1,
                "filters": [{ "type": "ResponseHeaderModifier", "responseHeaderModifier": edit }],
            }],
        }],
    })
}

/// The part of a `BackendPolicy` about failures.
fn resilience(probe: &str, asked: &Value, window: &str, over: &Value) -> Value {
    json!({
        "retry": {
            "attempts": 3, "statuses": [500, 503], "grpcStatuses": ["UNAVAILABLE", 8], "idempotent": true,
            "backoff": { "base": "10ms", "max": "100ms" }, "bodyBytes": 1024,
            "budget": { "percent": 20, "window": "5s", "floor": { "count": 2, "interval": "1m" } },
        },
        "hedge": { "enabled": true, "percentile": 90, "minDelay": "5ms" },
        "ejection": {
            "consecutive": 3, "consecutiveLocal": 2, "failurePercent": 40, "slowPercent": 60, "slowAfter": "2s", "minRequests": 10, "window": "5s",
            "deviationPermille": 1900, "base": "5s", "max": "1m", "maxPercent": 20, "panicPercent": 30,
        },
        "breaker": {
            "failurePercent": 80, "slowPercent": 90, "slowAfter": "2s", "window": { window: over }, "minRequests": 20,
            "endpointsPercent": 100, "open": "2s", "openMax": "1m", "probes": 2, "successes": 5, "ramp": "10s",
        },
        "healthCheck": {
            "enabled": true,
            probe: asked, "interval": "2s", "fastInterval": "500ms", "timeout": "250ms", "unhealthy": 2, "healthy": 1,
            "waitForFirst": true,
        },
        "slowStart": "30s",
    })
}

fn whole(kind: Kind, spec: Value) -> Value {
    json!({
        "apiVersion": kind.api_version(),
        "kind": kind.name(),
        "metadata": { "name": "cart", "namespace": "default", "labels": { "a": "b" }, "annotations": { "a": "b" } },
        "spec": spec,
    })
}

fn read(document: &Value) -> Result<Vec<Resource>, Problems> {
    parse(&[Source { name: "sample".into(), text: document.to_string() }])
}

/// The place that a path like `spec.rules[].name` names: always the first item of a list.
fn place<'a>(document: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let pointer = format!("/{}", path.replace("[]", "/0").replace('.', "/"));
    document.pointer_mut(&pointer)
}

/// What is said of the field at `path`.
fn said(problems: &Problems, path: &str) -> Vec<String> {
    let field = path.replace("[]", "[0]");
    let here = problems.iter().filter(|problem| problem.field == field);
    here.map(|problem| problem.message.clone()).collect()
}

#[test]
fn the_samples_are_right() {
    for kind in Kind::ALL {
        for sample in samples(kind) {
            let text = in_its_surroundings(kind, &sample);
            load(&[], &[Source { name: "sample".into(), text }])
                .unwrap_or_else(|problems| panic!("{problems}\n{sample}"));
        }
    }
}

#[test]
fn every_row_is_true() {
    for kind in Kind::ALL {
        for row in rows(kind) {
            match row.field.presence {
                Presence::Required(_) | Presence::Optional(_) | Presence::Inert(_) => check_read(kind, &row),
                Presence::Unsupported => check_refused(kind, &row),
                Presence::Ignored => check_ignored(kind, &row),
            }
        }
    }
}

/// A field that is read: something else in its place is found.
fn check_read(kind: Kind, row: &Row) {
    let path = &row.path;
    let mut sample = samples(kind)
        .into_iter()
        .chain(in_any_filter(kind, path))
        .find(|sample| place(&mut sample.clone(), path).is_some())
        .unwrap_or_else(|| panic!("no sample has {path}"));
    let here = place(&mut sample, path).unwrap();
    let right = here.take();
    *here = if right.is_object() { json!("wrong") } else { json!({ "wrong": true }) };
    let problems = read(&sample).expect_err(path);
    assert!(!said(&problems, path).is_empty(), "{path}: {problems}");
    if let Presence::Required(_) = row.field.presence {
        *place(&mut sample, path).unwrap() = Value::Null;
        let problems = read(&sample).expect_err(path);
        assert_eq!(said(&problems, path), ["is missing"], "{path}: {problems}");
    }
}

/// The samples with each filter first in turn, since paths name the first.
fn in_any_filter(kind: Kind, path: &str) -> Vec<Value> {
    let mut turned = Vec::new();
    for sample in samples(kind).into_iter().filter(|_| path.contains("filters[]")) {
        let filters = sample.pointer("/spec/rules/0/filters").and_then(Value::as_array).map_or(0, Vec::len);
        for index in 1..filters {
            let mut copy = sample.clone();
            if let Some(list) = copy.pointer_mut("/spec/rules/0/filters").and_then(Value::as_array_mut) {
                list.swap(0, index);
            }
            turned.push(copy);
        }
    }
    turned
}

/// The first sample with something at `path`, which it does not have.
fn with(kind: Kind, path: &str, value: Value) -> Value {
    let mut sample = samples(kind).swap_remove(0);
    let (parent, name) = path.rsplit_once('.').map_or((None, path), |(parent, name)| (Some(parent), name));
    let parent = match parent {
        Some(parent) => place(&mut sample, parent).unwrap_or_else(|| panic!("no sample has {parent}")),
        None => &mut sample,
    };
    parent[name] = value;
    sample
}

fn check_refused(kind: Kind, row: &Row) {
    for value in [json!({}), json!("a"), json!([1])] {
        let problems = read(&with(kind, &row.path, value)).expect_err(&row.path);
        assert_eq!(said(&problems, &row.path), ["is not supported by Outrigger yet"], "{problems}");
    }
}

fn check_ignored(kind: Kind, row: &Row) {
    let plain = read(&samples(kind).swap_remove(0)).unwrap();
    for value in [json!({ "a": [1.5] }), json!("a"), json!(7)] {
        let resources = read(&with(kind, &row.path, value)).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(resources, plain, "{} is kept", row.path);
    }
}

#[test]
fn what_has_no_effect_has_none() {
    for kind in Kind::ALL {
        for row in rows(kind).iter().filter(|row| matches!(row.field.presence, Presence::Inert(_))) {
            let sample = samples(kind).swap_remove(0);
            let mut without = sample.clone();
            *place(&mut without, &row.path).unwrap() = Value::Null;
            let [with, without] = [sample, without].map(|document| {
                let text = in_its_surroundings(kind, &document);
                compile(&load(&[], &[Source { name: "sample".into(), text }]).unwrap())
            });
            assert_eq!(with, without, "{}", row.path);
        }
    }
}
