//! Balancing and hedging in real time: ten sidecars that know nothing of each other call ten servers of unlike speed, one of which is slowed to
//! 30 % and recovers when the next one's turn comes.
//!
//! `cargo bench -p outrigger-integration-tests --profile quick --bench balance [-- SECONDS]`. The sidecars are those of `$OUTRIGGER_BIN_DIR`, or built
//! as the integration tests do it; load and servers are in this process. Requests are due at random (Poisson), and their latency counts from then.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, StatusCode, Version};
use outrigger_integration_tests::app::slots::Slots;
use outrigger_integration_tests::client::{self, Connection};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{Mesh, Proxy};
use tokio::task::JoinSet;

const SIDECARS: usize = 10;
const SERVERS: usize = 10;
/// Of each server; so that all of them together take 930 requests a second while one is slowed.
const PLACES: usize = 4;
/// In thousandths; the servers take them by turns.
const SPEEDS: [u64; 5] = [600, 800, 1_000, 1_200, 1_400];
/// Of the speed that the slowed one would have, per cent.
const SLOWED_PERCENT: u64 = 30;
const SLOWED_FOR: Duration = Duration::from_secs(20);
/// Requests a second for each way of balancing: 70 % of what the servers take.
const RATE: f64 = 651.0;
/// Of a request that takes the mean time, at a speed of one.
const MEAN_MS: f64 = 40.0;
/// After this a request has failed, and counts as having taken as long.
const PATIENCE: Duration = Duration::from_secs(4);
/// Left out: until latencies are known.
const WARM_UP: Duration = Duration::from_secs(5);
/// Unless an argument says otherwise.
const SECONDS: u64 = 120;

/// Only what is compared: without ejection, breakers and, but for what hedges need, retries.
const BARE: &str =
    "timeouts: {request: 4s}, ejection: {maxPercent: 0}, breaker: {failurePercent: 0}, retry: {attempts: 0}";

/// Runs together, each with servers of its own.
const ROUNDS: [&[(&str, &str)]; 2] = [
    &[
        ("peak-ewma", "balance: {policy: PeakEwma}"),
        ("least-request", "balance: {policy: LeastRequest}"),
        ("round-robin", "balance: {policy: RoundRobin}"),
    ],
    &[
        ("least-request", "balance: {policy: LeastRequest}"),
        ("least-hedged", "balance: {policy: LeastRequest}, hedge: {percentile: 95}"),
        ("peak-hedged", "balance: {policy: PeakEwma}, hedge: {percentile: 95}"),
    ],
];

/// One way of balancing, and what came of it.
struct Arm {
    name: &'static str,
    servers: Vec<Slots>,
    latencies: Mutex<Vec<Duration>>,
    late: Mutex<u64>,
}

/// A sidecar, and connections to it.
struct Caller {
    proxy: Proxy,
    idle: Mutex<Vec<Connection>>,
}

fn main() {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let time = Duration::from_secs(asked.unwrap_or(SECONDS));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("threads can be started");
    runtime.block_on(async {
        for round in ROUNDS {
            compare(round, time).await;
        }
    });
}

async fn compare(round: &[(&'static str, &'static str)], time: Duration) {
    let mut arms = Vec::new();
    for (name, _) in round {
        let mut servers = Vec::new();
        for _ in 0..SERVERS {
            servers.push(Slots::start(PLACES, lognormal).await);
        }
        arms.push(Arc::new(Arm { name, servers, latencies: Mutex::default(), late: Mutex::default() }));
    }
    let mesh = Mesh::new();
    mesh.publish(&resources(round, &arms));
    let mut callers = Vec::new();
    for number in 0..SIDECARS {
        let proxy = Proxy::start(&mesh, Sidecar::beside("shop").node(&format!("shop-{number}"))).await;
        proxy.ready().await;
        callers.push(Caller { proxy, idle: Mutex::default() });
    }
    let callers = Arc::new(callers);
    let mut running = JoinSet::new();
    for arm in &arms {
        running.spawn(load(arm.clone(), callers.clone(), time));
        running.spawn(antagonise(arm.clone(), time));
    }
    running.join_all().await;
    for arm in &arms {
        report(arm, &callers).await;
    }
    println!();
}

fn resources(round: &[(&str, &str)], arms: &[Arc<Arm>]) -> String {
    let service = |name: &str, addresses: &[SocketAddr]| {
        let listed: Vec<_> = addresses.iter().map(|addr| format!("{{address: '{addr}'}}")).collect();
        let endpoints = match &listed[..] {
            [] => String::new(),
            listed => format!(", endpoints: {{static: [{}]}}", listed.join(", ")),
        };
        format!(
            "{{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {{name: {name}}}, spec: \
             {{ports: [{{name: main, port: 80, protocol: HTTP}}]{endpoints}}}}}"
        )
    };
    let mut documents = vec![service("shop", &[])];
    for ((name, policy), arm) in round.iter().zip(arms) {
        let addresses: Vec<_> = arm.servers.iter().map(|server| server.addr).collect();
        documents.push(service(name, &addresses));
        documents.push(format!(
            "{{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {{name: {name}}}, spec: \
             {{targetRefs: [{{kind: Service, name: {name}}}], {BARE}, {policy}}}}}"
        ));
    }
    documents.join("\n---\n")
}

/// Mean as above, and a standard deviation of the same.
fn lognormal() -> Duration {
    let variance = std::f64::consts::LN_2;
    let (one, two) = (1.0 - fastrand::f64(), fastrand::f64());
    let normal = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos();
    let ms = MEAN_MS * (variance.sqrt() * normal - variance / 2.0).exp();
    Duration::from_secs_f64(ms / 1_000.0)
}

/// Slows one server after the other.
async fn antagonise(arm: Arc<Arm>, time: Duration) {
    let begun = Instant::now();
    for slowed in (0..SERVERS).cycle() {
        for (index, server) in arm.servers.iter().enumerate() {
            let percent = if index == slowed { SLOWED_PERCENT } else { 100 };
            server.speed(SPEEDS[index % SPEEDS.len()] * percent / 100);
        }
        if begun.elapsed() >= time {
            return;
        }
        tokio::time::sleep(SLOWED_FOR.min(time)).await;
    }
}

async fn load(arm: Arc<Arm>, callers: Arc<Vec<Caller>>, time: Duration) {
    let begun = Instant::now();
    let (mut due, mut running) = (begun, JoinSet::new());
    while begun.elapsed() < WARM_UP + time {
        due += Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / RATE);
        tokio::time::sleep_until(due.into()).await;
        while running.try_join_next().is_some() {}
        let (arm, callers, counts) = (arm.clone(), callers.clone(), due >= begun + WARM_UP);
        running.spawn(async move {
            let answered = callers[fastrand::usize(..SIDECARS)].ask(arm.name).await;
            if counts {
                arm.count(answered, due.elapsed());
            }
        });
    }
    running.join_all().await;
}

impl Caller {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the answer came in time.
    async fn ask(&self, host: &str) -> bool {
        let kept = self.idle().pop().filter(Connection::is_open);
        let mut connection = match kept {
            Some(connection) => connection,
            None => match Connection::open(self.proxy.outbound, Version::HTTP_11).await {
                Ok(connection) => connection,
                Err(_) => return false,
            },
        };
        let Ok(answer) = connection.send(client::request(Method::GET, host, "/", "")).await else {
            return false;
        };
        self.idle().push(connection);
        answer.status == StatusCode::OK
    }
}

impl Arm {
    fn count(&self, answered: bool, took: Duration) {
        let late = !answered || took > PATIENCE;
        *self.late.lock().unwrap_or_else(PoisonError::into_inner) += u64::from(late);
        let took = if late { PATIENCE } else { took };
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }
}

async fn report(arm: &Arm, callers: &[Caller]) {
    let mut latencies = arm.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
    latencies.sort_unstable();
    let late = *arm.late.lock().unwrap_or_else(PoisonError::into_inner);
    let quantile = |share: f64| {
        let index = ((latencies.len().saturating_sub(1)) as f64 * share).round() as usize;
        latencies.get(index).copied().unwrap_or_default().as_secs_f64() * 1_000.0
    };
    let (mut hedges, mut wins) = (0, 0);
    for caller in callers {
        let page = client::page(caller.proxy.metrics, "/metrics").await;
        let page = page.expect("the sidecar serves its metrics").text();
        let sum = |family: &str| -> u64 {
            let lines = page.lines().filter(|line| line.starts_with(family) && line.contains(arm.name));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
        };
        hedges += sum("outrigger_hedges_total{");
        wins += sum("outrigger_hedge_wins_total{");
    }
    let asked: u64 = arm.servers.iter().map(Slots::requests).sum();
    let abandoned: u64 = arm.servers.iter().map(Slots::abandoned).sum();
    println!(
        "{:<14} {:>7} requests  p50 {:>6.1}  p99 {:>7.1}  p99.9 {:>7.1} ms  late {:>5.2} %  hedges {:>5.2} %, {wins} won, {abandoned} of {asked} abandoned",
        arm.name,
        latencies.len(),
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        100.0 * late as f64 / latencies.len().max(1) as f64,
        100.0 * hedges as f64 / (asked - hedges).max(1) as f64,
    );
}
