//! Right meshes, made from dice.

use serde_json::{Value, json};

const NAMESPACES: [&str; 2] = ["default", "shop"];

struct Dice<'a>(std::slice::Iter<'a, u8>);

impl Dice<'_> {
    /// A number below `most`; 0 when the dice run out.
    fn below(&mut self, most: usize) -> usize {
        self.0.next().map_or(0, |die| usize::from(*die) % most)
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == chances - 1
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// The documents of a mesh in the form in which they are stored.
pub(super) fn mesh(dice: &[u8]) -> Vec<Value> {
    let mut dice = Dice(dice.iter());
    let count = 1 + dice.below(4);
    let names: Vec<(&str, String)> =
        (0..count).map(|index| (NAMESPACES[index % 2], format!("s{index}"))).collect();
    let mut documents: Vec<Value> = (0..count).map(|index| service(&mut dice, index, &names)).collect();
    for index in 0..dice.below(4) {
        documents.push(route(&mut dice, index, &names));
    }
    for index in 0..dice.below(3) {
        documents.push(grpc_route(&mut dice, index, &names));
    }
    for (index, (namespace, name)) in names.iter().enumerate() {
        let narrowed = dice.one_in(2);
        if narrowed {
            documents.push(policy(&mut dice, index, namespace, name));
        }
        if dice.one_in(3) {
            documents.push(traffic_policy(&mut dice, index, namespace, name));
        }
        if dice.one_in(2) {
            documents.push(inbound_policy(&mut dice, index, namespace, name));
        }
    }
    for namespace in NAMESPACES {
        let spec = match dice.below(3) {
            0 => json!({ "fault": { "delay": { "percent": dice.below(101), "duration": "1ms" } } }),
            1 => {
                json!({ "fault": { "abort": { "percent": 100, "status": 200 + dice.below(400), "grpcStatus": "ABORTED" } } })
            }
            _ => json!({ "rateLimit": rate_limit(&mut dice, "calls") }),
        };
        documents.push(resource("outrigger.dev/v1alpha1", "RouteFilter", namespace, "extra", spec));
    }
    documents
}

/// Names the filter that each namespace has.
fn extension() -> Value {
    json!({ "type": "ExtensionRef", "extensionRef": { "group": "outrigger.dev", "kind": "RouteFilter", "name": "extra" } })
}

fn rate_limit(dice: &mut Dice<'_>, name: &str) -> Value {
    let keys =
        [json!({ "header": "X-User" }), json!({ "source": true }), json!({ "pathElement": dice.below(32) })];
    json!({
        "name": name, "requests": 1 + dice.below(250), "period": dice.pick(&["1ms", "24h", "1m30s"]),
        "burst": 1 + dice.below(250), "keys": keys[..dice.below(4)], "global": dice.one_in(2)
    })
}

fn inbound_policy(dice: &mut Dice<'_>, index: usize, namespace: &str, name: &str) -> Value {
    let mut target = json!({ "kind": "Service", "name": name });
    if dice.one_in(2) {
        target["sectionName"] = json!("http");
    }
    let mut spec = json!({ "targetRefs": [target] });
    match dice.below(3) {
        0 => spec["shed"] = json!({ "enabled": false }),
        1 => spec["shed"] = json!({ "tolerance": 110 + dice.below(200), "exempt": ["/", "/a%20b"] }),
        _ => {}
    }
    if dice.one_in(2) {
        spec["rateLimits"] = json!([rate_limit(dice, "a"), rate_limit(dice, "b")]);
        spec["trustedSources"] = json!([dice.pick(&["10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::1"])]);
    }
    if dice.one_in(4) {
        let cleartext = dice.pick(&["Allowed", "Refused"]);
        spec["tls"] = json!({ "certificateRefs": [{ "name": "a" }], "cleartext": cleartext });
    }
    resource("outrigger.dev/v1alpha1", "InboundPolicy", namespace, &format!("i{index}"), spec)
}

/// Port 80 named http carries HTTP in every service, and port 90 named grpc gRPC in the first.
fn service(dice: &mut Dice<'_>, index: usize, names: &[(&str, String)]) -> Value {
    let (namespace, name) = &names[index];
    let mut ports =
        vec![json!({ "name": "http", "port": 80, "protocol": dice.pick(&["HTTP", "HTTP2", "GRPC"]) })];
    if index == 0 {
        ports.push(json!({ "name": "grpc", "port": 90, "protocol": dice.pick(&["GRPC", "HTTP2"]) }));
    }
    if dice.one_in(3) {
        ports.push(json!({ "name": "raw", "port": 5432, "targetPort": 5433, "protocol": "TCP" }));
    }
    let several = ports.len() > 1;
    let address =
        if several { format!("10.0.0.{}", index + 1) } else { format!("[fd00::{}]:8080", index + 1) };
    let mut spec = json!({ "ports": ports });
    match dice.below(4) {
        0 => spec["endpoints"] = json!({ "static": [{ "address": address, "weight": 1 + dice.below(5) }] }),
        1 => spec["endpoints"] = json!({ "dns": { "name": "on.example" } }),
        2 if !several => spec["endpoints"] = json!({ "srv": { "name": "_http._tcp.yes" } }),
        _ => {}
    }
    if dice.one_in(3) {
        spec["hosts"] = json!([format!("h{index}.example")]);
    }
    if dice.one_in(3) {
        let (other_namespace, other) = &names[dice.below(names.len())];
        spec["uses"] = json!([format!("{other_namespace}/{other}")]);
    }
    resource("outrigger.dev/v1alpha1", "Service", namespace, name, spec)
}

fn route(dice: &mut Dice<'_>, index: usize, names: &[(&str, String)]) -> Value {
    let namespace = dice.pick(&NAMESPACES);
    let (parent_namespace, parent) = &names[dice.below(names.len())];
    let mut parent = json!({ "group": "", "kind": "Service", "namespace": parent_namespace, "name": parent });
    parent["port"] = json!(80);
    if dice.one_in(2) {
        parent["sectionName"] = json!("http");
    }
    let rules: Vec<Value> = (0..1 + dice.below(3)).map(|_| rule(dice, names)).collect();
    let spec = json!({ "parentRefs": [parent], "rules": rules });
    resource("gateway.networking.k8s.io/v1", "HTTPRoute", namespace, &format!("r{index}"), spec)
}

fn rule(dice: &mut Dice<'_>, names: &[(&str, String)]) -> Value {
    let mut rule = json!({});
    let mut prefixes = true;
    if dice.one_in(2) {
        let (kind, value) = dice.pick(&[
            ("PathPrefix", "/cart"),
            ("PathPrefix", "/"),
            ("Exact", "/a%20b"),
            ("RegularExpression", "/v[0-9]+/.*"),
        ]);
        prefixes = kind == "PathPrefix";
        let value_type = dice.pick(&["Exact", "RegularExpression"]);
        rule["matches"] = json!([{
            "path": { "type": kind, "value": value },
            "method": dice.pick(&["GET", "POST", "DELETE"]),
            "headers": [{ "name": "X-Canary", "type": value_type, "value": dice.pick(&["yes", "on", "null", "1", "a: b", "#"]) }],
            "queryParams": [{ "name": "Q", "value": dice.pick(&["", "~", "true", "é"]) }],
        }]);
    }
    if dice.one_in(2) {
        rule["timeouts"] = json!({ "request": "1m30s", "backendRequest": dice.pick(&["0s", "90s", "15ms"]) });
    }
    if dice.one_in(3) {
        rule["retry"] = json!({ "codes": [500, 502 + dice.below(3)], "attempts": dice.below(11), "backoff": dice.pick(&["0s", "1s"]) });
    }
    if dice.one_in(4) {
        rule["filters"] = json!([{ "type": "RequestRedirect", "requestRedirect": { "scheme": "https", "statusCode": 301 } }]);
        return rule;
    }
    if dice.one_in(3) {
        let edit = if prefixes && dice.one_in(2) {
            json!({ "type": "ReplacePrefixMatch", "replacePrefixMatch": dice.pick(&["", "/new"]) })
        } else {
            json!({ "type": "ReplaceFullPath", "replaceFullPath": "/new" })
        };
        rule["filters"] = json!([
            { "type": "RequestHeaderModifier", "requestHeaderModifier": { "set": [{ "name": "X-A", "value": "no" }], "remove": ["x-b"] } },
            extension(),
            { "type": "URLRewrite", "urlRewrite": { "hostname": "a.example", "path": edit } }
        ]);
    }
    let backends: Vec<Value> = (0..1 + dice.below(2))
        .map(|_| {
            let (namespace, name) = &names[dice.below(names.len())];
            json!({ "namespace": namespace, "name": name, "port": 80, "weight": 1 + dice.below(100) })
        })
        .collect();
    rule["backendRefs"] = backends.into();
    rule
}

fn grpc_route(dice: &mut Dice<'_>, index: usize, names: &[(&str, String)]) -> Value {
    let (parent_namespace, parent) = &names[0];
    let parent = json!({
        "group": "", "kind": "Service", "namespace": parent_namespace, "name": parent, "port": 90, "sectionName": "grpc"
    });
    let method = dice.pick(&[
        r#"{"service": "cart.v1.Cart", "method": "Get"}"#,
        r#"{"service": ".Cart"}"#,
        r#"{"method": "Get_1"}"#,
        r#"{"type": "RegularExpression", "service": "cart[.]v[0-9]+[.].*", "method": "(?i)get|put"}"#,
    ]);
    let method: Value = serde_json::from_str(method).unwrap();
    let mut rule =
        json!({ "matches": [{ "method": method, "headers": [{ "name": "X-Canary", "value": "1" }] }] });
    if dice.one_in(2) {
        rule["filters"] = json!([{ "type": "ResponseHeaderModifier", "responseHeaderModifier": { "remove": ["x-b"] } }, extension()]);
    }
    let (namespace, name) = &names[0];
    rule["backendRefs"] =
        json!([{ "namespace": namespace, "name": name, "port": 90, "weight": dice.below(3) }]);
    let spec = json!({ "parentRefs": [parent], "rules": [rule, {}] });
    resource("gateway.networking.k8s.io/v1", "GRPCRoute", dice.pick(&NAMESPACES), &format!("g{index}"), spec)
}

fn traffic_policy(dice: &mut Dice<'_>, index: usize, namespace: &str, name: &str) -> Value {
    let mut spec = json!({ "targetRefs": [{ "group": "", "kind": "Service", "name": name }] });
    if dice.one_in(2) {
        spec["retryConstraint"] = json!({
            "budget": { "percent": dice.below(101), "interval": dice.pick(&["1s", "1h", "1m30s"]) },
            "minRetryRate": { "count": 1 + dice.below(200), "interval": dice.pick(&["1ms", "1h"]) }
        });
    }
    resource(
        "gateway.networking.x-k8s.io/v1alpha1",
        "XBackendTrafficPolicy",
        namespace,
        &format!("t{index}"),
        spec,
    )
}

/// Settings about failures, without a budget, which another policy may have.
fn resilience(dice: &mut Dice<'_>, spec: &mut Value) {
    if dice.one_in(2) {
        spec["retry"] = json!({
            "attempts": dice.below(11), "statuses": [400 + dice.below(200)], "grpcStatuses": [1 + dice.below(16), ],
            "idempotent": dice.one_in(2), "backoff": { "base": "5ms", "max": dice.pick(&["5ms", "24h"]) },
            "bodyBytes": dice.below(200)
        });
        spec["hedge"] = match dice.one_in(4) {
            true => json!({ "enabled": false }),
            false => json!({ "percentile": 50 + dice.below(50) }),
        };
    }
    if dice.one_in(2) {
        spec["ejection"] =
            json!({ "consecutive": dice.below(20), "maxPercent": dice.below(101), "max": "10s" });
        let window = dice.pick(&["requests", "time"]);
        let over = if window == "time" { json!("1ms") } else { json!(20 + dice.below(200)) };
        spec["breaker"] = json!({ "window": { window: over }, "minRequests": 1 + dice.below(20), "ramp": dice.pick(&["1ms", "24h"]) });
    }
    if dice.one_in(2) {
        let probe = dice.pick(&["http", "tcp"]);
        spec["healthCheck"] = json!({
            probe: {}, "interval": dice.pick(&["1ms", "10s", "24h"]), "healthy": 1 + dice.below(100)
        });
        spec["slowStart"] = json!("1s");
    } else if dice.one_in(4) {
        spec["healthCheck"] = json!({ "enabled": false });
    }
}

fn policy(dice: &mut Dice<'_>, index: usize, namespace: &str, name: &str) -> Value {
    let mut target = json!({ "group": "outrigger.dev", "kind": "Service", "name": name });
    if dice.one_in(2) {
        target["sectionName"] = json!("http");
    }
    let mut spec = json!({ "targetRefs": [target] });
    match dice.below(4) {
        0 => {
            spec["balance"] =
                json!({ "policy": dice.pick(&["Random", "RoundRobin", "LeastRequest", "PeakEwma"]) });
            spec["zonePreference"] = json!({ "enabled": dice.one_in(2), "minEndpoints": 1 + dice.below(9) });
            spec["subset"] = json!({ "enabled": dice.one_in(2), "minEndpoints": 12 + dice.below(9) });
        }
        1 => {
            spec["balance"] = json!({
                "policy": "ShuffleShard", "hash": { "header": "x-tenant" }, "shardSize": 1 + dice.below(16)
            });
        }
        2 => spec["balance"] = json!({ "policy": "ConsistentHash", "hash": { "cookie": "id" } }),
        _ => {}
    }
    if dice.one_in(2) {
        spec["timeouts"] = json!({ "connect": "250ms", "request": "10s", "try": "2s", "firstByte": "0s" });
        spec["limits"] = json!({ "pending": 1 + dice.below(10), "endpointRequests": dice.below(200) });
        spec["discovery"] = json!({ "onEmpty": dice.pick(&["keep", "drain"]) });
    }
    resilience(dice, &mut spec);
    resource("outrigger.dev/v1alpha1", "BackendPolicy", namespace, &format!("p{index}"), spec)
}

fn resource(api_version: &str, kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": api_version, "kind": kind, "metadata": { "namespace": namespace, "name": name }, "spec": spec })
}
