//! The production balancer, ejection and breaker together, on simulated time: requests come at a fixed rate, endpoints answer after a few
//! milliseconds, the control thread's sweep runs every second. Everything is a function of the seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_proxy::cluster::balance::{EndpointSet, Entry};
use outrigger_proxy::cluster::breaker::{Admit, ClusterBreaker, Permit, Phase};
use outrigger_proxy::cluster::endpoint::{Endpoint, EndpointKey, InFlight, Outcome};
use outrigger_proxy::cluster::health::{self, ClusterHealth, Rules};
use outrigger_proxy::telemetry::metrics::Direction;
use outrigger_snapshot::policy::{Balance, Breaker, HashKey};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// What happens to a request: endpoint, key and time in; outcome and duration out. `None`: no answer, ever.
type World<'a> = dyn Fn(u32, u64, u64) -> Option<(Outcome, u64)> + 'a;

struct Simulation {
    endpoints: Vec<Arc<Endpoint>>,
    set: EndpointSet,
    health: Arc<ClusterHealth>,
    breaker: Arc<ClusterBreaker>,
    random: fastrand::Rng,
    now: u64,
    /// When, and which of `flights`, ends.
    ends: BinaryHeap<Reverse<(u64, usize)>>,
    flights: Vec<Option<Flight>>,
    /// Every request: when, to whom, and how it ended.
    story: Vec<Told>,
}

struct Flight {
    in_flight: InFlight,
    permit: Permit,
    sent: u64,
    outcome: Outcome,
    told: usize,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    sent: u64,
    key: u64,
    endpoint: Option<u32>,
    /// `None`: refused, or not over.
    outcome: Option<Outcome>,
}

impl Simulation {
    fn new(count: u32, balance: &Balance, breaker: Breaker, seed: u64) -> Self {
        let health = Arc::new(ClusterHealth::default());
        health.rule(Rules::default());
        let endpoint = |id| {
            let key = EndpointKey {
                direction: Direction::Outbound,
                cluster: "cart:80".parse().expect("a cluster name"),
                address: SocketAddr::from(([10, 0, 0, id as u8], 80)),
                tls: Default::default(),
            };
            let endpoint = Arc::new(Endpoint::new(id, key, health.clone()));
            endpoint.join(0, false, false);
            endpoint
        };
        let endpoints: Vec<_> = (0..count).map(endpoint).collect();
        let entries =
            endpoints.iter().map(|endpoint| Entry { endpoint: endpoint.clone(), weight: 1, zone: None });
        Self {
            set: EndpointSet::new(entries.collect(), balance),
            breaker: Arc::new(ClusterBreaker::new(breaker, health.clone())),
            random: fastrand::Rng::with_seed(seed),
            now: 0,
            ends: BinaryHeap::new(),
            flights: Vec::new(),
            story: Vec::new(),
            endpoints,
            health,
        }
    }

    /// Lets `per_second` requests a second come until `end`.
    fn run(&mut self, per_second: u64, end: u64, world: &World<'_>) {
        let (step, mut next_sweep) = (SECOND / per_second, self.now + SECOND);
        while self.now < end {
            self.now += step;
            while let Some(Reverse((at, flight))) =
                self.ends.peek().copied().filter(|end| end.0.0 <= self.now)
            {
                self.ends.pop();
                self.over(flight, at);
            }
            if self.now >= next_sweep {
                let all: Vec<_> = self.endpoints.iter().map(|endpoint| endpoint.health()).collect();
                self.health.sweep(&all, self.now, &mut || self.random.u64(..));
                next_sweep += SECOND;
            }
            self.send(world);
        }
    }

    fn send(&mut self, world: &World<'_>) {
        let (sent, key) = (self.now, self.random.u64(..));
        let told = self.story.len();
        let Admit::Permit(permit) = self.breaker.admit(sent, self.random.u64(..)) else {
            self.story.push(Told { sent, key, endpoint: None, outcome: None });
            return;
        };
        let random = &mut self.random;
        let endpoint =
            self.set.pick(sent, &mut || random.u64(..), Some(key), &[]).expect("never empty").clone();
        self.story.push(Told { sent, key, endpoint: Some(endpoint.id()), outcome: None });
        let ended = world(endpoint.id(), key, sent);
        let outcome = ended.map_or(Outcome::Cancelled, |(outcome, _)| outcome);
        let flight = Flight { in_flight: InFlight::start(endpoint), permit, sent, outcome, told };
        if let Some((_, took)) = ended {
            self.ends.push(Reverse((sent + took, self.flights.len())));
        }
        self.flights.push(Some(flight));
    }

    fn over(&mut self, flight: usize, now: u64) {
        let Some(Flight { in_flight, permit, sent, outcome, told }) = self.flights[flight].take() else {
            return;
        };
        in_flight.finish(outcome, now - sent, now);
        permit.finish(outcome, now - sent, now);
        self.story[told].outcome = Some(outcome);
    }

    fn count(&self, from: u64, to: u64, is: impl Fn(&Told) -> bool) -> usize {
        self.story.iter().filter(|told| (from..to).contains(&told.sent) && is(told)).count()
    }
}

fn failed(told: &Told) -> bool {
    matches!(told.outcome, Some(Outcome::Failure | Outcome::Unreachable))
}

fn every_balance() -> [Balance; 5] {
    [
        Balance::PeakEwma,
        Balance::LeastRequest,
        Balance::RoundRobin,
        Balance::Random,
        Balance::ConsistentHash(HashKey::Source),
    ]
}

#[test]
fn one_that_fails_fast_draws_a_thousandth_whatever_the_method() {
    for balance in every_balance() {
        let mut simulation = Simulation::new(10, &balance, Breaker::default(), 1);
        simulation.run(500, 100 * SECOND, &|endpoint, _, _| {
            Some(if endpoint == 3 { (Outcome::Failure, MS / 2) } else { (Outcome::Success, 12 * MS) })
        });
        let all = simulation.story.len() as f64;
        let sunk = simulation.count(0, u64::MAX, |told| told.endpoint == Some(3)) as f64 / all;
        let errors = simulation.count(0, u64::MAX, failed) as f64 / all;
        assert!(sunk <= 0.001 && errors <= 0.001, "{balance:?}: {sunk} sunk, {errors} failed");
    }
}

#[test]
fn one_of_ten_down_costs_five_errors_and_one_per_chance() {
    for balance in every_balance() {
        let mut simulation = Simulation::new(10, &balance, Breaker::default(), 2);
        simulation.run(500, 300 * SECOND, &|endpoint, _, _| {
            Some(if endpoint == 7 { (Outcome::Unreachable, MS) } else { (Outcome::Success, 12 * MS) })
        });
        let errors = simulation.count(0, u64::MAX, failed) as u64;
        let chances = simulation.health.ejections(health::Cause::Trial);
        assert!((1..=5).contains(&chances), "{balance:?}: 10, 20, 40, 80 s and more: {chances}");
        assert!(errors <= 5 + chances, "{balance:?}: {errors} errors, {chances} chances");
        assert_eq!((simulation.breaker.transitions(), simulation.health.panic_picks()), ([0; 8], 0));
    }
}

/// How a cluster of ten that was down for so long comes back under a breaker that is open for `open_max_ms` at most: seconds from then on until
/// there is no more tenth of a second in which fewer than 95 of 100 requests are served.
fn recovery_s(open_max_ms: u64, outage_s: u64) -> f64 {
    let breaker = Breaker { open_max_ms, ..Breaker::default() };
    let mut simulation = Simulation::new(10, &Balance::PeakEwma, breaker, 3);
    let (down, up) = (20 * SECOND, (20 + outage_s) * SECOND);
    let end = up + 40 * SECOND;
    simulation.run(500, end, &|_, _, now| {
        let is_down = (down..up).contains(&now);
        Some(if is_down { (Outcome::Unreachable, MS) } else { (Outcome::Success, 12 * MS) })
    });
    let opened = simulation.story.iter().find(|told| told.endpoint.is_none()).expect("it opens").sent;
    assert!(opened - down <= 9_100 * MS, "nine tenths of the window: {opened}");
    let while_open = simulation.count(opened, up, |_| true);
    let sent = simulation.count(opened, up, |told| told.endpoint.is_some());
    assert!(sent * 100 <= while_open, "{sent} of {while_open} are sent although all are down");
    assert_eq!(simulation.breaker.state().phase, Phase::Closed);
    // The last second is not over when the simulation ends.
    let mut tenths = [(0_u32, 0_u32); 390];
    for told in simulation.story.iter().filter(|told| told.sent >= up) {
        if let Some((good, all)) = tenths.get_mut(((told.sent - up) / (SECOND / 10)) as usize) {
            *good += u32::from(told.outcome == Some(Outcome::Success));
            *all += 1;
        }
    }
    let last_bad = tenths.iter().rposition(|(good, all)| good * 100 < all * 95);
    last_bad.map_or(0.0, |nth| (nth + 1) as f64 / 10.0)
}

/// It takes nine tenths of the window to see that all are down; from then on 99 of 100 requests are refused. How fast the cluster is served again
/// when it is back is a matter of how long the breaker was open by then, for nobody asks meanwhile.
#[test]
fn with_all_down_requests_are_refused_and_then_served_again() {
    let usual = Breaker::default().open_max_ms;
    for (open_max_ms, outages_s, bound_s) in
        [(usual, 10..12, 3.0), (usual, 60..75_u64, 3.0), (usual, 300..301, 3.0), (30_000, 60..75, 30.5)]
    {
        let found: Vec<f64> = outages_s.clone().map(|outage_s| recovery_s(open_max_ms, outage_s)).collect();
        println!("open at most {open_max_ms} ms, {outages_s:?} s down: back after {found:?} s");
        assert!(
            found.iter().all(|back_s| *back_s <= bound_s),
            "{open_max_ms} ms, {outages_s:?} s: {found:?}"
        );
    }
}

#[test]
fn the_outage_of_one_shard_stays_the_outage_of_one_shard() {
    let mut simulation = Simulation::new(10, &Balance::PeakEwma, Breaker::default(), 4);
    simulation.run(500, 60 * SECOND, &|_, key, _| {
        Some(if key % 2 == 0 { (Outcome::Failure, 5 * MS) } else { (Outcome::Success, 12 * MS) })
    });
    assert_eq!((simulation.breaker.transitions(), simulation.breaker.refused()), ([0; 8], 0));
    let others_hurt =
        simulation.count(0, 59 * SECOND, |told| told.key % 2 == 1 && told.outcome != Some(Outcome::Success));
    assert_eq!(others_hurt, 0);
    assert!(simulation.health.ejected() <= 5 && simulation.health.healthy() >= 5);
}

/// The same where keys decide on the endpoint: half of the endpoints are down for good.
#[test]
fn half_of_the_endpoints_down_is_no_matter_of_the_breaker() {
    let hash = Balance::ConsistentHash(HashKey::Source);
    let mut simulation = Simulation::new(10, &hash, Breaker::default(), 4);
    simulation.run(500, 60 * SECOND, &|endpoint, _, _| {
        Some(if endpoint < 5 { (Outcome::Unreachable, MS) } else { (Outcome::Success, 12 * MS) })
    });
    assert_eq!((simulation.breaker.transitions(), simulation.breaker.refused()), ([0; 8], 0));
    let errors = simulation.count(SECOND, u64::MAX, failed) as u64;
    let chances = simulation.health.ejections(health::Cause::Trial);
    assert!(errors <= chances, "the others serve their keys: {errors} errors, {chances} chances");
}

/// The cluster hangs when it is asked whether it is back: the one probe is given up at its deadline, and the next comes after a while.
#[test]
fn a_probe_that_never_answers_costs_one_request() {
    let mut simulation = Simulation::new(4, &Balance::PeakEwma, Breaker::default(), 7);
    let (down, end) = (20 * SECOND, 160 * SECOND);
    simulation.run(500, end, &|_, _, now| match now {
        _ if now < down => Some((Outcome::Success, 12 * MS)),
        _ if now < down + 10 * SECOND => Some((Outcome::Failure, MS)),
        _ => None,
    });
    let [failed, slow, half_opened, failed_again, slow_again, lost, closed, _] =
        simulation.breaker.transitions();
    let (opened, opened_again) = (failed + slow, failed_again + slow_again + lost);
    let hung = simulation.count(down + 10 * SECOND, u64::MAX, |told| told.endpoint.is_some());
    println!("{opened} {half_opened} {opened_again} {closed}, {hung} hang");
    assert_eq!((opened, closed), (1, 0));
    assert!(opened_again >= 3 && (opened_again..=opened_again + 1).contains(&half_opened));
    assert!(hung as u64 <= half_opened, "{hung} requests hang, it was half open {half_opened} times");
}

#[test]
fn a_trial_that_hangs_ends_at_its_deadline_and_costs_one_request() {
    let mut simulation = Simulation::new(10, &Balance::RoundRobin, Breaker::default(), 5);
    simulation.run(500, 100 * SECOND, &|endpoint, _, now| match endpoint {
        2 if now < SECOND => Some((Outcome::Failure, MS)),
        2 => None,
        _ => Some((Outcome::Success, 12 * MS)),
    });
    let hung = simulation.count(SECOND, u64::MAX, |told| told.endpoint == Some(2));
    let late = simulation.health.ejections(health::Cause::Trial);
    assert!(late >= 1 && hung as u64 <= late + 1, "{hung} requests hang, {late} trials were late");
    assert_ne!(simulation.endpoints[2].standing().phase, health::Phase::In);
}

#[test]
fn a_recovering_cluster_gets_no_more_than_the_probes() {
    let breaker = Breaker { probes: 3, successes: 20, ..Breaker::default() };
    let mut simulation = Simulation::new(4, &Balance::PeakEwma, breaker, 6);
    let up = 40 * SECOND;
    let world = |_: u32, _: u64, now: u64| {
        Some(if now < up { (Outcome::Failure, MS) } else { (Outcome::Success, 50 * MS) })
    };
    let mut most = 0;
    for tick in 1..=40_000_u64 {
        simulation.run(1_000, tick * 2 * MS, &world);
        if simulation.breaker.state().phase == Phase::HalfOpen {
            most = most.max(simulation.endpoints.iter().map(|endpoint| endpoint.in_flight()).sum());
        }
    }
    assert_eq!((most, simulation.breaker.state().phase), (3, Phase::Closed));
}
