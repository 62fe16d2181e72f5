use super::*;

fn outbound() -> Outbound {
    Outbound {
        port: 15_001,
        excluded_ports: Vec::new(),
        excluded: Vec::new(),
        only: Vec::new(),
        excluded_users: Vec::new(),
    }
}

fn inbound() -> Inbound {
    Inbound { port: 15_006, outbound_port: 15_001, excluded_ports: Vec::new() }
}

fn read<T: std::str::FromStr<Err = String>>(list: &str) -> Vec<T> {
    list.split(',').map(|element| element.parse().unwrap()).collect()
}

#[test]
fn without_lists_everything_but_the_proxys_own_is_intercepted() {
    let script =
        Interception { proxy: User(1337), outbound: Some(outbound()), inbound: Some(inbound()) }.script();
    assert_eq!(script, include_str!("plain.nft"));
}

#[test]
fn lists_become_sets_without_overlaps() {
    let outbound = Outbound {
        port: 101,
        excluded_ports: read("22,9000-9100,9050"),
        excluded: read("10.9.0.0/16,10.9.1.0/24,fd00::/8,169.254.169.254"),
        only: read("10.0.0.0/8"),
        excluded_users: read("1000,1337"),
    };
    let inbound = Inbound { port: 106, outbound_port: 101, excluded_ports: read("22,100-200") };
    let script =
        Interception { proxy: User(1337), outbound: Some(outbound), inbound: Some(inbound) }.script();
    assert_eq!(script, include_str!("lists.nft"));
}

#[test]
fn a_direction_can_be_left_out() {
    let one = |outbound, inbound| Interception { proxy: User(7), outbound, inbound }.script();
    let (out, inn) = (one(Some(outbound()), None), one(None, Some(inbound())));
    assert!(out.contains("hook output") && !out.contains("inbound"), "{out}");
    assert!(inn.contains("hook prerouting") && !inn.contains("hook output"), "{inn}");
}

#[test]
fn what_takes_the_rules_away_is_where_they_begin() {
    assert!(REMOVAL.lines().all(|line| line.ends_with(&format!(" table inet {TABLE}"))));
}
