use serde_json::json;

use super::*;
use crate::reports::{ClusterTraffic, Report, SILENT_AFTER_MS, Traffic};

const NOW_MS: u64 = 1_800_000_000_000;
const BOUNDS_US: [u64; 3] = [1_000, 10_000, 100_000];

fn status(proxies: Vec<Proxy>, release: Option<u64>) -> Status {
    let release = release.map(|release| ReleaseSummary {
        epoch: 7,
        release,
        revision: release,
        compiler: 1,
        time_unix_ms: NOW_MS,
        rejected: false,
    });
    Status {
        version: "1".to_owned(),
        store: "./mesh".to_owned(),
        mesh: None,
        trust_key: None,
        ready: true,
        trouble: None,
        revision: None,
        release,
        heartbeat_age_ms: Some(40),
        coverage: Coverage::of(&proxies),
        proxies,
        authority: None,
    }
}

fn report(service: &str, node: &str) -> Report {
    serde_json::from_value(json!({
        "node": node, "service": service, "version": "1", "running": {"epoch": 7, "n": 3},
    }))
    .unwrap()
}

fn proxy(report: Report, age_ms: u64) -> Proxy {
    let current = report.running.as_ref().is_some_and(|running| running.n == 3);
    Proxy { report, age_ms, current, silent: age_ms > SILENT_AFTER_MS }
}

fn cluster(name: &str, direction: &str, failures: u64, durations: [u64; 4]) -> ClusterTraffic {
    ClusterTraffic {
        cluster: name.to_owned(),
        direction: direction.to_owned(),
        requests: durations.iter().sum(),
        failures,
        durations: durations.to_vec(),
        connections: 0,
        open: 0,
    }
}

fn counting(service: &str, node: &str, window_ms: u64, clusters: Vec<ClusterTraffic>) -> Report {
    let traffic = Traffic { window_ms, bounds_us: BOUNDS_US.to_vec(), clusters, left_out: 0 };
    Report { traffic: Some(traffic), ..report(service, node) }
}

fn overview(proxies: Vec<Proxy>) -> Overview {
    Overview::of(status(proxies, Some(3)), &[], NOW_MS)
}

fn edge<'a>(overview: &'a Overview, from: &str, to: &str) -> &'a Edge {
    overview.edges.iter().find(|edge| edge.from == from && edge.to == to).unwrap()
}

#[test]
fn proxies_and_ports_of_an_edge_are_added_up() {
    let first = vec![
        cluster("a/cart:80", "outbound", 1, [90, 0, 0, 0]),
        cluster("a/cart:81", "outbound", 0, [0, 10, 0, 0]),
    ];
    let second = vec![cluster("a/cart:80", "outbound", 3, [0, 98, 2, 0])];
    let found = overview(vec![
        proxy(counting("a/shop", "one", 10_000, first), 400),
        proxy(counting("a/shop", "two", 20_000, second), 900),
    ]);
    let cart = edge(&found, "a/shop", "a/cart");
    assert_eq!(cart.ports.iter().map(String::as_str).collect::<Vec<_>>(), ["80", "81"]);
    let figures = cart.figures.as_ref().unwrap();
    assert_eq!((figures.requests, figures.failures, figures.proxies), (200, 4, 2));
    assert!((figures.rate - 15.0).abs() < 1e-9, "10 a second and 5 a second: {}", figures.rate);
    assert_eq!((figures.success, figures.window_ms, figures.age_ms), (Some(0.98), 20_000, 900));
    // 90 below 1 ms, 108 below 10 ms: the 100th is 10 of 108 into the second bucket, and the 198th is its last.
    let (p50, p99) = (figures.p50.unwrap(), figures.p99.unwrap());
    assert!((p50.ms - (1.0 + 9.0 * 10.0 / 108.0)).abs() < 1e-9 && !p50.beyond, "{p50:?}");
    assert!((p99.ms - 10.0).abs() < 1e-9, "{p99:?}");
}

#[test]
fn what_took_longer_than_every_bound_is_beyond_it_and_what_was_not_asked_has_no_latency() {
    let clusters = vec![
        cluster("a/slow:80", "outbound", 0, [1, 0, 0, 9]),
        cluster("a/idle:80", "outbound", 0, [0, 0, 0, 0]),
    ];
    let found = overview(vec![proxy(counting("a/shop", "one", 10_000, clusters), 0)]);
    let slow = edge(&found, "a/shop", "a/slow").figures.as_ref().unwrap();
    assert_eq!(slow.p50, Some(Latency { ms: 100.0, beyond: true }));
    let idle = edge(&found, "a/shop", "a/idle").figures.as_ref().unwrap();
    assert_eq!((idle.success, idle.p50, idle.rate), (None, None, 0.0));
}

#[test]
fn who_does_not_count_is_no_zero() {
    let called = |mut report: Report| {
        report.calls.insert("a/cart:80".parse().unwrap());
        report
    };
    let crowded = |left_out| {
        let mut report = called(counting("a/crowded", "one", 10_000, Vec::new()));
        report.traffic.as_mut().unwrap().left_out = left_out;
        report
    };
    let found = overview(vec![
        proxy(called(report("a/old", "one")), 10),
        proxy(called(counting("a/gone", "one", 10_000, Vec::new())), SILENT_AFTER_MS + 1),
        proxy(crowded(3), 20),
    ]);
    for from in ["a/old", "a/gone", "a/crowded"] {
        assert_eq!(edge(&found, from, "a/cart").figures, None, "{from}");
    }
    assert_eq!(edge(&found, "a/gone", "a/cart").heard_age_ms, SILENT_AFTER_MS + 1);
    assert_eq!(found.left_out.traffic, 3);
    let quiet = overview(vec![proxy(crowded(0), 20)]);
    assert_eq!(edge(&quiet, "a/crowded", "a/cart").figures.as_ref().map(|figures| figures.requests), Some(0));
}

#[test]
fn absurd_counts_stay_figures() {
    let absurd = ClusterTraffic {
        requests: u64::MAX,
        failures: u64::MAX,
        durations: vec![u64::MAX; 60],
        ..cluster("no name", "outbound", 0, [0; 4])
    };
    let mut one = counting("a/shop", "one", 0, vec![absurd.clone(), absurd]);
    one.traffic.as_mut().unwrap().bounds_us = vec![5, 5, 1];
    let found = overview(vec![proxy(one.clone(), 0), proxy(Report { node: "two".to_owned(), ..one }, 0)]);
    let figures = edge(&found, "a/shop", "no name").figures.as_ref().unwrap();
    assert_eq!((figures.success, figures.rate), (Some(0.0), 0.0));
    let text = serde_json::to_string(&found).unwrap();
    assert!(!text.contains("null,\"beyond\""), "{text}");
}

#[test]
fn services_are_known_by_resources_proxies_and_calls() {
    let resources = [
        json!({"kind": "Service", "metadata": {"name": "lonely", "namespace": "a"}}),
        json!({"kind": "Gateway", "metadata": {"name": "edge"}}),
        json!({"kind": "Mesh", "metadata": {"name": "mesh"}}),
    ];
    let own =
        vec![cluster("a/shop:80", "inbound", 0, [4, 0, 0, 0]), cluster("b/db:5432", "outbound", 0, [0; 4])];
    let refusing = Report { last_refusal: Some("why".to_owned()), ..report("a/shop", "two") };
    let proxies = vec![
        proxy(counting("a/shop", "one", 2_000, own), 0),
        proxy(refusing, 0),
        proxy(report("a/shop", "three"), SILENT_AFTER_MS + 1),
    ];
    let found = Overview::of(status(proxies, Some(3)), &resources, NOW_MS);
    let told: Vec<_> = found
        .services
        .iter()
        .map(|one| (one.service.as_str(), one.kind.as_str(), one.proxies, one.well, one.silent))
        .collect();
    let expected = [
        ("a/shop", "", 2, 1, 1),
        ("b/db", "", 0, 0, 0),
        ("a/lonely", "Service", 0, 0, 0),
        ("default/edge", "Gateway", 0, 0, 0),
    ];
    assert_eq!(told, expected, "those that take part come first");
    assert_eq!(
        found.services[0].served.as_ref().map(|served| (served.requests, served.rate)),
        Some((4, 2.0))
    );
}

#[test]
fn the_worst_proxies_come_first_and_releases_are_counted() {
    let mut quarantined = report("a/shop", "q");
    quarantined.quarantined = vec!["ab".to_owned()];
    let refusing = Report { last_refusal: Some("why".to_owned()), ..report("a/shop", "r") };
    let empty = Report { running: None, ..report("a/shop", "e") };
    let mut behind = report("a/shop", "b");
    behind.running.as_mut().unwrap().n = 2;
    let silent = proxy(report("a/shop", "s"), SILENT_AFTER_MS + 1);
    let reporting = [report("a/shop", "c"), behind, empty, refusing, quarantined].map(|it| proxy(it, 5));
    let found = overview(reporting.into_iter().chain([silent]).collect());
    let states: Vec<_> = found.proxies.iter().map(|row| (row.node.as_str(), row.state)).collect();
    let expected = [
        ("q", State::Quarantine),
        ("r", State::Refusing),
        ("e", State::WithoutPlan),
        ("s", State::Silent),
        ("b", State::Behind),
        ("c", State::Current),
    ];
    assert_eq!(states, expected);
    let runs: Vec<_> = found.releases.iter().map(|runs| (runs.n, runs.proxies, runs.newest)).collect();
    assert_eq!(runs, [(3, 3, true), (2, 1, false)]);
}

#[test]
fn failures_are_told_newest_first_and_lists_end_somewhere() {
    let proxies = (0..PROXIES_MAX + 2).map(|number| {
        let failure = FailureStory {
            id: number.to_string(),
            at_unix_ms: number as u64,
            reason: "no_route".to_owned(),
            sentence: String::new(),
            service: String::new(),
            route: String::new(),
        };
        proxy(Report { failures: vec![failure], ..report("a/shop", &format!("n{number:05}")) }, 0)
    });
    let found = overview(proxies.collect());
    assert_eq!((found.proxies.len(), found.left_out.proxies), (PROXIES_MAX, 2));
    assert_eq!(
        (found.failures.len(), found.left_out.failures),
        (FAILURES_MAX, PROXIES_MAX + 2 - FAILURES_MAX)
    );
    assert_eq!(found.failures[0].failure.at_unix_ms, PROXIES_MAX as u64 + 1);
}

#[test]
fn routes_are_told_with_their_splits() {
    let route = json!({
        "kind": "HTTPRoute", "metadata": {"name": "cart", "namespace": "a"},
        "spec": {
            "hostnames": ["cart.test"],
            "parentRefs": [{"kind": "Service", "name": "cart", "port": 80}, {"name": "edge", "namespace": "b", "sectionName": "web"}],
            "rules": [
                {"matches": [{"method": "GET", "path": {"type": "PathPrefix", "value": "/v1/"}, "headers": [{"name": "x", "value": "1"}]},
                             {"path": {"type": "Exact", "value": "/v2"}}],
                 "backendRefs": [{"name": "cart", "port": 80, "weight": 3}, {"name": "new", "namespace": "b", "port": 81}]},
                {"filters": [{"type": "RequestRedirect"}]}
            ]
        }
    });
    let grpc = json!({
        "kind": "GRPCRoute", "metadata": {"name": "bill", "namespace": "a"},
        "spec": {"rules": [{"matches": [{"method": {"service": "pay.Bill"}}], "backendRefs": [{"name": "bill", "weight": 0}]}]}
    });
    let found = Overview::of(status(Vec::new(), None), &[route, grpc], NOW_MS);
    let [bill, cart] = &found.routes[..] else { panic!("{:?}", found.routes) };
    assert_eq!((bill.name.as_str(), bill.kind.as_str()), ("a/bill", "GRPCRoute"));
    assert_eq!(bill.rules[0].matches, ["pay.Bill/*"]);
    assert_eq!(bill.rules[0].backends[0].share, 0.0);
    assert_eq!(cart.parents, ["Service a/cart:80", "Gateway b/edge (web)"]);
    assert_eq!(cart.hosts, ["cart.test"]);
    assert_eq!(cart.rules[0].matches, ["GET /v1/* x: 1", "/v2"]);
    let shares: Vec<_> = cart.rules[0]
        .backends
        .iter()
        .map(|share| (share.service.as_str(), share.port, share.share))
        .collect();
    assert_eq!(shares, [("a/cart", Some(80), 0.75), ("b/new", Some(81), 0.25)]);
    assert_eq!(
        (cart.rules[1].filters.as_slice(), cart.rules[1].backends.len()),
        (&["RequestRedirect".to_owned()][..], 0)
    );
}

#[test]
fn a_mesh_of_which_nothing_is_known_is_told_as_such() {
    let found = Overview::of(status(Vec::new(), None), &[], NOW_MS);
    assert!(found.services.is_empty() && found.edges.is_empty() && found.releases.is_empty());
    assert_eq!(found.left_out, LeftOut::default());
}
