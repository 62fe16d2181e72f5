//! How soon a sidecar no longer sends to an endpoint that has begun to fail, by the way in which it fails: the table of `docs/RESILIENCE.md`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use outrigger_integration_tests::app::raw::{End, RawApp};
use outrigger_integration_tests::app::slots::Slots;
use outrigger_integration_tests::load::Plan;
use outrigger_integration_tests::netns::{Namespace, Network};
use outrigger_integration_tests::{
    App, Load, Mesh, Metrics, Process, Proxy, binaries, client, eventually, port,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::config::{all, backend_policy, service, service_of};
use crate::http::timeouts::deaf_at;

const DEADLINE: Duration = Duration::from_secs(60);
/// One after the other, before it fails: the budget for what is sent again is a share of them.
const CALM: u64 = 150;
/// And after.
const REQUESTS: u64 = 200;
/// Failures in a row that eject an endpoint, by default.
const FAILURES_MAX: u64 = 5;

/// How an endpoint fails.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Nobody listens.
    Refuses,
    /// Connections are accepted, and reset at once.
    Resets,
    /// It answers 503.
    Unavailable,
    /// Packets to it are lost.
    BlackHole,
    /// It accepts connections and never answers, as a process does that was stopped.
    Hangs,
}

impl Fault {
    /// What has to be said for it to be noticed in seconds.
    fn policy(self) -> &'static str {
        if matches!(self, Self::Hangs) { "\n  timeouts: {try: 300ms}" } else { "" }
    }

    /// The longest that a request may take which meets it: ten times what it should, or a second.
    fn longest(self) -> Duration {
        match self {
            Self::Refuses | Self::Resets | Self::Unavailable => Duration::from_secs(1),
            Self::BlackHole => Duration::from_secs(10),
            Self::Hangs => Duration::from_secs(3),
        }
    }
}

/// What has taken the place of an endpoint.
enum Failing {
    Nobody,
    Resetting(Resetting),
    Unavailable(RawApp),
    Deaf { _held: (TcpListener, Vec<TcpStream>) },
    Hanging { _held: TcpListener },
}

impl Failing {
    async fn in_place_of(app: App, fault: Fault) -> Self {
        let addr = app.addr;
        drop(app);
        let free = async || std::net::TcpListener::bind(addr).is_ok().then_some(());
        eventually(DEADLINE, "it is gone", free).await;
        match fault {
            Fault::Refuses => Self::Nobody,
            Fault::Resets => Self::Resetting(Resetting::start_at(addr).await),
            Fault::Unavailable => {
                let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
                Self::Unavailable(RawApp::start_at(addr, answer, End::Stay).await)
            }
            Fault::BlackHole => {
                let (listener, queued, _) = deaf_at(addr).await;
                Self::Deaf { _held: (listener, queued) }
            }
            Fault::Hangs => Self::Hanging { _held: TcpListener::bind(addr).await.expect("it was free") },
        }
    }

    /// What it has seen, where it can see anything.
    fn saw(&self) -> Option<u64> {
        match self {
            Self::Resetting(resetting) => Some(resetting.connections.load(Relaxed)),
            Self::Unavailable(app) => Some(app.heads().len() as u64),
            Self::Nobody | Self::Deaf { .. } | Self::Hanging { .. } => None,
        }
    }
}

/// Resets each connection. Dropped, it stops listening.
struct Resetting {
    connections: Arc<AtomicU64>,
    serve: JoinHandle<()>,
}

impl Resetting {
    async fn start_at(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.expect("it was free");
        let connections = Arc::<AtomicU64>::default();
        let counted = connections.clone();
        let serve = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Relaxed);
                // Without lingering, a connection is reset when it is dropped.
                let _ = stream.set_zero_linger();
            }
        });
        Self { connections, serve }
    }
}

impl Drop for Resetting {
    fn drop(&mut self) {
        self.serve.abort();
    }
}

/// Asks so often, one request after the other, and none may fail; how long the longest took.
async fn ask(outbound: SocketAddr, requests: u64) -> Duration {
    let mut longest = Duration::ZERO;
    for number in 0..requests {
        let begun = Instant::now();
        let answer = client::fetch(outbound, "cart", "/").await.expect("the sidecar answers");
        assert_eq!(answer.status, 200, "request {number}: {} {}", answer.reason(), answer.text());
        longest = longest.max(begun.elapsed());
    }
    longest
}

/// What an endpoint has failed so far, and how many of those failures were to find out whether it is back.
fn failures(metrics: &Metrics, addr: SocketAddr) -> (u64, u64) {
    let failures = metrics.sum(&["outrigger_endpoint_failures_total{", &addr.to_string()]);
    (failures, metrics.sum(&["outrigger_ejections_total{", "type=\"trial\""]))
}

async fn is_noticed(fault: Fault, balance: &str) {
    let well = [App::start("one").await, App::start("two").await];
    let victim = App::start_at("three", port::free()).await;
    let addr = victim.addr;
    let policy = format!("balance: {{policy: {balance}}}{}", fault.policy());
    let mesh = Mesh::new();
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[well[0].addr, well[1].addr, addr]),
        backend_policy("cart", &policy),
    ]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    ask(shop.outbound, CALM).await;
    assert!(victim.requests() > 0, "it is one of three");

    let before: u64 = well.iter().map(App::requests).sum();
    let failing = Failing::in_place_of(victim, fault).await;
    let longest = ask(shop.outbound, REQUESTS).await;
    let (failed, trials) = failures(&metrics(&shop).await, addr);
    let saw = failing.saw();
    println!(
        "{fault:?}, {balance}: {failed} failures, {trials} of trials; longest {longest:?}; it saw {saw:?}"
    );
    // Only who has a turn is met for sure: one that is a little slower than the others may not be for a while.
    let least = u64::from(balance == "RoundRobin");
    // A reset that comes before the request was written counts apart from one that comes after.
    let most = trials + if matches!(fault, Fault::Resets) { 2 * FAILURES_MAX } else { FAILURES_MAX };
    assert!((least..=most).contains(&failed), "{fault:?}, {balance}: {failed} failures");
    assert!(longest <= fault.longest(), "{fault:?}, {balance}: {longest:?}");
    assert!(saw.is_none_or(|saw| saw <= most), "{fault:?}, {balance}: it saw {saw:?}");
    let served = well.iter().map(App::requests).sum::<u64>() - before;
    assert_eq!(served, REQUESTS, "{fault:?}, {balance}: each is answered by the others, once");
}

async fn metrics(shop: &Proxy) -> Metrics {
    Metrics::of(shop.metrics).await.expect("metrics are served")
}

/// None is lost, none waits for longer than for one that is not there, and the endpoint is out after five.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_is_left_alone_after_five_requests_at_most() {
    for fault in [Fault::Refuses, Fault::Resets, Fault::Unavailable, Fault::BlackHole, Fault::Hangs] {
        for balance in ["PeakEwma", "RoundRobin"] {
            is_noticed(fault, balance).await;
        }
    }
}

/// A second of traffic after it has, hardly any comes to it.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_becomes_ten_times_slower_loses_its_traffic() {
    const RATE: u32 = 200;
    let start = async || Slots::start(256, || Duration::from_millis(20)).await;
    let apps = [start().await, start().await, start().await];
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &apps.each_ref().map(|app| app.addr))]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let load = Load::start(Plan::new(shop.outbound, "cart", RATE));
    let seconds = async |seconds: u32| {
        let (sent, seen) = (load.sent(), apps[0].requests());
        let all = sent + u64::from(seconds * RATE);
        eventually(DEADLINE, "the requests", async || (load.sent() >= all).then_some(())).await;
        (apps[0].requests() - seen) as f64 / (load.sent() - sent) as f64
    };
    let well = seconds(3).await;
    apps[0].speed(100);
    let (at_first, then) = (seconds(1).await, seconds(5).await);
    let report = load.stop().await;
    println!("its share: {well:.3}, in the first second {at_first:.3}, in the next five {then:.3}");
    assert_eq!(report.succeeded, report.sent, "{:?}", report.reasons());
    assert!(well >= 0.2 && then <= 0.1, "{well:.3} before, {then:.3} after");
}

/// A sidecar on a machine of its own.
async fn sidecar(mesh: &Mesh, namespace: &Namespace) -> Process {
    let mut command = namespace.command(binaries::proxy());
    command.arg("--store").arg(mesh.store()).arg("--state-dir").arg(mesh.state("shop"));
    command.args(["--service", "shop", "--poll", "100ms", "--metrics-by", "endpoint,caller"]);
    let mut process = Process::start("shop", &mut command);
    process.listening("--outbound").await;
    process.listening("--metrics").await;
    process
}

fn here(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A machine that is gone says nothing any more: no end of a connection, no refusal of another. What was sent to it is late, and so is what is sent
/// over a connection that is kept.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_whose_machine_vanishes_is_known_by_answers_that_do_not_come() {
    for protocol in ["HTTP", "HTTP2"] {
        let (network, mesh) = (Network::new(), Mesh::new());
        let [shop, one, two] = [(); 3].map(|()| network.namespace());
        let any = SocketAddr::from(([0; 4], 8080));
        let well = one.run(App::start_at("one", any)).await;
        let _victim = two.run(App::start_at("two", any)).await;
        let endpoints = [&one, &two].map(|namespace| SocketAddr::from((namespace.v4, 8080)));
        let policy = "balance: {policy: RoundRobin}\n  timeouts: {firstByte: 1s}";
        mesh.publish(&all(&[
            service("shop", &[]),
            service_of("cart", protocol, &endpoints),
            backend_policy("cart", policy),
        ]));
        let _process = sidecar(&mesh, &shop).await;
        let metrics = async || shop.run(Metrics::of(here(15020))).await.expect("metrics are served");
        let has_plan = async || {
            let page = shop.run(client::page(here(15020), "/ready")).await.ok()?;
            (page.status == 200).then_some(())
        };
        eventually(DEADLINE, "it has a plan", has_plan).await;
        shop.run(ask(here(15001), CALM)).await;
        let before = well.requests();
        two.vanish();
        let longest = shop.run(ask(here(15001), REQUESTS)).await;
        let (failed, trials) = failures(&metrics().await, endpoints[1]);
        println!("{protocol}: {failed} failures, {trials} of trials; longest {longest:?}");
        // Those that are late, and those that cannot be sent, count apart.
        assert!((1..=2 * FAILURES_MAX + trials).contains(&failed), "{protocol}: {failed} failures");
        assert!(longest <= Duration::from_secs(10), "{protocol}: {longest:?}");
        assert_eq!(well.requests() - before, REQUESTS, "{protocol}");
    }
}

/// Nobody has asked for anything, and nobody will find the connection dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_rests_is_closed_when_its_peers_machine_vanishes() {
    let (network, mesh) = (Network::new(), Mesh::new());
    let [shop, one] = [(); 2].map(|()| network.namespace());
    let _victim = one.run(App::start_at("one", SocketAddr::from(([0; 4], 8080)))).await;
    mesh.publish(&all(&[
        service("shop", &[]),
        service("cart", &[SocketAddr::from((one.v4, 8080))]),
        backend_policy("cart", "timeouts: {idle: 10m}"),
    ]));
    let _process = sidecar(&mesh, &shop).await;
    let open = async || {
        let metrics = shop.run(Metrics::of(here(15020))).await?;
        Some(metrics.sum(&["outrigger_upstream_connections "]))
    };
    let called = async || {
        let answer = shop.run(client::fetch(here(15001), "cart", "/")).await.ok()?;
        (answer.status == 200).then_some(())
    };
    eventually(DEADLINE, "a call is answered", called).await;
    assert_eq!(open().await, Some(1));
    one.vanish();
    eventually(DEADLINE, "its connection is closed", async || (open().await == Some(0)).then_some(())).await;
}
