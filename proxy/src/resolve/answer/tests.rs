use super::*;
use crate::resolve::state::Failure;

const TTL: Duration = Duration::from_secs(60);
const LATER: Duration = Duration::from_secs(90);

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn found(texts: &[&str]) -> Answer<IpAddr> {
    Answer::Found { records: ips(texts), ttl: TTL }
}

fn nothing(reason: Nothing) -> Answer<IpAddr> {
    Answer::Nothing { reason, ttl: Some(LATER) }
}

fn failed<T>() -> Answer<T> {
    Answer::Failed(Failure::Timeout)
}

fn service(priority: u16, weight: u16, target: &str, port: u16) -> Service {
    Service { priority, weight, target: target.to_owned(), port }
}

#[test]
fn two_families_make_one_answer() {
    use Nothing::{Empty, NoSuchName};
    let table = [
        (found(&["10.0.0.2"]), found(&["fd00::2"]), found(&["10.0.0.2", "fd00::2"])),
        (found(&["10.0.0.2"]), nothing(Empty), found(&["10.0.0.2"])),
        (found(&["10.0.0.2"]), failed(), found(&["10.0.0.2", "fd00::1"])),
        (nothing(Empty), found(&["fd00::2"]), found(&["fd00::2"])),
        (failed(), found(&["fd00::2"]), found(&["10.0.0.1", "fd00::2"])),
        (nothing(Empty), nothing(Empty), nothing(Empty)),
        (nothing(Empty), nothing(NoSuchName), nothing(NoSuchName)),
        (nothing(NoSuchName), failed(), nothing(NoSuchName)),
        (failed(), nothing(NoSuchName), nothing(NoSuchName)),
        (nothing(Empty), failed(), failed()),
        (failed(), nothing(Empty), failed()),
        (failed(), failed(), failed()),
    ];
    for (v4, v6, expected) in table {
        let mut memory = HostMemory { v4: ips(&["10.0.0.1"]), v6: ips(&["fd00::1"]) };
        let context = format!("{v4:?} {v6:?}");
        let answer = memory.merge(v4, v6);
        assert_eq!(answer, expected, "{context}");
        match answer {
            Answer::Found { records, .. } => assert_eq!(memory.addresses(), records, "{context}"),
            Answer::Nothing { .. } => assert!(memory.addresses().is_empty(), "{context}"),
            Answer::Failed(_) => assert_eq!(memory.addresses(), ips(&["10.0.0.1", "fd00::1"]), "{context}"),
        }
    }
}

#[test]
fn ipv6_is_dialled_where_it_can_be_or_where_there_is_no_other() {
    let both = ips(&["10.0.0.1", "fd00::1", "::1"]);
    assert_eq!(dialable(both.clone(), true), both);
    assert_eq!(dialable(both, false), ips(&["10.0.0.1", "::1"]));
    assert_eq!(dialable(ips(&["fd00::1"]), false), ips(&["fd00::1"]));
}

#[test]
fn only_the_lowest_priority_counts_and_a_dot_is_nowhere() {
    let services = vec![
        service(20, 1, "c.", 1),
        service(10, 5, "b.", 1),
        service(10, 7, "a.", 2),
        service(10, 5, "b.", 1),
        service(0, 0, ".", 0),
    ];
    assert_eq!(preferred(services), [service(10, 7, "a.", 2), service(10, 5, "b.", 1)]);
    assert!(preferred(vec![service(0, 0, ".", 0)]).is_empty());
    let many = (0..200).map(|nth| service(0, 0, &format!("{nth:03}."), 1)).collect();
    assert_eq!(preferred(many).len(), SRV_TARGETS_MAX);
}

#[test]
fn weights_are_divided_among_addresses() {
    let check = |targets: &[(u16, &[&str])], expected: &[(&str, u32)]| {
        let targets = targets
            .iter()
            .map(|(weight, hosts)| (service(0, *weight, "t.", 80), found(hosts), vec![]))
            .collect();
        let records = expected
            .iter()
            .map(|(host, weight)| ResolvedEndpoint {
                address: SocketAddr::new(host.parse().unwrap(), 80),
                weight: *weight,
            })
            .collect();
        assert_eq!(join(targets, TTL), Answer::Found { records, ttl: TTL });
    };
    check(&[(0, &["10.0.0.1"]), (0, &["10.0.0.2"])], &[("10.0.0.1", 1), ("10.0.0.2", 1)]);
    check(&[(10, &["10.0.0.2"]), (30, &["10.0.0.1"])], &[("10.0.0.1", 3), ("10.0.0.2", 1)]);
    check(
        &[(10, &["10.0.0.1", "10.0.0.2"]), (10, &["10.0.0.3"])],
        &[("10.0.0.1", 1), ("10.0.0.2", 1), ("10.0.0.3", 2)],
    );
    check(&[(1, &["10.0.0.1"]), (1, &["10.0.0.1", "10.0.0.2"])], &[("10.0.0.1", 3), ("10.0.0.2", 1)]);
    check(&[(0, &["10.0.0.1"]), (1, &["10.0.0.2"])], &[("10.0.0.1", 1), ("10.0.0.2", 105)]);
    check(&[(u16::MAX, &["10.0.0.1"]), (1, &["10.0.0.2"])], &[("10.0.0.1", 65_535), ("10.0.0.2", 1)]);
}

#[test]
fn a_target_that_fails_keeps_its_last_addresses() {
    let failing = |last: &[&str]| (service(0, 1, "b.", 80), failed(), ips(last));
    let well = (service(0, 1, "a.", 80), found(&["10.0.0.1"]), vec![]);
    let gone = (service(0, 1, "c.", 80), nothing(Nothing::NoSuchName), ips(&["10.0.0.3"]));
    let addresses = |targets| match join(targets, TTL) {
        Answer::Found { records, .. } => {
            records.into_iter().map(|endpoint| endpoint.address.ip()).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(addresses(vec![well.clone(), failing(&["10.0.0.2"])]), ips(&["10.0.0.1", "10.0.0.2"]));
    assert_eq!(addresses(vec![well, failing(&[]), gone.clone()]), ips(&["10.0.0.1"]));
    assert_eq!(join(vec![failing(&[]), gone.clone()], TTL), failed());
    assert_eq!(join(vec![gone], TTL), Answer::Nothing { reason: Nothing::Empty, ttl: Some(TTL) });
}

#[test]
fn addresses_are_sorted_and_each_is_there_once() {
    let endpoints = at_port(ips(&["10.0.0.2", "fd00::1", "10.0.0.1", "10.0.0.2"]), 80);
    let found: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address.ip()).collect();
    assert_eq!(found, ips(&["10.0.0.1", "10.0.0.2", "fd00::1"]));
}
