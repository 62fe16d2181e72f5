//! Inbound policies: every mistake, and exactly what is said about it.

use super::{Wrong, check};
use crate::load_text;

#[test]
fn mistakes_are_named() {
    for (wrong, said) in CASES {
        check(wrong, said);
    }
}

const CASES: &[(Wrong, &[&str])] = &[
    (
        Wrong::InboundPolicy("targetRefs: [{kind: Service, name: wbe}]"),
        &[
            r#"m.yaml:6:37: spec.targetRefs[0].name: there is no Service default/wbe; expected a Service of this push or of the mesh; did you mean "web"?"#,
        ],
    ),
    (
        Wrong::InboundPolicy("targetRefs: [{kind: Service, name: web, sectionName: htp}]"),
        &[
            r#"m.yaml:6:55: spec.targetRefs[0].sectionName: default/web has no port named "htp"; expected one of http, tls; did you mean "http"?"#,
        ],
    ),
    (
        Wrong::InboundPolicy("targetRefs: [{kind: Service, name: web, sectionName: tls}]"),
        &[
            "m.yaml:6:55: spec.targetRefs[0].sectionName: port tls of default/web does not carry HTTP; expected a port of protocol HTTP, HTTP2 or GRPC, or nothing but authorization",
        ],
    ),
    (
        Wrong::InboundPolicy("targetRefs: [{kind: Service, name: web}, {kind: Service, name: web}]"),
        &[
            "m.yaml:6:65: spec.targetRefs[1]: default/web has a policy: InboundPolicy default/policy in m.yaml:5; expected one policy for a target",
        ],
    ),
    (
        Wrong::Text(
            "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: db}, spec: {ports: [{port: 1, protocol: TCP}]}}\n---\n{apiVersion: outrigger.dev/v1alpha1, kind: InboundPolicy, metadata: {name: db}, spec: {targetRefs: [{kind: Service, name: db}]}}",
        ),
        &[
            "m.yaml:7:123: spec.targetRefs[0]: default/db has no port that carries HTTP; expected a port of protocol HTTP, HTTP2 or GRPC, or nothing but authorization",
        ],
    ),
    (
        Wrong::Text(
            "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: db}, spec: {ports: [{name: sql, port: 1, protocol: TCP}, {name: web, port: 2, protocol: HTTP}]}}\n---\n{apiVersion: outrigger.dev/v1alpha1, kind: InboundPolicy, metadata: {name: db}, spec: {targetRefs: [{kind: Service, name: db}], authorization: {rules: [{name: b, access: Allow, paths: [{value: /}]}, {name: a, access: Deny, methods: [GET]}]}}}",
        ),
        &[
            r#"m.yaml:7:123: spec.targetRefs[0]: the rule "a" denies by method or path, which connections to port sql of default/db do not have; expected a sectionName for each port that carries HTTP, or rules by identity and namespace"#,
        ],
    ),
    (
        Wrong::Inbound(
            "authorization: {rules: [{name: a, access: Deny, paths: [{value: '/admin/*'}, {value: '/a;b'}, {type: Exact, value: '/*'}], sources: [10.0.0.1/8, 10.1.0.0/16, 10.1.0.0/16]}]}",
        ),
        &[
            r#"m.yaml:6:127: spec.authorization.rules[0].paths[0].value: "/admin/*" has a '*', which stands for itself alone; expected a path without '*'; PathPrefix means what is below it, too"#,
            r#"m.yaml:6:148: spec.authorization.rules[0].paths[1].value: "/a;b" has a ';', from which on servers may not read on; expected a path without ';'"#,
            r#"m.yaml:6:196: spec.authorization.rules[0].sources[0]: "10.0.0.1/8" has bits beyond those that count; expected the first address of the network; did you mean "10.0.0.0/8"?"#,
            "m.yaml:6:221: spec.authorization.rules[0].sources[2]: is the same as sources[1]; expected each once",
        ],
    ),
    (
        Wrong::Inbound("rateLimit: []"),
        &[
            r#"m.yaml:6:63: spec.rateLimit: is not a field of this object; expected one of targetRefs, shed, rateLimits, authorization, priorities, trustedSources, tls; did you mean "rateLimits"?"#,
        ],
    ),
    (
        Wrong::Inbound("shed: {tolerance: 100, exempt: [healthz, /a, /a]}"),
        &[
            "m.yaml:6:81: spec.shed.tolerance: is the number 100; expected a whole number from 110 to 1000",
            r#"m.yaml:6:95: spec.shed.exempt[0]: "healthz" is not a path; expected a path that starts with '/'"#,
            "m.yaml:6:108: spec.shed.exempt[2]: is the same as exempt[1]; expected each once",
        ],
    ),
    (
        Wrong::Inbound("shed: {enabled: false, tolerance: 150}"),
        &[
            "m.yaml:6:97: spec.shed.tolerance: has no effect: shedding is off; expected enabled: true, or no tolerance",
        ],
    ),
    (
        Wrong::Inbound("rateLimits: [{}]"),
        &[
            "m.yaml:6:76: spec.rateLimits[0].name: is missing; expected what callers and metrics see; unique where it counts",
            "m.yaml:6:76: spec.rateLimits[0].period: is missing; expected 1ms to 24h",
            "m.yaml:6:76: spec.rateLimits[0].requests: is missing; expected requests in each `period`",
        ],
    ),
    (
        Wrong::Inbound("rateLimits: [{name: Calls, requests: 0, period: 0s, burst: 0}]"),
        &[
            r#"m.yaml:6:83: spec.rateLimits[0].name: "Calls" is not valid; expected 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit; did you mean "calls"?"#,
            "m.yaml:6:100: spec.rateLimits[0].requests: is the number 0; expected a whole number from 1 to 100000000",
            "m.yaml:6:111: spec.rateLimits[0].period: cannot be 0; expected at least 1ms",
            "m.yaml:6:122: spec.rateLimits[0].burst: is the number 0; expected a whole number from 1 to 100000000",
        ],
    ),
    (
        Wrong::Inbound(
            "rateLimits: [{name: a, requests: 1000001, period: 1ms}, {name: a, requests: 1, period: 25h, global: 1}]",
        ),
        &[
            "m.yaml:6:96: spec.rateLimits[0].requests: is more than one in a nanosecond; expected at most 1000000",
            r#"m.yaml:6:126: spec.rateLimits[1].name: "a" is the name of rateLimits[0] too; expected each name once"#,
            "m.yaml:6:150: spec.rateLimits[1].period: is longer than a day; expected at most 24h",
            "m.yaml:6:163: spec.rateLimits[1].global: is the number 1; expected true or false",
        ],
    ),
    (
        Wrong::Inbound(
            "rateLimits: [{name: a, requests: 1, period: 1s, keys: [{header: x user}, {}, {source: false}, {source: true, header: a}, {pathElement: 32}, {heder: a}]}]",
        ),
        &[
            r#"m.yaml:6:127: spec.rateLimits[0].keys[0].header: "x user" is not valid; expected a header name (RFC 9110 token)"#,
            "m.yaml:6:136: spec.rateLimits[0].keys[1]: names nothing to count by; expected exactly one of header, source: true, identity: true, pathElement",
            "m.yaml:6:140: spec.rateLimits[0].keys[2]: names nothing to count by; expected exactly one of header, source: true, identity: true, pathElement",
            "m.yaml:6:157: spec.rateLimits[0].keys[3]: names several things to count by; expected exactly one of header, source: true, identity: true, pathElement",
            "m.yaml:6:198: spec.rateLimits[0].keys[4].pathElement: is the number 32; expected a whole number from 0 to 31",
            "m.yaml:6:203: spec.rateLimits[0].keys[5]: names nothing to count by; expected exactly one of header, source: true, identity: true, pathElement",
            r#"m.yaml:6:204: spec.rateLimits[0].keys[5].heder: is not a field of this object; expected one of header, source, identity, pathElement; did you mean "header"?"#,
        ],
    ),
    (
        Wrong::Inbound(
            "rateLimits: [{name: a, requests: 1, period: 1s, keys: [{header: X-User}, {header: x-user}]}]",
        ),
        &["m.yaml:6:136: spec.rateLimits[0].keys[1]: is the same as keys[0]; expected each once"],
    ),
    (
        Wrong::Inbound(
            "trustedSources: [mesh, 10.0.0.0/33, 10.1.2.3/16, '::ffff:10.0.0.0/104', 10.0.0.1, 10.0.0.1]",
        ),
        &[
            r#"m.yaml:6:80: spec.trustedSources[0]: "mesh" is not valid; expected an address or a network, like 10.1.0.7, 10.1.0.0/16 or fd00::/8"#,
            r#"m.yaml:6:86: spec.trustedSources[1]: "10.0.0.0/33" is not valid; expected an address or a network, like 10.1.0.7, 10.1.0.0/16 or fd00::/8"#,
            r#"m.yaml:6:99: spec.trustedSources[2]: "10.1.2.3/16" has bits beyond those that count; expected the first address of the network; did you mean "10.1.0.0/16"?"#,
            r#"m.yaml:6:112: spec.trustedSources[3]: "::ffff:10.0.0.0/104" is an IPv4 address in IPv6 notation, which no peer has; expected the first address of the network; did you mean "10.0.0.0/8"?"#,
            "m.yaml:6:145: spec.trustedSources[5]: is the same as trustedSources[4]; expected each once",
        ],
    ),
];

#[test]
fn a_narrow_policy_says_nothing_of_what_a_wide_one_switches_off() {
    let web = "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: web}, spec: {ports: [{name: http, port: 80, protocol: HTTP}]}}";
    let policy = |name: &str, section: &str, shed: &str| {
        format!(
            "{{apiVersion: outrigger.dev/v1alpha1, kind: InboundPolicy, metadata: {{name: {name}}}, spec: \
             {{targetRefs: [{{kind: Service, name: web{section}}}], shed: {{{shed}}}}}}}"
        )
    };
    let load = |wide: &str, narrow: &str| {
        let narrow = policy("narrow", ", sectionName: http", narrow);
        load_text(&[web.to_owned(), policy("wide", "", wide), narrow].join("\n---\n"))
    };
    let problems = load("enabled: false", "exempt: [/a]").unwrap_err();
    assert_eq!(
        problems.to_string(),
        "m.yaml:5:168: spec.shed.exempt: has no effect: shedding is off by InboundPolicy default/wide; \
         expected enabled: true, or no exempt"
    );
    for (wide, narrow) in
        [("enabled: false", "enabled: true, exempt: [/a]"), ("exempt: [/a]", "enabled: false")]
    {
        load(wide, narrow).unwrap_or_else(|problems| panic!("{problems}"));
    }
}
