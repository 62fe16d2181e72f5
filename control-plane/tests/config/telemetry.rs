//! What policies say is told of requests, and how far that goes.

use outrigger_control_plane::compile::compile;
use outrigger_snapshot::policy::Telemetry;
use outrigger_snapshot::validate::TELEMETRY;

use crate::load_text;

const SERVICE: &str = "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: api}, spec: {ports: \
                       [{name: http, port: 80, protocol: HTTP}, {name: admin, port: 81, protocol: HTTP}, {name: db, port: 82, protocol: TCP}]}}";

fn policy(name: &str, section: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: outrigger.dev/v1alpha1, kind: TelemetryPolicy, metadata: {{name: {name}}}, spec: \
         {{targetRefs: [{{kind: Service, name: api{section}}}], {spec}}}}}\n"
    )
}

fn told(policies: &str) -> (bool, Vec<Option<Telemetry>>) {
    let text = format!("{SERVICE}\n{policies}");
    let compiled = compile(&load_text(&text).unwrap_or_else(|problems| panic!("{problems}")));
    let policy = &compiled.policies[0];
    policy.check().unwrap();
    let ports = &policy.services[&"api".parse().unwrap()].ports;
    (policy.features.contains(TELEMETRY), ports.iter().map(|port| port.backend.telemetry).collect())
}

#[test]
fn the_narrower_wins_field_by_field_where_requests_are_carried() {
    assert_eq!(told(""), (false, vec![None; 3]));
    let wide = policy("all", "", "traces: {sampling: 0.5%, slow: 250ms}, accessLog: {sampling: 10%}");
    let narrow =
        policy("admin", ", sectionName: admin", "traces: {sampling: 100%}, accessLog: {enabled: false}");
    let http = Telemetry {
        traces: Some(50),
        slow_ms: Some(250),
        access_log: Some(true),
        access_log_share: Some(1_000),
    };
    let admin = Telemetry { traces: Some(10_000), access_log: Some(false), ..http };
    assert_eq!(told(&format!("{wide}{narrow}")), (true, vec![Some(http), Some(admin), None]));
}

#[test]
fn what_is_wrong_is_named() {
    for (spec, says) in [
        ("traces: {sampling: 101%}", "spec.traces.sampling"),
        ("traces: {sampling: 0.125%}", "expected 0% to 100%"),
        ("traces: {sampling: 5}", "spec.traces.sampling"),
        ("traces: {slow: 0s}", "spec.traces.slow: cannot be 0"),
        ("accessLog: {enabled: false, sampling: 5%}", "spec.accessLog.sampling: says what part"),
        ("accesslog: {}", "did you mean \"accessLog\"?"),
    ] {
        let text = format!("{SERVICE}\n{}", policy("all", "", spec));
        let problems = load_text(&text).expect_err(spec).to_string();
        assert!(problems.contains(says), "{spec}: {problems}");
    }
}
