//! Everything that a proxy reads from the store, damaged at random: it is refused or it makes a router, and it never panics.
//!
//! `OUTRIGGER_FUZZ_RUNS` says how many inputs are tried, `OUTRIGGER_FUZZ_SEED` which; a failure prints the seed of its input.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it set it up")]

use std::net::SocketAddr;

use http::Method;
use http::header::HeaderMap;
use outrigger_snapshot::canonical;
use outrigger_snapshot::facts::{self, Discovery, DnsName, Facts, SrvName, TlsMode};
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::*;
use outrigger_snapshot::record::{Epoch, Heartbeat, Release, Revision};
use outrigger_snapshot::router::Router;
use outrigger_snapshot::seats::Seats;
use outrigger_snapshot::signed;
use outrigger_snapshot::validate::SEATS;

/// Tried where nothing else is said: enough to notice, few enough for every run of the tests.
const RUNS: u64 = 20_000;
/// Largest content that is decompressed here, in bytes.
const CONTENT_BYTES_MAX: usize = 1 << 20;

fn policy() -> Policy {
    let text = |text: &str| text.to_owned();
    let value = |name: &str, value| ValueMatch { name: text(name), value };
    let matches = vec![
        RouteMatch {
            path: PathMatch::Prefix(text("/a")),
            method: Some(text("GET")),
            headers: vec![
                value("x-a", TextMatch::Exact(text("1"))),
                value("x-b", TextMatch::Regex(text("[a-z]+"))),
            ],
            query: vec![value("q", TextMatch::Exact(text("1")))],
        },
        RouteMatch { path: PathMatch::Exact(text("/b")), method: None, headers: vec![], query: vec![] },
        RouteMatch {
            path: PathMatch::Regex(text("/c/[0-9]{1,3}")),
            method: None,
            headers: vec![],
            query: vec![],
        },
    ];
    let edit = HeaderEdit {
        set: vec![(text("x"), text("1"))],
        add: vec![(text("y"), text("2"))],
        remove: vec![text("z")],
    };
    let rule = Rule {
        name: text("default/cart#0"),
        grpc: false,
        matches,
        filters: vec![
            Filter::RequestHeaders(edit.clone()),
            Filter::ResponseHeaders(edit),
            Filter::Rewrite(Rewrite { host: Some(text("h")), path: Some(PathEdit::Full(text("/x"))) }),
        ],
        request_timeout_ms: Some(10_000),
        try_timeout_ms: Some(2_000),
        retry: Some(RuleRetry { attempts: Some(1), statuses: Some(vec![503]), backoff_base_ms: Some(10) }),
        backends: vec![WeightedBackend {
            service: "cart".parse().unwrap(),
            port: 80,
            weight: 9,
            filters: vec![],
        }],
    };
    let port = Port {
        name: text("http"),
        port: 80,
        target_port: 8080,
        protocol: Protocol::Http,
        rules: vec![rule],
        connections: Vec::new(),
        inbound: None,
        proxy_protocol: None,
        backend: Backend {
            balance: Balance::ConsistentHash(HashKey::Header(text("x"))),
            hedge: Some(Hedge { percentile: 95, delay_min_ms: 1 }),
            health_check: Some(HealthCheck::new(Probe::Http { path: text("/ok"), host: None })),
            ..Backend::defaults_for(Protocol::Http)
        },
    };
    let service = Service { mtls: None, hosts: vec![text("cart.example")], ports: vec![port] };
    Policy {
        schema: SCHEMA,
        features: Default::default(),
        services: [("cart".parse().unwrap(), service)].into(),
        gateway: None,
    }
}

fn facts() -> Facts {
    let address = SocketAddr::from(([127, 0, 0, 1], 9001));
    let endpoint = facts::Endpoint { address, weight: 1, zone: Some("a".into()), tls: TlsMode::None };
    let dns = DnsName { name: "cart.internal".into(), port: 80, tls: TlsMode::None };
    let srv = SrvName { name: "_http._tcp.cart.internal".into(), tls: TlsMode::None };
    let cluster = |discovery| facts::Cluster {
        discovery,
        peers: 16,
        seats: Seats::new(vec![1, 2]).unwrap(),
        tls: None,
    };
    let clusters = [
        ("cart:80".parse().unwrap(), cluster(Discovery::Static(vec![endpoint]))),
        ("cart:81".parse().unwrap(), cluster(Discovery::Dns(dns))),
        ("cart:82".parse().unwrap(), cluster(Discovery::Srv(srv))),
    ];
    Facts {
        trust: None,
        authorities: Default::default(),
        schema: SCHEMA,
        features: [SEATS.to_owned()].into(),
        clusters: clusters.into(),
    }
}

/// splitmix64: a seed tells the whole input.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Up to eight small damages: a flipped bit, a byte of JSON's own, a piece cut, repeated or moved, a number grown.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(8) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        let end = (at + random.below(24)).min(bytes.len());
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = b"{}[]\",:0129-.eE\\ntfu/*"[random.below(22)],
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            4 => bytes.truncate(at),
            5 => bytes.splice(at..at, *b"99999999999").for_each(drop),
            _ => bytes[at] = random.next() as u8,
        }
    }
}

fn read(bytes: &[u8]) {
    if let Ok(policy) = Policy::decode(bytes)
        && let Ok(router) = Router::build(&policy, "default", |_| ())
    {
        for target in ["/a/x?q=1", "/b", "/c/12", "*", "//"] {
            let head = RequestHead::new(
                Method::GET,
                "cart".parse().unwrap(),
                target.parse().unwrap(),
                HeaderMap::new(),
            );
            let _ = router.find(&head);
        }
    }
    let _ = Facts::decode(bytes);
    let _ = signed::inspect::<Release>(bytes);
    let _ = signed::inspect::<Heartbeat>(bytes);
    let _ = signed::inspect::<Epoch>(bytes);
    let _ = signed::inspect::<Revision>(bytes);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_in_the_store_makes_a_reader_panic() {
    let contents = [canonical::encode(&policy()).unwrap(), canonical::encode(&facts()).unwrap()];
    assert!(
        Policy::decode(&contents[0]).is_ok() && Facts::decode(&contents[1]).is_ok(),
        "the seeds are sound"
    );
    let stored = contents.each_ref().map(|content| canonical::compress(content).unwrap());
    let first = number("OUTRIGGER_FUZZ_SEED").unwrap_or_default();
    let runs = number("OUTRIGGER_FUZZ_RUNS").unwrap_or(RUNS);
    let mut accepted = 0_u64;
    for seed in first..first.saturating_add(runs) {
        let outcome = std::panic::catch_unwind(|| {
            let mut random = Random(seed);
            let which = random.below(2);
            if random.below(16) == 0 {
                let mut bytes = stored[which].clone();
                damage(&mut bytes, &mut random);
                return canonical::decompress(&bytes, CONTENT_BYTES_MAX).is_ok_and(|content| {
                    read(&content);
                    content.len() <= CONTENT_BYTES_MAX
                });
            }
            let mut bytes = contents[which].clone();
            damage(&mut bytes, &mut random);
            read(&bytes);
            Policy::decode(&bytes).is_ok() || Facts::decode(&bytes).is_ok()
        });
        accepted +=
            u64::from(outcome.unwrap_or_else(|_| panic!("OUTRIGGER_FUZZ_SEED={seed} makes a reader panic")));
    }
    println!("{runs} inputs from seed {first}, {accepted} of them accepted");
    assert!(
        runs < RUNS || accepted > 0,
        "damage so small that some content survives it is part of the trial"
    );
}
