//! Proxies and a store in simulated time: the production buckets, links and rounds; only the network and the store are made up.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::HeaderMap;
use http::{HeaderValue, Method};
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::{self, RateKey};

use super::super::link::{Link, SYNC_NS};
use super::super::round::Entry;
use super::super::{KEYS_MAX, Limiter, RateLimit, RateLimits, Round, SHARDS};
use super::*;
use crate::context::Context;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
/// The store's clock, where those of the proxies begin.
const EPOCH: u64 = 1_700_000_000 * S;
/// Until a round that is not answered is given up.
const TIMEOUT_NS: u64 = S;

fn limit(requests: u32, period_ms: u64, burst: u32, key: Vec<RateKey>) -> policy::RateLimit {
    policy::RateLimit { name: "calls".into(), requests, period_ms, burst, key, global: true }
}

fn head() -> RequestHead {
    RequestHead::new(Method::GET, "cart".parse().unwrap(), "/".parse().unwrap(), HeaderMap::new())
}

/// One proxy, and its round that is under way.
struct Proxy {
    link: Arc<Link>,
    limiter: Arc<Limiter>,
    filter: RateLimit,
    /// What its clock is ahead.
    ahead_ns: u64,
    next_ns: u64,
    flight: Option<Flight>,
}

struct Flight {
    round: Round,
    left_ns: u64,
    arrives_ns: Option<u64>,
    returns_ns: Option<u64>,
    answers: Option<(u64, Vec<Answer>)>,
}

/// What a network does.
#[derive(Clone, Copy)]
struct Network {
    /// Longest way there, and back.
    delay_ns: u64,
    /// Ways on which something is lost.
    lost_percent: u32,
}

struct Simulation {
    limit: policy::RateLimit,
    network: Network,
    proxies: Vec<Proxy>,
    store: HashMap<String, u64>,
    random: Context,
    now_ns: u64,
    /// Admitted in each window, and without the store.
    admitted: HashMap<u64, u64>,
    alone: HashMap<u64, u64>,
    /// Counts that never arrived.
    lost: u64,
}

impl Proxy {
    fn new(limit: &policy::RateLimit, peers: u32, ahead_ns: u64) -> Self {
        let link = Arc::new(Link::default());
        let mut known = RateLimits::new(Some(link.clone()));
        let limiter = known.limiter("shop/cart:80", peers, limit).unwrap();
        let filter = RateLimit(limiter.clone());
        Self { link, limiter, filter, ahead_ns, next_ns: 0, flight: None }
    }

    fn is_admitted(&self, now_ns: u64) -> bool {
        let context = Context { now_ns: now_ns + self.ahead_ns, ..Context::default() };
        self.filter.on_request(&head(), &context).is_ok()
    }
}

/// What a store does with a round, as the driver asks it to.
fn apply(store: &mut HashMap<String, u64>, round: &Round) -> Vec<Answer> {
    let mut add = |key: String, count: u64| {
        let total = store.entry(key).or_default();
        *total += count;
        *total
    };
    let totals = round.entries().iter().map(|entry| Answer::Totals {
        current: add(entry.key(), entry.count()),
        previous: add(entry.previous_key(), entry.late()),
    });
    totals.collect()
}

impl Simulation {
    fn new(seed: u64, count: u32, limit: policy::RateLimit, network: Network) -> Self {
        let mut random = Context { random: seed, ..Context::default() };
        let proxies = (0..count).map(|_| Proxy::new(&limit, count, u64::from(random.percent()) * 37 * S));
        let (proxies, store) = (proxies.collect(), HashMap::new());
        let (admitted, alone) = Default::default();
        let mut simulation =
            Self { limit, network, proxies, store, random, now_ns: 0, admitted, alone, lost: 0 };
        // Everyone has heard of the store before the first request.
        for _ in 0..500 {
            simulation.step(&[], true);
        }
        simulation
    }

    /// A random number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        let two = u64::from(self.random.percent()) * 100 + u64::from(self.random.percent());
        bound * two / 10_000
    }

    /// A millisecond in which each proxy is asked so often; rounds leave if the store is `up`.
    fn step(&mut self, demand: &[u64], up: bool) {
        self.now_ns += MS;
        for index in 0..self.proxies.len() {
            self.exchange(index, up);
            for _ in 0..demand.get(index).copied().unwrap_or_default() {
                self.ask(index);
            }
        }
    }

    fn ask(&mut self, index: usize) {
        let proxy = &self.proxies[index];
        let window = proxy.link.look(self.now_ns + proxy.ahead_ns).store_ns / (self.limit.period_ms * MS);
        let before = proxy.limiter.alone();
        if proxy.is_admitted(self.now_ns) {
            let counts = if proxy.limiter.alone() > before { &mut self.alone } else { &mut self.admitted };
            *counts.entry(window).or_default() += 1;
        }
    }

    fn exchange(&mut self, index: usize, up: bool) {
        let now_ns = self.now_ns;
        if let Some(mut flight) = self.proxies[index].flight.take() {
            if flight.answers.is_none() && flight.arrives_ns.is_some_and(|arrives_ns| arrives_ns <= now_ns) {
                flight.answers = Some((EPOCH + now_ns, apply(&mut self.store, &flight.round)));
            }
            let proxy = &mut self.proxies[index];
            let local_ns = now_ns + proxy.ahead_ns;
            if flight.returns_ns.is_some_and(|returns_ns| returns_ns <= now_ns) {
                let (store_ns, answers) = flight.answers.unwrap();
                proxy.link.answer(flight.left_ns + proxy.ahead_ns, local_ns, store_ns);
                flight.round.settle(answers, local_ns);
            } else if now_ns >= flight.left_ns + TIMEOUT_NS {
                if flight.answers.is_none() {
                    let counts = flight.round.entries().iter().map(|entry| entry.count() + entry.late());
                    self.lost += counts.sum::<u64>();
                }
                proxy.link.fail();
                flight.round.settle([], local_ns);
            } else {
                proxy.flight = Some(flight);
            }
        } else if now_ns >= self.proxies[index].next_ns && up {
            let lost = self.random.percent() < self.network.lost_percent;
            let lost_back = self.random.percent() < self.network.lost_percent;
            let there_ns = self.below(self.network.delay_ns);
            let back_ns = there_ns + self.below(self.network.delay_ns);
            let jitter_ns = self.below(20 * MS);
            let proxy = &mut self.proxies[index];
            let round = Round::collect(std::slice::from_ref(&proxy.limiter), 100);
            proxy.link.ask(now_ns + proxy.ahead_ns);
            proxy.next_ns = now_ns + SYNC_NS - jitter_ns;
            proxy.flight = Some(Flight {
                round,
                left_ns: now_ns,
                arrives_ns: (!lost).then_some(now_ns + there_ns),
                returns_ns: (!lost && !lost_back).then_some(now_ns + back_ns),
                answers: None,
            });
        }
    }

    /// What one proxy may admit beyond what the store knows.
    fn unsettled_max(&self) -> u64 {
        Quota::new(self.limit.requests, self.limit.period_ms, self.limit.burst).unsettled_max
    }

    /// What all may admit in one window while the store answers.
    fn bound(&self) -> u64 {
        u64::from(self.limit.requests) + (self.proxies.len() as u64 - 1) * self.unsettled_max()
    }

    /// So many milliseconds of demand that moves between the proxies.
    fn run(&mut self, milliseconds: u64, demand: u64) {
        let mut weights = Vec::new();
        for millisecond in 0..milliseconds {
            if millisecond % 700 == 0 {
                weights = (0..self.proxies.len()).map(|_| self.below(demand + 1)).collect();
            }
            let now: Vec<u64> = weights.iter().map(|&weight| u64::from(self.below(100) < weight)).collect();
            self.step(&now, true);
        }
    }
}

#[test]
fn in_no_window_is_more_admitted_than_the_formula_says() {
    let network = Network { delay_ns: 45 * MS, lost_percent: 0 };
    let mut most = 0.0_f64;
    for seed in 0..60 {
        let mut random = Context { random: seed, ..Context::default() };
        let (count, requests) = (1 + random.percent() % 6, 1 + random.percent() * 3);
        let period_ms = [1_000, 2_000, 500][seed as usize % 3];
        let burst = 1 + random.percent() % (requests.div_ceil(3));
        let mut simulation =
            Simulation::new(seed, count, limit(requests, period_ms, burst, Vec::new()), network);
        simulation.run(6_000, 90);
        let bound = simulation.bound();
        assert!(simulation.alone.is_empty(), "the store was there");
        for (window, admitted) in &simulation.admitted {
            assert!(*admitted <= bound, "{admitted} of {bound} in window {window}, seed {seed}");
            most = most.max(*admitted as f64 / f64::from(requests));
        }
        // All of it has come to the store, once.
        (0..500).for_each(|_| simulation.step(&[], true));
        let told: u64 = simulation.store.values().sum();
        assert_eq!(told, simulation.admitted.values().sum::<u64>(), "seed {seed}");
    }
    assert!(most > 1.0, "the bound beyond the limit is needed: {most}");
}

#[test]
fn what_is_allowed_is_used() {
    for (requests, period_ms, burst) in [(200, 1_000, 20), (400, 2_000, 40)] {
        let network = Network { delay_ns: 5 * MS, lost_percent: 0 };
        let mut simulation = Simulation::new(5, 4, limit(requests, period_ms, burst, Vec::new()), network);
        simulation.run(10_000, 60);
        let first = *simulation.admitted.keys().min().unwrap();
        let whole = simulation.admitted.iter().filter(|(window, _)| **window > first);
        let whole: Vec<u64> = whole.map(|(_, admitted)| *admitted).collect();
        let least = whole.iter().copied().sum::<u64>() as f64 / (whole.len() as f64 * f64::from(requests));
        assert!(least > 0.9, "{least} of {requests}");
    }
}

#[test]
fn losses_cost_what_was_lost_and_no_more() {
    let network = Network { delay_ns: 45 * MS, lost_percent: 5 };
    for seed in 100..130 {
        let mut simulation = Simulation::new(seed, 4, limit(100, 1_000, 10, Vec::new()), network);
        simulation.run(8_000, 90);
        let (bound, lost) = (simulation.bound(), simulation.lost);
        for (window, admitted) in &simulation.admitted {
            assert!(*admitted <= bound + lost, "{admitted} of {bound} in window {window}, {lost} lost");
        }
        let told: u64 = simulation.store.values().sum();
        let all = [&simulation.admitted, &simulation.alone].map(|counts| counts.values().sum::<u64>());
        assert!(told <= all[0] + all[1], "nothing is counted twice: {told} of {all:?}");
    }
}

#[test]
fn without_the_store_all_together_have_the_limit_and_a_burst() {
    let network = Network { delay_ns: 5 * MS, lost_percent: 0 };
    for seed in 200..220 {
        let mut simulation = Simulation::new(seed, 4, limit(100, 1_000, 10, Vec::new()), network);
        simulation.run(3_000, 90);
        for _ in 0..6_000 {
            simulation.step(&[1, 1, 1, 1], false);
        }
        let alone: u64 = simulation.alone.values().sum();
        // Shares, and one more of each for what is rounded. Two whole windows pass before anyone may have none.
        assert!(alone <= 6 * 100 + 10 + 4 * 2, "{alone} in 6 s, seed {seed}");
        assert!(alone > 300, "callers are served: {alone}, seed {seed}");
        let before = simulation.admitted.clone();
        for _ in 0..2_000 {
            simulation.step(&[1, 1, 1, 1], true);
        }
        for (window, admitted) in &simulation.admitted {
            let then = before.get(window).copied().unwrap_or_default();
            assert!(*admitted <= simulation.bound().max(then), "{admitted} after its return");
        }
    }
}

/// The formula of the document: whoever had told of the key shares a limit, and each of the others has one.
#[test]
fn who_has_not_told_of_a_key_has_a_limit_of_its_own_while_the_store_is_away() {
    const N: u64 = 4;
    let (requests, burst, seconds) = (100, 10, 6);
    let network = Network { delay_ns: 5 * MS, lost_percent: 0 };
    for strangers in [0, 1, N] {
        let mut simulation =
            Simulation::new(strangers, N as u32, limit(requests, 1_000, burst, Vec::new()), network);
        // Those that are not asked have nothing to tell; the store is away a second before they are.
        let demand: Vec<u64> = (0..N).map(|index| u64::from(index < N - strangers)).collect();
        (0..3_000).for_each(|_| simulation.step(&demand, true));
        (0..1_000).for_each(|_| simulation.step(&[], false));
        simulation.proxies.iter().for_each(|proxy| proxy.link.fail());
        let mut admitted = HashMap::<u64, u64>::new();
        for _ in 0..seconds * 1_000 {
            let before: u64 = simulation.alone.values().chain(simulation.admitted.values()).sum();
            simulation.step(&[1; N as usize], false);
            let after: u64 = simulation.alone.values().chain(simulation.admitted.values()).sum();
            *admitted.entry(simulation.now_ns / S).or_default() += after - before;
        }
        let all: u64 = admitted.values().sum();
        let shared = u64::from(strangers < N);
        println!("{all} admitted, {strangers} strangers");
        let most = (shared + strangers) * (u64::from(burst) + u64::from(requests) * seconds) + N;
        assert!(all <= most && all * 100 >= most * 95, "{all} of {most}, {strangers} strangers");
        // Of a second that is off from the proxies' by what their clocks are.
        let most = N * (u64::from(requests) + 1);
        assert!(admitted.values().all(|window| *window <= most), "{admitted:?}");
    }
}

#[test]
fn a_flushed_store_lets_no_proxy_admit_more_than_the_limit() {
    let network = Network { delay_ns: 5 * MS, lost_percent: 0 };
    let mut simulation = Simulation::new(9, 4, limit(100, 2_000, 10, Vec::new()), network);
    for millisecond in 0..6_000 {
        if millisecond % 50 == 0 {
            simulation.store.clear();
        }
        simulation.step(&[1, 1, 1, 1], true);
    }
    for (window, admitted) in &simulation.admitted {
        assert!(*admitted <= 4 * 100, "{admitted} in {window}");
    }
    // Flushed once, by proxies that are all busy: what they know keeps the limit.
    let mut simulation = Simulation::new(9, 4, limit(100, 2_000, 10, Vec::new()), network);
    (0..1_000).for_each(|_| simulation.step(&[1, 1, 1, 1], true));
    simulation.store.clear();
    (0..5_000).for_each(|_| simulation.step(&[1, 1, 1, 1], true));
    let bound = simulation.bound() + 4 * simulation.unsettled_max();
    assert!(simulation.admitted.values().all(|admitted| *admitted <= bound), "{:?}", simulation.admitted);
}

fn keyed() -> (Proxy, impl Fn(&Proxy, &str, u64) -> bool) {
    let by_source = limit(10, 1_000, 1, vec![RateKey::Source]);
    let ask = |proxy: &Proxy, source: &str, now_ns| {
        let source = Some(HeaderValue::from_str(source).unwrap());
        proxy.filter.on_request(&head(), &Context { now_ns, source, ..Context::default() }).is_ok()
    };
    (Proxy::new(&by_source, 1, 0), ask)
}

#[test]
fn all_proxies_give_a_bucket_the_same_name_and_each_bucket_its_own() {
    let names = |sources: &[&str]| -> Vec<String> {
        let (proxy, ask) = keyed();
        sources.iter().for_each(|source| assert!(ask(&proxy, source, S)));
        let round = Round::collect(std::slice::from_ref(&proxy.limiter), 10);
        let names = round.entries().iter().map(Entry::key).collect();
        round.settle([], S);
        names
    };
    let (first, second) = (names(&["::1", "::2"]), names(&["::2", "::1"]));
    assert_eq!((&first[0], &first[1]), (&second[1], &second[0]));
    assert_ne!(first[0], first[1]);
    let parts: Vec<_> = first[0].split(':').collect();
    assert_eq!(parts[..3], ["outrigger", "shop/cart", "80/calls"]);
    assert_eq!((parts[3].len(), parts[4]), (32, "1"), "{}", first[0]);
}

#[test]
fn a_flood_of_keys_stays_bounded_and_resets_nobody() {
    let (proxy, ask) = keyed();
    assert!(ask(&proxy, "attacker", S) && !ask(&proxy, "attacker", S));
    for user in 0..2 * KEYS_MAX {
        ask(&proxy, &user.to_string(), S);
    }
    assert!(proxy.limiter.keys() <= KEYS_MAX);
    assert!(proxy.limiter.overflow() as usize >= KEYS_MAX - SHARDS);
    assert!(!ask(&proxy, "attacker", S + MS), "its bucket is still there");
    // Told in rounds of a bounded size, those first that have waited longest.
    let limiters = std::slice::from_ref(&proxy.limiter);
    let mut told = 0;
    while Round::is_due(limiters) {
        let round = Round::collect(limiters, 5_000);
        assert!(round.entries().len() <= 5_000 && !round.entries().is_empty());
        told += round.entries().iter().map(Entry::count).sum::<u64>();
        let answers = vec![Answer::Totals { current: 1, previous: 0 }; round.entries().len()];
        round.settle(answers, S);
    }
    assert_eq!(told, proxy.limiter.admitted());
    assert!(ask(&proxy, "newcomer", 9 * S));
    assert!(proxy.limiter.keys() < KEYS_MAX, "those that change nothing are forgotten");
}
