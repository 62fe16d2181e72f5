//! Policies for a service and for one of its ports: which says what.

use outrigger_snapshot::policy::{
    Balance, HashKey, HealthCheck, Hedge, Probe, ShuffleShard, Subset, ZonePreference,
};

use crate::load_text;
use crate::resilience::{SERVICE, backend, policy};

#[test]
fn the_narrower_policy_wins_field_by_field() {
    let wide = policy(
        "wide",
        "targetRefs: [{kind: Service, name: api}], hedge: {minDelay: 1s}, retry: {attempts: 5, statuses: [500]}, \
         healthCheck: {tcp: {}, interval: 20s, healthy: 7}",
    );
    let narrow = policy(
        "narrow",
        "targetRefs: [{kind: Service, name: api, sectionName: grpc}], hedge: {percentile: 80}, retry: {attempts: 1}, \
         healthCheck: {grpc: {service: a.B}, interval: 200ms}",
    );
    let documents = format!("{narrow}\n---\n{wide}");
    let (http, grpc) = (backend(&documents, "http"), backend(&documents, "grpc"));
    assert_eq!((http.retry.attempts, grpc.retry.attempts), (5, 1));
    assert_eq!((&http.retry.statuses, &grpc.retry.statuses), (&vec![500], &vec![500]));
    assert_eq!(http.hedge, Some(Hedge { percentile: 95, delay_min_ms: 1_000 }));
    assert_eq!(grpc.hedge, Some(Hedge { percentile: 80, delay_min_ms: 1_000 }));
    let (http, grpc) = (http.health_check.unwrap(), grpc.health_check.unwrap());
    assert_eq!((http.probe, http.interval_ms, http.healthy), (Probe::Tcp, 20_000, 7));
    assert_eq!((http.fast_interval_ms, http.timeout_ms), (1_000, 1_000));
    assert_eq!((grpc.probe, grpc.interval_ms, grpc.healthy), (Probe::Grpc { service: "a.B".into() }, 200, 7));
    // What is not said is no longer than what is.
    assert_eq!((grpc.fast_interval_ms, grpc.timeout_ms), (200, 200));
}

#[test]
fn a_narrower_policy_switches_off_what_a_wider_one_switched_on() {
    let wide = |spec: &str| policy("wide", &format!("targetRefs: [{{kind: Service, name: api}}], {spec}"));
    let narrow = |spec: &str| {
        let target = "targetRefs: [{kind: Service, name: api, sectionName: grpc}]";
        policy("narrow", &format!("{target}, {spec}"))
    };
    let used = |wide: &str, narrow: &str| {
        let documents = format!("{wide}\n---\n{narrow}");
        (backend(&documents, "http"), backend(&documents, "grpc"))
    };
    // No port of gRPC could answer the probe, and none is asked.
    let on = wide("hedge: {percentile: 90, minDelay: 1s}, healthCheck: {http: {path: /ok}, interval: 2s}");
    let off = narrow("hedge: {enabled: false}, healthCheck: {enabled: false}");
    let (http, grpc) = used(&on, &off);
    assert_eq!(http.hedge, Some(Hedge { percentile: 90, delay_min_ms: 1_000 }));
    assert_eq!(http.health_check.map(|check| check.interval_ms), Some(2_000));
    assert_eq!((grpc.hedge, grpc.health_check), (None, None));

    let back = narrow("hedge: {enabled: true}, healthCheck: {enabled: true, tcp: {}}");
    let (http, grpc) = used(&wide("hedge: {enabled: false}, healthCheck: {enabled: false}"), &back);
    assert_eq!((http.hedge, http.health_check), (None, None));
    assert_eq!(grpc.hedge, Some(Hedge { percentile: 95, delay_min_ms: 10 }));
    assert_eq!(grpc.health_check, Some(HealthCheck::new(Probe::Tcp)));

    // What cannot be sent is no mistake where it is not to be.
    let spent = narrow("retry: {budget: {percent: 0, floor: {count: 0}}}, hedge: {enabled: false}");
    assert_eq!(used(&on.replace("http: {path: /ok}", "tcp: {}"), &spent).1.hedge, None);
}

#[test]
fn a_probe_that_a_narrower_policy_replaces_need_not_fit() {
    let wide =
        policy("wide", "targetRefs: [{kind: Service, name: api}], healthCheck: {grpc: {}, interval: 2s}");
    let narrow = policy(
        "narrow",
        "targetRefs: [{kind: Service, name: api, sectionName: http}], healthCheck: {http: {path: /ok}}",
    );
    let probe = |port| backend(&format!("{wide}\n---\n{narrow}"), port).health_check.unwrap().probe;
    assert_eq!(probe("grpc"), Probe::Grpc { service: String::new() });
    assert_eq!(probe("http"), Probe::Http { path: "/ok".into(), host: None });
}

#[test]
fn subsets_are_as_the_narrowest_says_and_need_not_fit_a_key_of_its_own() {
    let wide = |spec: &str| policy("wide", &format!("targetRefs: [{{kind: Service, name: api}}], {spec}"));
    let narrow = |spec: &str| {
        policy("narrow", &format!("targetRefs: [{{kind: Service, name: api, sectionName: grpc}}], {spec}"))
    };
    let grpc = |wide: &str, narrow: &str| backend(&format!("{wide}\n---\n{narrow}"), "grpc").subset;
    let least = |endpoints_min| Some(Subset { endpoints_min });
    let larger = wide("subset: {minEndpoints: 20}");
    assert_eq!(grpc(&larger, &narrow("slowStart: 1s")), least(20));
    assert_eq!(grpc(&larger, &narrow("subset: {minEndpoints: 30}")), least(30));
    assert_eq!(grpc(&larger, &narrow("subset: {enabled: false}")), None);
    assert_eq!(grpc(&wide("subset: {enabled: false}"), &narrow("subset: {enabled: true}")), least(12));
    let keyed = narrow("balance: {policy: ConsistentHash, hash: {source: true}}");
    assert_eq!(grpc(&larger, &keyed), least(20));
}

#[test]
fn zones_are_preferred_where_the_narrowest_says_so() {
    let wide = |spec: &str| policy("wide", &format!("targetRefs: [{{kind: Service, name: api}}], {spec}"));
    let narrow = |spec: &str| {
        let target = "targetRefs: [{kind: Service, name: api, sectionName: grpc}]";
        policy("narrow", &format!("{target}, {spec}"))
    };
    let grpc = |wide: &str, narrow: &str| backend(&format!("{wide}\n---\n{narrow}"), "grpc").zone_preference;
    let on = wide("zonePreference: {enabled: true}");
    let least = |endpoints_min| Some(ZonePreference { endpoints_min });
    assert_eq!(grpc(&on, &narrow("slowStart: 1s")), least(6));
    assert_eq!(grpc(&on, &narrow("zonePreference: {minEndpoints: 3}")), least(3));
    assert_eq!(grpc(&on, &narrow("zonePreference: {enabled: false}")), None);
    let off = wide("zonePreference: {minEndpoints: 4}");
    assert_eq!(grpc(&off, &narrow("slowStart: 1s")), None);
    assert_eq!(grpc(&off, &narrow("zonePreference: {enabled: true}")), least(4));

    let shards = narrow("balance: {policy: ShuffleShard, hash: {header: X-Tenant}, shardSize: 3}");
    let shard = ShuffleShard { size: 3, key: HashKey::Header("x-tenant".into()) };
    assert_eq!(backend(&shards, "grpc").balance, Balance::ShuffleShard(shard));
    let problems = load_text(&format!("{SERVICE}\n---\n{on}\n---\n{shards}")).unwrap_err().to_string();
    assert!(problems.contains("spec.balance: goes by a hash, and so cannot by zone"), "{problems}");
}
