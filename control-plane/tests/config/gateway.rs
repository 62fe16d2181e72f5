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
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: db}, spec: {ports: [{port: 5432, protocol: TCP}, {name: tls, port: 443, protocol: TLS}]}}
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
    let Listener { routes, connections, .. } = listeners.iter().find(|listener| listener.name == name).unwrap();
    let texts = |texts: &'a [String]| texts.iter().map(String::as_str).collect();
    let requests = routes.iter().map(|route| {
        (texts(&route.hostnames), route.rules.iter().map(|rule| rule.name.as_str()).collect())
    });
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
            &format!("parentRefs: [{{name: edge, port: 443}}], hostnames: [x.a.test, y.test, '*.test'], {TO_WEB}"),
        ),
        route("HTTPRoute", "one", &format!("parentRefs: [{{name: edge, sectionName: web}}], hostnames: [y.test], {TO_WEB}")),
        route("TLSRoute", "tls", &format!("parentRefs: [{{name: edge}}], hostnames: [c.b.test, '*.test'], {TO_DB}")),
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
    assert_eq!(lost, ["scope default/edge loses 3 of its 3 routes", "scope default/edge loses 1 of its 1 endpoints"]);
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
        route("BackendTLSPolicy", name, &format!("targetRefs: [{target}], validation: {{hostname: w.test, {validation}}}"))
    };
    let wide = policy("wide", "", "wellKnownCACertificates: System");
    let narrow = policy("narrow", ", sectionName: http", "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]");
    let web = "web".parse().unwrap();
    for (documents, listed) in [(wide.clone(), false), (wide + &narrow + &authorities("ca"), true)] {
        let compiled = compiled(&documents);
        let facts = compiled.facts(&web).unwrap();
        facts.check().unwrap();
        let cluster = &facts.clusters[&web.cluster(80)];
        assert_eq!(cluster.tls.as_ref().unwrap().authorities != Authorities::System, listed);
        assert_eq!(facts.authorities.contains_key(&"ca".parse().unwrap()), listed);
        assert!(facts.features.contains("upstream_tls"));
        let outrigger_snapshot::facts::Discovery::Static(endpoints) = &cluster.discovery else { unreachable!() };
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

fn gateway(listeners: &str, tls: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: other}}, spec:\n{{gatewayClassName: x, listeners: [{listeners}]{tls}}}}}"
    )
}

#[test]
fn mistakes_in_gateways_are_named() {
    let https = "{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: a}]}}";
    for (listeners, tls, expected) in [
        ("{name: a, port: 80, protocol: HTTP}, {name: a, port: 80, protocol: HTTP}", "", &["X"][..]),
        ("{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: TCP}", "", &["X"]),
        ("{name: a, port: 80, protocol: HTTP, tls: {}}, {name: b, port: 81, protocol: TCP, hostname: a.test}", "", &["X"]),
        ("{name: a, port: 443, protocol: HTTPS}, {name: b, port: 444, protocol: TLS, tls: {certificateRefs: [{name: a}]}}", "", &["X"]),
        ("{name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough, options: {a: b, outrigger.dev/min-version: '1.1'}}}", "", &["X"]),
        ("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: a, namespace: b}]}}", "", &["X"]),
        ("{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector}, kinds: [{kind: TCPRoute}]}}", "", &["X"]),
        (https, ", tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: no}]}}, perPort: [{port: 80, tls: {}}, {port: 80, tls: {}}]}}", &["X"]),
        (https, ", addresses: [{value: 10.0.0.1}], tls: {backend: {}}", &["X"]),
    ] {
        assert_eq!(said(&gateway(listeners, tls)), expected, "{listeners} {tls}");
    }
    let taken = "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: edge}, spec: {ports: [{port: 80, protocol: HTTP}]}}";
    assert_eq!(said(taken), ["X"]);
}

#[test]
fn mistakes_in_what_attaches_to_gateways_are_named() {
    let web = |parent: &str| route("HTTPRoute", "r", &format!("parentRefs: [{{{parent}}}], {TO_WEB}"));
    let http = |name: &str, hosts: &str| route("HTTPRoute", name, &format!("parentRefs: [{{name: edge, sectionName: wild}}], hostnames: [{hosts}], {TO_WEB}"));
    let tls = |name: &str| route("TLSRoute", name, &format!("parentRefs: [{{name: edge}}], hostnames: [c.b.test], {TO_DB}"));
    let tcp = |name: &str| route("TCPRoute", name, &format!("parentRefs: [{{name: edge}}], {TO_DB}"));
    let stranger = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: far}, spec:\n{parentRefs: [{name: edge, namespace: default, sectionName: web}], rules: [{backendRefs: [{name: web, namespace: default, port: 80}]}]}}";
    for (document, expected) in [
        (web("name: egde"), &["X"][..]),
        (web("name: edge, sectionName: wbe"), &["X"]),
        (web("name: edge, port: 81"), &["X"]),
        (web("name: edge, port: 80, sectionName: wild"), &["X"]),
        (web("name: edge, sectionName: grpc"), &["X"]),
        (web("name: edge, sectionName: tcp"), &["X"]),
        (stranger.to_owned(), &["X"]),
        (http("r", "b.test"), &["X"]),
        (tls("a") + &tls("b"), &["X"]),
        (tcp("a") + &tcp("b"), &["X"]),
        (
            http("a", "x.a.test") + &route("GRPCRoute", "b", "parentRefs: [{name: edge, sectionName: wild}], hostnames: [x.a.test], rules: [{}]"),
            &["X"],
        ),
    ] {
        assert_eq!(said(&document), expected, "{document}");
    }
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
    for (document, expected) in [
        (policy("hostname: w.test"), &["X"][..]),
        (policy(&format!("hostname: w.test, {system}, {listed}")), &["X"]),
        (policy(&format!("hostname: w.test, {listed}")), &["X"]),
        (policy(&format!("hostname: w.test, {listed}")) + empty, &["X"]),
        (policy(&format!("hostname: w.test, {listed}")) + broken, &["X"]),
        (policy(&format!("hostname: '*.test', {system}, subjectAltNames: [{{type: URI, hostname: a}}]")), &["X"]),
        (format!("{}{mesh}", policy(&format!("hostname: w.test, {system}"))), &["X"]),
    ] {
        assert_eq!(said(&document), expected, "{document}");
    }
}
