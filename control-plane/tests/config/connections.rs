//! Routes of connections, compiled.

use outrigger_control_plane::compile::{Compiled, compile};
use outrigger_snapshot::policy::{CONNECTION_RULES, ConnectionRule, Port};
use outrigger_snapshot::validate::{AUTHORIZATION, CONNECTION_ACCESS};

use crate::load_text;

const SERVICES: &str = r#"
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: db}, spec: {ports: [
  {name: sql, port: 5432, protocol: TCP}, {name: tls, port: 443, protocol: TLS}, {name: http, port: 80, protocol: HTTP}]}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: old}, spec: {ports: [{port: 5432, protocol: TCP}]}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: app}, spec: {ports: [{port: 80, protocol: HTTP}], uses: [db]}}
"#;

fn compiled(routes: &[&str]) -> Compiled {
    let documents: Vec<&str> = [SERVICES].iter().chain(routes).copied().collect();
    let text = documents.join("\n---\n");
    compile(&load_text(&text).unwrap_or_else(|problems| panic!("{problems}")))
}

fn route(kind: &str, name: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: {kind}, metadata: {{name: {name}}}, spec: {{parentRefs: [{{group: \"\", \
         kind: Service, name: db}}], {rest}}}}}"
    )
}

fn port<'a>(compiled: &'a Compiled, scope: &str, port: u16) -> &'a Port {
    let policy = compiled.policy(&scope.parse().unwrap()).unwrap();
    let service = &policy.services[&"default/db".parse().unwrap()];
    service.ports.iter().find(|found| found.port == port).unwrap()
}

fn said(rule: &ConnectionRule) -> (String, String, Vec<(String, u32)>) {
    let backends = rule.backends.iter();
    let backends =
        backends.map(|backend| (backend.service.cluster(backend.port).to_string(), backend.weight));
    (rule.name.clone(), rule.hostnames.join(" "), backends.collect())
}

#[test]
fn routes_of_connections_reach_the_ports_of_their_protocol() {
    let tcp = route(
        "TCPRoute",
        "sql",
        "rules: [{backendRefs: [{name: db, port: 5432, weight: 9}, {name: old, port: 5432}]}]",
    );
    let tls = route(
        "TLSRoute",
        "a",
        "hostnames: [a.example, '*.a.example'], rules: [{name: x, backendRefs: [{name: db, port: 443}]}]",
    );
    let more = route(
        "TLSRoute",
        "b",
        "hostnames: ['*.example'], rules: [{backendRefs: [{name: old, port: 5432, weight: 0}]}]",
    );
    let compiled = compiled(&[&tcp, &tls, &more]);
    let rules =
        |number| port(&compiled, "default/db", number).connections.iter().map(said).collect::<Vec<_>>();
    let cluster = |name: &str, weight| (name.to_owned(), weight);
    let sql = vec![cluster("default/db:5432", 9), cluster("default/old:5432", 1)];
    assert_eq!(rules(5432), [("default/sql#0".into(), String::new(), sql)]);
    assert_eq!(
        rules(443),
        [
            ("default/a#x".into(), "a.example *.a.example".into(), vec![cluster("default/db:443", 1)]),
            ("default/b#0".into(), "*.example".into(), vec![cluster("default/old:5432", 0)]),
        ]
    );
    assert!(rules(80).is_empty() && port(&compiled, "default/db", 5432).rules.is_empty());
    let narrow = compiled.policy(&"default/app".parse().unwrap()).unwrap();
    assert!(
        narrow.services.contains_key(&"default/old".parse().unwrap()),
        "where a route leads is in the scope"
    );
    for policy in &compiled.policies {
        policy.check().unwrap();
        assert!(
            policy.features.contains(CONNECTION_RULES),
            "proxies that do not know such rules must refuse them"
        );
    }
}

/// Of what is said of requests, a port that carries none has who may call.
#[test]
fn who_may_connect_is_said_and_nothing_else() {
    let policy = |spec: &str| {
        format!(
            "{{apiVersion: outrigger.dev/v1alpha1, kind: InboundPolicy, metadata: {{name: db}}, spec: {{\
             targetRefs: [{{kind: Service, name: db}}], {spec}}}}}"
        )
    };
    let rules = "authorization: {rules: [{name: shops, access: Allow, namespaces: [shop]}]}";
    let both = compiled(&[&policy(&format!("trustedSources: [10.0.0.1], {rules}"))]);
    let inbound = port(&both, "default/db", 5432).inbound.clone().unwrap();
    assert_eq!((inbound.shed, inbound.trusted.len()), (None, 0));
    assert_eq!(inbound.authorization.unwrap().rules[0].name, "shops");
    assert_eq!(port(&both, "default/db", 80).inbound.as_ref().unwrap().trusted.len(), 1);
    for policy in &both.policies {
        policy.check().unwrap();
        assert!(policy.features.contains(CONNECTION_ACCESS) && policy.features.contains(AUTHORIZATION));
    }
    let other = policy("trustedSources: [10.0.0.1]");
    assert!(compiled(&[&other]).policies.iter().all(|policy| policy.features.is_empty()));
}

#[test]
fn content_without_such_routes_is_for_every_proxy() {
    assert!(compiled(&[]).policies.iter().all(|policy| policy.features.is_empty()));
}
