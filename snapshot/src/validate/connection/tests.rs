use std::collections::{BTreeMap, BTreeSet};

use crate::policy::{
    Backend, CONNECTION_RULES, ConnectionBackend, ConnectionRule, Policy, Port, Protocol, SCHEMA, Service,
};
use crate::validate::WEIGHT_MAX;

fn rule(name: &str, hosts: &[&str]) -> ConnectionRule {
    let backend = ConnectionBackend { service: "default/db".parse().unwrap(), port: 5432, weight: 1 };
    let hostnames = hosts.iter().map(|host| (*host).to_owned()).collect();
    ConnectionRule { name: name.to_owned(), hostnames, backends: vec![backend] }
}

fn policy(protocol: Protocol, connections: Vec<ConnectionRule>) -> Policy {
    let port = Port {
        name: "db".into(),
        port: 5432,
        target_port: 5432,
        protocol,
        rules: Vec::new(),
        connections,
        backend: Backend::defaults_for(protocol),
        inbound: None,
        proxy_protocol: None,
    };
    let service = Service { mtls: None, hosts: Vec::new(), ports: vec![port] };
    let services = BTreeMap::from([("default/db".parse().unwrap(), service)]);
    Policy { schema: SCHEMA, features: BTreeSet::from([CONNECTION_RULES.to_owned()]), services }
}

fn said(policy: &Policy) -> Option<String> {
    policy.check().err().map(|invalid| invalid.to_string())
}

#[test]
fn connection_rules_fit_their_port() {
    let weighty = |weight| {
        let mut rule = rule("a", &[]);
        rule.backends[0].weight = weight;
        rule
    };
    for (protocol, rules, problem) in [
        (Protocol::Tcp, vec![rule("a", &[])], None),
        (Protocol::Tls, vec![rule("a", &["db.example", "*.db.example"]), rule("b", &["*.example"])], None),
        (Protocol::Tcp, vec![weighty(WEIGHT_MAX)], None),
        (Protocol::Tcp, vec![weighty(WEIGHT_MAX + 1)], Some("weight 1000001")),
        (Protocol::Http, vec![rule("a", &[])], Some("carries requests")),
        (Protocol::Tcp, vec![rule("a", &["db.example"])], Some("hosts on a port of TCP")),
        (Protocol::Tls, vec![rule("a", &[])], Some("none on one of TLS")),
        (Protocol::Tcp, vec![rule("a", &[]), rule("b", &[])], Some("nothing to tell")),
        (Protocol::Tls, vec![rule("a", &["x.y"]), rule("b", &["x.y"])], Some("\"x.y\" stands twice")),
        (Protocol::Tls, vec![rule("a", &["X.y"])], Some("no host in lower case")),
        (Protocol::Tls, vec![rule("a", &["*.*.y"])], Some("no host in lower case")),
        (Protocol::Tls, vec![rule("a", &["x:1"])], Some("no host in lower case")),
    ] {
        let found = said(&policy(protocol, rules.clone()));
        match (problem, found) {
            (None, None) => {}
            (Some(problem), Some(found)) => assert!(found.contains(problem), "{found}"),
            (problem, found) => panic!("{rules:?}: {found:?}, expected {problem:?}"),
        }
    }
}

#[test]
fn readers_that_do_not_know_connection_rules_are_told_of_them() {
    let mut policy = policy(Protocol::Tcp, vec![rule("a", &[])]);
    policy.features.clear();
    assert!(said(&policy).is_some_and(|said| said.contains("feature \"connection_rules\"")));
    policy.services.values_mut().for_each(|service| service.ports[0].connections.clear());
    assert_eq!(said(&policy), None);
    policy.features.insert("telepathy".to_owned());
    assert!(said(&policy).is_some_and(|said| said.contains("upgrade the proxy")));
}
