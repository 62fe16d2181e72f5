//! A tenant whose requests kill every endpoint that serves them, against the production balancer: how many of the other tenants lose all of
//! their endpoints with shuffle sharding, and without.
//!
//! Every tenant sends as its proxy would: up to three tries, those that were tried avoided, results reported, ejection in force. Nothing comes
//! back to life. Everything is a function of the seed.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it set it up")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_proxy::cluster::balance::{EndpointSet, Entry};
use outrigger_proxy::cluster::endpoint::{Endpoint, EndpointKey, InFlight, Outcome};
use outrigger_proxy::cluster::hash_ring::stable_hash;
use outrigger_proxy::cluster::health::{ClusterHealth, Rules};
use outrigger_proxy::telemetry::metrics::Direction;
use outrigger_proxy::upstream_tls::Tls;
use outrigger_snapshot::policy::{Balance, HashKey, ShuffleShard};

const MS: u64 = 1_000_000;
const ENDPOINTS: u32 = 8;
const SHARD: u32 = 2;
/// 1 of C(8, 2) pairs.
const THEORY: f64 = 1.0 / 28.0;
/// Tenants that are poisonous, one after the other, each against a new cluster.
const POISONERS: u64 = 200;
const TENANTS: u64 = 200;
const POISONED_REQUESTS: usize = 100;
const REQUESTS: usize = 10;
const TRIES: usize = 3;

struct Cluster {
    set: EndpointSet,
    dead: BTreeSet<u32>,
    random: fastrand::Rng,
    now_ns: u64,
}

impl Cluster {
    fn new(balance: &Balance, seed: u64) -> Self {
        let health = Arc::new(ClusterHealth::default());
        health.rule(Rules::default());
        let entry = |id: u32| {
            let key = EndpointKey {
                direction: Direction::Outbound,
                cluster: "shop/cart:80".parse().unwrap(),
                address: SocketAddr::from(([10, 0, 0, id as u8], 80)),
                tls: Tls::None,
            };
            let endpoint = Arc::new(Endpoint::new(id, key, health.clone()));
            endpoint.join(0, false, false);
            Entry { endpoint, weight: 1, zone: None }
        };
        let set = EndpointSet::new((0..ENDPOINTS).map(entry).collect(), balance);
        Self { set, dead: BTreeSet::new(), random: fastrand::Rng::with_seed(seed), now_ns: 0 }
    }

    /// Whether a request is answered; one that is `deadly` never is, and neither is any after it.
    fn request(&mut self, tenant: u64, deadly: bool) -> bool {
        let key = stable_hash(&tenant.to_le_bytes());
        let mut tried = Vec::new();
        for _ in 0..TRIES {
            self.now_ns += MS;
            let picked = self.set.pick(self.now_ns, &mut || self.random.u64(..), Some(key), &tried);
            let in_flight = InFlight::start(picked.unwrap().clone());
            let id = in_flight.endpoint().id();
            tried.push(id);
            let alive = !self.dead.contains(&id);
            if alive && !deadly {
                in_flight.finish(Outcome::Success, 5 * MS, self.now_ns);
                return true;
            }
            in_flight.finish(if alive { Outcome::Failure } else { Outcome::Unreachable }, MS, self.now_ns);
            self.dead.insert(id);
        }
        false
    }
}

/// The share of the other tenants whose requests all fail, over all poisoners.
fn lost(balance: &Balance) -> f64 {
    let mut lost = 0;
    for poisoner in 0..POISONERS {
        let mut cluster = Cluster::new(balance, poisoner);
        let tenant = |number| poisoner * (TENANTS + 1) + number;
        for _ in 0..POISONED_REQUESTS {
            assert!(!cluster.request(tenant(0), true));
        }
        for number in 1..=TENANTS {
            let answered = (0..REQUESTS).any(|_| cluster.request(tenant(number), false));
            lost += u64::from(!answered);
        }
    }
    lost as f64 / (POISONERS * TENANTS) as f64
}

#[test]
fn a_poisonous_tenant_takes_along_only_those_of_its_own_shard() {
    let shard = ShuffleShard { size: SHARD, key: HashKey::Header("x-tenant".into()) };
    let sharded = lost(&Balance::ShuffleShard(shard));
    let among_all = lost(&Balance::PeakEwma);
    println!(
        "tenants that lost all endpoints: {:.2} % with shards of {SHARD} of {ENDPOINTS} (theory {:.2} %), {:.2} % without",
        sharded * 100.0,
        THEORY * 100.0,
        among_all * 100.0,
    );
    // 40,000 pairs of tenants, of which those of one poisoner go together: a standard error of about 0.1 %.
    assert!(sharded > 0.5 * THEORY && sharded < THEORY + 0.004, "{sharded}");
    assert!(among_all > 0.999, "{among_all}");
}
