use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{Balance, OnEmpty, Port};

use super::{Compiled, Loss, Shrink, compile, shrink};
use crate::config::{Source, load};

fn compiled(documents: &[String]) -> Compiled {
    let text = documents.join("\n---\n");
    compile(&load(&[], &[Source { name: "mesh.yaml".into(), text }]).unwrap())
}

/// A service in `namespace/name` with port 80 named http, and what else its spec says.
fn service(key: &str, more: &str) -> String {
    let (namespace, name) = key.split_once('/').unwrap();
    format!(
        "{{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {{namespace: {namespace}, name: {name}}}, \
         spec: {{ports: [{{name: http, port: 80, protocol: HTTP}}]{more}}}}}"
    )
}

fn endpoints(count: usize) -> String {
    let listed: Vec<String> = (1..=count).map(|host| format!("{{address: 10.0.0.{host}}}")).collect();
    format!(", endpoints: {{static: [{}]}}", listed.join(", "))
}

/// A route from one service to another.
fn route(key: &str, parent: &str, backend: &str) -> String {
    let (namespace, name) = key.split_once('/').unwrap();
    let (parent_namespace, parent) = parent.split_once('/').unwrap();
    let (backend_namespace, backend) = backend.split_once('/').unwrap();
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{namespace: {namespace}, name: {name}}}, \
         spec: {{parentRefs: [{{group: '', kind: Service, namespace: {parent_namespace}, name: {parent}}}], rules: \
         [{{name: all, backendRefs: [{{namespace: {backend_namespace}, name: {backend}, port: 80}}]}}]}}}}"
    )
}

fn policy(name: &str, section: Option<&str>, settings: &str) -> String {
    let section = section.map_or(String::new(), |section| format!(", sectionName: {section}"));
    format!(
        "{{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {{name: {name}}}, \
         spec: {{targetRefs: [{{kind: Service, name: a{section}}}], {settings}}}}}"
    )
}

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn port<'a>(compiled: &'a Compiled, scope: &str, service: &str) -> &'a Port {
    &compiled.policy(&name(scope)).unwrap().services[&name(service)].ports[0]
}

fn rules(compiled: &Compiled, scope: &str, service: &str) -> Vec<String> {
    port(compiled, scope, service).rules.iter().map(|rule| rule.name.clone()).collect()
}

fn callable(compiled: &Compiled, scope: &str) -> Vec<String> {
    compiled.policy(&name(scope)).unwrap().services.keys().map(ToString::to_string).collect()
}

#[test]
fn routes_of_a_port_are_in_the_order_of_precedence() {
    let compiled = compiled(&[
        service("default/a", ""),
        route("default/late", "default/a", "default/a"),
        route("default/early", "default/a", "default/a"),
    ]);
    assert_eq!(rules(&compiled, "default/a", "default/a"), ["default/early#all", "default/late#all"]);
}

#[test]
fn a_consumer_route_is_for_its_own_namespace_and_replaces_the_others() {
    let compiled = compiled(&[
        service("default/a", ""),
        service("shop/b", ""),
        service("other/c", ""),
        route("default/producer", "default/a", "default/a"),
        route("shop/consumer", "default/a", "shop/b"),
    ]);
    assert_eq!(rules(&compiled, "shop/b", "default/a"), ["shop/consumer#all"]);
    assert_eq!(rules(&compiled, "default/a", "default/a"), ["default/producer#all"]);
    assert_eq!(rules(&compiled, "other/c", "default/a"), ["default/producer#all"]);
    // Equal content is compiled once: shop sees something else than the rest, but the same endpoints.
    assert_eq!((compiled.policies.len(), compiled.facts.len()), (2, 1));
}

#[test]
fn uses_narrows_a_scope_to_what_its_routes_reach() {
    let documents = [
        service("default/a", ", uses: [b]"),
        service("default/b", &endpoints(1)),
        service("default/c", &endpoints(1)),
        service("default/d", &endpoints(1)),
        service("default/e", ", uses: []"),
        route("default/b", "default/b", "default/c"),
    ];
    let compiled = compiled(&documents);
    assert_eq!(callable(&compiled, "default/a"), ["default/a", "default/b", "default/c"]);
    assert_eq!(callable(&compiled, "default/e"), ["default/e"]);
    assert_eq!(callable(&compiled, "default/d").len(), 5);
    let clusters: Vec<String> =
        compiled.facts(&name("a")).unwrap().clusters.keys().map(ToString::to_string).collect();
    assert_eq!(clusters, ["default/b:80", "default/c:80"]);
}

#[test]
fn a_narrower_policy_adds_to_a_wider_one() {
    let compiled = compiled(&[
        service("default/a", ""),
        service("default/b", ""),
        policy("wide", None, "balance: {policy: Random}, timeouts: {connect: 2s, request: 5s}"),
        policy(
            "narrow",
            Some("http"),
            "timeouts: {connect: 3s}, limits: {pending: 7}, discovery: {onEmpty: drain}",
        ),
    ]);
    let backend = &port(&compiled, "default/a", "default/a").backend;
    assert_eq!(backend.balance, Balance::Random);
    assert_eq!((backend.timeouts.connect_ms, backend.timeouts.request_ms), (3_000, 5_000));
    assert_eq!((backend.limits.pending, backend.limits.connections), (7, 1_024));
    assert_eq!(backend.on_empty, OnEmpty::Drain);
    assert_eq!(port(&compiled, "default/a", "default/b").backend.balance, Balance::PeakEwma);
}

#[test]
fn target_ports_are_dialled_unless_the_endpoint_says_otherwise() {
    let spec = |endpoints: &str| {
        let text = "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: a}, spec: {ports: PORTS, endpoints: ENDPOINTS}}";
        text.replace("ENDPOINTS", endpoints)
    };
    let two = "[{name: x, port: 80, targetPort: 8080, protocol: HTTP}, {name: y, port: 81, protocol: TCP}]";
    let one = "[{port: 80, targetPort: 8080, protocol: HTTP}]";
    for (ports, endpoints, dialled) in [
        (two, "{static: [{address: 10.0.0.1}]}", &["10.0.0.1:8080", "10.0.0.1:81"][..]),
        (one, "{static: [{address: 10.0.0.1}, {address: '10.0.0.1:9'}]}", &["10.0.0.1:9", "10.0.0.1:8080"]),
        (
            one,
            "{static: [{address: 'fd00::1'}, {address: '[fd00::2]:9'}]}",
            &["[fd00::1]:8080", "[fd00::2]:9"],
        ),
        (two, "{dns: {name: On.Example.}}", &["on.example:8080", "on.example:81"]),
        (one, "{dns: {name: on.example, port: 9}}", &["on.example:9"]),
    ] {
        let compiled = compiled(&[spec(endpoints).replace("PORTS", ports)]);
        let mut found = Vec::new();
        for cluster in compiled.facts[0].clusters.values() {
            use outrigger_snapshot::facts::Discovery;
            match &cluster.discovery {
                Discovery::Static(list) => {
                    found.extend(list.iter().map(|endpoint| endpoint.address.to_string()))
                }
                Discovery::Dns(dns) => found.push(format!("{}:{}", dns.name, dns.port)),
                Discovery::Srv(_) => {}
            }
        }
        assert_eq!(found, dialled, "{endpoints}");
    }
}

#[test]
fn kubernetes_words_for_a_protocol_are_understood() {
    for (port, protocol) in [
        ("{port: 80, protocol: TCP, appProtocol: kubernetes.io/h2c}", "http2"),
        ("{port: 80, appProtocol: kubernetes.io/ws}", "http"),
        ("{port: 80, protocol: TCP, appProtocol: grpc}", "grpc"),
        ("{port: 80, protocol: TCP}", "tcp"),
        ("{port: 443, protocol: TLS, appProtocol: tls}", "tls"),
    ] {
        let text = format!(
            "{{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {{name: a}}, spec: {{ports: [{port}]}}}}"
        );
        let compiled = compiled(&[text]);
        let compiled_port = &compiled.policies[0].services[&name("a")].ports[0];
        assert_eq!(serde_json::json!(compiled_port.protocol), protocol);
        assert_eq!(compiled_port.name, protocol, "a port without a name has that of its protocol");
    }
}

fn losses(old: &[String], new: &[String]) -> Vec<Shrink> {
    shrink(&compiled(old), &compiled(new))
}

#[test]
fn thirty_percent_may_go_and_not_more() {
    for (before, after, lost) in
        [(10, 7, false), (10, 6, true), (3, 2, true), (4, 3, false), (2, 2, false), (2, 9, false)]
    {
        let found =
            losses(&[service("default/a", &endpoints(before))], &[service("default/a", &endpoints(after))]);
        let expected = Shrink {
            scope: name("a"),
            others: 0,
            loss: Loss::Endpoints { before, removed: before.saturating_sub(after) },
        };
        assert_eq!(found, if lost { vec![expected] } else { Vec::new() }, "{before} to {after}");
    }
}

#[test]
fn what_is_exchanged_for_others_is_lost_too() {
    let at = |network: u8, count: usize| {
        service("default/a", &endpoints(count).replace("10.0.0.", &format!("10.0.{network}.")))
    };
    let said =
        |old: String, new: String| losses(&[old], &[new]).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(said(at(0, 10), at(1, 10)), ["scope default/a loses 10 of its 10 endpoints"]);
    assert_eq!(said(at(0, 4), at(1, 9)), ["scope default/a loses 4 of its 4 endpoints"]);
    // Few may move at once, also all there are.
    assert!(said(at(0, 3), at(1, 3)).is_empty());
    let services = ["default/a", "default/b"].map(|key| service(key, ""));
    let routes = |prefix: &str| -> Vec<String> {
        let route = |number| route(&format!("default/{prefix}{number}"), "default/a", "default/b");
        (0..8).map(route).collect()
    };
    let mesh = |routes: &[String]| [&services[..], routes].concat();
    let old = routes("r");
    let all = losses(&mesh(&old), &mesh(&routes("s")));
    assert_eq!(all[0].to_string(), "scope default/a and 1 more lose 8 of their 9 routes");
    // A tenth of them, and a rule that only changes, is everyday work.
    let some = [&old[..7], &routes("s")[7..]].concat();
    assert!(losses(&mesh(&old), &mesh(&some)).is_empty());
    let elsewhere: Vec<String> =
        old.iter().map(|route| route.replace("name: b, port", "name: a, port")).collect();
    assert!(losses(&mesh(&old), &mesh(&elsewhere)).is_empty());
}

#[test]
fn lost_routes_are_counted_once_for_scopes_of_equal_content() {
    let services = ["default/a", "default/b", "default/c"].map(|key| service(key, ""));
    let routes = ["default/r", "default/s", "default/t"].map(|key| route(key, "default/a", "default/b"));
    let old = [&services[..], &routes[..]].concat();
    let found = losses(&old, &[&services[..], &routes[..1]].concat());
    let expected = Shrink { scope: name("a"), others: 2, loss: Loss::Routes { before: 5, removed: 2 } };
    assert_eq!(found, [expected]);
    assert_eq!(found[0].to_string(), "scope default/a and 2 more lose 2 of their 5 routes");
    assert_eq!(losses(&old, &[&services[..], &routes[..2]].concat()), []);
}

#[test]
fn removing_everything_is_a_loss_of_every_scope() {
    let old = compiled(&[service("default/a", ""), service("default/b", "")]);
    let nothing = Compiled { policies: Vec::new(), facts: Vec::new(), scopes: Default::default() };
    let found = shrink(&old, &nothing);
    assert_eq!(found, [Shrink { scope: name("a"), others: 1, loss: Loss::All }]);
    assert_eq!(found[0].to_string(), "scope default/a and 1 more lose everything");
    assert_eq!(shrink(&nothing, &old), []);
}
