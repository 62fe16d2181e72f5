//! Filters that routes name: every mistake, and exactly what is said about it.

use super::{Wrong, check};
use crate::load_text;

#[test]
fn mistakes_are_named() {
    for (wrong, said) in CASES {
        check(wrong, said);
    }
}

const CASES: &[(Wrong, &[&str])] = &[
    (Wrong::Filter(""), &["m.yaml:6:1: spec: filters nothing; expected exactly one of rateLimit, fault"]),
    (
        Wrong::Filter("rateLimit: {name: a, requests: 1, period: 1s}, fault: {abort: {percent: 1}}"),
        &["m.yaml:6:1: spec: has both rateLimit and fault; expected exactly one of rateLimit, fault"],
    ),
    (
        Wrong::Filter("rateLimit: {name: a, requests: 0, period: 0s, key: {}}"),
        &[
            "m.yaml:6:33: spec.rateLimit.requests: is the number 0; expected a whole number from 1 to 100000000",
            "m.yaml:6:44: spec.rateLimit.period: cannot be 0; expected at least 1ms",
            r#"m.yaml:6:48: spec.rateLimit.key: is not a field of this object; expected one of name, requests, period, burst, keys, global; did you mean "keys"?"#,
        ],
    ),
    (Wrong::Filter("fault: {}"), &["m.yaml:6:9: spec.fault: does nothing; expected delay, abort or both"]),
    (
        Wrong::Filter(
            "fault: {delay: {percent: 101, duration: 0s}, abort: {percent: -1, status: 99, grpcStatus: OK}}",
        ),
        &[
            "m.yaml:6:27: spec.fault.delay.percent: is the number 101; expected a whole number from 0 to 100",
            "m.yaml:6:42: spec.fault.delay.duration: cannot be 0; expected at least 1ms",
            "m.yaml:6:64: spec.fault.abort.percent: is the number -1; expected a whole number from 0 to 100",
            "m.yaml:6:76: spec.fault.abort.status: is the number 99; expected a whole number from 200 to 599",
            r#"m.yaml:6:92: spec.fault.abort.grpcStatus: "OK" is no gRPC error; expected the name of a gRPC error, like UNAVAILABLE, or its number, 1 to 16"#,
        ],
    ),
    (
        Wrong::Filter("fault: {delay: {}, abort: {grpcStatus: UNAVAILIBLE}}"),
        &[
            "m.yaml:6:17: spec.fault.delay.duration: is missing; expected for how long, at most a day",
            "m.yaml:6:17: spec.fault.delay.percent: is missing; expected of the requests that are not answered by `abort`",
            "m.yaml:6:28: spec.fault.abort.percent: is missing; expected of the requests",
            r#"m.yaml:6:41: spec.fault.abort.grpcStatus: "UNAVAILIBLE" is no gRPC error; expected the name of a gRPC error, like UNAVAILABLE, or its number, 1 to 16; did you mean "UNAVAILABLE"?"#,
        ],
    ),
    (
        Wrong::Named("{filters: [{type: ExtensionRef}], backendRefs: [{name: web, port: 80}]}"),
        &[
            "m.yaml:12:12: spec.rules[0].filters[0].extensionRef: is missing; expected the settings of ExtensionRef",
        ],
    ),
    (
        Wrong::Named(
            "{filters: [{type: ExtensionRef, extensionRef: {group: outriger.dev, kind: RouteFliter, name: calls}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            r#"m.yaml:12:55: spec.rules[0].filters[0].extensionRef.group: "outriger.dev" is not known; expected outrigger.dev; did you mean "outrigger.dev"?"#,
            r#"m.yaml:12:75: spec.rules[0].filters[0].extensionRef.kind: "RouteFliter" is not known; expected RouteFilter; did you mean "RouteFilter"?"#,
        ],
    ),
    (
        Wrong::Named(
            "{filters: [{type: ExtensionRef, extensionRef: {group: outrigger.dev, kind: RouteFilter, name: cals}, urlRewrite: {hostname: a.example}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            r#"m.yaml:12:95: spec.rules[0].filters[0].extensionRef.name: there is no RouteFilter default/cals; expected a RouteFilter of this push or of the mesh, in the namespace of the route; did you mean "calls"?"#,
            "m.yaml:12:114: spec.rules[0].filters[0].urlRewrite: belongs to URLRewrite, and this is ExtensionRef; expected only extensionRef",
        ],
    ),
    (
        Wrong::Named(
            "{filters: [{type: ExtensionRef, extensionRef: {group: outrigger.dev, kind: RouteFilter, name: drill}}, {type: ExtensionRef, extensionRef: {group: outrigger.dev, kind: RouteFilter, name: drill}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            r#"m.yaml:12:187: spec.rules[0].filters[1].extensionRef.name: "drill" stands in filters[0] too; expected each RouteFilter once"#,
        ],
    ),
    (
        Wrong::Named(
            "{filters: [{type: ExtensionRef, extensionRef: {group: outrigger.dev, kind: RouteFilter, name: calls}}, {type: ExtensionRef, extensionRef: {group: outrigger.dev, kind: RouteFilter, name: other}}], backendRefs: [{name: web, port: 80}]}",
        ),
        &[
            r#"m.yaml:12:187: spec.rules[0].filters[1].extensionRef.name: its rate limit is named "calls", as that of RouteFilter calls is; expected each name once for a rule"#,
        ],
    ),
    (
        Wrong::Named(
            "{backendRefs: [{name: web, port: 80, filters: [{type: ExtensionRef, extensionRef: {group: outrigger.dev, kind: RouteFilter, name: nope}}]}]}",
        ),
        &[
            "m.yaml:12:131: spec.rules[0].backendRefs[0].filters[0].extensionRef.name: there is no RouteFilter default/nope; expected a RouteFilter of this push or of the mesh, in the namespace of the route",
        ],
    ),
    (
        Wrong::Grpc(
            "{filters: [{type: ExtensionRef, extensionRef: {group: outrigger.dev, kind: RouteFilter, name: nope}}]}",
        ),
        &[
            "m.yaml:8:95: spec.rules[0].filters[0].extensionRef.name: there is no RouteFilter default/nope; expected a RouteFilter of this push or of the mesh, in the namespace of the route",
        ],
    ),
];

#[test]
fn what_is_named_lies_in_the_namespace_of_the_route_and_may_have_problems_of_its_own() {
    let load = |namespace: &str, fault: &str| {
        load_text(&format!(
            "{{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {{name: web}}, spec: {{ports: [{{port: 80, protocol: HTTP}}]}}}}\n\
             ---\n{{apiVersion: outrigger.dev/v1alpha1, kind: RouteFilter, metadata: {{name: drill, namespace: {namespace}}}, \
             spec: {{fault: {fault}}}}}\n---\n\
             {{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r}}, spec: {{parentRefs: [\
             {{group: '', kind: Service, name: web}}], rules: [{{filters: [{{type: ExtensionRef, extensionRef: \
             {{group: outrigger.dev, kind: RouteFilter, name: drill}}}}]}}]}}}}"
        ))
    };
    load("default", "{abort: {percent: 1}}").unwrap_or_else(|problems| panic!("{problems}"));
    for (namespace, fault, fields) in [
        ("shop", "{abort: {percent: 1}}", ["spec.rules[0].filters[0].extensionRef.name"]),
        ("default", "{}", ["spec.fault"]),
    ] {
        let problems = load(namespace, fault).unwrap_err();
        let said: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(said, fields, "{problems}");
    }
}
