//! Customers of the shop: requests at a fixed rate, each outcome counted.

use std::collections::BTreeMap;
use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

/// A customer who waits longer than this has left.
const PATIENCE: Duration = Duration::from_secs(15);
/// Customers at once; one who comes when it is full counts as failed.
const IN_FLIGHT_MAX: usize = 2000;
/// Connections kept for the next customer.
const IDLE_MAX: usize = 64;

type Sender = http1::SendRequest<Empty<Bytes>>;

/// Running traffic. It stops with the program.
#[derive(Debug)]
pub(super) struct Traffic {
    entrance: SocketAddr,
    tally: Mutex<Tally>,
    idle: Mutex<Vec<Sender>>,
}

#[derive(Debug)]
struct Tally {
    total: u64,
    answers: BTreeMap<String, u64>,
    in_flight: usize,
    failures: Vec<Failure>,
    window: Window,
}

/// A request that was not answered with 200.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// When it failed.
    pub(super) at: Instant,
    /// Why, in a word.
    pub(super) why: String,
}

/// What happened since the last look.
#[derive(Debug)]
pub(super) struct Window {
    /// When that was.
    pub(super) since: Instant,
    /// Requests answered with 200, by instance of the cart.
    pub(super) by_instance: BTreeMap<String, u64>,
    /// How long they took, in no order.
    pub(super) latencies: Vec<Duration>,
    /// The others.
    pub(super) failed: u64,
}

impl Traffic {
    /// Starts `rate` requests a second to the shop.
    pub(super) fn start(entrance: SocketAddr, rate: u32) -> Arc<Self> {
        let traffic = Arc::new(Self { entrance, tally: Mutex::new(Tally::new()), idle: Mutex::default() });
        let customers = Arc::clone(&traffic);
        tokio::spawn(async move {
            let mut due = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
            due.set_missed_tick_behavior(MissedTickBehavior::Burst);
            loop {
                due.tick().await;
                Self::customer(&customers);
            }
        });
        traffic
    }

    /// One request, counted nowhere: is the shop open?
    pub(super) async fn try_once(entrance: SocketAddr) -> Result<(), String> {
        let mut sender = connect(entrance).await?;
        let (status, _) = exchange(&mut sender).await.map_err(|error| error.to_string())?;
        if status == StatusCode::OK { Ok(()) } else { Err(status.to_string()) }
    }

    /// Requests so far, and those that failed.
    pub(super) fn so_far(&self) -> (u64, Vec<Failure>) {
        let tally = self.tally();
        (tally.total, tally.failures.clone())
    }

    /// What happened since the last call.
    pub(super) fn window(&self) -> Window {
        mem::replace(&mut self.tally().window, Window::new())
    }

    /// Requests answered with 200 so far, by instance of the cart.
    pub(super) fn answers(&self) -> BTreeMap<String, u64> {
        self.tally().answers.clone()
    }

    /// Requests that wait for their answer.
    pub(super) fn in_flight(&self) -> usize {
        self.tally().in_flight
    }

    fn customer(traffic: &Arc<Self>) {
        let mut tally = traffic.tally();
        tally.total += 1;
        if tally.in_flight >= IN_FLIGHT_MAX {
            tally.fail("too many in flight".to_owned());
            return;
        }
        tally.in_flight += 1;
        drop(tally);
        let traffic = Arc::clone(traffic);
        tokio::spawn(async move {
            let start = Instant::now();
            let asked = tokio::time::timeout(PATIENCE, traffic.ask()).await;
            let mut tally = traffic.tally();
            tally.in_flight -= 1;
            match asked.unwrap_or_else(|_| Err("timeout".to_owned())) {
                Ok((StatusCode::OK, headers)) => {
                    let instance = text(&headers, "x-instance");
                    *tally.answers.entry(instance.clone()).or_default() += 1;
                    *tally.window.by_instance.entry(instance).or_default() += 1;
                    tally.window.latencies.push(start.elapsed());
                }
                Ok((status, headers)) => {
                    let why = ["outrigger-reason", "x-failure"].map(|name| text(&headers, name)).concat();
                    tally.fail(if why.is_empty() { status.as_u16().to_string() } else { why });
                }
                Err(why) => tally.fail(why),
            }
        });
    }

    async fn ask(&self) -> Result<(StatusCode, HeaderMap), String> {
        // A kept connection may have been closed just now; looking at a cart twice does no harm, so another is taken.
        while let Some(mut sender) = self.take_idle() {
            if let Ok(answer) = exchange(&mut sender).await {
                self.keep(sender);
                return Ok(answer);
            }
        }
        let mut sender = connect(self.entrance).await?;
        let answer = exchange(&mut sender).await.map_err(|_| "closed".to_owned())?;
        self.keep(sender);
        Ok(answer)
    }

    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        idle.pop()
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(sender);
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn new() -> Self {
        Self { since: Instant::now(), by_instance: BTreeMap::new(), latencies: Vec::new(), failed: 0 }
    }
}

impl Tally {
    fn new() -> Self {
        Self { total: 0, answers: BTreeMap::new(), in_flight: 0, failures: Vec::new(), window: Window::new() }
    }

    fn fail(&mut self, why: String) {
        self.window.failed += 1;
        self.failures.push(Failure { at: Instant::now(), why });
    }
}

async fn connect(entrance: SocketAddr) -> Result<Sender, String> {
    let stream = TcpStream::connect(entrance).await.map_err(|_| "refused".to_owned())?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| "closed".to_owned())?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn exchange(sender: &mut Sender) -> Result<(StatusCode, HeaderMap), hyper::Error> {
    sender.ready().await?;
    let mut request = Request::new(Empty::new());
    request.headers_mut().insert(HOST, HeaderValue::from_static("shop"));
    let (head, body) = sender.send_request(request).await?.into_parts();
    body.collect().await?;
    Ok((head.status, head.headers))
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
