//! What comes to a service: every field gets to where the proxies read it.

use outrigger_control_plane::compile::compile;
use outrigger_control_plane::config::{Checked, Resource, check, load};
use outrigger_snapshot::policy::{
    Abort, ClientCertificates, Delay, Fault, Filter, Inbound, InboundTls, Port, RateKey, RateLimit, Rule,
    Shed, Termination,
};

use crate::{load_text, source};

const SERVICE: &str = "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: api}, spec: {ports: [\
    {name: http, port: 80, protocol: HTTP}, {name: grpc, port: 90, protocol: GRPC}, {name: raw, port: 70, protocol: TCP}]}}";
const EVERYTHING: &str = r"
apiVersion: outrigger.dev/v1alpha1
kind: InboundPolicy
metadata: {name: everything}
spec:
  targetRefs: [{kind: Service, name: api}]
  shed: {tolerance: 150, exempt: [/ready, /live]}
  rateLimits:
  - {name: per-user, requests: 100, period: 1m, burst: 7, keys: [{header: X-User}, {source: true}, {pathElement: 1}], global: true}
  - {name: all, requests: 25, period: 500ms}
  trustedSources: [10.1.0.0/16, '::1']
";
const NARROW: &str = "{apiVersion: outrigger.dev/v1alpha1, kind: InboundPolicy, metadata: {name: narrow}, spec: {targetRefs: [\
    {kind: Service, name: api, sectionName: grpc}], SETTINGS}}";

fn ports(documents: &[&str]) -> Vec<Port> {
    let checked = load_text(&documents.join("\n---\n")).unwrap_or_else(|problems| panic!("{problems}"));
    ports_of(&checked)
}

fn ports_of(checked: &Checked) -> Vec<Port> {
    let policy = compile(checked).policies.swap_remove(0);
    policy.check().unwrap_or_else(|invalid| panic!("{invalid}"));
    policy.services[&"api".parse().unwrap()].ports.clone()
}

fn everything() -> Inbound {
    let key = vec![RateKey::Header("x-user".into()), RateKey::Source, RateKey::PathElement(1)];
    let per_user =
        RateLimit { name: "per-user".into(), requests: 100, period_ms: 60_000, burst: 7, key, global: true };
    let (name, key) = ("all".to_owned(), Vec::new());
    let all = RateLimit { name, requests: 25, period_ms: 500, burst: 2, key, global: false };
    Inbound {
        shed: Some(Shed { tolerance_percent: Some(150), exempt: vec!["/ready".into(), "/live".into()] }),
        rate_limits: vec![per_user, all],
        trusted: vec!["10.1.0.0/16".into(), "::1".into()],
        authorization: None,
        priorities: Vec::new(),
        tls: None,
    }
}

#[test]
fn every_field_of_a_policy_reaches_the_ports_that_carry_http() {
    let inbound: Vec<_> = ports(&[SERVICE, EVERYTHING]).into_iter().map(|port| port.inbound).collect();
    assert_eq!(inbound, [Some(everything()), Some(everything()), None]);
    assert!(ports(&[SERVICE]).iter().all(|port| port.inbound.is_none()), "without a policy, the default");
}

#[test]
fn the_narrower_policy_wins_field_by_field() {
    let limit = |name: &str| RateLimit {
        name: name.into(),
        requests: 5,
        period_ms: 1_000,
        burst: 1,
        key: vec![],
        global: false,
    };
    let whole = everything();
    for (settings, expected) in [
        ("shed: {enabled: false}", Inbound { shed: None, ..whole.clone() }),
        (
            "shed: {tolerance: 300}",
            Inbound {
                shed: Some(Shed { tolerance_percent: Some(300), ..whole.shed.clone().unwrap() }),
                ..whole.clone()
            },
        ),
        (
            "shed: {exempt: []}",
            Inbound { shed: Some(Shed { exempt: vec![], ..whole.shed.clone().unwrap() }), ..whole.clone() },
        ),
        ("rateLimits: []", Inbound { rate_limits: vec![], ..whole.clone() }),
        (
            "rateLimits: [{name: own, requests: 5, period: 1s}]",
            Inbound { rate_limits: vec![limit("own")], ..whole.clone() },
        ),
        ("trustedSources: ['::1']", Inbound { trusted: vec!["::1".into()], ..whole.clone() }),
    ] {
        let narrow = NARROW.replace("SETTINGS", settings);
        for documents in [[SERVICE, EVERYTHING, &narrow], [&narrow, SERVICE, EVERYTHING]] {
            let ports = ports(&documents);
            assert_eq!(ports[0].inbound, Some(whole.clone()), "{settings}");
            assert_eq!(ports[1].inbound, Some(expected.clone()), "{settings}");
        }
    }
}

const ENDING: &str = "tls: {certificateRefs: [{name: a}, {name: b}], minVersion: '1.3', cleartext: Allowed, validation: \
    {mode: AllowInsecureFallback, caCertificateRefs: [{group: '', kind: ConfigMap, name: clients}]}}";

#[test]
fn what_clients_outside_the_mesh_are_shown_and_asked_reaches_the_sidecar() {
    let root = include_str!("../../src/config/shape/tests/root.pem").replace('\n', "\\n");
    let map = format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: clients}}, data: {{ca.crt: \"{root}\"}}}}"
    );
    let narrow = NARROW.replace("SETTINGS", ENDING);
    let checked = load_text(&[SERVICE, &narrow, &map].join("\n---\n")).unwrap();
    let compiled = compile(&checked);
    let (policy, facts) = (&compiled.policies[0], &compiled.facts[0]);
    policy.check().unwrap();
    facts.check().unwrap();
    assert!(policy.features.contains("inbound_tls"));
    let ports = &policy.services[&"api".parse().unwrap()].ports;
    let tls: Vec<_> =
        ports.iter().map(|port| port.inbound.as_ref().and_then(|inbound| inbound.tls.clone())).collect();
    let name = |name: &str| name.parse().unwrap();
    let clients = ClientCertificates { authorities: vec![name("clients")], required: false };
    let certificates = vec![name("a"), name("b")];
    let termination = Termination { certificates, only_tls13: true, clients: Some(clients) };
    assert_eq!(tls, [None, Some(InboundTls { termination, cleartext: true }), None]);
    assert!(facts.authorities.contains_key(&name("clients")));

    // A narrower policy replaces it as a whole, and ports that carry no requests have none.
    let wide =
        NARROW.replace(", sectionName: grpc", "").replace("narrow", "wide").replace("SETTINGS", ENDING);
    let narrow = NARROW.replace("SETTINGS", "tls: {certificateRefs: [{name: c}]}");
    let ports = self::ports(&[SERVICE, &wide, &narrow, &map]);
    let shown = |port: &Port| {
        let tls = port.inbound.as_ref()?.tls.as_ref()?;
        Some((tls.termination.certificates.len(), tls.termination.clients.is_some(), tls.cleartext))
    };
    assert_eq!(
        ports.iter().map(shown).collect::<Vec<_>>(),
        [Some((2, true, true)), Some((1, false, false)), None]
    );
}

const FILTERS: &str = r"
{apiVersion: outrigger.dev/v1alpha1, kind: RouteFilter, metadata: {name: calls}, spec: {rateLimit: {name: calls, requests: 5, period: 1s}}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: RouteFilter, metadata: {name: drill}, spec: {fault: {delay: {percent: 10, duration: 250ms}, abort: {percent: 1}}}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: RouteFilter, metadata: {name: broken}, spec: {fault: {abort: {percent: 100, status: 418, grpcStatus: DATA_LOSS}}}}
";

fn named(name: &str) -> String {
    format!("{{type: ExtensionRef, extensionRef: {{group: outrigger.dev, kind: RouteFilter, name: {name}}}}}")
}

fn rules(kind: &str, port: u16, rule: &str) -> Vec<Rule> {
    let route = format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: {kind}, metadata: {{name: r}}, spec: {{parentRefs: [\
         {{group: '', kind: Service, name: api, port: {port}}}], rules: [{rule}]}}}}"
    );
    let ports = ports(&[SERVICE, FILTERS, &route]);
    ports.into_iter().find(|found| found.port == port).unwrap().rules
}

#[test]
fn the_filters_that_a_route_names_stand_in_its_order() {
    let name = "calls".to_owned();
    let limit = RateLimit { name, requests: 5, period_ms: 1_000, burst: 1, key: vec![], global: false };
    let limit = Filter::RateLimit(limit);
    let drill = Filter::Fault(Fault {
        delay: Some(Delay { percent: 10, delay_ms: 250 }),
        abort: Some(Abort { percent: 1, status: 503, grpc_status: 14 }),
    });
    let broken = Filter::Fault(Fault {
        delay: None,
        abort: Some(Abort { percent: 100, status: 418, grpc_status: 15 }),
    });
    let edit = "{type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}";
    for (kind, port) in [("HTTPRoute", 80), ("GRPCRoute", 90)] {
        let rule = format!(
            "{{filters: [{}, {edit}, {}], backendRefs: [{{name: api, port: {port}, filters: [{}]}}]}}",
            named("drill"),
            named("calls"),
            named("broken")
        );
        let rules = rules(kind, port, &rule);
        let [first, Filter::RequestHeaders(_), last] = &rules[0].filters[..] else {
            panic!("{:?}", rules[0].filters)
        };
        assert_eq!((first, last), (&drill, &limit), "{kind}");
        assert_eq!(rules[0].backends[0].filters, std::slice::from_ref(&broken), "{kind}");
    }
}

#[test]
fn a_filter_that_is_named_cannot_go() {
    let route = format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r}}, spec: {{parentRefs: [\
         {{group: '', kind: Service, name: api, port: 80}}], rules: [{{filters: [{}]}}]}}}}",
        named("calls")
    );
    let checked = load_text(&[SERVICE, FILTERS, &route].join("\n---\n")).unwrap();
    let left: Vec<Resource> =
        checked.resources().iter().filter(|resource| resource.name() != "calls").cloned().collect();
    let problems = check(&left).unwrap_err();
    assert!(problems.to_string().contains("there is no RouteFilter default/calls"), "{problems}");
    // Another one in its place changes every rule that names it.
    let changed = FILTERS.split("---").next().unwrap().replace("requests: 5", "requests: 50");
    let checked = load(checked.resources(), &[source("changed.yaml", &changed)]).unwrap();
    let Filter::RateLimit(limit) = &ports_of(&checked)[0].rules[0].filters[0] else { panic!("no limit") };
    assert_eq!((limit.requests, limit.burst), (50, 5));
}
