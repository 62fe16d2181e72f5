//! One rate limit over four sidecars, counted in a real redis-server.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it set it up")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use http::{Method, StatusCode, Version};
use outrigger_integration_tests::client::Connection;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Mesh, Metrics, Process, Proxy, client, eventually, port};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{all, service};
use crate::retries::count;

const DEADLINE: Duration = Duration::from_secs(20);
/// Requests in each window, and its length.
const LIMIT: u64 = 100;
const PERIOD: Duration = Duration::from_secs(2);
/// What one sidecar may admit that the store does not know of: the burst.
const AHEAD: u64 = 10;
const SIDECARS: u64 = 4;
const PASSWORD: &str = "sesame";
/// Each sidecar is asked so often: four times the limit in all.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// A redis-server and four sidecars beside `cart`.
struct Rig {
    mesh: Mesh,
    redis: Process,
    port: u16,
    sidecars: Vec<Proxy>,
    _app: App,
}

fn redis_server(mesh: &Mesh, port: u16) -> Process {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--requirepass", PASSWORD, "--dir"]).arg(mesh.folder());
    Process::start("redis", &mut command)
}

impl Rig {
    async fn start() -> Self {
        Self::of(SIDECARS, "").await
    }

    /// The same with so many sidecars, and with what a limit counts by.
    async fn of(sidecars: u64, keys: &str) -> Self {
        let (mesh, app, port) = (Mesh::new(), App::start("cart").await, port::free().port());
        let policy = format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {{name: cart}}\nspec:\n  \
             targetRefs: [{{kind: Service, name: cart}}]\n  rateLimits:\n  \
             - {{name: all, requests: {LIMIT}, period: {}s, burst: {AHEAD}, global: true{keys}}}",
            PERIOD.as_secs()
        );
        mesh.publish(&all(&[service("cart", &[app.addr]), policy]));
        let redis = redis_server(&mesh, port);
        let store = format!("redis://:{PASSWORD}@127.0.0.1:{port}/2");
        let mut running = Vec::new();
        for number in 0..sidecars {
            let sidecar = Sidecar::beside("cart").node(&format!("cart-{number}")).inbound_to(app.addr);
            running.push(Proxy::start(&mesh, sidecar.with(&["--rate-limit-store", &store])).await);
        }
        let rig = Self { mesh, redis, port, sidecars: running, _app: app };
        for sidecar in &rig.sidecars {
            sidecar.ready().await;
        }
        rig.counts_together(true).await;
        rig
    }

    async fn counts_together(&self, expected: bool) {
        let line = format!(
            "outrigger_rate_limit_together{{rule=\"default/cart:80\",limit=\"all\"}} {}",
            u8::from(expected)
        );
        for sidecar in &self.sidecars {
            let what = format!("{line}; it says {}", sidecar.process.log());
            eventually(DEADLINE, &what, async || {
                Metrics::of(sidecar.metrics).await?.text().contains(&line).then_some(())
            })
            .await;
        }
    }

    /// The sum of a counter over all sidecars.
    async fn sum(&self, name: &str) -> u64 {
        let mut sum = 0;
        for sidecar in &self.sidecars {
            sum += count(sidecar, &[name]).await;
        }
        sum
    }

    /// Asks every sidecar at its pace; how many requests were admitted, and in what time. None may fail.
    async fn load(&self, duration: Duration) -> (u64, Duration) {
        let start = Instant::now();
        let askers = self.sidecars.iter().map(|sidecar| {
            let inbound = sidecar.inbound.expect("every one has an application");
            tokio::spawn(ask(inbound, start + duration))
        });
        let mut admitted = 0;
        for asker in askers.collect::<Vec<_>>() {
            admitted += asker.await.unwrap();
        }
        (admitted, start.elapsed())
    }

    /// What the store has counted in each window.
    fn windows(&self) -> BTreeMap<u64, u64> {
        let said = |words: &[&str]| {
            let mut command = Command::new("redis-cli");
            command.args(["-p", &self.port.to_string(), "-a", PASSWORD, "-n", "2", "--no-auth-warning"]);
            let out = command.args(words).output().expect("redis-cli comes with redis-server");
            String::from_utf8(out.stdout).unwrap()
        };
        let keys = said(&["KEYS", "outrigger:default/cart:80/all:*"]);
        let window = |key: &str| {
            let number = key.rsplit(':').next().unwrap().parse().unwrap();
            (number, said(&["GET", key]).trim().parse().unwrap())
        };
        keys.lines().map(window).collect()
    }
}

async fn ask(inbound: SocketAddr, until: Instant) -> u64 {
    let mut connection = Connection::open(inbound, Version::HTTP_11).await.unwrap();
    let (mut admitted, mut ticks) = (0, interval(ASK_EVERY));
    while Instant::now() < until {
        ticks.tick().await;
        let answer = connection.send(client::request(Method::GET, "cart", "/", "")).await.unwrap();
        match answer.status {
            StatusCode::OK => admitted += 1,
            StatusCode::TOO_MANY_REQUESTS => assert_eq!(answer.reason(), "rate_limited"),
            other => panic!("{other}: {}", answer.text()),
        }
    }
    admitted
}

#[tokio::test(flavor = "multi_thread")]
async fn four_sidecars_admit_in_each_window_what_the_formula_says() {
    let mut rig = Rig::start().await;
    let (admitted, _) = rig.load(5 * PERIOD).await;
    eventually(DEADLINE, "everything is told", async || {
        (rig.windows().values().sum::<u64>() == admitted).then_some(())
    })
    .await;
    // On a busy machine a round may be late, and shares stand in for it: of one limit, however often. Four times as much is asked for.
    let alone = rig.sum("outrigger_rate_limit_alone_total").await;
    let shares = if alone > 0 { LIMIT + AHEAD + SIDECARS } else { 0 };
    let windows: Vec<u64> = rig.windows().into_values().collect();
    let most = LIMIT + (SIDECARS - 1) * AHEAD + shares;
    println!("{windows:?} of {most}, {alone} decided alone");
    assert!(windows.iter().all(|count| *count <= most), "{windows:?} of {most}");
    let whole = &windows[1..windows.len() - 1];
    assert!(whole.len() >= 3 && whole.iter().all(|count| *count >= LIMIT * 9 / 10), "{windows:?}");

    rig.redis.kill();
    let (admitted, took) = rig.load(2 * PERIOD).await;
    rig.counts_together(false).await;
    // Shares add up to the whole and what is rounded; before it is missed, each may be ahead once more.
    let shares = (LIMIT as f64 * took.as_secs_f64() / PERIOD.as_secs_f64() + AHEAD as f64) * 1.1;
    let most = shares + (SIDECARS * (AHEAD + 1)) as f64;
    assert!((admitted as f64) < most, "{admitted} of {most} without the store");
    assert!(admitted > LIMIT, "callers are served: {admitted}");

    rig.redis = redis_server(&rig.mesh, rig.port);
    rig.counts_together(true).await;
    let (admitted, took) = rig.load(2 * PERIOD).await;
    let windows = took.as_secs_f64() / PERIOD.as_secs_f64() + 2.0;
    let most = windows * (LIMIT + (SIDECARS - 1) * AHEAD) as f64;
    assert!(admitted > LIMIT && (admitted as f64) < most, "{admitted} after its return");
}

/// How many of so many requests of `user` are admitted, each sent so long after the one before, or once that is answered.
async fn asks(inbound: SocketAddr, user: &str, requests: u64, pause: Duration) -> u64 {
    let mut connection = Connection::open(inbound, Version::HTTP_11).await.unwrap();
    let (mut admitted, mut ticks) = (0, interval(pause));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..requests {
        ticks.tick().await;
        let mut request = client::request(Method::GET, "cart", "/", "");
        request.headers_mut().insert("x-user", user.parse().unwrap());
        admitted += u64::from(connection.send(request).await.unwrap().status == StatusCode::OK);
    }
    admitted
}

/// It is one of sixteen sidecars as far as it knows; of a user that it has told the store nothing of, the whole limit is its own all the same.
#[tokio::test(flavor = "multi_thread")]
async fn whom_nobody_has_counted_yet_has_the_whole_limit_while_the_store_is_away() {
    const AT_ONCE: Duration = Duration::from_nanos(1);
    let mut rig = Rig::of(1, ", keys: [{header: x-user}]").await;
    let inbound = rig.sidecars[0].inbound.unwrap();
    assert_eq!(asks(inbound, "known", 1, AT_ONCE).await, 1);
    for state in ["halted", "dead"] {
        match state {
            "halted" => rig.redis.freeze(),
            _ => rig.redis.kill(),
        }
        rig.counts_together(false).await;
        for user in 0..8 {
            let admitted = asks(inbound, &format!("{state}-{user}"), AHEAD, AT_ONCE).await;
            assert_eq!(admitted, AHEAD, "{state}: a burst of user {user}");
        }
        let pace = PERIOD / u32::try_from(LIMIT).unwrap() * 5 / 4;
        assert_eq!(
            asks(inbound, &format!("{state}-steady"), LIMIT, pace).await,
            LIMIT,
            "{state}: within the limit"
        );

        let begun = Instant::now();
        let admitted = asks(inbound, &format!("{state}-greedy"), 5 * LIMIT, AT_ONCE).await;
        let refilled = LIMIT as f64 * begun.elapsed().as_secs_f64() / PERIOD.as_secs_f64();
        let most = AHEAD as f64 + refilled + 1.0;
        assert!((admitted as f64) <= most, "{state}: {admitted} of {most:.0} that the limit allows");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stores_password_is_shown_to_nobody() {
    let rig = Rig::start().await;
    let sidecar = &rig.sidecars[0];
    for page in ["/server_info", "/config_dump", "/metrics", "/clusters"] {
        let text = client::page(sidecar.admin, page).await.unwrap().text();
        assert!(!text.is_empty() && !text.contains(PASSWORD), "{page}: {text}");
    }
    let wrong = format!("redis://:{PASSWORD}@127.0.0.1:no");
    let refused = Proxy::start_unchecked(
        &rig.mesh,
        Sidecar::beside("cart").node("wrong").with(&["--rate-limit-store", &wrong]),
    );
    refused.says("--rate-limit-store is no URL").await;
    for said in [refused.log(), sidecar.process.log()] {
        assert!(!said.contains(PASSWORD), "{said}");
    }
}
