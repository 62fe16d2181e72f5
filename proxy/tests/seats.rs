//! From the seats in facts to what endpoints get: each proxy builds its own plan, and they share out the endpoints.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it set it up")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_proxy::cluster::Cluster;
use outrigger_proxy::cluster::balance::subset::Caller;
use outrigger_proxy::cluster::endpoint::{InFlight, Outcome};
use outrigger_proxy::plan::{Local, Plan, Version};
use outrigger_proxy::registry::Registry;
use outrigger_snapshot::canonical;
use outrigger_snapshot::facts::{self, Discovery, Endpoint, Facts, TlsMode};
use outrigger_snapshot::policy::{Backend, Balance, Policy, Port, Protocol, SCHEMA, Service};
use outrigger_snapshot::seats::{self, Seats};
use outrigger_snapshot::validate::SEATS;

const MS: u64 = 1_000_000;

fn node(nth: usize) -> String {
    format!("web-{nth}")
}

fn policy(balance: Balance) -> Policy {
    let port = Port {
        name: "http".into(),
        port: 80,
        target_port: 1,
        protocol: Protocol::Http,
        rules: Vec::new(),
        connections: Vec::new(),
        inbound: None,
        proxy_protocol: None,
        backend: Backend { balance, ..Backend::defaults_for(Protocol::Http) },
    };
    let service = Service { mtls: None, hosts: Vec::new(), ports: vec![port] };
    let services = [("cart".parse().unwrap(), service)].into();
    Policy { schema: SCHEMA, features: BTreeSet::new(), services, gateway: None }
}

/// As a control plane publishes them: so many nodes of `web` call so many endpoints.
fn facts(callers: usize, endpoints: usize) -> Facts {
    let endpoint = |nth: usize| {
        let address = SocketAddr::from(([10, 0, (nth / 250) as u8, (nth % 250) as u8 + 1], 80));
        Endpoint { address, weight: 1, zone: None, tls: TlsMode::None }
    };
    let mut sitting: Vec<u64> = (0..callers).map(|nth| seats::caller("default/web", &node(nth))).collect();
    sitting.sort_unstable();
    let cluster = facts::Cluster {
        discovery: Discovery::Static((0..endpoints).map(endpoint).collect()),
        peers: (callers as u32).next_power_of_two(),
        seats: Seats::new(sitting).unwrap(),
        tls: None,
    };
    let facts = Facts {
        schema: SCHEMA,
        features: [SEATS.to_owned()].into(),
        clusters: [("cart:80".parse().unwrap(), cluster)].into(),
        trust: None,
        authorities: BTreeMap::new(),
    };
    Facts::decode(&canonical::encode(&facts).unwrap()).unwrap()
}

/// The called service, as the proxy `node` has it.
fn cart(node: &str, policy: &Policy, facts: &Facts) -> Arc<Cluster> {
    let local = Local {
        service: "web".parse().unwrap(),
        node: node.into(),
        zone: None,
        app: None,
        identity: false,
        transparent: false,
        detail: Default::default(),
    };
    let mut registry = Registry::new(1);
    let plan =
        Plan::build(policy, facts, &local, &BTreeMap::new(), &mut registry, Version::default()).unwrap();
    plan.clusters[&"cart:80".parse().unwrap()].clone()
}

fn caller(cluster: &Cluster) -> Caller {
    cluster.subsetting.as_ref().unwrap().caller
}

fn own(cluster: &Cluster) -> Option<BTreeSet<SocketAddr>> {
    let endpoints = cluster.endpoints.load();
    endpoints.subset().map(|own| own.iter().map(|entry| entry.endpoint.address()).collect())
}

/// Each caller sends as many requests: how far from its share any endpoint is at the worst, and how many connections that takes.
fn worst(callers: usize, endpoints: usize, balance: &Balance, each: usize) -> (f64, usize) {
    let (policy, facts) = (policy(balance.clone()), facts(callers, endpoints));
    let picks = (each * endpoints).div_ceil(callers);
    let mut counts = BTreeMap::<SocketAddr, u64>::new();
    let mut connections = 0;
    for nth in 0..callers {
        let cart = cart(&node(nth), &policy, &facts);
        connections += own(&cart).map_or(endpoints, |own| own.len());
        let set = cart.endpoints.load();
        let mut rng = fastrand::Rng::with_seed(nth as u64);
        for pick in 0..picks as u64 {
            let picked = set.pick(pick * MS, &mut || rng.u64(..), None, &[]).unwrap();
            *counts.entry(picked.address()).or_default() += 1;
            InFlight::start(picked.clone()).finish(Outcome::Success, 5 * MS, pick * MS);
        }
    }
    let fair = (picks * callers) as f64 / endpoints as f64;
    let most = |off: f64, count: &u64| off.max((*count as f64 / fair - 1.0).abs());
    let off = if counts.len() == endpoints { 0.0 } else { 1.0 };
    (counts.values().fold(off, most), connections)
}

#[test]
fn callers_with_seats_give_every_endpoint_its_share() {
    // Where 2,000 connections are exceeded, of 10, 33, 50 and 200 callers and 20, 47 and 100 endpoints.
    let sizes = [(33, 47), (33, 100), (50, 47), (50, 100), (200, 20), (200, 47), (200, 100)];
    for (callers, endpoints) in sizes {
        let (off, connections) = worst(callers, endpoints, &Balance::RoundRobin, 2_000);
        assert!(off < 0.03, "{callers} × {endpoints}: {off}");
        assert!(connections < callers * endpoints * 3 / 4, "{callers} × {endpoints}: {connections}");
    }
    let (off, _) = worst(33, 47, &Balance::LeastRequest, 20_000);
    assert!(off < 0.03, "{off}");
}

#[test]
fn a_proxy_sits_where_the_list_says_and_a_new_one_goes_by_its_name() {
    let (policy, mut facts) = (policy(Balance::PeakEwma), facts(200, 100));
    let mut sits = BTreeSet::new();
    for nth in 0..200 {
        let said = caller(&cart(&node(nth), &policy, &facts)).to_string();
        assert!(said.ends_with(" of 200"), "{said}");
        sits.insert(said);
    }
    assert_eq!(sits.len(), 200);
    assert!(sits.contains("seat 1 of 200") && sits.contains("seat 200 of 200"));

    let new = cart("web-200", &policy, &facts);
    assert_eq!((caller(&new).to_string(), own(&new).unwrap().len()), ("by name".to_owned(), 50));
    let (one, other) = (cart("web-7", &policy, &facts), cart("web-7", &policy, &facts));
    assert_eq!(own(&one), own(&other), "of one name: one seat");

    // Where there is no list, all go by their names.
    facts.clusters.values_mut().for_each(|cluster| cluster.seats = Seats::default());
    assert_eq!(caller(&cart("web-7", &policy, &facts)).to_string(), "by name");
}
