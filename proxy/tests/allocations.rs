//! Features that are armed and let a request pass allocate nothing for it.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_filters::{Context, FilterChain, RateLimits};
use outrigger_proxy::cluster::balance::subset::{Caller, Subsetting};
use outrigger_proxy::cluster::balance::{EndpointSet, Entry};
use outrigger_proxy::cluster::breaker::{Admit, ClusterBreaker};
use outrigger_proxy::cluster::endpoint::{Endpoint, EndpointKey, InFlight, Outcome};
use outrigger_proxy::overload::Overload;
use outrigger_proxy::retry::budget::{Budget, BudgetSettings};
use outrigger_proxy::telemetry::metrics::Direction;
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::{
    Backend, Balance, Filter, HashKey, Protocol, RateKey, RateLimit, ShuffleShard,
};

const TURNS: u64 = 5_000;

/// Allocations of some turns of `work`, after one that may make what stays. It is given the time and random bits.
fn allocations(mut work: impl FnMut(u64, &mut dyn FnMut() -> u64)) -> u64 {
    let mut random = fastrand::Rng::with_seed(7);
    let mut turn = |nth: u64| work(nth * 10_000_000, &mut || random.u64(..));
    turn(0);
    allocation_counter::measure(|| (1..TURNS).for_each(turn)).count_total
}

fn endpoints(balance: &Balance) -> EndpointSet {
    let health = Arc::default();
    let entry = |id: u32| {
        let key = EndpointKey {
            direction: Direction::Outbound,
            cluster: "cart:80".parse().expect("a cluster name"),
            address: SocketAddr::from(([10, 0, 0, 1], id as u16)),
            tls: Default::default(),
        };
        let endpoint = Arc::new(Endpoint::new(id, key, Arc::clone(&health)));
        endpoint.join(0, false, false);
        // Some differ in weight.
        Entry { endpoint, weight: 1 + id % 2, zone: None }
    };
    EndpointSet::new((0..1_000).map(entry).collect(), balance)
}

#[test]
fn picking_and_counting_allocate_nothing_whatever_the_method() {
    let shard = ShuffleShard { size: 5, key: HashKey::Source };
    for balance in [
        Balance::PeakEwma,
        Balance::LeastRequest,
        Balance::RoundRobin,
        Balance::Random,
        Balance::ConsistentHash(HashKey::Source),
        Balance::ShuffleShard(shard),
    ] {
        // Some are this caller's, where no key decides.
        let subsetting = Subsetting { caller: Caller::Named(1), callers: 4_096, endpoints_min: 12 };
        let set = endpoints(&balance).limited(100).narrowed(&subsetting, 12, &balance);
        assert_eq!(set.subset().is_none(), balance.key().is_some());
        // One is out, so that health is looked at.
        let out = set.subset().unwrap_or(set.open())[0].endpoint.clone();
        (0..5).for_each(|_| InFlight::start(out.clone()).finish(Outcome::Failure, 1_000_000, 0));
        assert!(!out.standing().is_available());
        let allocated = allocations(|now_ns, mut random| {
            let key = Some(random());
            let picked = set.pick(now_ns, &mut random, key, &[1, 2]).expect("others are well");
            InFlight::start(picked.clone()).finish(Outcome::Success, 500_000, now_ns);
        });
        assert_eq!(allocated, 0, "{balance:?}");
    }
}

#[test]
fn breaker_budget_and_shedding_allocate_nothing() {
    let backend = Backend::defaults_for(Protocol::Http);
    let breaker = Arc::new(ClusterBreaker::new(backend.breaker, Arc::default()));
    let (budget, settings) = (Budget::default(), BudgetSettings::new(&backend.retry.budget, 16));
    let overload = Overload::new(1.5);
    let breaking = allocations(|now_ns, random| {
        let Admit::Permit(permit) = breaker.admit(now_ns, random()) else { unreachable!("it is closed") };
        permit.finish(Outcome::Success, 500_000, now_ns);
    });
    let budgeting = allocations(|now_ns, _| budget.deposit(&settings, now_ns));
    // What the rule looks at has its own place: it is there after the first looks.
    let shed = |now_ns| overload.enter(now_ns).expect("there is room").answered(true, now_ns + 1_000);
    (0..1_000).for_each(|nth| shed(nth * 1_000_000));
    let shedding = allocation_counter::measure(|| (1_000..TURNS).for_each(|nth| shed(nth * 1_000_000)));
    println!("{breaking} {budgeting} {}", shedding.count_total);
    assert_eq!((breaking, budgeting), (0, 0));
    // The median of a look, ten times a second, whatever the number of requests.
    assert!(shedding.count_total <= 4 * 10, "{} in 4 s", shedding.count_total);
}

#[test]
fn limits_of_rate_allocate_nothing_for_keys_they_know() {
    for key in [vec![], vec![RateKey::Header("x-user".into())], vec![RateKey::Source]] {
        let limit = RateLimit {
            name: "ample".into(),
            requests: 1_000_000,
            period_ms: 1_000,
            burst: 1_000,
            key,
            global: false,
        };
        let mut limits = RateLimits::default();
        let chain = FilterChain::build_in("test", 1, &[Filter::RateLimit(limit)], &mut limits)
            .expect("the limit is valid");
        let (mut head, mut context) = (head(), Context::default());
        let allocated = allocations(|now_ns, _| {
            context.now_ns = now_ns;
            black_box(chain.on_request(&mut head, &mut context));
        });
        assert_eq!(allocated, 0);
        assert!(limits.all().iter().all(|limiter| limiter.admitted() == TURNS));
    }
}

fn head() -> RequestHead {
    let name = http::HeaderName::from_static("x-user");
    let fields = http::HeaderMap::from_iter([(name, http::HeaderValue::from_static("ann"))]);
    let authority = "cart".parse().expect("an authority");
    RequestHead::new(http::Method::GET, authority, "/a/b".parse().expect("a path"), fields)
}
