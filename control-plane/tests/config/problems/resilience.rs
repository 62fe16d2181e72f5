//! What policies say of failures: every mistake, and exactly what is said about it.

use super::{Wrong, check};

#[test]
fn mistakes_are_named() {
    for (wrong, said) in CASES {
        check(wrong, said);
    }
}

const CASES: &[(Wrong, &[&str])] = &[
    (
        Wrong::Port(
            "retry: {attempts: 11, bodyBytes: 1048577, idempotent: 1}",
        ),
        &[
            "m.yaml:6:81: spec.retry.attempts: is the number 11; expected a whole number from 0 to 10",
            "m.yaml:6:96: spec.retry.bodyBytes: is the number 1048577; expected a whole number from 0 to 1048576",
            "m.yaml:6:117: spec.retry.idempotent: is the number 1; expected true or false",
        ],
    ),
    (
        Wrong::Port(
            "retry: {statuses: [399, 600, 503, 503]}",
        ),
        &[
            "m.yaml:6:82: spec.retry.statuses[0]: is the number 399; expected a whole number from 400 to 599",
            "m.yaml:6:87: spec.retry.statuses[1]: is the number 600; expected a whole number from 400 to 599",
            "m.yaml:6:97: spec.retry.statuses[3]: is the same as statuses[2]; expected each status once",
        ],
    ),
    (
        Wrong::Port(
            "retry: {grpcStatuses: [OK, 0, 17, UNAVAILABEL, 14, unavailable]}",
        ),
        &[
            r#"m.yaml:6:86: spec.retry.grpcStatuses[0]: "OK" is no gRPC error; expected the name of a gRPC error, like UNAVAILABLE, or its number, 1 to 16"#,
            "m.yaml:6:90: spec.retry.grpcStatuses[1]: is the number 0; expected the name of a gRPC error, like UNAVAILABLE, or its number, 1 to 16",
            "m.yaml:6:93: spec.retry.grpcStatuses[2]: is the number 17; expected the name of a gRPC error, like UNAVAILABLE, or its number, 1 to 16",
            r#"m.yaml:6:97: spec.retry.grpcStatuses[3]: "UNAVAILABEL" is no gRPC error; expected the name of a gRPC error, like UNAVAILABLE, or its number, 1 to 16; did you mean "UNAVAILABLE"?"#,
            "m.yaml:6:114: spec.retry.grpcStatuses[5]: is the same as grpcStatuses[4]; expected each status once",
        ],
    ),
    (
        Wrong::Port(
            "retry: {backoff: {base: 1s}}",
        ),
        &[
            "m.yaml:6:87: spec.retry.backoff.base: is longer than max, which is 250ms by default; expected at most 250ms",
        ],
    ),
    (
        Wrong::Port(
            "retry: {backoff: {max: 10ms}}",
        ),
        &[
            "m.yaml:6:86: spec.retry.backoff.max: is shorter than base, which is 25ms by default; expected at least 25ms",
        ],
    ),
    (
        Wrong::Port(
            "retry: {backoff: {base: 200ms, max: 100ms}}",
        ),
        &[
            "m.yaml:6:87: spec.retry.backoff.base: is longer than max; expected at most max",
        ],
    ),
    (
        Wrong::Port(
            "retry: {budget: {percent: 101, window: 999ms, floor: {count: -1, interval: 0s}}}",
        ),
        &[
            "m.yaml:6:89: spec.retry.budget.percent: is the number 101; expected a whole number from 0 to 100",
            "m.yaml:6:102: spec.retry.budget.window: is too short; expected at least 1s",
            "m.yaml:6:124: spec.retry.budget.floor.count: is the number -1; expected a whole number from 0 to 1000000",
            "m.yaml:6:138: spec.retry.budget.floor.interval: cannot be 0; expected at least 1s",
        ],
    ),
    (
        Wrong::Port(
            "retry: {budget: {floor: {count: 1, interval: 61m}}}",
        ),
        &[
            "m.yaml:6:108: spec.retry.budget.floor.interval: is longer than an hour; expected at most 1h",
        ],
    ),
    (
        Wrong::Port(
            "hedge: {percentile: 100, minDelay: 25h}",
        ),
        &[
            "m.yaml:6:83: spec.hedge.percentile: is the number 100; expected a whole number from 50 to 99",
            "m.yaml:6:98: spec.hedge.minDelay: is longer than a day; expected at most 24h",
        ],
    ),
    (
        Wrong::Port(
            "hedge: {}, retry: {budget: {percent: 0, floor: {count: 0}}}",
        ),
        &[
            "m.yaml:6:70: spec.hedge: would never be sent: the retry budget allows nothing; expected a retry.budget with percent or floor.count above 0",
        ],
    ),
    (
        Wrong::Port(
            "retry: {attempts: 3, budget: {percent: 0, floor: {count: 0}}}",
        ),
        &[
            "m.yaml:6:81: spec.retry.attempts: would never be made: the retry budget allows nothing; expected 0, or a retry.budget with percent or floor.count above 0",
        ],
    ),
    (
        Wrong::Port(
            "hedge: {minDelay: 1s}, timeouts: {request: 1s}",
        ),
        &[
            "m.yaml:6:81: spec.hedge.minDelay: is as long as timeouts.request; expected less than timeouts.request",
        ],
    ),
    (
        Wrong::Port(
            "hedge: {}, timeouts: {request: 5ms}",
        ),
        &[
            "m.yaml:6:94: spec.timeouts.request: is shorter than hedge.minDelay, which is 10ms by default; expected more than 10ms",
        ],
    ),
    (
        Wrong::Port(
            "retry: {backoff: {base: 100ms}}, timeouts: {request: 100ms, firstByte: 200ms}",
        ),
        &[
            "m.yaml:6:87: spec.retry.backoff.base: is as long as timeouts.request; expected less than timeouts.request",
            "m.yaml:6:134: spec.timeouts.firstByte: is longer than request; expected at most request",
        ],
    ),
    (
        Wrong::Port(
            "breaker: {slowPercent: 50, slowAfter: 2s}, timeouts: {request: 1s}",
        ),
        &[
            "m.yaml:6:101: spec.breaker.slowAfter: is longer than timeouts.request; expected at most timeouts.request",
        ],
    ),
    (
        Wrong::Port(
            "breaker: {slowPercent: 50}, timeouts: {request: 1s}",
        ),
        &[
            "m.yaml:6:111: spec.timeouts.request: is shorter than breaker.slowAfter, which is 1m by default; expected at least 1m",
        ],
    ),
    (
        Wrong::Port(
            "hedge: {enabled: false, percentile: 90}, healthCheck: {tcp: {}, interval: 1s, enabled: false}",
        ),
        &[
            "m.yaml:6:99: spec.hedge.percentile: has no effect: hedge is off; expected enabled: true, or no percentile",
            "m.yaml:6:123: spec.healthCheck.tcp: has no effect: healthCheck is off; expected enabled: true, or no tcp",
            "m.yaml:6:137: spec.healthCheck.interval: has no effect: healthCheck is off; expected enabled: true, or no interval",
        ],
    ),
    (
        Wrong::Port(
            "ejection: {base: 10m}",
        ),
        &[
            "m.yaml:6:80: spec.ejection.base: is longer than max, which is 5m by default; expected at most 5m",
        ],
    ),
    (
        Wrong::Port(
            "ejection: {base: 2s, max: 1s, maxPercent: 101, panicPercent: -1, window: 0s}",
        ),
        &[
            "m.yaml:6:80: spec.ejection.base: is longer than max; expected at most max",
            "m.yaml:6:105: spec.ejection.maxPercent: is the number 101; expected a whole number from 0 to 100",
            "m.yaml:6:124: spec.ejection.panicPercent: is the number -1; expected a whole number from 0 to 100",
            "m.yaml:6:136: spec.ejection.window: cannot be 0; expected at least 1ms",
        ],
    ),
    (
        Wrong::Port(
            "breaker: {open: 1m}",
        ),
        &[
            "m.yaml:6:79: spec.breaker.open: is longer than openMax, which is 2s by default; expected at most 2s",
        ],
    ),
    (
        Wrong::Port(
            "breaker: {openMax: 500ms, probes: 0, successes: 0}",
        ),
        &[
            "m.yaml:6:82: spec.breaker.openMax: is shorter than open, which is 1s by default; expected at least 1s",
            "m.yaml:6:97: spec.breaker.probes: is the number 0; expected a whole number from 1 to 100",
            "m.yaml:6:111: spec.breaker.successes: is the number 0; expected a whole number from 1 to 100",
        ],
    ),
    (
        Wrong::Port(
            "breaker: {window: {requests: 20}}",
        ),
        &[
            "m.yaml:6:92: spec.breaker.window.requests: is smaller than minRequests, which is 50 by default; expected at least 50",
        ],
    ),
    (
        Wrong::Port(
            "breaker: {window: {requests: 20}, minRequests: 30}",
        ),
        &[
            "m.yaml:6:110: spec.breaker.minRequests: is larger than window.requests; expected at most window.requests",
        ],
    ),
    (
        Wrong::Port(
            "breaker: {window: {requests: 100, time: 10s}}",
        ),
        &[
            "m.yaml:6:81: spec.breaker.window: has both time and requests; expected exactly one of time, requests",
        ],
    ),
    (
        Wrong::Port(
            "breaker: {window: {}}",
        ),
        &[
            "m.yaml:6:81: spec.breaker.window: says nothing; expected exactly one of time, requests",
        ],
    ),
    (
        Wrong::Port(
            "breaker: {ramp: 0s, slowAfter: 0s}",
        ),
        &[
            "m.yaml:6:79: spec.breaker.ramp: cannot be 0; expected at least 1ms",
            "m.yaml:6:94: spec.breaker.slowAfter: cannot be 0; expected at least 1ms",
        ],
    ),
    (
        Wrong::Port(
            "slowStart: 0s",
        ),
        &[
            "m.yaml:6:74: spec.slowStart: cannot be 0; expected at least 1ms",
        ],
    ),
    (
        Wrong::Port(
            "healthCheck: {}",
        ),
        &[
            "m.yaml:6:76: spec.healthCheck: asks nothing; expected exactly one of http, grpc, tcp",
        ],
    ),
    (
        Wrong::Port(
            "healthCheck: {http: {}, tcp: {}}",
        ),
        &[
            "m.yaml:6:76: spec.healthCheck: has http and tcp; expected exactly one of http, grpc, tcp",
        ],
    ),
    (
        Wrong::Port(
            "healthCheck: {tcp: {port: 80}}",
        ),
        &[
            "m.yaml:6:83: spec.healthCheck.tcp.port: is not a field of this object; expected no field",
        ],
    ),
    (
        Wrong::Port(
            "healthCheck: {http: {path: health, host: A.example}}",
        ),
        &[
            r#"m.yaml:6:90: spec.healthCheck.http.path: "health" is not a path; expected a path that starts with '/', with or without a query, without spaces"#,
            r#"m.yaml:6:104: spec.healthCheck.http.host: "A.example" is not valid; expected a host name in lower case, without port and wildcard; did you mean "a.example"?"#,
        ],
    ),
    (
        Wrong::Port(
            "healthCheck: {http: {path: /a b}}",
        ),
        &[
            r#"m.yaml:6:90: spec.healthCheck.http.path: "/a b" is not a path; expected a path that starts with '/', with or without a query, without spaces"#,
        ],
    ),
    (
        Wrong::Port(
            "healthCheck: {http: {path: /é}}",
        ),
        &[
            r#"m.yaml:6:90: spec.healthCheck.http.path: "/é" is not a path; expected a path that starts with '/', with or without a query, without spaces"#,
        ],
    ),
    (
        Wrong::Port(
            r#"healthCheck: {http: {path: "/a#b"}}"#,
        ),
        &[
            r#"m.yaml:6:90: spec.healthCheck.http.path: "/a#b" is not a path; expected a path that starts with '/', with or without a query, without spaces"#,
        ],
    ),
    (
        Wrong::Port(
            "healthCheck: {tcp: {}, interval: 2s, timeout: 3s}",
        ),
        &[
            "m.yaml:6:109: spec.healthCheck.timeout: is longer than interval; expected at most interval",
        ],
    ),
    (
        Wrong::Port(
            "healthCheck: {tcp: {}, timeout: 6s}",
        ),
        &[
            "m.yaml:6:95: spec.healthCheck.timeout: is longer than interval, which is 5s by default; expected at most 5s",
        ],
    ),
    (
        Wrong::Port(
            "healthCheck: {tcp: {}, fastInterval: 6s}",
        ),
        &[
            "m.yaml:6:100: spec.healthCheck.fastInterval: is longer than interval, which is 5s by default; expected at most 5s",
        ],
    ),
    (
        Wrong::Port(
            "healthCheck: {tcp: {}, fastInterval: 500ms, timeout: 600ms}",
        ),
        &[
            "m.yaml:6:116: spec.healthCheck.timeout: is longer than fastInterval; expected at most fastInterval",
        ],
    ),
    (
        Wrong::Port(
            "healthCheck: {tcp: {}, unhealthy: 0, healthy: 101, interval: 0s}",
        ),
        &[
            "m.yaml:6:97: spec.healthCheck.unhealthy: is the number 0; expected a whole number from 1 to 100",
            "m.yaml:6:109: spec.healthCheck.healthy: is the number 101; expected a whole number from 1 to 100",
            "m.yaml:6:124: spec.healthCheck.interval: cannot be 0; expected at least 1ms",
        ],
    ),
    (
        Wrong::Port(
            "healthCheck: {grpc: {}}",
        ),
        &[
            "m.yaml:6:83: spec.healthCheck.grpc: port http of default/web cannot answer it; expected ports of protocol GRPC or HTTP2; sectionName names one",
        ],
    ),
    (
        Wrong::Policy(
            "targetRefs: [{kind: Service, name: web, sectionName: tls}], healthCheck: {http: {}}",
        ),
        &[
            "m.yaml:6:82: spec.healthCheck.http: port tls of default/web cannot answer it; expected ports that are not of protocol TLS; sectionName names one",
        ],
    ),
    (
        Wrong::Policy(
            "targetRefs: [{kind: Service, name: wbe}], timeouts: {request: 1s, try: 2s}, hedge: {}, retry: {budget: {percent: 0, floor: {count: 0}}}",
        ),
        &[
            r#"m.yaml:6:37: spec.targetRefs[0].name: there is no Service default/wbe; expected a Service of this push or of the mesh; did you mean "web"?"#,
            "m.yaml:6:73: spec.timeouts.try: is longer than request; expected at most request",
            "m.yaml:6:85: spec.hedge: would never be sent: the retry budget allows nothing; expected a retry.budget with percent or floor.count above 0",
        ],
    ),
    (
        Wrong::Rule(
            "{backendRefs: [{name: web, port: 80}], retry: {codes: [200, 500, 500], attempts: 11, backoff: 25h}}",
        ),
        &[
            "m.yaml:6:56: spec.rules[0].retry.codes[0]: is the number 200; expected a whole number from 400 to 599",
            "m.yaml:6:66: spec.rules[0].retry.codes[2]: is the same as codes[1]; expected each status once",
            "m.yaml:6:82: spec.rules[0].retry.attempts: is the number 11; expected a whole number from 0 to 10",
            "m.yaml:6:95: spec.rules[0].retry.backoff: is longer than a day; expected at most 24h",
        ],
    ),
    (
        Wrong::Text(
            r#"{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: api}, spec: {ports: [{name: http, port: 80, protocol: HTTP}]}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {name: wide}, spec: {targetRefs: [{kind: Service, name: api}], timeouts: {request: 2s, try: 1s}, retry: {backoff: {max: 1s}}}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {name: narrow}, spec: {targetRefs: [{kind: Service, name: api, sectionName: http}], timeouts: {try: 3s}, retry: {backoff: {base: 1500ms}}}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r}, spec: {parentRefs: [{group: "", kind: Service, name: api}], rules: [{timeouts: {backendRequest: 5s}, backendRefs: [{name: api, port: 80}]}, {timeouts: {request: 500ms}, backendRefs: [{name: api, port: 80}]}]}}"#,
        ),
        &[
            "m.yaml:9:169: spec.timeouts.try: is longer than request, which is 2s by BackendPolicy default/wide; expected at most 2s",
            "m.yaml:9:198: spec.retry.backoff.base: is longer than max, which is 1s by BackendPolicy default/wide; expected at most 1s",
            "m.yaml:11:178: spec.rules[0].timeouts.backendRequest: is longer than the limit of default/api:80 for the whole request, which is 2s by BackendPolicy default/wide; expected at most 2s, or both limits in the route",
            "m.yaml:11:243: spec.rules[1].timeouts.request: is shorter than the limit of default/api:80 for a try, which is 3s by BackendPolicy default/narrow; expected at least 3s, or both limits in the route",
        ],
    ),
    (
        Wrong::Text(
            "{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {name: api}, spec: {ports: [{name: http, port: 80, protocol: HTTP}]}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {name: wide}, spec: {targetRefs: [{kind: Service, name: api}], timeouts: {try: 1s}}}
---
{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {name: narrow}, spec: {targetRefs: [{kind: Service, name: api, sectionName: http}], timeouts: {request: 500ms}}}",
        ),
        &[
            "m.yaml:9:173: spec.timeouts.request: is shorter than try, which is 1s by BackendPolicy default/wide; expected at least 1s",
        ],
    ),
];
