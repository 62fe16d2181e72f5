use super::*;

fn report(node: &str, n: Option<u64>) -> Report {
    Report {
        node: node.to_owned(),
        service: "default/cart".to_owned(),
        version: "1".to_owned(),
        admin: None,
        running: n.map(|n| Running { epoch: 7, n, policy: String::new(), facts: String::new() }),
        since_unix_ms: 0,
        refusals: 0,
        last_refusal: None,
        quarantined: Vec::new(),
        calls: BTreeSet::new(),
        traffic: None,
        failures: Vec::new(),
        identity: None,
        shown: Vec::new(),
    }
}

fn story(sentence: &str) -> FailureStory {
    FailureStory {
        id: "1".to_owned(),
        at_unix_ms: 1,
        reason: "no_route".to_owned(),
        sentence: sentence.to_owned(),
        service: String::new(),
        route: String::new(),
    }
}

fn cluster(name: &str, buckets: usize) -> ClusterTraffic {
    ClusterTraffic {
        cluster: name.to_owned(),
        direction: "outbound".to_owned(),
        requests: 1,
        failures: 0,
        durations: vec![1; buckets],
        connections: 0,
        open: 0,
    }
}

fn with_traffic(clusters: Vec<ClusterTraffic>) -> Report {
    let traffic = Traffic { window_ms: 1, bounds_us: Vec::new(), clusters, left_out: 0 };
    Report { traffic: Some(traffic), ..report("one", None) }
}

#[test]
fn what_a_report_may_carry_is_taken_and_an_older_one_lacks_it() {
    let mut table = ReportTable::default();
    let full = Report {
        failures: vec![story(&"x".repeat(TEXT_BYTES_MAX)); FAILURES_MAX],
        ..with_traffic(vec![cluster("default/cart:80", BUCKETS_MAX); TRAFFIC_MAX])
    };
    table.record(full, 0).unwrap();
    let older = r#"{"node": "one", "service": "default/cart", "version": "0"}"#;
    let older: Report = serde_json::from_str(older).unwrap();
    assert_eq!((older.traffic.is_none(), older.failures.len()), (true, 0));
    table.record(older, 0).unwrap();
}

#[test]
fn coverage_tells_current_behind_empty_and_silent_apart() {
    let mut table = ReportTable::default();
    table.record(report("silent", Some(3)), 0).unwrap();
    let now = SILENT_AFTER_MS + 1;
    table.record(report("current", Some(2)), now).unwrap();
    table.record(report("current", Some(3)), now).unwrap();
    table.record(report("behind", Some(2)), now).unwrap();
    table.record(report("empty", None), now).unwrap();
    let refusing = Report {
        last_refusal: Some("why".to_owned()),
        quarantined: vec!["ab".to_owned()],
        ..report("refusing", Some(2))
    };
    table.record(refusing, now).unwrap();
    let coverage = Coverage::of(&table.proxies(Some((7, 3)), now));
    let expected = Coverage {
        reporting: 4,
        current: 1,
        behind: 2,
        without_plan: 1,
        refusing: 1,
        quarantining: 1,
        silent: 1,
    };
    assert_eq!(coverage, expected);
}

#[test]
fn an_older_epoch_is_behind_whatever_its_number() {
    let mut table = ReportTable::default();
    table.record(report("one", Some(900)), 0).unwrap();
    assert!(!table.proxies(Some((8, 1)), 0)[0].current);
    assert!(table.proxies(Some((7, 900)), 0)[0].current);
    assert!(table.proxies(None, 0)[0].current);
}

#[test]
fn the_table_is_bounded_and_forgets_the_longest_silent() {
    let mut table = ReportTable::default();
    for index in 0..PROXIES_MAX + 10 {
        table.record(report(&format!("{index:08}"), None), index as u64).unwrap();
    }
    let proxies = table.proxies(None, PROXIES_MAX as u64);
    assert_eq!(proxies.len(), PROXIES_MAX);
    assert_eq!(proxies[0].report.node, "00000010");
}

#[test]
fn a_proxy_is_forgotten_after_a_day() {
    let mut table = ReportTable::default();
    table.record(report("one", None), 0).unwrap();
    assert_eq!(table.proxies(None, FORGOTTEN_AFTER_MS).len(), 1);
    assert_eq!(table.proxies(None, FORGOTTEN_AFTER_MS + 1).len(), 0);
}

#[test]
fn an_unnamed_or_oversized_report_is_refused() {
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    let mut table = ReportTable::default();
    for wrong in [
        report("", None),
        report(&long, None),
        Report { service: String::new(), ..report("one", None) },
        Report { last_refusal: Some(long.clone()), ..report("one", None) },
        Report { quarantined: vec![String::new(); QUARANTINED_MAX + 1], ..report("one", None) },
        Report { failures: vec![story(""); FAILURES_MAX + 1], ..report("one", None) },
        Report { failures: vec![story(&long)], ..report("one", None) },
        with_traffic(vec![cluster("default/cart:80", 1); TRAFFIC_MAX + 1]),
        with_traffic(vec![cluster(&long, 1)]),
        with_traffic(vec![cluster("default/cart:80", BUCKETS_MAX + 1)]),
    ] {
        assert!(table.record(wrong, 0).is_err());
    }
    assert!(table.proxies(None, 0).is_empty());
}

#[test]
fn callers_are_those_of_the_last_minute_and_those_that_fell_silent_in_the_last_ten() {
    let mut table = ReportTable::default();
    let cart: ClusterName = "default/cart:80".parse().unwrap();
    let calling = |node: &str| Report { calls: [cart.clone()].into(), ..report(node, None) };
    let now = 10 * FALL_AFTER_MS;
    for (node, age_ms) in [
        ("heard", SILENT_AFTER_MS),
        ("silent", SILENT_AFTER_MS + 1),
        ("late", FALL_AFTER_MS),
        ("gone", FALL_AFTER_MS + 1),
        ("done", 9),
    ] {
        table.record(calling(node), now - age_ms).unwrap();
    }
    table.record(report("done", None), now - 8).unwrap();
    let numbers = |nodes: &[&str]| nodes.iter().map(|node| seats::caller("default/cart", node)).collect();
    let expected = Callers { heard: numbers(&["heard"]), silent: numbers(&["silent", "late"]) };
    assert_eq!(table.callers(now), [(cart.clone(), expected)].into());
    assert_eq!(table.known().len(), 5);
    assert!(table.known().contains(&seats::caller("default/cart", "gone")));
}
