//! Routes of gRPC requests: every mistake, and exactly what is said about it.

use super::{Wrong, check};

#[test]
fn mistakes_are_named() {
    for (wrong, said) in CASES {
        check(wrong, said);
    }
}

const CASES: &[(Wrong, &[&str])] = &[
    (
        Wrong::Grpc(
            r#"{matches: [{method: {}}, {method: {service: "", type: RegularExpression}}], backendRefs: [{name: api, port: 90}]}"#,
        ),
        &[
            "m.yaml:8:21: spec.rules[0].matches[0].method: names nothing; expected service, method or both",
            "m.yaml:8:35: spec.rules[0].matches[1].method: names nothing; expected service, method or both",
        ],
    ),
    (
        Wrong::Grpc(
            "{matches: [{method: {service: cart/v1, method: Get-Cart}}, {method: {method: 1Get}}], backendRefs: [{name: api, port: 90}]}",
        ),
        &[
            r#"m.yaml:8:31: spec.rules[0].matches[0].method.service: "cart/v1" is not valid; expected the service with its package, like cart.v1.CartService"#,
            r#"m.yaml:8:48: spec.rules[0].matches[0].method.method: "Get-Cart" is not valid; expected letters, digits and '_', like GetCart"#,
            r#"m.yaml:8:78: spec.rules[0].matches[1].method.method: "1Get" is not valid; expected letters, digits and '_', like GetCart"#,
        ],
    ),
    (
        Wrong::Grpc(
            r#"{matches: [{method: {type: RegularExpression, service: "(", method: "a(?=b)"}}, {method: {type: RegularExpression, service: "(?x)a # b"}}], backendRefs: [{name: api, port: 90}]}"#,
        ),
        &[
            r#"m.yaml:8:56: spec.rules[0].matches[0].method.service: "(" is not a usable regular expression: unclosed group; expected an expression of the Rust regex syntax, without look-around and back-references"#,
            r#"m.yaml:8:69: spec.rules[0].matches[0].method.method: "a(?=b)" is not a usable regular expression: look-around, including look-ahead and look-behind, is not supported; expected an expression of the Rust regex syntax, without look-around and back-references"#,
            r#"m.yaml:8:125: spec.rules[0].matches[1].method.service: "(?x)a # b" is not a usable regular expression: unclosed group; expected an expression of the Rust regex syntax, without look-around and back-references"#,
        ],
    ),
    (
        Wrong::Grpc(
            "{matches: [{method: {type: Prefix, service: a}, path: {value: /}}], backendRefs: [{name: api, port: 90}]}",
        ),
        &[
            r#"m.yaml:8:28: spec.rules[0].matches[0].method.type: "Prefix" is not known; expected one of Exact, RegularExpression"#,
            "m.yaml:8:49: spec.rules[0].matches[0].path: is not a field of this object; expected one of method, headers",
        ],
    ),
    (
        Wrong::Grpc(
            "{matches: [{headers: [{name: a, value: b}, {name: A, value: c}]}], backendRefs: [{name: api, port: 90}]}",
        ),
        &[
            r#"m.yaml:8:51: spec.rules[0].matches[0].headers[1].name: "A" is the name of headers[0] too; expected each name once"#,
        ],
    ),
    (
        Wrong::Grpc(
            "{timeouts: {request: 1s}, retry: {}, sessionPersistence: {}, backendRefs: [{name: api, port: 90}]}",
        ),
        &[
            "m.yaml:8:2: spec.rules[0].timeouts: is not a field of this object; expected one of name, matches, filters, backendRefs",
            "m.yaml:8:27: spec.rules[0].retry: is not a field of this object; expected one of name, matches, filters, backendRefs",
            "m.yaml:8:38: spec.rules[0].sessionPersistence: is not supported by Outrigger yet",
        ],
    ),
    (
        Wrong::Grpc(
            "{filters: [{type: URLRewrite}, {type: RequestMirror}], backendRefs: [{name: api, port: 90}]}",
        ),
        &[
            r#"m.yaml:8:19: spec.rules[0].filters[0].type: "URLRewrite" is not known; expected one of RequestHeaderModifier, ResponseHeaderModifier, ExtensionRef"#,
            "m.yaml:8:39: spec.rules[0].filters[1].type: RequestMirror is not supported by Outrigger yet; expected one of RequestHeaderModifier, ResponseHeaderModifier, ExtensionRef",
        ],
    ),
    (
        Wrong::Grpc("{backendRefs: [{name: api, port: 80}, {name: apu, port: 90}]}"),
        &[
            "m.yaml:8:34: spec.rules[0].backendRefs[0].port: port 80 of default/api does not carry gRPC; expected a port of protocol GRPC or HTTP2",
            r#"m.yaml:8:46: spec.rules[0].backendRefs[1].name: there is no Service default/apu; expected a Service of this push or of the mesh; did you mean "api"?"#,
        ],
    ),
    (
        Wrong::Text(
            r#"{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: route}, spec: {parentRefs: [{group: "", kind: Service, name: web}], rules: [{}]}}"#,
        ),
        &[
            "m.yaml:5:139: spec.parentRefs[0]: default/web has no such port that carries gRPC; expected a port of protocol GRPC or HTTP2",
        ],
    ),
    (
        Wrong::Text(
            r#"{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: api}, spec: {ports: [{name: grpc, port: 90, protocol: GRPC}, {name: http, port: 80, protocol: HTTP}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: a}, spec: {parentRefs: [{group: "", kind: Service, name: api}], rules: [{}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: b}, spec: {parentRefs: [{group: "", kind: Service, name: api}], rules: [{}]}}"#,
        ),
        &[
            "m.yaml:9:135: spec.parentRefs[0]: port 90 of default/api has routes of another kind: GRPCRoute default/a in m.yaml:7; expected either HTTPRoutes or GRPCRoutes on a port",
        ],
    ),
];
