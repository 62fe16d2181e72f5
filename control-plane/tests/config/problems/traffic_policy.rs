//! Retry budgets of the Gateway API: every mistake, and exactly what is said about it.

use super::{Wrong, check};

#[test]
fn mistakes_are_named() {
    for (wrong, said) in CASES {
        check(wrong, said);
    }
}

const CASES: &[(Wrong, &[&str])] = &[
    (
        Wrong::Traffic("targetRefs: [{name: web}]"),
        &[
            r#"m.yaml:6:15: spec.targetRefs[0].group: is missing; expected "", the group of Service"#,
            "m.yaml:6:15: spec.targetRefs[0].kind: is missing; expected Service",
        ],
    ),
    (
        Wrong::Traffic(r#"targetRefs: [{group: "", kind: Service, name: wbe}], sessionPersistence: {}"#),
        &[
            r#"m.yaml:6:48: spec.targetRefs[0].name: there is no Service default/wbe; expected a Service of this push or of the mesh; did you mean "web"?"#,
            "m.yaml:6:55: spec.sessionPersistence: is not supported by Outrigger yet",
        ],
    ),
    (
        Wrong::Traffic(r#"targetRefs: [{group: "", kind: Service, name: web, sectionName: http}]"#),
        &[
            "m.yaml:6:53: spec.targetRefs[0].sectionName: is not a field of this object; expected one of group, kind, name",
        ],
    ),
    (
        Wrong::Traffic(
            r#"targetRefs: [{group: "", kind: Service, name: web}, {group: "", kind: Service, name: web}]"#,
        ),
        &[
            "m.yaml:6:87: spec.targetRefs[1]: default/web has a policy: XBackendTrafficPolicy default/traffic in m.yaml:5; expected one policy for a target",
        ],
    ),
    (
        Wrong::Traffic(
            r#"targetRefs: [{group: "", kind: Service, name: web}], retryConstraint: {budget: {percent: 101, interval: 500ms}, minRetryRate: {count: 0, interval: 0s}}"#,
        ),
        &[
            "m.yaml:6:91: spec.retryConstraint.budget.percent: is the number 101; expected a whole number from 0 to 100",
            "m.yaml:6:106: spec.retryConstraint.budget.interval: is too short; expected at least 1s",
            "m.yaml:6:136: spec.retryConstraint.minRetryRate.count: is the number 0; expected a whole number from 1 to 1000000",
            "m.yaml:6:149: spec.retryConstraint.minRetryRate.interval: cannot be 0; expected at least 1ms",
        ],
    ),
    (
        Wrong::Traffic(
            r#"targetRefs: [{group: "", kind: Service, name: web}], retryConstraint: {budget: {interval: 2h}, minRetryRate: {interval: 61m}}"#,
        ),
        &[
            "m.yaml:6:92: spec.retryConstraint.budget.interval: is longer than an hour; expected at most 1h",
            "m.yaml:6:122: spec.retryConstraint.minRetryRate.interval: is longer than an hour; expected at most 1h",
        ],
    ),
    (
        Wrong::Text(
            r#"{apiVersion: gateway.networking.x-k8s.io/v1alpha1, kind: XBackendTrafficPolicy, metadata: {name: traffic}, spec: {targetRefs: [{group: "", kind: Service, name: web}], retryConstraint: {}}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {name: policy}, spec: {targetRefs: [{kind: Service, name: web, sectionName: http}], retry: {budget: {percent: 5}}}}"#,
        ),
        &[
            "m.yaml:7:127: spec.targetRefs[0]: default/web has a retry budget: XBackendTrafficPolicy default/traffic in m.yaml:5; expected a budget in either a BackendPolicy or an XBackendTrafficPolicy",
        ],
    ),
];
