//! Gateways: what comes of them, and every mistake.

use outrigger_control_plane::compile::{Compiled, compile, shrink};
use outrigger_control_plane::config::{Source, load};
use outrigger_snapshot::facts::{Authorities, TlsMode};
use outrigger_snapshot::policy::{Listener, Policy};

use crate::load_text;

/// A gateway, what it asks of clients, and two services, one of them outside the mesh.
const AROUND: &str = "\
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80, protocol: HTTP}], endpoints: {static: [{address: 10.0.0.1}]}}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: db}, spec: {ports: [{name: tcp, port: 5432, protocol: TCP}, {name: tls, port: 443, protocol: TLS}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge}, spec: {gatewayClassName: x, listeners: [
{name: web, port: 80, protocol: HTTP},
{name: wild, port: 443, protocol: HTTPS, hostname: '*.a.test', tls: {certificateRefs: [{name: a}]}, allowedRoutes: {namespaces: {from: All}}},
{name: grpc, port: 443, protocol: HTTPS, hostname: g.a.test, tls: {certificateRefs: [{name: a}]}, allowedRoutes: {kinds: [{kind: GRPCRoute}]}},
{name: tls, port: 8443, protocol: TLS, hostname: '*.b.test', tls: {mode: Passthrough}},
{name: tcp, port: 5432, protocol: TCP}]}}
---
";

fn route(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: {kind}, metadata: {{name: {name}}}, spec:\n{{{spec}}}}}\n---\n"
    )
}

fn compiled(more: &str) -> Compiled {
    compile(&load_text(&format!("{AROUND}{more}")).unwrap_or_else(|problems| panic!("{problems}")))
}

fn policy(compiled: &Compiled) -> &Policy {
    compiled.policy(&"edge".parse().unwrap()).unwrap()
}

/// The hosts and rules of each route of a listener.
fn routes<'a>(policy: &'a Policy, name: &str) -> Vec<(Vec<&'a str>, Vec<&'a str>)> {
    let listeners = &policy.gateway.as_ref().unwrap().listeners;
    let Listener { routes, connections, .. } =
        listeners.iter().find(|listener| listener.name == name).unwrap();
    let texts = |texts: &'a [String]| texts.iter().map(String::as_str).collect();
    let requests = routes
        .iter()
        .map(|route| (texts(&route.hostnames), route.rules.iter().map(|rule| rule.name.as_str()).collect()));
    let connections = connections.iter().map(|rule| (texts(&rule.hostnames), vec![rule.name.as_str()]));
    requests.chain(connections).collect()
}

const TO_WEB: &str = "rules: [{backendRefs: [{name: web, port: 80}]}]";
const TO_DB: &str = "rules: [{backendRefs: [{name: db, port: 443}]}]";

#[test]
fn routes_attach_to_the_listeners_that_they_name_where_their_hosts_meet() {
    let documents = [
        route("HTTPRoute", "all", &format!("parentRefs: [{{name: edge}}], {TO_WEB}")),
        route(
            "HTTPRoute",
            "some",
            &format!(
                "parentRefs: [{{name: edge, port: 443}}], hostnames: [x.a.test, y.test, '*.test'], {TO_WEB}"
            ),
        ),
        route(
            "HTTPRoute",
            "one",
            &format!("parentRefs: [{{name: edge, sectionName: web}}], hostnames: [y.test], {TO_WEB}"),
        ),
        route(
            "TLSRoute",
            "tls",
            &format!("parentRefs: [{{name: edge}}], hostnames: [c.b.test, '*.test'], {TO_DB}"),
        ),
        route("TCPRoute", "tcp", &format!("parentRefs: [{{name: edge}}], {TO_DB}")),
    ];
    let compiled = compiled(&documents.concat());
    let policy = policy(&compiled);
    let all = "default/all#0";
    assert_eq!(routes(policy, "web"), [(vec![], vec![all]), (vec!["y.test"], vec!["default/one#0"])]);
    assert_eq!(
        routes(policy, "wild"),
        [(vec!["*.a.test"], vec![all]), (vec!["*.a.test", "x.a.test"], vec!["default/some#0"])]
    );
    assert_eq!(routes(policy, "grpc"), []);
    assert_eq!(routes(policy, "tls"), [(vec!["*.b.test", "c.b.test"], vec!["default/tls#0"])]);
    assert_eq!(routes(policy, "tcp"), [(vec![], vec!["default/tcp#0"])]);
    let services: Vec<_> = policy.services.keys().map(ToString::to_string).collect();
    assert_eq!(services, ["default/db", "default/web"], "only what routes lead to");
    assert!(policy.features.contains("gateway"));
    policy.check().unwrap();
    let facts = compiled.facts(&"edge".parse().unwrap()).unwrap();
    facts.check().unwrap();
    assert_eq!(facts.clusters.len(), 1, "the other has no endpoints");
}

#[test]
fn a_gateway_without_routes_is_one_and_what_it_loses_is_noticed() {
    let without = compiled("");
    assert!(policy(&without).services.is_empty());
    policy(&without).check().unwrap();
    let with = compiled(&route("HTTPRoute", "all", &format!("parentRefs: [{{name: edge}}], {TO_WEB}")));
    assert!(shrink(&without, &with).is_empty());
    let lost: Vec<_> = shrink(&with, &without).iter().map(ToString::to_string).collect();
    assert_eq!(
        lost,
        ["scope default/edge loses 3 of its 3 routes", "scope default/edge loses 1 of its 1 endpoints"]
    );
}

const ROOT: &str = include_str!("../../src/config/shape/tests/root.pem");

fn authorities(name: &str) -> String {
    let data = serde_json::json!({ "ca.crt": ROOT });
    format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}, data: {data}}}\n---\n")
}

#[test]
fn what_is_asked_of_servers_stands_in_facts_with_who_is_believed() {
    let policy = |name: &str, section: &str, validation: &str| {
        let target = format!("{{group: '', kind: Service, name: web{section}}}");
        route(
            "BackendTLSPolicy",
            name,
            &format!("targetRefs: [{target}], validation: {{hostname: w.test, {validation}}}"),
        )
    };
    let wide = policy("wide", "", "wellKnownCACertificates: System");
    let narrow = policy(
        "narrow",
        ", sectionName: http",
        "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]",
    );
    let web = "web".parse().unwrap();
    for (documents, listed) in [(wide.clone(), false), (wide + &narrow + &authorities("ca"), true)] {
        let compiled = compiled(&documents);
        let facts = compiled.facts(&web).unwrap();
        facts.check().unwrap();
        let cluster = &facts.clusters[&web.cluster(80)];
        assert_eq!(cluster.tls.as_ref().unwrap().authorities != Authorities::System, listed);
        assert_eq!(facts.authorities.contains_key(&"ca".parse().unwrap()), listed);
        assert!(facts.features.contains("upstream_tls"));
        let outrigger_snapshot::facts::Discovery::Static(endpoints) = &cluster.discovery else {
            unreachable!()
        };
        assert_eq!(endpoints[0].tls, TlsMode::Tls);
    }
}

/// What is said of a document beside [`AROUND`].
fn said(document: &str) -> Vec<String> {
    let text = format!("{AROUND}{document}");
    match load(&[], &[Source { name: "m.yaml".into(), text }]) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// Checks what is said of each document; what differs is told of all at once.
fn check(cases: &[(String, &[&str])]) {
    let said = |(document, expected): &(String, &[&str])| {
        let said = said(document);
        (said != *expected).then(|| format!("{document}\nis {said:?}\nnot {expected:?}"))
    };
    let differ: Vec<String> = cases.iter().filter_map(said).collect();
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
}

fn gateway(listeners: &str, tls: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: other}}, spec:\n{{gatewayClassName: x, listeners: [{listeners}]{tls}}}}}"
    )
}

#[test]
fn mistakes_in_gateways_are_named() {
    let https = "{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: a}]}}";
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "{name: a, port: 80, protocol: HTTP}, {name: a, port: 80, protocol: HTTP}",
            "",
            &[
                "m.yaml:13:72: spec.listeners[1]: has port and hostname of listeners[0]; expected each hostname once on a port",
                r#"m.yaml:13:79: spec.listeners[1].name: "a" is the name of listeners[0] too; expected each name once"#,
            ],
        ),
        (
            "{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: TCP}",
            "",
            &[
                "m.yaml:13:102: spec.listeners[1].protocol: port 80 is HTTP in listeners[0]; expected one protocol on a port",
            ],
        ),
        (
            "{name: a, port: 80, protocol: HTTP, tls: {}}, {name: b, port: 81, protocol: TCP, hostname: a.test}",
            "",
            &[
                "m.yaml:13:76: spec.listeners[0].tls: has no effect on HTTP; expected protocol HTTPS or TLS, or no tls",
                "m.yaml:13:126: spec.listeners[1].hostname: has no effect on TCP, which names no host; expected no hostname",
            ],
        ),
        (
            "{name: a, port: 443, protocol: HTTPS}, {name: b, port: 444, protocol: TLS, tls: {certificateRefs: [{name: a}]}}",
            "",
            &[
                "m.yaml:13:35: spec.listeners[0].tls: is missing; expected tls, for protocol HTTPS",
                "m.yaml:13:115: spec.listeners[1].tls.mode: Terminate is not supported by Outrigger yet for connections that are not looked into; expected Passthrough, or protocol HTTPS",
                "m.yaml:13:133: spec.listeners[1].tls.certificateRefs: has no effect on TLS that does not end here; expected no certificateRefs",
            ],
        ),
        (
            "{name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough, options: {a: b, outrigger.dev/min-version: '1.1'}}}",
            "",
            &[
                "m.yaml:13:78: spec.listeners[0].tls.certificateRefs: is missing; expected the certificates that are shown",
                "m.yaml:13:85: spec.listeners[0].tls.mode: cannot be Passthrough where requests are looked at; expected Terminate, or protocol TLS",
                "m.yaml:13:108: spec.listeners[0].tls.options.a: is not known; expected outrigger.dev/min-version",
                r#"m.yaml:13:141: spec.listeners[0].tls.options.outrigger.dev/min-version: "1.1" is no version that is spoken; expected "1.2" or "1.3""#,
            ],
        ),
        (
            "{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: a, namespace: b}]}}",
            "",
            &[
                "m.yaml:13:118: spec.listeners[0].tls.certificateRefs[0].namespace: is another namespace, for which a ReferenceGrant is needed, and those are not supported by Outrigger yet; expected default",
            ],
        ),
        (
            "{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector}, kinds: [{kind: TCPRoute}]}}",
            "",
            &[
                "m.yaml:13:106: spec.listeners[0].allowedRoutes.namespaces.from: Selector is not supported by Outrigger yet; expected one of All, Same",
                "m.yaml:13:125: spec.listeners[0].allowedRoutes.kinds[0].kind: is of routes that cannot attach to HTTP; expected a kind that the protocol takes",
            ],
        ),
        (
            https,
            ", tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: no}]}}, perPort: [{port: 80, tls: {}}, {port: 80, tls: {}}]}}",
            &[
                "m.yaml:13:207: spec.tls.frontend.default.validation.caCertificateRefs[0].name: there is no ConfigMap default/no; expected a ConfigMap of this push or of the mesh",
                "m.yaml:13:232: spec.tls.frontend.perPort[0].port: no listener of HTTPS has port 80; expected a port of listeners of HTTPS",
                "m.yaml:13:253: spec.tls.frontend.perPort[1].port: 80 stands twice; expected each port once",
                "m.yaml:13:253: spec.tls.frontend.perPort[1].port: no listener of HTTPS has port 80; expected a port of listeners of HTTPS",
            ],
        ),
        (
            https,
            ", addresses: [{value: 10.0.0.1}], tls: {backend: {}}",
            &[
                "m.yaml:13:112: spec.addresses: is not supported by Outrigger yet",
                "m.yaml:13:150: spec.tls.backend: is not supported by Outrigger yet",
            ],
        ),
    ];
    let taken = "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: edge}, spec: {ports: [{port: 80, protocol: HTTP}]}}";
    let cases = cases.iter().map(|(listeners, tls, said)| (gateway(listeners, tls), *said));
    let cases: Vec<(String, &[&str])> = cases.chain([(taken.to_owned(), &["m.yaml:5:76: metadata.name: is the name of Service default/edge too, in m.yaml:12: both would have one identity; expected a name that no Service has"][..])]).collect();
    check(&cases);
}

#[test]
fn mistakes_in_what_attaches_to_gateways_are_named() {
    let web = |parent: &str| route("HTTPRoute", "r", &format!("parentRefs: [{{{parent}}}], {TO_WEB}"));
    let http = |name: &str, hosts: &str| {
        route(
            "HTTPRoute",
            name,
            &format!("parentRefs: [{{name: edge, sectionName: wild}}], hostnames: [{hosts}], {TO_WEB}"),
        )
    };
    let tls = |name: &str| {
        route("TLSRoute", name, &format!("parentRefs: [{{name: edge}}], hostnames: [c.b.test], {TO_DB}"))
    };
    let tcp = |name: &str| route("TCPRoute", name, &format!("parentRefs: [{{name: edge}}], {TO_DB}"));
    let stranger = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: far}, spec:\n{parentRefs: [{name: edge, namespace: default, sectionName: web}], rules: [{backendRefs: [{name: web, namespace: default, port: 80}]}]}}";
    check(&[
        (
            web("name: egde"),
            &[
                r#"m.yaml:13:22: spec.parentRefs[0].name: there is no Gateway default/egde; expected a Gateway of this push or of the mesh, or kind: Service and group: ""; did you mean "edge"?"#,
            ],
        ),
        (
            web("name: edge, sectionName: wbe"),
            &[
                r#"m.yaml:13:41: spec.parentRefs[0].sectionName: default/edge has no listener named "wbe"; expected one of web, wild, grpc, tls, tcp"#,
            ],
        ),
        (
            web("name: edge, port: 81"),
            &[
                "m.yaml:13:34: spec.parentRefs[0].port: default/edge has no listener with port 81; expected one of 80, 443, 8443, 5432",
            ],
        ),
        (
            web("name: edge, port: 80, sectionName: wild"),
            &[
                "m.yaml:13:22: spec.parentRefs[0]: default/edge has no listener of that name and port; expected one of web, wild, grpc, tls, tcp",
            ],
        ),
        (
            web("name: edge, sectionName: grpc"),
            &[
                "m.yaml:13:22: spec.parentRefs[0]: default/edge has no such listener that takes HTTPRoutes; expected a listener of HTTP or HTTPS, whose allowedRoutes.kinds names it if any",
            ],
        ),
        (
            web("name: edge, sectionName: tcp"),
            &[
                "m.yaml:13:22: spec.parentRefs[0]: default/edge has no such listener that takes HTTPRoutes; expected a listener of HTTP or HTTPS, whose allowedRoutes.kinds names it if any",
            ],
        ),
        (
            stranger.to_owned(),
            &[
                "m.yaml:13:22: spec.parentRefs[0]: default/edge takes no routes of namespace far; expected a listener with allowedRoutes.namespaces.from: All",
            ],
        ),
        (
            http("r", "b.test"),
            &[
                "m.yaml:13:61: spec.parentRefs[0]: has no hostname that a listener of default/edge is for; expected a host that is, or is below, that of a listener",
            ],
        ),
        (
            tls("a") + &tls("b"),
            &[
                r#"m.yaml:16:22: spec.parentRefs[0]: "c.b.test" of listener "tls" of default/edge has a route: TLSRoute default/a in m.yaml:12; expected each host once on a listener"#,
            ],
        ),
        (
            tcp("a") + &tcp("b"),
            &[
                r#"m.yaml:16:22: spec.parentRefs[0]: listener "tcp" of default/edge has a route: TCPRoute default/a in m.yaml:12; expected one route on a listener"#,
            ],
        ),
        (
            http("a", "x.a.test")
                + &route(
                    "GRPCRoute",
                    "b",
                    "parentRefs: [{name: edge, sectionName: wild}], hostnames: [x.a.test], rules: [{}]",
                ),
            &[
                r#"m.yaml:16:22: spec.parentRefs[0]: "x.a.test" of listener "wild" of default/edge has a route of another kind: HTTPRoute default/a in m.yaml:12; expected routes of one kind for a host"#,
            ],
        ),
    ]);
}

#[test]
fn mistakes_in_what_is_asked_of_servers_are_named() {
    let policy = |validation: &str| {
        let target = "targetRefs: [{group: '', kind: Service, name: web}]";
        route("BackendTLSPolicy", "p", &format!("{target}, validation: {{{validation}}}"))
    };
    let listed = "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]";
    let system = "wellKnownCACertificates: System";
    let empty = "{apiVersion: v1, kind: ConfigMap, metadata: {name: ca}, data: {other: x}}\n---\n";
    let broken = "{apiVersion: v1, kind: ConfigMap, metadata: {name: ca}, data: {ca.crt: x}}\n---\n";
    let mesh = serde_json::json!({
        "apiVersion": "outrigger.dev/v1alpha1", "kind": "Mesh", "metadata": { "name": "mesh" },
        "spec": { "trustDomain": "mesh.test", "trustBundle": ROOT },
    });
    check(&[
        (
            policy("hostname: w.test"),
            &[
                "m.yaml:13:67: spec.validation: does not say who is believed; expected one of caCertificateRefs and wellKnownCACertificates",
            ],
        ),
        (
            policy(&format!("hostname: w.test, {system}, {listed}")),
            &[
                "m.yaml:13:67: spec.validation: says twice who is believed; expected one of caCertificateRefs and wellKnownCACertificates",
                "m.yaml:13:174: spec.validation.caCertificateRefs[0].name: there is no ConfigMap default/ca; expected a ConfigMap of this push or of the mesh",
            ],
        ),
        (
            policy(&format!("hostname: w.test, {listed}")),
            &[
                "m.yaml:13:141: spec.validation.caCertificateRefs[0].name: there is no ConfigMap default/ca; expected a ConfigMap of this push or of the mesh",
            ],
        ),
        (
            policy(&format!("hostname: w.test, {listed}")) + empty,
            &[
                "m.yaml:13:141: spec.validation.caCertificateRefs[0].name: ConfigMap default/ca has no certificates; expected PEM in data, as ca.crt",
            ],
        ),
        (
            policy(&format!("hostname: w.test, {listed}")) + broken,
            &[
                "m.yaml:15:72: data.ca.crt: it has no certificate: expected at least one, in PEM; expected PEM, whole, from BEGIN to END lines",
            ],
        ),
        (
            policy(&format!("hostname: '*.test', {system}, subjectAltNames: [{{type: URI, hostname: a}}]")),
            &[
                r#"m.yaml:13:78: spec.validation.hostname: "*.test" is not valid; expected a host name in lower case, without port and wildcard"#,
                "m.yaml:13:139: spec.validation.subjectAltNames[0].uri: is missing; expected the name",
                "m.yaml:13:161: spec.validation.subjectAltNames[0].hostname: is of another type; expected no hostname",
            ],
        ),
        (
            format!("{}{mesh}", policy(&format!("hostname: w.test, {system}"))),
            &[
                "m.yaml:13:48: spec.targetRefs[0]: the sidecars of default/web are called by mutual TLS of the mesh; expected a Service with mtls: Disabled",
            ],
        ),
    ]);
}
