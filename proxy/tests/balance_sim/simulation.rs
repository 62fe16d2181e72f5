//! A discrete-event model of proxies, each with its own view of the load, in front of servers.
//!
//! Servers have 4 workers and a FIFO queue; arrivals are Poisson; a request that is not answered within the deadline has failed. `load` is
//! relative to what the servers can do with the slowed one among them, or without the failing one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_proxy::cluster::balance::{EndpointSet, Entry};
use outrigger_proxy::cluster::endpoint::{Endpoint, EndpointKey, InFlight, Outcome};
use outrigger_proxy::cluster::health::{ClusterHealth, Rules};
use outrigger_proxy::telemetry::metrics::Direction;
use outrigger_proxy::upstream_tls::Tls;
use outrigger_snapshot::policy::{Balance, Ejection};

const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
const SERVICE_MEAN: f64 = 10.0 * MS as f64;
/// Each way over the network.
const NETWORK: u64 = MS / 4;
const WORKERS: usize = 4;
const SPEEDS: [f64; 5] = [0.6, 0.8, 1.0, 1.2, 1.4];
const SLOWED: f64 = 0.3;
const SLOWED_FOR: u64 = 20 * SECOND;
/// The first to be slowed or to fail.
const FIRST: usize = 2;
const WARM_UP: u64 = 10 * SECOND;
/// Between two looks of the control thread at health.
const SWEEP: u64 = SECOND;
/// Until the failing server answers.
const FAILS_AFTER: u64 = MS / 2;

/// What the servers are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Servers {
    /// All alike.
    Even,
    /// Of different speeds, and one of them slowed down to a third, another one every 20 s.
    OneSlowed,
    /// Of different speeds, and one of them answers every request with an error after half a millisecond.
    OneFailing,
}

/// How the time to serve a request is distributed, around the same mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Exponential,
    /// Variation 1.
    Lognormal,
    /// One in twenty takes 21 times as long as the others.
    Bimodal,
}

#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) balance: Balance,
    pub(crate) clients: usize,
    pub(crate) count: usize,
    pub(crate) load: f64,
    pub(crate) servers: Servers,
    pub(crate) work: Work,
    /// Whether endpoints are ejected.
    pub(crate) ejects: bool,
    /// Requests in a thousand that fail wherever they go, after they were served.
    pub(crate) doomed: f64,
    pub(crate) network: u64,
    pub(crate) deadline: u64,
    pub(crate) end: u64,
    pub(crate) seed: u64,
}

/// Ten clients of ten servers, under the product's defaults.
pub(crate) fn scene(balance: Balance) -> Scene {
    Scene {
        balance,
        clients: 10,
        count: 10,
        load: 0.7,
        servers: Servers::OneSlowed,
        work: Work::Lognormal,
        ejects: true,
        doomed: 0.0,
        network: NETWORK,
        deadline: SECOND,
        end: 130 * SECOND,
        seed: 0,
    }
}

/// What came out: milliseconds and shares of all requests after the warm-up.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outlook {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) errors: f64,
    /// Requests sent to the failing server.
    pub(crate) sunk: f64,
}

impl Scene {
    /// The mean of so many runs.
    pub(crate) fn outlook(&self, seeds: u64) -> Outlook {
        let share = 1.0 / seeds as f64;
        (101..101 + seeds).fold(Outlook::default(), |mean, seed| {
            let run = Simulation::new(Self { seed, ..self.clone() }).run();
            Outlook {
                p50: mean.p50 + share * run.p50,
                p99: mean.p99 + share * run.p99,
                p999: mean.p999 + share * run.p999,
                errors: mean.errors + share * run.errors,
                sunk: mean.sunk + share * run.sunk,
            }
        })
    }

    /// Each with its own view of all servers.
    fn client(&self) -> Client {
        let health = Arc::new(ClusterHealth::default());
        let off =
            Ejection { consecutive: 0, consecutive_local: 0, failure_percent: 0, ..Ejection::default() };
        let ejection = if self.ejects { Ejection::default() } else { off };
        health.rule(Rules { ejection, slow_start_ms: 0 });
        let entry = |id: usize| {
            let key = EndpointKey {
                direction: Direction::Outbound,
                cluster: "cart:80".parse().expect("a cluster name"),
                address: SocketAddr::from(([10, 0, 0, id as u8], 80)),
                tls: Tls::None,
            };
            let endpoint = Arc::new(Endpoint::new(id as u32, key, health.clone()));
            endpoint.join(0, false, false);
            Entry { endpoint, weight: 1, zone: None }
        };
        let set = EndpointSet::new((0..self.count).map(entry).collect(), &self.balance);
        Client { set, health }
    }
}

struct Client {
    set: EndpointSet,
    health: Arc<ClusterHealth>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Send { client: usize },
    Reach { request: usize },
    Served { request: usize },
    Answer { request: usize },
    GiveUp { request: usize },
    SlowAnother,
    Sweep,
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
    /// The one that is slowed or fails.
    odd: usize,
    clients: Vec<Client>,
    send_interval: f64,
    requests: Vec<Request>,
    latencies: Vec<u64>,
    errors: usize,
    sunk: usize,
}

impl Simulation {
    fn new(scene: Scene) -> Self {
        let server = |nth: usize| Server { speed: scene.speed(nth), busy: 0, queue: VecDeque::new() };
        let servers: Vec<Server> = (0..scene.count).map(server).collect();
        let total: f64 = servers.iter().map(|server| server.speed).sum();
        let capacity = match scene.servers {
            Servers::Even => total,
            Servers::OneSlowed => total - total / scene.count as f64 * (1.0 - SLOWED),
            Servers::OneFailing => total - servers[FIRST].speed,
        };
        let per_ns = scene.load * capacity * WORKERS as f64 / SERVICE_MEAN / scene.clients as f64;
        let mut simulation = Self {
            random: fastrand::Rng::with_seed(scene.seed),
            now: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            servers,
            odd: FIRST,
            clients: (0..scene.clients).map(|_| scene.client()).collect(),
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
        if simulation.scene.servers == Servers::OneSlowed {
            simulation.servers[FIRST].speed *= SLOWED;
            simulation.after(SLOWED_FOR, Event::SlowAnother);
        }
        simulation.after(SWEEP, Event::Sweep);
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
                Event::Sweep => self.sweep(),
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
            p999: percentile(0.999),
            errors: self.errors as f64 / self.latencies.len() as f64,
            sunk: self.sunk as f64 / measured,
        }
    }

    fn send(&mut self, client: usize) {
        let wait = self.exponential(self.send_interval);
        self.after(wait, Event::Send { client });
        let random = &mut self.random;
        let picked = self.clients[client].set.pick(self.now, &mut || random.u64(..), None, &[]);
        let endpoint = picked.expect("every client knows servers").clone();
        let server = endpoint.id() as usize;
        let work = self.work();
        let request = self.requests.len();
        let in_flight = Some(InFlight::start(endpoint));
        self.requests.push(Request { server, sent: self.now, work, in_flight });
        self.sunk += usize::from(self.now > WARM_UP && self.fails(server));
        self.after(self.scene.network, Event::Reach { request });
        self.after(self.scene.deadline, Event::GiveUp { request });
    }

    fn fails(&self, server: usize) -> bool {
        self.scene.servers == Servers::OneFailing && server == self.odd
    }

    fn reach(&mut self, request: usize) {
        let server = self.requests[request].server;
        if self.fails(server) {
            self.after(FAILS_AFTER + self.scene.network, Event::Answer { request });
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
        self.after(self.scene.network, Event::Answer { request });
        self.start_next(server);
    }

    fn answer(&mut self, request: usize) {
        let doomed = self.scene.doomed > 0.0 && self.random.f64() * 1_000.0 < self.scene.doomed;
        let failed = doomed || self.fails(self.requests[request].server);
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
        self.servers[self.odd].speed = self.scene.speed(self.odd);
        self.odd = (self.odd + self.random.usize(1..self.servers.len())) % self.servers.len();
        self.servers[self.odd].speed *= SLOWED;
        self.after(SLOWED_FOR, Event::SlowAnother);
    }

    fn sweep(&mut self) {
        for client in &self.clients {
            let all: Vec<_> = client.set.entries().iter().map(|entry| entry.endpoint.health()).collect();
            client.health.sweep(&all, self.now, &mut || self.random.u64(..));
        }
        self.after(SWEEP, Event::Sweep);
    }

    fn after(&mut self, wait: u64, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((self.now + wait, self.scheduled, event)));
    }

    fn exponential(&mut self, mean: f64) -> u64 {
        (-mean * (1.0 - self.random.f64()).ln()) as u64
    }

    /// Of mean [`SERVICE_MEAN`].
    fn work(&mut self) -> f64 {
        let uniform = self.random.f64();
        match self.scene.work {
            Work::Exponential => -SERVICE_MEAN * (1.0 - uniform).ln(),
            Work::Bimodal => SERVICE_MEAN * if uniform < 0.95 { 0.5 } else { 10.5 },
            Work::Lognormal => {
                // Box and Muller's normal, exponentiated.
                let radius = (-2.0 * (1.0 - uniform).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * self.random.f64()).cos();
                let sigma = 2_f64.ln().sqrt();
                SERVICE_MEAN * (sigma * normal - 0.5 * sigma * sigma).exp()
            }
        }
    }
}

impl Scene {
    /// Of a server that is neither slowed nor failing.
    fn speed(&self, nth: usize) -> f64 {
        if self.servers == Servers::Even { 1.0 } else { SPEEDS[nth % SPEEDS.len()] }
    }
}
