use super::*;

fn report(node: &str, n: Option<u64>) -> Report {
    Report {
        node: node.to_owned(),
        service: "default/cart".to_owned(),
        version: "1".to_owned(),
        running: n.map(|n| Running { epoch: 7, n, policy: String::new(), facts: String::new() }),
        since_unix_ms: 0,
        refusals: 0,
        last_refusal: None,
        quarantined: Vec::new(),
        calls: BTreeSet::new(),
        identity: None,
        shown: Vec::new(),
    }
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
    ] {
        assert!(table.record(wrong, 0).is_err());
    }
    assert!(table.proxies(None, 0).is_empty());
}
