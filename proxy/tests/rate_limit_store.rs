//! Global rate limits with a real redis-server that is late, dead, silent, forgetful, closed, or someone else's.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it set it up")]

use std::cell::RefCell;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method};
use outrigger_filters::{Context, FilterChain, Flow, RateLimits};
use outrigger_proxy::clock;
use outrigger_proxy::config::RateLimitStore;
use outrigger_proxy::rate_limit_store::{StoreStatus, run};
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::{Filter, RateKey, RateLimit};
use redis::Value;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::task::{JoinHandle, LocalSet};

/// Until something happens that must happen.
const DEADLINE: Duration = Duration::from_secs(20);
/// Longer than any test: all of it is one window.
const HOUR_MS: u64 = 3_600_000;

/// A store on a port to which it can come back. Killed when dropped.
struct Redis {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
    arguments: Vec<String>,
}

impl Redis {
    /// One that is not running.
    fn new(arguments: &[&str]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { child: None, port, folder: TempDir::new().unwrap(), arguments }
    }

    fn started(arguments: &[&str]) -> Self {
        let mut redis = Self::new(arguments);
        redis.start();
        redis
    }

    fn start(&mut self) {
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server is installed (.ci/run tools)"));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().unwrap().id();
        kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
    }

    fn address(&self) -> RateLimitStore {
        let (user, password) = (None, None);
        RateLimitStore { tls: false, host: "127.0.0.1".into(), port: self.port, user, password, database: 0 }
    }

    /// What it says to one command.
    async fn say(&self, words: &[&str]) -> Value {
        let client = redis::Client::open(("127.0.0.1", self.port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.unwrap()
    }

    /// All that is counted in it.
    async fn total(&self) -> u64 {
        let Value::Array(keys) = self.say(&["KEYS", "outrigger:*"]).await else { panic!("no keys") };
        let mut total = 0;
        for key in keys {
            let Value::BulkString(key) = key else { panic!("{key:?}") };
            let counted = self.say(&["GET", std::str::from_utf8(&key).unwrap()]).await;
            let Value::BulkString(digits) = counted else { panic!("{counted:?}") };
            total += std::str::from_utf8(&digits).unwrap().parse::<u64>().unwrap();
        }
        total
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a proxy has for global limits.
struct Proxy {
    known: Rc<RefCell<RateLimits>>,
    chain: FilterChain,
    status: StoreStatus,
    driver: JoinHandle<()>,
}

impl Proxy {
    /// With a limit of so many per hour, by `x-user`.
    fn start(store: RateLimitStore, requests: u32, burst: u32) -> Self {
        let status = StoreStatus::default();
        let mut known = RateLimits::new(Some(status.link.clone()));
        let key = vec![RateKey::Header("x-user".into())];
        let limit =
            RateLimit { name: "calls".into(), requests, period_ms: HOUR_MS, burst, key, global: true };
        let chain = FilterChain::build_in("shop/cart:80", 2, &[Filter::RateLimit(limit)], &mut known);
        let known = Rc::new(RefCell::new(known));
        let limits = known.clone();
        let stored = move || limits.borrow().stored();
        let driver = tokio::task::spawn_local(run(store, status.clone(), stored));
        Self { known, chain: chain.unwrap(), status, driver }
    }

    fn ask(&self, user: &'static str) -> bool {
        let user = [("x-user".parse().unwrap(), HeaderValue::from_static(user))];
        let (authority, path) = ("cart".parse().unwrap(), "/".parse().unwrap());
        let mut head = RequestHead::new(Method::GET, authority, path, HeaderMap::from_iter(user));
        let mut context = Context { now_ns: clock::now_ns(), ..Context::default() };
        self.chain.on_request(&mut head, &mut context) == Flow::Continue
    }

    fn is_up(&self) -> bool {
        self.status.link.is_up(clock::now_ns())
    }

    fn count(&self, result: &str) -> u64 {
        self.status.counts.all().find(|(name, _)| *name == result).unwrap().1
    }

    fn alone(&self) -> u64 {
        self.known.borrow().all()[0].alone()
    }

    fn admitted(&self) -> u64 {
        self.known.borrow().all()[0].admitted()
    }

    async fn comes_up(&self) {
        until("the store answers", async || self.is_up()).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn local(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn proxies_share_one_limit_and_every_bucket_has_its_own() {
    local(async {
        let redis = Redis::started(&[]);
        let proxies = [(); 3].map(|()| Proxy::start(redis.address(), 60, 5));
        for proxy in &proxies {
            proxy.comes_up().await;
        }
        let (mut admitted, mut idle) = (0, Instant::now());
        until("the limit is reached", async || {
            let now = proxies.iter().filter(|proxy| proxy.ask("ann")).count();
            admitted += now;
            idle = if now > 0 { Instant::now() } else { idle };
            idle.elapsed() > Duration::from_secs(1)
        })
        .await;
        assert!((60..=60 + 2 * 5).contains(&admitted), "{admitted}");
        assert!(proxies.iter().all(|proxy| proxy.alone() == 0 && proxy.ask("bob")));
        until("everything is told", async || redis.total().await == admitted as u64 + 3).await;
        let Value::Array(keys) = redis.say(&["KEYS", "outrigger:*"]).await else { panic!("no keys") };
        assert_eq!(keys.len(), 2, "of two buckets: {keys:?}");
        let Value::BulkString(key) = &keys[0] else { panic!("{keys:?}") };
        let key = std::str::from_utf8(key).unwrap();
        assert!(key.starts_with("outrigger:shop/cart:80/calls:"), "{key}");
        let Value::Int(kept_ms) = redis.say(&["PTTL", key]).await else { panic!("it is kept for good") };
        assert!((HOUR_MS as i64..3 * HOUR_MS as i64).contains(&kept_ms), "{kept_ms}");
    })
    .await;
}

#[tokio::test]
async fn dead_at_first_then_there_then_killed_then_back() {
    local(async {
        let mut redis = Redis::new(&[]);
        let proxy = Proxy::start(redis.address(), 1_000, 100);
        until("it is tried", async || proxy.count("unreachable") > 1).await;
        // Nobody knows what others admit: the whole burst.
        let admitted = (0..200).filter(|_| proxy.ask("ann")).count() as u64;
        assert_eq!((admitted, proxy.alone()), (100, 200));
        redis.start();
        proxy.comes_up().await;
        until("what came before is told", async || redis.total().await == admitted).await;
        let alone = proxy.alone();
        assert!(proxy.ask("ann"));
        assert_eq!(proxy.alone(), alone, "the store counts");
        until("that is told", async || redis.total().await == admitted + 1).await;

        redis.kill();
        until("it is missed", async || !proxy.is_up()).await;
        let more = (0..30).filter(|_| proxy.ask("bob")).count();
        assert_eq!(more, 30, "callers are served");
        assert_eq!(proxy.alone(), alone + 30);
        redis.start();
        proxy.comes_up().await;
        // The counts of the dead store are gone; those of its absence arrive.
        until("they are told", async || redis.total().await == more as u64).await;
        assert_eq!(proxy.admitted(), admitted + 1 + more as u64);
    })
    .await;
}

#[tokio::test]
async fn a_store_that_stands_still_is_not_waited_for() {
    local(async {
        let redis = Redis::started(&[]);
        let proxy = Proxy::start(redis.address(), 1_000, 100);
        proxy.comes_up().await;
        redis.signal(Signal::STOP);
        until("it is given up", async || proxy.ask("ann") && !proxy.is_up()).await;
        until("its round is", async || proxy.count("timeout") == 1).await;
        until("so is a new connection", async || proxy.count("unreachable") > 0).await;
        assert!(proxy.ask("bob"));
        redis.signal(Signal::CONT);
        proxy.comes_up().await;
        // The lost round may have been counted after all; nothing is counted twice.
        until("the rest is told", async || {
            proxy.ask("carol");
            let total = redis.total().await;
            assert!(total <= proxy.admitted());
            total > 1
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_flushed_store_gives_nothing_back() {
    local(async {
        let redis = Redis::started(&[]);
        let proxy = Proxy::start(redis.address(), 20, 20);
        proxy.comes_up().await;
        until("the limit is reached", async || {
            proxy.ask("ann");
            redis.total().await == 20
        })
        .await;
        assert_eq!(redis.say(&["FLUSHALL"]).await, Value::Okay);
        let before = proxy.count("ok");
        until("rounds have gone by", async || {
            assert!(!proxy.ask("ann"));
            proxy.count("ok") > before + 1
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_password_is_needed_and_enough() {
    local(async {
        let redis = Redis::started(&["--requirepass", "sesame"]);
        let wrong = RateLimitStore { password: Some("barley".into()), ..redis.address() };
        let right = RateLimitStore { password: Some("sesame".into()), database: 3, ..redis.address() };
        let refused = [redis.address(), wrong].map(|store| Proxy::start(store, 100, 10));
        let welcome = Proxy::start(right, 100, 10);
        welcome.comes_up().await;
        for proxy in &refused {
            until("it is refused", async || proxy.count("unreachable") + proxy.count("refused") > 1).await;
            assert!(proxy.ask("ann") && !proxy.is_up());
        }
    })
    .await;
}

#[tokio::test]
async fn who_speaks_something_else_is_no_store() {
    local(async {
        let redis = Redis::started(&[]);
        let tls = RateLimitStore { tls: true, ..redis.address() };
        let plain = Proxy::start(tls, 100, 10);
        until("it fails", async || plain.count("unreachable") > 1).await;
        // One that may only be read.
        let reader = Proxy::start(redis.address(), 100, 10);
        reader.comes_up().await;
        redis.say(&["REPLICAOF", "127.0.0.1", "1"]).await;
        until("it refuses", async || {
            reader.ask("ann");
            reader.count("refused") > 0
        })
        .await;
        redis.say(&["REPLICAOF", "NO", "ONE"]).await;
        until("everything is told at last", async || redis.total().await == reader.admitted()).await;
    })
    .await;
}

#[tokio::test]
async fn a_bucket_whose_place_is_taken_is_counted_alone_and_disturbs_no_other() {
    local(async {
        let redis = Redis::started(&[]);
        let proxy = Proxy::start(redis.address(), 100, 10);
        proxy.comes_up().await;
        assert!(proxy.ask("ann"));
        until("it is told", async || redis.total().await == 1).await;
        let Value::Array(keys) = redis.say(&["KEYS", "*"]).await else { panic!("no keys") };
        let Value::BulkString(key) = &keys[0] else { panic!("{keys:?}") };
        let key = std::str::from_utf8(key).unwrap();
        redis.say(&["DEL", key]).await;
        redis.say(&["RPUSH", key, "mine"]).await;
        until("it is decided on alone", async || {
            proxy.ask("ann");
            proxy.ask("bob");
            proxy.alone() > 0
        })
        .await;
        let ok = proxy.count("ok");
        until("the others go on", async || {
            proxy.ask("bob");
            proxy.count("ok") > ok + 2
        })
        .await;
        assert!(proxy.is_up());
    })
    .await;
}

#[tokio::test]
async fn a_proxy_without_global_limits_leaves_the_store_alone() {
    local(async {
        let redis = Redis::started(&[]);
        let proxy = Proxy::start(redis.address(), 100, 10);
        proxy.comes_up().await;
        *proxy.known.borrow_mut() = RateLimits::default();
        until("it has gone", async || {
            let Value::BulkString(clients) = redis.say(&["CLIENT", "LIST"]).await else { panic!("no list") };
            // Whoever asks is one.
            String::from_utf8(clients).unwrap().lines().count() == 1
        })
        .await;
        assert!(!proxy.is_up());
    })
    .await;
}
