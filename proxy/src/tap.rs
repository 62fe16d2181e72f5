//! Those who watch requests end. Each has a filter, a rate and a queue, and no request waits for any of them: what finds no place is counted
//! and left out.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::local_reply::UPSTREAM_STATUS;
use crate::story::Told;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::metrics::WorkerStats;

pub use self::filter::{Asked, Filter, RATE_MAX};

mod filter;

/// Those who watch one proxy at a time.
pub const WATCHERS_MAX: usize = 8;
/// Requests that wait for one of them.
const WAITING_MAX: usize = 1_024;
const SECOND_NS: u64 = 1_000_000_000;

/// What a worker knows of those who watch.
#[derive(Default)]
pub struct Taps {
    watched: AtomicBool,
    watchers: ArcSwap<Vec<Arc<Watcher>>>,
}

impl Taps {
    /// Whether anybody watches. That is all that a request pays when nobody does.
    pub fn watched(&self) -> bool {
        self.watched.load(Relaxed)
    }

    /// Shows a request that ended at `now_ns`.
    pub fn show(&self, told: &Told, status: Option<u16>, now_ns: u64) {
        for watcher in self.watchers.load().iter() {
            watcher.show(told, status, now_ns);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Watcher>>)) {
        let mut watchers = Vec::clone(&self.watchers.load());
        change(&mut watchers);
        let watched = !watchers.is_empty();
        self.watchers.store(Arc::new(watchers));
        self.watched.store(watched, Relaxed);
    }
}

impl fmt::Debug for Taps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Taps").field("watchers", &self.watchers.load().len()).finish()
    }
}

/// One who watches, as workers see it.
#[derive(Debug)]
struct Watcher {
    filter: Filter,
    rate: u32,
    /// The second that runs, and how many it has been shown in it.
    shown: AtomicU64,
    summaries: mpsc::Sender<Summary>,
    /// Left out because there were more than `rate` a second, and because it was too slow to take them.
    omitted: [AtomicU64; 2],
}

impl Watcher {
    fn show(&self, told: &Told, status: Option<u16>, now_ns: u64) {
        let reason = reason(told, status);
        if !self.filter.matches(told, status, reason) {
            return;
        }
        if !self.has_turn(now_ns) {
            self.omitted[0].fetch_add(1, Relaxed);
        } else if let Ok(place) = self.summaries.try_reserve() {
            place.send(Summary::of(told, status, reason, now_ns));
        } else {
            self.omitted[1].fetch_add(1, Relaxed);
        }
    }

    fn omitted(&self) -> [u64; 2] {
        [0, 1].map(|cause| self.omitted[cause].load(Relaxed))
    }

    /// Whether fewer than `rate` were shown in this second.
    fn has_turn(&self, now_ns: u64) -> bool {
        let second = (now_ns / SECOND_NS) << 32;
        let next = |shown: u64| {
            let count = if shown & !u64::from(u32::MAX) == second { shown & u64::from(u32::MAX) } else { 0 };
            (count < u64::from(self.rate)).then_some(second | (count + 1))
        };
        self.shown.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

/// The code of what went wrong, if anything did.
fn reason(told: &Told, status: Option<u16>) -> Option<&'static str> {
    let failed = || status.is_some_and(|status| status >= 500).then_some(UPSTREAM_STATUS.reason);
    told.ending.as_ref().map(|ending| ending.reason).or_else(failed)
}

/// A request that is over. Fields are named as in OpenTelemetry's conventions where those have a name.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// When, on [`crate::clock`].
    #[serde(skip)]
    pub ended_ns: u64,
    /// What its client got; `None`: nothing.
    #[serde(rename = "http.response.status_code")]
    pub status: Option<u16>,
    /// The method.
    #[serde(rename = "http.request.method")]
    pub method: String,
    /// The host that it asked for.
    #[serde(rename = "server.address")]
    pub host: String,
    /// The port of that, if it was said.
    #[serde(rename = "server.port", skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The path, without the query.
    #[serde(rename = "url.path")]
    pub path: String,
    /// From its head to its end.
    pub duration_ms: f64,
    /// `inbound` or `outbound`.
    #[serde(rename = "outrigger.direction")]
    pub direction: &'static str,
    /// The rule that it met; empty: none.
    #[serde(rename = "outrigger.rule")]
    pub rule: Arc<str>,
    /// Where it was to go; empty: nowhere.
    #[serde(rename = "outrigger.cluster")]
    pub cluster: Arc<str>,
    /// Where it was sent last.
    #[serde(rename = "outrigger.endpoint", skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How often it was sent.
    #[serde(rename = "outrigger.tries")]
    pub tries: usize,
    /// The code of what went wrong.
    #[serde(rename = "error.type", skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Where it came from.
    #[serde(rename = "client.address", skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Who its sender had proved to be.
    #[serde(rename = "outrigger.caller", skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Its `x-request-id`.
    #[serde(rename = "outrigger.request_id")]
    pub id: String,
    /// The trace that it was part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The release by which its way was found.
    #[serde(rename = "outrigger.release")]
    pub release: u64,
}

impl Summary {
    fn of(told: &Told, status: Option<u16>, reason: Option<&'static str>, ended_ns: u64) -> Self {
        let labels = told.resolution.as_ref().map(|resolution| &resolution.stats().labels);
        let named = told.host();
        let with_port = named.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = with_port.map_or((&*named, None), |(host, port)| (host, Some(port)));
        Self {
            ended_ns,
            status,
            method: told.method().into_owned(),
            host: host.to_owned(),
            port,
            path: told.path().into_owned(),
            duration_ms: (ended_ns.saturating_sub(told.started_ns) / 1_000) as f64 / 1_000.0,
            direction: told.direction.as_str(),
            rule: labels.map_or_else(Arc::default, |labels| labels.rule.clone()),
            cluster: labels.map_or_else(Arc::default, |labels| labels.cluster.clone()),
            endpoint: told.tries.last().map(|last| last.address.to_string()),
            tries: told.tries.len() + told.tries_omitted as usize,
            reason,
            client: told.source.map(|source: SocketAddr| source.to_string()),
            identity: told.caller.as_ref().map(|caller| caller.identity.to_string()),
            id: told.id().into_owned(),
            trace_id: told.trace.map(|trace| trace.id.to_string()),
            release: told.release.0,
        }
    }
}

/// Where watching begins; on the control thread.
#[derive(Debug)]
pub struct Desk {
    workers: Vec<Arc<WorkerStats>>,
    /// Those who watch.
    watchers: RefCell<Vec<Arc<Watcher>>>,
    /// What those missed who watch no more.
    missed: Cell<[u64; 2]>,
}

/// Too many watch already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{WATCHERS_MAX} watch already, and no more may")]
pub struct Crowded;

/// One who watches, as it sees requests end. Dropped, it watches no more.
#[derive(Debug)]
pub struct Watch {
    watcher: Arc<Watcher>,
    /// In the order of their ends, more or less; never closed.
    pub summaries: mpsc::Receiver<Summary>,
    desk: Rc<Desk>,
}

impl Desk {
    /// Over the requests of these workers.
    pub fn new(workers: Vec<Arc<WorkerStats>>) -> Rc<Self> {
        Rc::new(Self { workers, watchers: RefCell::default(), missed: Cell::default() })
    }

    /// Begins to watch.
    pub fn watch(self: &Rc<Self>, asked: Asked) -> Result<Watch, Crowded> {
        if self.watchers.borrow().len() >= WATCHERS_MAX {
            return Err(Crowded);
        }
        let (sender, summaries) = mpsc::channel(WAITING_MAX);
        let Asked { filter, rate } = asked;
        let (shown, omitted) = (AtomicU64::new(0), Default::default());
        let watcher = Arc::new(Watcher { filter, rate, shown, summaries: sender, omitted });
        self.watchers.borrow_mut().push(watcher.clone());
        for worker in &self.workers {
            worker.taps.change(|watchers| watchers.push(watcher.clone()));
        }
        Ok(Watch { watcher, summaries, desk: self.clone() })
    }

    /// Writes how many watch, and what was left out for them.
    pub fn write(&self, exposition: &mut Exposition) {
        let watchers = self.watchers.borrow();
        exposition
            .gauge("outrigger_taps_open", "Those who watch requests end, by /debug/tap.")
            .sample(&[], watchers.len());
        let now = watchers.iter().map(|watcher| watcher.omitted()).fold(self.missed.get(), sum);
        for (cause, count) in ["rate", "slow"].into_iter().zip(now) {
            exposition
                .counter(
                    "outrigger_tap_omitted_total",
                    "Requests that someone who watches was not shown: more than were asked for in a second, or not taken in time.",
                )
                .sample(&[("cause", cause)], count);
        }
    }
}

fn sum(one: [u64; 2], other: [u64; 2]) -> [u64; 2] {
    [one[0] + other[0], one[1] + other[1]]
}

impl Watch {
    /// How many were left out: for the rate, and because this was too slow.
    pub fn omitted(&self) -> [u64; 2] {
        self.watcher.omitted()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for worker in &self.desk.workers {
            worker.taps.change(|watchers| watchers.retain(|other| !Arc::ptr_eq(other, &self.watcher)));
        }
        self.desk.watchers.borrow_mut().retain(|other| !Arc::ptr_eq(other, &self.watcher));
        self.desk.missed.set(sum(self.desk.missed.get(), self.watcher.omitted()));
    }
}

#[cfg(test)]
mod tests;
