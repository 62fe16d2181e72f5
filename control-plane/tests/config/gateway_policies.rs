//! Policies about what comes to gateways, and about what is shown to servers: what comes of them, and every mistake.

use outrigger_control_plane::compile::compile;
use outrigger_snapshot::policy::{Access, Inbound, Policy};

use crate::load_text;

const AROUND: &str = "\
{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: web}, spec: {ports: [{name: http, port: 80, protocol: HTTP}, {name: tls, port: 443, protocol: TLS}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge}, spec: {gatewayClassName: x, listeners: [
{name: web, port: 80, protocol: HTTP},
{name: more, port: 81, protocol: HTTP},
{name: tcp, port: 5432, protocol: TCP}]}}
---
";

fn policy(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: outrigger.dev/v1alpha1, kind: InboundPolicy, metadata: {{name: {name}}}, spec:\n{{{spec}}}}}\n---\n"
    )
}

fn compiled(more: &str) -> Policy {
    let checked = load_text(&format!("{AROUND}{more}")).unwrap_or_else(|problems| panic!("{problems}"));
    let policy = compile(&checked).policy(&"edge".parse().unwrap()).unwrap().clone();
    policy.check().unwrap_or_else(|invalid| panic!("{invalid}"));
    policy
}

fn check(cases: &[(String, &[&str])]) {
    for (text, said) in cases {
        let problems = load_text(&format!("{AROUND}{text}")).expect_err(text);
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(lines, *said, "{text}");
    }
}

fn inbound<'a>(policy: &'a Policy, name: &str) -> Option<&'a Inbound> {
    let listeners = &policy.gateway.as_ref().unwrap().listeners;
    listeners.iter().find(|listener| listener.name == name).unwrap().inbound.as_ref()
}

const LIMIT: &str = "rateLimits: [{name: all, requests: 5, period: 1s, keys: [{source: true}]}]";
const OFFICE: &str = "authorization: {rules: [{name: office, access: Allow, sources: [10.0.0.0/8, '::1']}]}";

#[test]
fn what_is_said_of_a_gateway_reaches_its_listeners_and_the_narrower_wins() {
    let wide = policy(
        "wide",
        &format!(
            "targetRefs: [{{kind: Gateway, name: edge}}], {LIMIT}, priorities: [{{priority: 3}}], {OFFICE}"
        ),
    );
    let narrow = policy(
        "narrow",
        "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge, sectionName: more}], rateLimits: [], \
         authorization: {dryRun: true, rules: [{name: admin, access: Deny, paths: [{value: /admin}]}]}",
    );
    let policy = compiled(&(wide + &narrow));
    let web = inbound(&policy, "web").unwrap();
    let names: Vec<_> = web.rate_limits.iter().map(|limit| limit.name.as_str()).collect();
    assert_eq!((names, web.priorities.len(), &web.shed, web.trusted.len()), (vec!["all"], 1, &None, 0));
    let access = web.authorization.as_ref().unwrap();
    assert_eq!((access.default, access.dry_run), (Access::Deny, false));
    let sources: Vec<_> = access.rules[0].about.sources.iter().map(ToString::to_string).collect();
    assert_eq!(sources, ["10.0.0.0/8", "::1/128"]);
    let more = inbound(&policy, "more").unwrap();
    let access = more.authorization.as_ref().unwrap();
    assert_eq!((more.rate_limits.len(), more.priorities.len(), access.dry_run), (0, 1, true));
    let tcp = inbound(&policy, "tcp").unwrap();
    assert_eq!((tcp.rate_limits.len(), tcp.priorities.len()), (0, 0), "connections have who may open them");
    assert_eq!(tcp.authorization.as_ref().unwrap().rules[0].name, "office");
    for feature in ["gateway_inbound", "source_conditions", "priority_rules"] {
        assert!(policy.features.contains(feature), "{feature}: {:?}", policy.features);
    }
}

#[test]
fn without_a_policy_nothing_is_said_and_one_for_a_service_says_nothing_of_a_gateway() {
    let service = policy("web", &format!("targetRefs: [{{kind: Service, name: web}}], {OFFICE}"));
    for more in [String::new(), service] {
        let policy = compiled(&more);
        assert!(["web", "more", "tcp"].iter().all(|name| inbound(&policy, name).is_none()));
        assert!(!policy.features.contains("gateway_inbound"));
    }
}

#[test]
fn what_cannot_hold_at_a_gateway_is_named() {
    let edge = "targetRefs: [{kind: Gateway, name: edge}]";
    let web = "targetRefs: [{kind: Gateway, name: edge, sectionName: web}]";
    let tcp = "targetRefs: [{kind: Gateway, name: edge, sectionName: tcp}]";
    let wrong = |spec: &str| policy("p", spec);
    check(&[
        (
            wrong("targetRefs: [{kind: Gateway, name: egde}]"),
            &[
                r#"m.yaml:9:37: spec.targetRefs[0].name: there is no Gateway default/egde; expected a Gateway of this push or of the mesh; did you mean "edge"?"#,
            ],
        ),
        (
            wrong("targetRefs: [{kind: Gateway, name: web}]"),
            &[
                "m.yaml:9:37: spec.targetRefs[0].name: there is no Gateway default/web; expected a Gateway of this push or of the mesh",
            ],
        ),
        (
            wrong("targetRefs: [{kind: Service, name: edge}]"),
            &[
                "m.yaml:9:37: spec.targetRefs[0].name: there is no Service default/edge; expected a Service of this push or of the mesh",
            ],
        ),
        (
            wrong("targetRefs: [{kind: Gateway, group: '', name: edge}]"),
            &[
                r#"m.yaml:9:38: spec.targetRefs[0].group: "" is not the group of Gateway; expected gateway.networking.k8s.io"#,
            ],
        ),
        (
            wrong("targetRefs: [{kind: Service, group: gateway.networking.k8s.io, name: web}]"),
            &[
                r#"m.yaml:9:38: spec.targetRefs[0].group: "gateway.networking.k8s.io" is not the group of Service; expected "" or outrigger.dev"#,
            ],
        ),
        (
            wrong("targetRefs: [{kind: Gateway, name: edge, sectionName: wbe}]"),
            &[
                r#"m.yaml:9:56: spec.targetRefs[0].sectionName: default/edge has no listener named "wbe"; expected one of web, more, tcp; did you mean "web"?"#,
            ],
        ),
        (
            wrong(&format!("{web}, shed: {{tolerance: 200}}")),
            &[
                "m.yaml:9:69: spec.shed: is not for a Gateway: what its requests cost depends on where they go; expected no shed; the sidecars of its backends shed what their applications cannot take",
            ],
        ),
        (
            wrong(&format!("{web}, trustedSources: [10.0.0.1]")),
            &[
                "m.yaml:9:79: spec.trustedSources: is not for a Gateway, which believes what its flag --trusted-sources says; expected no trustedSources",
            ],
        ),
        (
            wrong(&format!("{web}, tls: {{certificateRefs: [{{name: web}}]}}")),
            &[
                "m.yaml:9:68: spec.tls: is not for a Gateway, whose listeners say how their TLS is ended; expected no tls; spec.listeners[].tls of the Gateway",
            ],
        ),
        (
            wrong(&format!(
                "{web}, authorization: {{rules: [{{name: mesh, access: Allow, namespaces: [shop]}}]}}, priorities: [{{priority: 1, identities: ['spiffe://a.test/**']}}]"
            )),
            &[
                r#"m.yaml:9:86: spec.authorization.rules: the rule "mesh" is about identities or namespaces, which strangers do not have; expected rules by methods, paths and sources"#,
                "m.yaml:9:150: spec.priorities: item 0 is about identities or namespaces, which strangers do not have; expected rules by methods, paths and sources",
            ],
        ),
        (
            wrong(&format!(
                "{web}, rateLimits: [{{name: each, requests: 1, period: 1s, keys: [{{identity: true}}]}}]"
            )),
            &[
                r#"m.yaml:9:75: spec.rateLimits: the limit "each" counts by identity, which strangers do not have; expected keys of header, source and pathElement"#,
            ],
        ),
        (
            wrong(&format!("{tcp}, {LIMIT}")),
            &[
                "m.yaml:9:37: spec.targetRefs[0]: no such listener of default/edge carries HTTP; expected a listener of HTTP or HTTPS, or nothing but authorization",
            ],
        ),
        (
            wrong(&format!(
                "{edge}, authorization: {{rules: [{{name: admin, access: Deny, paths: [{{value: /admin}}]}}]}}"
            )),
            &[
                r#"m.yaml:9:37: spec.targetRefs[0]: the rule "admin" denies by method or path, which connections to listener tcp of default/edge do not have; expected a sectionName for each listener that carries HTTP, or rules by sources"#,
            ],
        ),
        (
            wrong(&format!("{web}, {OFFICE}")) + &policy("q", &format!("{web}, {OFFICE}")),
            &[
                r#"m.yaml:12:37: spec.targetRefs[0]: listener "web" of default/edge has a policy: InboundPolicy default/p in m.yaml:8; expected one policy for a target"#,
            ],
        ),
    ]);
}

#[test]
fn a_certificate_that_is_shown_to_nobody_is_named() {
    let shown = |target: &str| {
        format!(
            "{{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {{name: p}}, spec:\n{{targetRefs: [{{kind: Service, \
             name: web{target}}}], tls: {{clientCertificateRef: {{name: pair}}}}}}}}\n---\n"
        )
    };
    let by_tls = |target: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {{name: t}}, spec: {{targetRefs: [{{group: '', \
             kind: Service, name: web{target}}}], validation: {{hostname: w.test, wellKnownCACertificates: System}}}}}}\n---\n"
        )
    };
    let (http, tls) = (", sectionName: http", ", sectionName: tls");
    for (policy, called) in [("", ""), ("", http), (http, ""), (http, http)] {
        compiled(&(shown(policy) + &by_tls(called)));
    }
    check(&[
        (
            shown(""),
            &[
                "m.yaml:9:72: spec.tls.clientCertificateRef: is shown to nobody: no BackendTLSPolicy has default/web called by TLS; expected a BackendTLSPolicy for that Service, or no clientCertificateRef; sidecars of the mesh are shown the caller's identity",
            ],
        ),
        (
            shown(http) + &by_tls(tls),
            &[
                "m.yaml:9:91: spec.tls.clientCertificateRef: is shown to nobody: no BackendTLSPolicy has port http of default/web called by TLS; expected a BackendTLSPolicy for that Service, or no clientCertificateRef; sidecars of the mesh are shown the caller's identity",
            ],
        ),
    ]);
}
