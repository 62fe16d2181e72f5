//! A request's way through the proxy, as far as it must be accounted for: counters, load, and the upstream connection it occupies. It ends
//! with the last byte of the response, or by being dropped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use outrigger_snapshot::head::RequestHead;

use crate::clock;
use crate::cluster::breaker::Permit;
use crate::cluster::endpoint::{Endpoint, InFlight, Outcome};
use crate::cluster::{ClusterLoad, Gauge};
use crate::deadline::Stage;
use crate::error::{ProxyError, Timeout};
use crate::failure::Failure;
use crate::http::body::Progress;
use crate::lineage::Inheritance;
use crate::local_reply::Mishap;
use crate::plan::Resolution;
use crate::pool::Lease;
use crate::story::Story;
use crate::telemetry::metrics::{Direction, WorkerStats};
use crate::worker::Worker;

/// Counts a downstream connection for as long as it is open.
#[derive(Debug)]
pub struct Accepted {
    stats: Arc<WorkerStats>,
    direction: Direction,
}

impl Accepted {
    /// One that was just accepted.
    pub fn new(stats: &Arc<WorkerStats>, direction: Direction) -> Self {
        stats.downstream_connections[direction as usize].add(1);
        stats.downstream_accepted[direction as usize].add(1);
        Self { stats: stats.clone(), direction }
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.stats.downstream_connections[self.direction as usize].subtract(1);
    }
}

/// What a downstream connection is doing.
#[derive(Debug)]
pub struct Activity {
    in_flight: Cell<u32>,
    idle_since_ns: Cell<u64>,
    /// Bytes came while no request was under way.
    head_begins: Cell<bool>,
    head_since_ns: Cell<Option<u64>>,
    spoken: Cell<bool>,
    flushed: Cell<bool>,
    /// How far the body of the last request has come, over HTTP/1.1.
    body: RefCell<Option<Rc<Progress>>>,
}

impl Activity {
    /// Of a connection that was accepted at `now_ns`.
    pub fn new(now_ns: u64) -> Self {
        Self {
            in_flight: Cell::new(0),
            idle_since_ns: Cell::new(now_ns),
            head_begins: Cell::new(false),
            head_since_ns: Cell::new(None),
            spoken: Cell::new(false),
            flushed: Cell::new(true),
            body: RefCell::default(),
        }
    }

    /// Whether no request has come yet.
    pub fn is_unspoken(&self) -> bool {
        !self.spoken.get()
    }

    /// Requests under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// When the last of them ended.
    pub fn idle_since(&self) -> u64 {
        self.idle_since_ns.get()
    }

    /// Something was read.
    pub fn bytes_came(&self) {
        self.head_begins.set(self.in_flight.get() == 0);
    }

    /// Whether everything that was written has left.
    pub fn is_flushed(&self, flushed: bool) {
        self.flushed.set(flushed);
    }

    /// The body of a request begins.
    pub fn body_begins(&self, progress: Rc<Progress>) {
        *self.body.borrow_mut() = Some(progress);
    }

    /// Whether both sides have said everything that they had begun to say. Only then may the next byte be taken for the beginning of a request.
    pub fn rests(&self) -> bool {
        let body_ended = self.body.borrow().as_ref().is_none_or(|body| body.ended.get());
        let quiet =
            self.in_flight.get() == 0 && !self.head_begins.get() && self.head_since_ns.get().is_none();
        quiet && self.flushed.get() && body_ended
    }

    /// Whether a head has begun whose beginning nobody has timed.
    pub fn head_begins(&self) -> bool {
        self.head_begins.get() && self.head_since_ns.get().is_none()
    }

    /// Times the beginning of a head.
    pub fn head_began(&self, now_ns: u64) {
        self.head_since_ns.set(Some(now_ns));
    }

    /// Since when a head has been incomplete.
    pub fn head_since(&self) -> Option<u64> {
        self.head_since_ns.get()
    }
}

/// Counts one request in its series: in flight until it is dropped, then by status and duration. Then its story is kept, if it is one of
/// failure.
#[derive(Debug)]
pub struct Record {
    worker: Rc<Worker>,
    activity: Rc<Activity>,
    story: Rc<Story>,
    /// 0: dropped, it reads the clock itself.
    ended_ns: u64,
    status: Option<u16>,
    /// The rest of its answer is under way.
    streams: bool,
}

impl Record {
    /// A request whose head was complete at `started_ns`.
    pub fn start(worker: Rc<Worker>, activity: Rc<Activity>, direction: Direction, started_ns: u64) -> Self {
        activity.in_flight.set(activity.in_flight.get() + 1);
        activity.spoken.set(true);
        activity.head_begins.set(false);
        activity.head_since_ns.set(None);
        let story = worker.stories.begin(direction, started_ns);
        Self { worker, activity, story, ended_ns: 0, status: None, streams: false }
    }

    /// What is known of it.
    pub fn story(&self) -> &Rc<Story> {
        &self.story
    }

    /// Remembers it for the calls that the workload makes meanwhile.
    pub fn remember(&mut self, head: &RequestHead, inheritance: Inheritance) {
        self.story.is_remembered(self.worker.lineages.remember(head, inheritance));
    }

    /// Whether a call that the workload made meanwhile failed, and was retried as far as it may be.
    pub fn is_spent(&self) -> bool {
        self.worker.lineages.is_spent(self.story.told().lineage)
    }

    /// It has met its rule, which names the series.
    pub fn goes_to(&mut self, resolution: Resolution) {
        resolution.stats().shard(self.worker.index).in_flight.add(1);
        self.story.goes_to(resolution);
    }

    /// Counts what it failed for, as far as that is counted by rule.
    pub fn failed(&self, error: &ProxyError) {
        let at_ns = clock::now_ns();
        self.story.fails(error, at_ns);
        match (error, &self.story.told().resolution) {
            (ProxyError::Limit(limit), Some(resolution)) => {
                let shard = resolution.stats().shard(self.worker.index);
                shard.seldom().limited[*limit as usize].add(1);
            }
            (ProxyError::Timeout(Timeout::Deadline), _) => self.overdue(Stage::Arrival),
            _ => {}
        }
    }

    /// Counts it as one whose time was over.
    pub fn overdue(&self, stage: Stage) {
        if let Some(resolution) = &self.story.told().resolution {
            resolution.stats().shard(self.worker.index).overdue(stage);
        }
    }

    /// Notes the status that the client gets.
    pub fn status(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// The rest of its answer is under way; unless [`Self::end`] is called, it never arrives.
    pub fn streams(&mut self) {
        self.streams = true;
    }

    /// Ends at `now_ns`. Dropped instead, it reads the clock itself.
    pub fn end(mut self, now_ns: u64) {
        self.ended_ns = now_ns;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let cut = self.status.is_none() || self.streams && self.ended_ns == 0;
        let now_ns = if self.ended_ns == 0 { clock::now_ns() } else { self.ended_ns };
        self.activity.in_flight.set(self.activity.in_flight.get() - 1);
        self.activity.idle_since_ns.set(now_ns);
        if cut {
            self.story.fails(&ProxyError::ClientGone, now_ns);
        }
        {
            let told = self.story.told();
            self.worker.lineages.forget(told.lineage);
            let unrouted = &self.worker.stats.unrouted[told.direction as usize];
            let shard = match &told.resolution {
                Some(resolution) => resolution.stats().shard(self.worker.index),
                None => {
                    unrouted.in_flight.add(1);
                    unrouted
                }
            };
            shard.finish(self.status, now_ns.saturating_sub(told.started_ns));
            if told.is_failure(self.status) {
                self.worker.stats.failures.keep(Failure::of(&told, self.status, now_ns));
            }
            if self.worker.stats.taps.watched() {
                self.worker.stats.taps.show(&told, self.status, now_ns);
            }
        }
        self.worker.stories.end(&self.story);
    }
}

/// A place among a cluster's requests in flight.
#[derive(Debug)]
pub struct Admission(Arc<ClusterLoad>);

impl Admission {
    /// A place, unless `limit` are taken.
    pub fn enter(load: &Arc<ClusterLoad>, limit: u32) -> Option<Self> {
        let requests: &Gauge = &load.requests;
        requests.enter(limit).then(|| Self(load.clone()))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.requests.leave();
    }
}

/// A request on its way to an endpoint. One that is dropped unanswered, because its client left or its time is over, still tells for how
/// long nothing came: else an endpoint that hangs would soon look like the fastest.
#[derive(Debug)]
pub struct Attempt {
    in_flight: InFlight,
    /// Of the cluster's breaker, until it is answered.
    permit: Option<Permit>,
    started_ns: Cell<u64>,
    deadline_ns: u64,
    /// When the head of the answer came, where that does not say how the request went; else 0.
    begun_ns: u64,
    /// It waits for a place among the connections of this proxy: how that ends says nothing of the endpoint.
    in_line: Cell<bool>,
    answered: bool,
}

impl Attempt {
    /// A request sent to `endpoint` at `started_ns`, of which nobody wants an answer after `deadline_ns`.
    pub fn start(endpoint: Arc<Endpoint>, permit: Permit, started_ns: u64, deadline_ns: u64) -> Self {
        let (in_flight, permit) = (InFlight::start(endpoint), Some(permit));
        let (started_ns, in_line) = (Cell::new(started_ns), Cell::new(false));
        Self { in_flight, permit, started_ns, deadline_ns, begun_ns: 0, in_line, answered: false }
    }

    /// Where it goes.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.in_flight.endpoint()
    }

    /// When it was sent.
    pub fn started_ns(&self) -> u64 {
        self.started_ns.get()
    }

    /// After which nobody wants an answer.
    pub fn deadline_ns(&self) -> u64 {
        self.deadline_ns
    }

    /// Whether it waits for a place that the endpoint has no part in.
    pub fn in_line(&self) -> &Cell<bool> {
        &self.in_line
    }

    /// It has waited for its place until `now_ns`, and its endpoint is asked from now on.
    pub fn turn(&self, now_ns: u64) {
        self.started_ns.set(now_ns);
        self.in_line.set(false);
    }

    /// The head of the answer has come: it took so long, but how it went is for what follows to say.
    pub fn begun(&mut self, now_ns: u64) {
        self.begun_ns = now_ns;
    }

    /// How it went, until the response head.
    pub fn answered(&mut self, outcome: Outcome, now_ns: u64) {
        self.answered = true;
        if self.in_line.get() {
            return;
        }
        let (started_ns, resumed_ns) = (self.started_ns.get(), clock::resumed_ns());
        let excused = outcome == Outcome::Failure && started_ns < resumed_ns;
        let outcome = if excused { Outcome::Cancelled } else { outcome };
        let until_ns = if self.begun_ns == 0 { now_ns } else { self.begun_ns };
        let elapsed_ns = until_ns.saturating_sub(started_ns.max(resumed_ns));
        self.in_flight.answered(outcome, elapsed_ns, now_ns);
        if let Some(permit) = self.permit.take() {
            permit.finish(outcome, elapsed_ns, now_ns);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.answered {
            let now_ns = clock::now_ns();
            let outcome = match self.begun_ns {
                0 if now_ns >= self.deadline_ns => Outcome::Failure,
                0 => Outcome::Cancelled,
                // Nobody has waited for the rest of it.
                _ => Outcome::Success,
            };
            self.answered(outcome, now_ns);
        }
    }
}

/// What a request occupies from the moment its endpoint is known.
#[derive(Debug)]
pub struct Passage {
    /// The upstream connection, or its stream. Dropped without [`Passage::complete`], an HTTP/1.1 connection is closed.
    pub lease: Lease,
    /// The endpoint's load.
    pub attempt: Attempt,
    /// The cluster's load.
    pub admission: Admission,
    /// The request's series; set once the response goes down.
    pub record: Option<Record>,
}

impl Passage {
    /// The response is complete: the connection can carry the next request.
    pub fn complete(self) {
        let now_ns = clock::now_ns();
        self.lease.release(now_ns);
        if let Some(record) = self.record {
            record.end(now_ns);
        }
    }

    /// The response is given up at `now_ns`, not complete.
    pub fn given_up(&self, now_ns: u64) {
        if let Some(record) = self.record.as_ref().filter(|_| now_ns >= self.attempt.deadline_ns()) {
            record.overdue(Stage::Body);
        }
    }

    /// The response broke off, and what for.
    pub fn fail(mut self, mishap: Mishap) {
        if let Some(record) = &self.record {
            record.story.mishap(mishap, clock::now_ns());
        }
        self.attempt.answered(Outcome::Failure, clock::now_ns());
    }
}
