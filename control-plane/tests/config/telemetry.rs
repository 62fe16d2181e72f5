//! What policies say is told of requests, and how far that goes.

use outrigger_control_plane::compile::compile;
use outrigger_snapshot::policy::{Label, LabelSource, Telemetry};
use outrigger_snapshot::validate::{TELEMETRY, TELEMETRY_LABELS};

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
    (policy.features.contains(TELEMETRY), ports.iter().map(|port| port.backend.telemetry.clone()).collect())
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
        labels: Vec::new(),
    };
    let admin = Telemetry { traces: Some(10_000), access_log: Some(false), ..http.clone() };
    assert_eq!(told(&format!("{wide}{narrow}")), (true, vec![Some(http), Some(admin), None]));
}

#[test]
fn labels_of_the_narrower_stand_in_for_those_of_the_wider() {
    let wide = policy(
        "all",
        "",
        "traces: {sampling: 1%}, labels: [{name: team, value: shop}, {name: shop.tenant, header: X-Tenant}]",
    );
    let narrow = policy("admin", ", sectionName: admin", "labels: []");
    let text = format!("{SERVICE}\n{wide}{narrow}");
    let compiled = compile(&load_text(&text).unwrap());
    let policy = &compiled.policies[0];
    policy.check().unwrap();
    assert!(policy.features.contains(TELEMETRY_LABELS));
    let ports = &policy.services[&"api".parse().unwrap()].ports;
    let labels = |index: usize| &ports[index].backend.telemetry.as_ref().unwrap().labels;
    let label = |name: &str, from| Label { name: name.to_owned(), from };
    assert_eq!(
        *labels(0),
        [
            label("team", LabelSource::Value("shop".to_owned())),
            label("shop.tenant", LabelSource::Header("x-tenant".to_owned())),
        ]
    );
    assert_eq!(*labels(1), []);
    assert_eq!(ports[1].backend.telemetry.as_ref().unwrap().traces, Some(100));
}

#[test]
fn what_is_wrong_is_named() {
    for (spec, says) in [
        ("traces: {sampling: 101%}", "spec.traces.sampling"),
        ("traces: {sampling: 0.125%}", "expected 0% to 100%"),
        ("traces: {sampling: 5}", "spec.traces.sampling"),
        ("traces: {slow: 0s}", "spec.traces.slow: cannot be 0"),
        ("accessLog: {enabled: false, sampling: 5%}", "spec.accessLog.sampling: says what part"),
        ("labels: [{name: Team, value: a}]", "spec.labels[0].name: is no name of a label"),
        ("labels: [{name: a..b, value: a}]", "spec.labels[0].name: is no name of a label"),
        ("labels: [{name: url.path, value: a}]", "spec.labels[0].name: is a name that spans"),
        ("labels: [{name: tries, value: a}]", "expected one of your own"),
        ("labels: [{name: a, value: \"\"}]", "spec.labels[0].value: is no value of a label"),
        ("labels: [{name: a}]", "spec.labels[0]: says nothing"),
        ("labels: [{name: a, value: b, header: c}]", "spec.labels[0]: has two values"),
        ("labels: [{name: a, value: b}, {name: a, header: c}]", "spec.labels[1].name: stands twice"),
        (
            "labels: [{name: a, header: Authorization}]",
            "spec.labels[0].header: is a header that holds a secret",
        ),
        ("labels: [{name: a, header: proxy-authorization}]", "holds a secret"),
        ("labels: [{name: a, header: Cookie}]", "holds a secret"),
        ("labels: [{name: a, header: set-cookie}]", "holds a secret"),
        ("labels: [{name: a, header: X-Api-Key}]", "holds a secret"),
        ("labels: [{name: a, header: x-auth-token}]", "holds a secret"),
        ("labels: [{name: a, header: x-auth-key}]", "holds a secret"),
        ("labels: [{name: a, header: \"a b\"}]", "spec.labels[0].header"),
        ("accesslog: {}", "did you mean \"accessLog\"?"),
    ] {
        let text = format!("{SERVICE}\n{}", policy("all", "", spec));
        let problems = load_text(&text).expect_err(spec).to_string();
        assert!(problems.contains(says), "{spec}: {problems}");
    }
    let labels: Vec<_> = (0..9).map(|nth| format!("{{name: a{nth}, value: a}}")).collect();
    let text = format!("{SERVICE}\n{}", policy("all", "", &format!("labels: [{}]", labels.join(", "))));
    let problems = load_text(&text).expect_err("nine are too many").to_string();
    assert!(problems.contains("spec.labels:"), "{problems}");
}
