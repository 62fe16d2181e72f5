//! Routes of connections: every mistake, and exactly what is said about it.

use super::{Wrong, check};

#[test]
fn mistakes_are_named() {
    for (wrong, said) in CASES {
        check(wrong, said);
    }
}

const CASES: &[(Wrong, &[&str])] = &[
    (
        Wrong::Tcp(
            r#"parentRefs: [{group: "", kind: Service, name: db}], rules: [{backendRefs: [{name: db, port: 5432}]}]"#,
        ),
        &[
            "m.yaml:12:48: spec.parentRefs[0]: port 5432 of default/db has a route: TCPRoute default/sql in m.yaml:7; expected one TCPRoute on a port",
        ],
    ),
    (
        Wrong::Tcp(
            r#"parentRefs: [{group: "", kind: Service, name: db, port: 443}], rules: [{backendRefs: [{name: db, port: 80}]}]"#,
        ),
        &[
            "m.yaml:12:48: spec.parentRefs[0]: default/db has no such port that carries TCP; expected a port of protocol TCP",
            "m.yaml:12:105: spec.rules[0].backendRefs[0].port: port 80 of default/db does not carry TCP; expected a port of protocol TCP or TLS",
        ],
    ),
    (
        Wrong::Tcp(
            r#"parentRefs: [{group: "", kind: Service, name: web}], hostnames: [b.example], rules: [{backendRefs: []}, {matches: []}]"#,
        ),
        &[
            "m.yaml:12:48: spec.parentRefs[0]: default/web has no such port that carries TCP; expected a port of protocol TCP",
            "m.yaml:12:55: spec.hostnames: is not a field of this object; expected one of parentRefs, rules",
            "m.yaml:12:86: spec.rules: has 2 items; expected 1 to 1",
            "m.yaml:12:101: spec.rules[0].backendRefs: has 0 items; expected 1 to 16",
        ],
    ),
    (
        Wrong::Tls(
            r#"parentRefs: [{group: "", kind: Service, name: db}], rules: [{backendRefs: [{name: db, port: 443, filters: []}]}]"#,
        ),
        &[
            "m.yaml:12:1: spec.hostnames: is missing; expected the hosts that clients ask for (SNI); a first label of `*` stands for one label or more",
            "m.yaml:12:99: spec.rules[0].backendRefs[0].filters: is not a field of this object; expected one of group, kind, namespace, name, port, weight",
        ],
    ),
    (
        Wrong::Tls(
            r#"parentRefs: [{group: "", kind: Service, name: db}], hostnames: [b.example, 10.0.0.1, B.example, b.example, a.example], rules: [{backendRefs: [{name: db, port: 443}]}]"#,
        ),
        &[
            "m.yaml:12:77: spec.hostnames[1]: is an address, and clients ask for names; expected a host name",
            r#"m.yaml:12:87: spec.hostnames[2]: "B.example" is not valid; expected a host name in lower case, without port; the first label may be *; did you mean "b.example"?"#,
            "m.yaml:12:98: spec.hostnames[3]: is hostnames[0] too; expected each host once",
            r#"m.yaml:12:109: spec.hostnames[4]: "a.example" of port 443 of default/db has a route: TLSRoute default/tls in m.yaml:9; expected each host once on a port"#,
        ],
    ),
    (
        Wrong::Tls(
            r#"parentRefs: [{group: "", kind: Service, name: db, sectionName: sql}], hostnames: [b.example], rules: [{backendRefs: [{name: db, port: 80}]}]"#,
        ),
        &[
            "m.yaml:12:48: spec.parentRefs[0]: default/db has no such port that carries TLS; expected a port of protocol TLS",
            "m.yaml:12:136: spec.rules[0].backendRefs[0].port: port 80 of default/db does not carry TLS; expected a port of protocol TCP or TLS",
        ],
    ),
    (
        Wrong::Text("apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: TCPRoute"),
        &[
            r#"m.yaml:5:13: apiVersion: "gateway.networking.k8s.io/v1alpha2" is not the version of TCPRoute here; expected gateway.networking.k8s.io/v1"#,
        ],
    ),
];
