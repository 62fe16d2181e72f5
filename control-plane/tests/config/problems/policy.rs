//! Policies: every mistake, and exactly what is said about it.

use super::{Wrong, check};

#[test]
fn mistakes_are_named() {
    for (wrong, said) in CASES {
        check(wrong, said);
    }
}

const CASES: &[(Wrong, &[&str])] = &[
    (Wrong::Policy("targetRefs: []"), &["m.yaml:6:14: spec.targetRefs: has 0 items; expected 1 to 16"]),
    (
        Wrong::Policy("targetRefs: [{name: web}]"),
        &[
            "m.yaml:6:15: spec.targetRefs[0].kind: is missing; expected Service",
            "m.yaml:6:22: spec.targetRefs[0]: default/web has a policy: BackendPolicy default/web in m.yaml:3; expected one policy for a target",
        ],
    ),
    (
        Wrong::Policy("targetRefs: [{kind: HTTPRoute, name: web}]"),
        &[r#"m.yaml:6:22: spec.targetRefs[0].kind: "HTTPRoute" is not known; expected Service"#],
    ),
    (
        Wrong::Policy("targetRefs: [{kind: Service, name: wbe}]"),
        &[
            r#"m.yaml:6:37: spec.targetRefs[0].name: there is no Service default/wbe; expected a Service of this push or of the mesh; did you mean "web"?"#,
        ],
    ),
    (
        Wrong::Policy("targetRefs: [{kind: Service, name: web, sectionName: htp}]"),
        &[
            r#"m.yaml:6:55: spec.targetRefs[0].sectionName: default/web has no port named "htp"; expected one of http, tls; did you mean "http"?"#,
        ],
    ),
    (
        Wrong::Policy("targetRefs: [{kind: Service, name: web, sectionName: '80'}], slowStart: 1s"),
        &[
            r#"m.yaml:6:55: spec.targetRefs[0].sectionName: default/web has no port named "80"; expected one of http, tls; did you mean "http"?"#,
        ],
    ),
    // In the words of other proxies.
    (
        Wrong::Port(
            "outlierDetection: {}, balance: {policy: RING_HASH}, retry: {retryOn: 5xx}, timeouts: {request: 5}",
        ),
        &[
            r#"m.yaml:6:63: spec.outlierDetection: is not a field of this object; expected one of targetRefs, balance, timeouts, limits, retry, hedge, ejection, breaker, healthCheck, slowStart, zonePreference, subset, discovery, tls; did you mean "ejection"?"#,
            r#"m.yaml:6:103: spec.balance.policy: "RING_HASH" is not known; expected one of PeakEwma, LeastRequest, RoundRobin, Random, ConsistentHash, ShuffleShard; did you mean "ConsistentHash"?"#,
            r#"m.yaml:6:123: spec.retry.retryOn: is not a field of this object; expected one of attempts, statuses, grpcStatuses, idempotent, backoff, bodyBytes, budget; did you mean "statuses"?"#,
            "m.yaml:6:158: spec.timeouts.request: is the number 5; expected a duration like 10s, 1m30s or 250ms, without fractions",
        ],
    ),
    (
        Wrong::Policy("targetRefs: [{kind: Service, name: web, namespace: other}]"),
        &[
            r#"m.yaml:6:37: spec.targetRefs[0].name: there is no Service other/web; expected a Service of this push or of the mesh; did you mean "default/web"?"#,
            "m.yaml:6:42: spec.targetRefs[0].namespace: is not a field of this object; expected one of group, kind, name, sectionName",
        ],
    ),
    (
        Wrong::Policy("targetRefs: [{kind: Service, name: web}]"),
        &[
            "m.yaml:6:37: spec.targetRefs[0]: default/web has a policy: BackendPolicy default/web in m.yaml:3; expected one policy for a target",
        ],
    ),
    (
        Wrong::Policy(
            "targetRefs: [{kind: Service, name: web, sectionName: http}], balance: {policy: round_robin}",
        ),
        &[
            r#"m.yaml:6:81: spec.balance.policy: "round_robin" is not known; expected one of PeakEwma, LeastRequest, RoundRobin, Random, ConsistentHash, ShuffleShard; did you mean "RoundRobin"?"#,
        ],
    ),
    (
        Wrong::Policy(
            "targetRefs: [{kind: Service, name: web, sectionName: http}], balance: {policy: ConsistentHash}",
        ),
        &[
            "m.yaml:6:72: spec.balance.hash: is missing; expected one of header, cookie, source, for ConsistentHash",
        ],
    ),
    (
        Wrong::Policy(
            "targetRefs: [{kind: Service, name: web, sectionName: http}], balance: {policy: Random, hash: {source: true}}",
        ),
        &[
            "m.yaml:6:95: spec.balance.hash: has no effect on Random; expected policy ConsistentHash or ShuffleShard, or no hash",
        ],
    ),
    (
        Wrong::Policy(
            "targetRefs: [{kind: Service, name: web, sectionName: http}], balance: {policy: ConsistentHash, hash: {source: false}}",
        ),
        &[
            "m.yaml:6:103: spec.balance.hash: names nothing to hash by; expected exactly one of header, cookie, source: true",
        ],
    ),
    (
        Wrong::Port("balance: {policy: ShuffleShard}"),
        &[
            "m.yaml:6:72: spec.balance.hash: is missing; expected one of header, cookie, source, for ShuffleShard",
            "m.yaml:6:72: spec.balance.shardSize: is missing; expected 1 to 16, for ShuffleShard",
        ],
    ),
    (
        Wrong::Port("balance: {policy: ShuffleShard, hash: {source: true}, shardSize: 17}"),
        &["m.yaml:6:128: spec.balance.shardSize: is the number 17; expected a whole number from 1 to 16"],
    ),
    (
        Wrong::Port("balance: {shardSize: 2}"),
        &[
            "m.yaml:6:84: spec.balance.shardSize: has no effect on PeakEwma; expected policy ShuffleShard, or no shardSize",
        ],
    ),
    (
        Wrong::Port("zonePreference: {enable: true, minEndpoints: 0}, limits: {endpointRequests: -1}"),
        &[
            r#"m.yaml:6:80: spec.zonePreference.enable: is not a field of this object; expected one of enabled, minEndpoints; did you mean "enabled"?"#,
            "m.yaml:6:108: spec.zonePreference.minEndpoints: is the number 0; expected a whole number from 1 to 20000",
            "m.yaml:6:139: spec.limits.endpointRequests: is the number -1; expected a whole number from 0 to 1000000000",
        ],
    ),
    (
        Wrong::Port(
            "zonePreference: {enabled: true}, balance: {policy: ConsistentHash, hash: {source: true}}",
        ),
        &[
            "m.yaml:6:89: spec.zonePreference.enabled: has no effect where balance goes by a hash; expected false, or another balance.policy",
        ],
    ),
    (
        Wrong::Port("subset: {minEndpoints: 11}"),
        &[
            "m.yaml:6:86: spec.subset.minEndpoints: is the number 11; expected a whole number from 12 to 20000",
        ],
    ),
    (
        Wrong::Port(
            "subset: {enabled: true, minEndpoints: 20}, balance: {policy: ConsistentHash, hash: {source: true}}",
        ),
        &[
            "m.yaml:6:81: spec.subset.enabled: has no effect where balance goes by a hash; expected none, or another balance.policy",
            "m.yaml:6:101: spec.subset.minEndpoints: has no effect where balance goes by a hash; expected none, or another balance.policy",
        ],
    ),
    (
        Wrong::Policy(
            "targetRefs: [{kind: Service, name: web, sectionName: http}], balance: {policy: ConsistentHash, hash: {header: a, cookie: b}}",
        ),
        &[
            "m.yaml:6:103: spec.balance.hash: names several things to hash by; expected exactly one of header, cookie, source: true",
        ],
    ),
    (
        Wrong::Policy(
            "targetRefs: [{kind: Service, name: web, sectionName: http}], timeouts: {connect: 0s, idle: 0s, bodyStall: 25h}",
        ),
        &[
            "m.yaml:6:83: spec.timeouts.connect: cannot be 0; expected at least 1ms",
            "m.yaml:6:93: spec.timeouts.idle: cannot be 0; expected at least 1ms",
            "m.yaml:6:108: spec.timeouts.bodyStall: is longer than a day; expected at most 24h",
        ],
    ),
    (
        Wrong::Policy(
            "targetRefs: [{kind: Service, name: web, sectionName: http}], timeouts: {request: 1s, try: 2s}",
        ),
        &["m.yaml:6:92: spec.timeouts.try: is longer than request; expected at most request"],
    ),
    (
        Wrong::Policy(
            "targetRefs: [{kind: Service, name: web, sectionName: http}], timeouts: {first_byte: 1s}",
        ),
        &[
            r#"m.yaml:6:74: spec.timeouts.first_byte: is not a field of this object; expected one of connect, request, try, firstByte, idle, bodyStall, tunnelIdle; did you mean "firstByte"?"#,
        ],
    ),
    (
        Wrong::Policy(
            "targetRefs: [{kind: Service, name: web, sectionName: http}], limits: {connections: 0, pending: many}",
        ),
        &[
            "m.yaml:6:85: spec.limits.connections: is the number 0; expected a whole number from 1 to 1000000000",
            r#"m.yaml:6:97: spec.limits.pending: is the text "many"; expected a whole number from 1 to 1000000000"#,
        ],
    ),
    (
        Wrong::Policy(
            "targetRefs: [{kind: Service, name: web, sectionName: http}], discovery: {onEmpty: Keep}",
        ),
        &[
            r#"m.yaml:6:84: spec.discovery.onEmpty: "Keep" is not known; expected one of keep, drain; did you mean "keep"?"#,
        ],
    ),
    (
        Wrong::Policy("targetRefs: [{kind: Service, name: web, sectionName: http}], retries: {}"),
        &[
            "m.yaml:6:63: spec.retries: is not a field of this object; expected one of targetRefs, balance, timeouts, limits, retry, hedge, ejection, breaker, healthCheck, slowStart, zonePreference, subset, discovery, tls; did you mean \"retry\"?",
        ],
    ),
];
