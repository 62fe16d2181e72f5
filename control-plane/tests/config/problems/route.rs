//! Where routes attach: every mistake, and exactly what is said about it.

use super::{Wrong, check};

#[test]
fn mistakes_are_named() {
    for (wrong, said) in CASES {
        check(wrong, said);
    }
}

const CASES: &[(Wrong, &[&str])] = &[
    (
        Wrong::Route("parentRefs: [], rules: [{backendRefs: [{name: web, port: 80}]}]"),
        &["m.yaml:6:14: spec.parentRefs: has 0 items; expected 1 to 32"],
    ),
    (
        Wrong::Route("parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web, port: 80}]}]"),
        &[
            r#"m.yaml:6:22: spec.parentRefs[0].name: there is no Gateway default/edge; expected a Gateway of this push or of the mesh, or kind: Service and group: """#,
        ],
    ),
    (
        Wrong::Route(
            "parentRefs: [{kind: Service, name: web}], rules: [{backendRefs: [{name: web, port: 80}]}]",
        ),
        &[r#"m.yaml:6:15: spec.parentRefs[0].group: is missing; expected "", the group of Service"#],
    ),
    (
        Wrong::Route(
            r#"parentRefs: [{group: "", kind: Gateway, name: edge}, {kind: ListenerSet, name: web}], rules: [{backendRefs: [{name: web, port: 80}]}]"#,
        ),
        &[
            "m.yaml:6:23: spec.parentRefs[0].group: is of another kind; expected gateway.networking.k8s.io",
            "m.yaml:6:62: spec.parentRefs[1].kind: ListenerSet is not supported by Outrigger yet; expected one of Gateway, Service",
        ],
    ),
    (
        Wrong::Route(
            r#"parentRefs: [{group: "", kind: Service, name: wbe}], rules: [{backendRefs: [{name: web, port: 80}]}]"#,
        ),
        &[
            r#"m.yaml:6:48: spec.parentRefs[0].name: there is no Service default/wbe; expected a Service of this push or of the mesh; did you mean "web"?"#,
        ],
    ),
    (
        Wrong::Route(
            r#"parentRefs: [{group: "", kind: Service, name: web, namespace: other}], rules: [{backendRefs: [{name: web, port: 80}]}]"#,
        ),
        &[
            r#"m.yaml:6:48: spec.parentRefs[0].name: there is no Service other/web; expected a Service of this push or of the mesh; did you mean "default/web"?"#,
        ],
    ),
    (
        Wrong::Route(
            r#"parentRefs: [{group: "", kind: Service, name: web, port: 81}], rules: [{backendRefs: [{name: web, port: 80}]}]"#,
        ),
        &["m.yaml:6:59: spec.parentRefs[0].port: default/web has no port 81; expected one of 80, 443"],
    ),
    (
        Wrong::Route(
            r#"parentRefs: [{group: "", kind: Service, name: web, sectionName: htpp}], rules: [{backendRefs: [{name: web, port: 80}]}]"#,
        ),
        &[
            r#"m.yaml:6:66: spec.parentRefs[0].sectionName: default/web has no port named "htpp"; expected one of http, tls; did you mean "http"?"#,
        ],
    ),
    (
        Wrong::Route(
            r#"parentRefs: [{group: "", kind: Service, name: web, port: 443}], rules: [{backendRefs: [{name: web, port: 80}]}]"#,
        ),
        &[
            "m.yaml:6:48: spec.parentRefs[0]: default/web has no such port that carries HTTP; expected a port of protocol HTTP, HTTP2 or GRPC",
        ],
    ),
    (
        Wrong::Route(
            r#"parentRefs: [{group: "", kind: Service, name: web, port: 443, sectionName: http}], rules: [{backendRefs: [{name: web, port: 80}]}]"#,
        ),
        &[
            "m.yaml:6:48: spec.parentRefs[0]: port and sectionName name different ports of default/web, or one without HTTP; expected a port of protocol HTTP, HTTP2 or GRPC",
        ],
    ),
    (
        Wrong::Route(
            r#"parentRefs: [{group: "", kind: Service, name: web}, {group: "", kind: Service, name: web, port: 80}], rules: [{backendRefs: [{name: web, port: 80}]}]"#,
        ),
        &[
            "m.yaml:6:87: spec.parentRefs[1]: attaches to port 80 of default/web, as parentRefs[0] does; expected each port once",
        ],
    ),
    (
        Wrong::Route(r#"parentRefs: [{group: "", kind: Service, name: web}], rules: []"#),
        &["m.yaml:6:62: spec.rules: has 0 items; expected 1 to 16"],
    ),
    (
        Wrong::Route(
            r#"parentRefs: [{group: "", kind: Service, name: web}], hostnames: ["a..b"], rules: [{backendRefs: [{name: web, port: 80}]}], useDefaultGateways: All"#,
        ),
        &[
            r#"m.yaml:6:67: spec.hostnames[0]: "a..b" is not valid; expected a host name in lower case, without port; the first label may be *"#,
            "m.yaml:6:125: spec.useDefaultGateways: is not supported by Outrigger yet",
        ],
    ),
    (
        Wrong::Route(
            r#"parentRefs: [{group: "", kind: Service, name: web}], rules: [{name: "1", backendRefs: [{name: web, port: 80}]}, {backendRefs: [{name: web, port: 80}]}]"#,
        ),
        &[
            r#"m.yaml:6:114: spec.rules[1].name: "1" is the name of rules[0] too; expected each name once; a rule without one has its position"#,
        ],
    ),
    (
        Wrong::Rule("{backendRefs: [{name: web}]}"),
        &["m.yaml:6:16: spec.rules[0].backendRefs[0].port: is missing; expected the port of the Service"],
    ),
    (
        Wrong::Rule("{backendRefs: [{name: wbe, port: 80}]}"),
        &[
            r#"m.yaml:6:23: spec.rules[0].backendRefs[0].name: there is no Service default/wbe; expected a Service of this push or of the mesh; did you mean "web"?"#,
        ],
    ),
    (
        Wrong::Rule("{backendRefs: [{name: web, namespace: other, port: 80}]}"),
        &[
            r#"m.yaml:6:23: spec.rules[0].backendRefs[0].name: there is no Service other/web; expected a Service of this push or of the mesh; did you mean "default/web"?"#,
        ],
    ),
    (
        Wrong::Rule("{backendRefs: [{name: web, port: 8080}]}"),
        &[
            "m.yaml:6:34: spec.rules[0].backendRefs[0].port: default/web has no port 8080; expected one of 80, 443",
        ],
    ),
    (
        Wrong::Rule("{backendRefs: [{name: web, port: 443}]}"),
        &[
            "m.yaml:6:34: spec.rules[0].backendRefs[0].port: port 443 of default/web does not carry HTTP; expected a port of protocol HTTP, HTTP2 or GRPC",
        ],
    ),
    (
        Wrong::Rule("{backendRefs: [{name: web, port: 80, weight: -1}]}"),
        &[
            "m.yaml:6:46: spec.rules[0].backendRefs[0].weight: is the number -1; expected a whole number from 0 to 1000000",
        ],
    ),
    (
        Wrong::Rule("{backendRefs: [{kind: ServiceImport, name: web, port: 80}]}"),
        &[
            "m.yaml:6:23: spec.rules[0].backendRefs[0].kind: ServiceImport is not supported by Outrigger yet; expected Service",
        ],
    ),
    (
        Wrong::Rule("{backendRefs: [{name: web, port: 80}], retry: {attempts: 2}, sessionPersistence: {}}"),
        &["m.yaml:6:62: spec.rules[0].sessionPersistence: is not supported by Outrigger yet"],
    ),
    (
        Wrong::Rule("{backendRefs: [{name: web, port: 80}], timeouts: {request: 1.5s, backendRequest: 10}}"),
        &[
            r#"m.yaml:6:60: spec.rules[0].timeouts.request: "1.5s" is not valid; expected a duration like 10s, 1m30s or 250ms, without fractions"#,
            "m.yaml:6:82: spec.rules[0].timeouts.backendRequest: is the number 10; expected a duration like 10s, 1m30s or 250ms, without fractions",
        ],
    ),
    (
        Wrong::Rule(
            "{backendRefs: [{name: web, port: 80}], timeouts: {request: 1s, backendRequest: 1001ms}}",
        ),
        &[
            "m.yaml:6:80: spec.rules[0].timeouts.backendRequest: is longer than request; expected at most request",
        ],
    ),
    (
        Wrong::Rule("{backendRefs: [{name: web, port: 80}], timeouts: {request: 25h}}"),
        &["m.yaml:6:60: spec.rules[0].timeouts.request: is longer than a day; expected at most 24h"],
    ),
];
