//! The production balancer against a simulated cluster: a discrete-event model of proxies, each with its own view of the load, in
//! front of servers of uneven speed, one of which is slowed down to a third, another one every 20 s.
//!
//! Servers have 4 workers and a FIFO queue; service times are lognormal with mean 10 ms and variation 1; arrivals are Poisson; each
//! way over the network takes 0.25 ms; a request that is not answered within a second has failed. `load` is relative to what the
//! servers can do with the slowed one among them. Everything is a function of the seed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_proxy::cluster::balance::{EndpointSet, Entry};
use outrigger_proxy::cluster::endpoint::{Endpoint, EndpointKey, InFlight, Outcome};
use outrigger_proxy::telemetry::metrics::Direction;
use outrigger_snapshot::facts::TlsMode;
use outrigger_snapshot::policy::Balance;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const SERVICE_MEAN: f64 = 10.0 * MS as f64;
const NETWORK: u64 = MS / 4;
const DEADLINE: u64 = SECOND;
const WORKERS: usize = 4;
const SPEEDS: [f64; 5] = [0.6, 0.8, 1.0, 1.2, 1.4];
const SLOWED: f64 = 0.3;
const SLOWED_FOR: u64 = 20 * SECOND;
const WARM_UP: u64 = 10 * SECOND;

#[derive(Clone)]
struct Scene {
    balance: Balance,
    clients: usize,
    servers: usize,
    load: f64,
    /// This server answers every request with an error after half a millisecond; then none is slowed.
    failing: Option<usize>,
    end: u64,
    seed: u64,
}

/// What came out: milliseconds and shares of all requests after the warm-up.
#[derive(Debug, Clone, Copy)]
struct Outlook {
    p50: f64,
    p99: f64,
    errors: f64,
    /// Requests sent to the failing server.
    sunk: f64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Send { client: usize },
    Reach { request: usize },
    Served { request: usize },
    Answer { request: usize },
    GiveUp { request: usize },
    SlowAnother,
}

struct Server {
    speed: f64,
    busy: usize,
    queue: VecDeque<usize>,
}

struct Request {
    server: usize,
    sent: u64,
    work: f64,
    /// Taken when the client has its answer or gives up.
    in_flight: Option<InFlight>,
}

struct Simulation {
    scene: Scene,
    random: fastrand::Rng,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    servers: Vec<Server>,
    slowed: usize,
    clients: Vec<EndpointSet>,
    send_interval: f64,
    requests: Vec<Request>,
    latencies: Vec<u64>,
    errors: usize,
    sunk: usize,
}

impl Simulation {
    fn new(scene: Scene) -> Self {
        let servers: Vec<Server> = (0..scene.servers)
            .map(|nth| Server { speed: SPEEDS[nth % SPEEDS.len()], busy: 0, queue: VecDeque::new() })
            .collect();
        let total: f64 = servers.iter().map(|server| server.speed).sum();
        let capacity = match scene.failing {
            Some(failing) => total - servers[failing].speed,
            None => total - total / scene.servers as f64 * (1.0 - SLOWED),
        };
        let per_ns = scene.load * capacity * WORKERS as f64 / SERVICE_MEAN / scene.clients as f64;
        let mut simulation = Self {
            random: fastrand::Rng::with_seed(scene.seed),
            now: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            servers,
            slowed: 0,
            clients: (0..scene.clients).map(|_| endpoints(&scene)).collect(),
            send_interval: 1.0 / per_ns,
            requests: Vec::new(),
            latencies: Vec::new(),
            errors: 0,
            sunk: 0,
            scene,
        };
        for client in 0..simulation.scene.clients {
            let wait = simulation.exponential(simulation.send_interval);
            simulation.after(wait, Event::Send { client });
        }
        if simulation.scene.failing.is_none() {
            simulation.slow_another();
        }
        simulation
    }

    fn run(mut self) -> Outlook {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > self.scene.end {
                break;
            }
            self.now = at;
            match event {
                Event::Send { client } => self.send(client),
                Event::Reach { request } => self.reach(request),
                Event::Served { request } => self.served(request),
                Event::Answer { request } => self.answer(request),
                Event::GiveUp { request } => self.over(request, Outcome::Failure),
                Event::SlowAnother => self.slow_another(),
            }
        }
        let measured = self.requests.iter().filter(|request| request.sent > WARM_UP).count() as f64;
        self.latencies.sort_unstable();
        let percentile = |share: f64| {
            let index = (self.latencies.len() as f64 * share) as usize;
            self.latencies[index.min(self.latencies.len() - 1)] as f64 / MS as f64
        };
        Outlook {
            p50: percentile(0.5),
            p99: percentile(0.99),
            errors: self.errors as f64 / self.latencies.len() as f64,
            sunk: self.sunk as f64 / measured,
        }
    }

    fn send(&mut self, client: usize) {
        let wait = self.exponential(self.send_interval);
        self.after(wait, Event::Send { client });
        let random = &mut self.random;
        let picked = self.clients[client].pick(self.now, &mut || random.u64(..), None, &[]);
        let endpoint = picked.expect("every client knows servers").clone();
        let server = endpoint.id() as usize;
        let work = self.lognormal();
        let request = self.requests.len();
        let in_flight = Some(InFlight::start(endpoint));
        self.requests.push(Request { server, sent: self.now, work, in_flight });
        if self.now > WARM_UP && self.scene.failing == Some(server) {
            self.sunk += 1;
        }
        self.after(NETWORK, Event::Reach { request });
        self.after(DEADLINE, Event::GiveUp { request });
    }

    fn reach(&mut self, request: usize) {
        let server = self.requests[request].server;
        if self.scene.failing == Some(server) {
            self.after(MS / 2 + NETWORK, Event::Answer { request });
        } else {
            self.servers[server].queue.push_back(request);
            self.start_next(server);
        }
    }

    fn start_next(&mut self, index: usize) {
        while self.servers[index].busy < WORKERS {
            let Some(request) = self.servers[index].queue.pop_front() else { return };
            if self.requests[request].in_flight.is_none() {
                continue;
            }
            self.servers[index].busy += 1;
            let time = self.requests[request].work / self.servers[index].speed;
            self.after(time as u64, Event::Served { request });
        }
    }

    fn served(&mut self, request: usize) {
        let server = self.requests[request].server;
        self.servers[server].busy -= 1;
        self.after(NETWORK, Event::Answer { request });
        self.start_next(server);
    }

    fn answer(&mut self, request: usize) {
        let failed = self.scene.failing == Some(self.requests[request].server);
        self.over(request, if failed { Outcome::Failure } else { Outcome::Success });
    }

    fn over(&mut self, request: usize, outcome: Outcome) {
        let request = &mut self.requests[request];
        let Some(in_flight) = request.in_flight.take() else { return };
        let latency = self.now - request.sent;
        in_flight.finish(outcome, latency, self.now);
        if request.sent > WARM_UP {
            self.latencies.push(latency);
            self.errors += usize::from(outcome == Outcome::Failure);
        }
    }

    fn slow_another(&mut self) {
        self.servers[self.slowed].speed = SPEEDS[self.slowed % SPEEDS.len()];
        self.slowed = (self.slowed + self.random.usize(1..self.servers.len())) % self.servers.len();
        self.servers[self.slowed].speed *= SLOWED;
        self.after(SLOWED_FOR, Event::SlowAnother);
    }

    fn after(&mut self, wait: u64, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((self.now + wait, self.scheduled, event)));
    }

    fn exponential(&mut self, mean: f64) -> u64 {
        (-mean * (1.0 - self.random.f64()).ln()) as u64
    }

    /// Mean [`SERVICE_MEAN`], coefficient of variation 1 (Box and Muller's normal, exponentiated).
    fn lognormal(&mut self) -> f64 {
        let sigma = 2_f64.ln().sqrt();
        let radius = (-2.0 * (1.0 - self.random.f64()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.random.f64()).cos();
        SERVICE_MEAN * (sigma * normal - 0.5 * sigma * sigma).exp()
    }
}

/// One client's own view of all servers.
fn endpoints(scene: &Scene) -> EndpointSet {
    let entry = |id: usize| {
        let key = EndpointKey {
            direction: Direction::Outbound,
            cluster: "cart:80".parse().expect("a cluster name"),
            address: SocketAddr::from(([10, 0, 0, id as u8], 80)),
            tls: TlsMode::None,
        };
        Entry { endpoint: Arc::new(Endpoint::new(id as u32, key, Arc::default())), weight: 1, zone: None }
    };
    EndpointSet::new((0..scene.servers).map(entry).collect(), &scene.balance)
}

/// The mean of two seeds.
fn outlook(balance: Balance, change: impl Fn(&mut Scene)) -> Outlook {
    let mut scene =
        Scene { balance, clients: 10, servers: 10, load: 0.7, failing: None, end: 130 * SECOND, seed: 0 };
    change(&mut scene);
    let [one, two] = [101, 102].map(|seed| Simulation::new(Scene { seed, ..scene.clone() }).run());
    let outlook = Outlook {
        p50: (one.p50 + two.p50) / 2.0,
        p99: (one.p99 + two.p99) / 2.0,
        errors: (one.errors + two.errors) / 2.0,
        sunk: (one.sunk + two.sunk) / 2.0,
    };
    println!("{:?} at {}: {outlook:?}", scene.balance, scene.load);
    outlook
}

fn near(found: f64, expected: f64, tolerance: f64) -> bool {
    (found / expected - 1.0).abs() <= tolerance
}

#[test]
fn blind_methods_collapse_on_one_slow_server() {
    for balance in [Balance::Random, Balance::RoundRobin] {
        let outlook = outlook(balance, |scene| scene.end = 70 * SECOND);
        assert!(outlook.errors > 0.1 && outlook.p99 >= 999.0, "{outlook:?}");
    }
}

/// The expected figures are those of an independent simulation of the published algorithms: median and 99th percentile.
fn peak_ewma_halves_the_tail(load: f64, least: (f64, f64), peak: (f64, f64)) {
    let least_request = outlook(Balance::LeastRequest, |scene| scene.load = load);
    let peak_ewma = outlook(Balance::PeakEwma, |scene| scene.load = load);
    for (found, expected) in [(least_request, least), (peak_ewma, peak)] {
        assert!(near(found.p50, expected.0, 0.1), "{found:?}, expected {expected:?}");
        assert!(near(found.p99, expected.1, 0.15), "{found:?}, expected {expected:?}");
        assert!(found.errors < 1e-4, "{found:?}");
    }
    assert!(peak_ewma.p99 <= 0.55 * least_request.p99, "{peak_ewma:?} {least_request:?}");
}

#[test]
fn least_request_copes_and_peak_ewma_halves_its_tail_at_70_percent() {
    peak_ewma_halves_the_tail(0.7, (10.2, 139.0), (9.4, 65.0));
}

#[test]
fn least_request_copes_and_peak_ewma_halves_its_tail_at_80_percent() {
    peak_ewma_halves_the_tail(0.8, (12.3, 148.0), (11.2, 71.0));
}

/// With few requests in flight per client, what is in flight says little; latency still does.
#[test]
fn peak_ewma_sees_where_many_clients_make_least_request_blind() {
    let crowd = |scene: &mut Scene| {
        (scene.clients, scene.servers, scene.load, scene.end) = (100, 20, 0.85, 50 * SECOND);
    };
    let least_request = outlook(Balance::LeastRequest, crowd);
    let peak_ewma = outlook(Balance::PeakEwma, crowd);
    assert!(
        peak_ewma.p99 < 110.0 && least_request.p99 > 3.0 * peak_ewma.p99,
        "{peak_ewma:?} {least_request:?}"
    );
}

#[test]
fn a_server_that_fails_fast_draws_no_traffic() {
    let sick = |scene: &mut Scene| (scene.failing, scene.end) = (Some(2), 110 * SECOND);
    let peak_ewma = outlook(Balance::PeakEwma, sick);
    assert!(peak_ewma.sunk <= 0.001 && peak_ewma.errors <= 0.001, "{peak_ewma:?}");
    let least_request = outlook(Balance::LeastRequest, sick);
    assert!(least_request.sunk > 0.1, "what is in flight alone draws traffic in: {least_request:?}");
}
