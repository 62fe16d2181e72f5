//! An open-loop load generator: requests are due at fixed times, whether or not the earlier ones have been answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method, Version};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::client::{Answer, Connection, Failure, request, request2};

/// Requests in flight at most. One that is due beyond it counts as failed: the open loop must not become a closed one.
const IN_FLIGHT_MAX: usize = 4096;
/// Idle connections kept.
const IDLE_MAX: usize = 512;

/// What is asked, how often, and of whom.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whom.
    pub addr: SocketAddr,
    /// The `Host`.
    pub host: String,
    /// The path.
    pub path: String,
    /// Requests a second.
    pub rate: u32,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// Whether connections are used again.
    pub keep_alive: bool,
    /// Further fields of each request.
    pub headers: Vec<(&'static str, HeaderValue)>,
    /// Whether each request begins a trace.
    pub traced: bool,
    /// Looks at each answer of status 200.
    pub check: Option<Check>,
}

/// A label to count an answer by, or what is wrong with it.
pub type Check = fn(&Answer) -> Result<String, String>;

impl Plan {
    /// `GET /` over kept connections.
    pub fn new(addr: SocketAddr, host: &str, rate: u32) -> Self {
        Self {
            addr,
            host: host.to_owned(),
            path: "/".to_owned(),
            rate,
            version: Version::HTTP_11,
            keep_alive: true,
            headers: Vec::new(),
            traced: false,
            check: None,
        }
    }
}

/// One request that did not end in 200.
#[derive(Debug, Clone)]
pub struct Failed {
    /// When it was sent.
    pub at: Instant,
    /// `refused`, `reset`, `closed`, `timeout`, or `STATUS REASON`.
    pub why: String,
}

/// What came of it.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Requests that were due.
    pub sent: u64,
    /// Answered with 200, to the end.
    pub succeeded: u64,
    /// All others.
    pub failed: Vec<Failed>,
    /// Answers by the application that gave them (its `x-app`).
    pub by_app: BTreeMap<String, u64>,
    /// Answers by the label that the plan's check gave them.
    pub by_label: BTreeMap<String, u64>,
    /// Of the successful ones: when each was sent, and how long it took. Sorted by the latter.
    pub latencies: Vec<(Instant, Duration)>,
}

impl Report {
    /// How often each reason occurred.
    pub fn reasons(&self) -> BTreeMap<&str, usize> {
        let mut reasons = BTreeMap::new();
        for failed in &self.failed {
            *reasons.entry(failed.why.as_str()).or_default() += 1;
        }
        reasons
    }

    /// Failures but for those of this reason.
    pub fn failed_but_for(&self, reason: &str) -> Vec<&Failed> {
        self.failed.iter().filter(|failed| failed.why != reason).collect()
    }

    /// The latency that this share (0 to 1) of the successful requests did not exceed.
    pub fn latency(&self, share: f64) -> Duration {
        self.latency_after(Duration::ZERO, share)
    }

    /// The same for requests that were sent so long after the first.
    pub fn latency_after(&self, after: Duration, share: f64) -> Duration {
        let Some(first) = self.latencies.iter().map(|(sent, _)| *sent).min() else { return Duration::ZERO };
        let later = self.latencies.iter().filter(|(sent, _)| *sent >= first + after);
        let later: Vec<Duration> = later.map(|(_, latency)| *latency).collect();
        let last = later.len().saturating_sub(1);
        later.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

/// Load that runs until it is stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    shared: Arc<Shared>,
    run: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    report: Mutex<Report>,
    idle: Mutex<Vec<Connection>>,
}

impl Load {
    /// Starts sending.
    pub fn start(plan: Plan) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared { plan, report: Mutex::default(), idle: Mutex::default() });
        let run = tokio::spawn(send_all(Arc::clone(&shared), Arc::clone(&stop)));
        Self { stop, shared, run }
    }

    /// What has come of it so far.
    pub fn so_far(&self) -> Report {
        self.shared.report().clone()
    }

    /// Requests so far.
    pub fn sent(&self) -> u64 {
        self.shared.report().sent
    }

    /// Successful answers so far.
    pub fn succeeded(&self) -> u64 {
        self.shared.report().succeeded
    }

    /// Stops sending, waits for what is in flight, and reports.
    pub async fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.run.await.expect("the load generator does not panic");
        let mut report = self.shared.report().clone();
        report.latencies.sort_unstable_by_key(|(_, latency)| *latency);
        report
    }
}

impl Shared {
    fn report(&self) -> std::sync::MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = idle.pop() {
            if connection.is_open() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if self.plan.keep_alive && idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    async fn exchange(&self) -> Result<Answer, Failure> {
        let plan = &self.plan;
        let mut connection = match self.idle() {
            Some(connection) => connection,
            None => Connection::open(plan.addr, plan.version).await?,
        };
        let mut request = if plan.version == Version::HTTP_2 {
            request2(Method::GET, &plan.host, &plan.path, "")
        } else {
            request(Method::GET, &plan.host, &plan.path, "")
        };
        let fields = plan.headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.clone()));
        request.headers_mut().extend(fields);
        if plan.traced {
            let trace = format!("00-{:032x}-{:016x}-00", fastrand::u128(1..), fastrand::u64(1..));
            let trace = trace.parse().expect("digits and hyphens can stand in a header");
            request.headers_mut().insert("traceparent", trace);
        }
        let answer = connection.send(request).await?;
        self.keep(connection);
        Ok(answer)
    }

    fn count(&self, at: Instant, outcome: Result<Answer, Failure>) {
        let mut report = self.report();
        let why = match outcome {
            Ok(answer) if answer.status == http::StatusCode::OK => {
                match self.plan.check.map(|check| check(&answer)) {
                    Some(Err(why)) => {
                        report.failed.push(Failed { at, why });
                        return;
                    }
                    Some(Ok(label)) => *report.by_label.entry(label).or_default() += 1,
                    None => {}
                }
                report.succeeded += 1;
                report.latencies.push((at, at.elapsed()));
                *report.by_app.entry(answer.header("x-app").to_owned()).or_default() += 1;
                return;
            }
            Ok(answer) => format!("{} {}", answer.status.as_u16(), answer.reason()),
            Err(Failure::Other(text)) => text,
            Err(failure) => format!("{failure:?}").to_lowercase(),
        };
        report.failed.push(Failed { at, why });
    }
}

async fn send_all(shared: Arc<Shared>, stop: Arc<AtomicBool>) {
    let mut due = tokio::time::interval(Duration::from_secs(1) / shared.plan.rate);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        due.tick().await;
        while running.try_join_next().is_some() {}
        shared.report().sent += 1;
        let at = Instant::now();
        if running.len() >= IN_FLIGHT_MAX {
            shared.report().failed.push(Failed { at, why: "too many in flight".to_owned() });
            continue;
        }
        let shared = Arc::clone(&shared);
        running.spawn(async move {
            let outcome = shared.exchange().await;
            shared.count(at, outcome);
        });
    }
    running.join_all().await;
}
