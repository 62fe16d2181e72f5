//! A request's way through the proxy, as far as it must be accounted for: counters, load, and the upstream connection it occupies. It ends
//! with the last byte of the response, or by being dropped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http::Method;
use outrigger_snapshot::head::{RequestHead, ResponseHead};

use crate::clock;
use crate::cluster::endpoint::Outcome;
use crate::cluster::{ClusterLoad, Gauge};
use crate::deadline::Stage;
use crate::error::{ProxyError, Timeout};
use crate::grpc;
use crate::http::body::Progress;
use crate::lineage::Inheritance;
use crate::local_reply::{Mishap, row_index};
use crate::plan::Resolution;
use crate::pool::Lease;
use crate::story::{Story, Trace};
use crate::telemetry::kind::{Ending, Kind, Verb};
use crate::telemetry::kinds::Finished;
use crate::telemetry::metrics::Direction;
use crate::worker::Worker;

pub use self::accepted::Accepted;
pub use self::attempt::Attempt;

mod accepted;
mod attempt;

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
    verb: Verb,
    ending: Ending,
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
        let (verb, ending) = (Verb::default(), Ending::default());
        Self { worker, activity, story, ended_ns: 0, verb, ending, status: None, streams: false }
    }

    /// What is known of it.
    pub fn story(&self) -> &Rc<Story> {
        &self.story
    }

    /// Notes what the request is for.
    pub fn method(&mut self, method: &Method) {
        self.verb = Verb::of(method);
    }

    /// Notes what a call in gRPC came to, if that is known.
    pub fn called(&mut self, code: Option<u16>) {
        code.into_iter().for_each(|code| self.ending.grpc(code));
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
    pub fn failed(&mut self, error: &ProxyError) {
        self.ending.refused(row_index(error));
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

    /// Notes what the client gets, of a call in gRPC or of any other.
    pub fn answered(&mut self, head: &ResponseHead, grpc: bool) {
        self.status = Some(head.status().as_u16());
        if grpc {
            self.called(head.header(&grpc::STATUS).and_then(grpc::code));
        }
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
        // Who leaves a stream that had begun well has had what was wanted: it has no other end.
        let cut = match self.status {
            None => true,
            Some(status) => status >= 400 && self.streams && self.ended_ns == 0,
        };
        let now_ns = if self.ended_ns == 0 { clock::now_ns() } else { self.ended_ns };
        self.activity.in_flight.set(self.activity.in_flight.get() - 1);
        self.activity.idle_since_ns.set(now_ns);
        if cut {
            self.story.fails(&ProxyError::ClientGone, now_ns);
        }
        {
            let told = self.story.told();
            self.worker.lineages.forget(told.lineage);
            let finished = Finished {
                status: self.status,
                kind: Kind::new(self.verb, self.status, self.ending),
                failed: told.failed_for(self.status),
                duration_ns: now_ns.saturating_sub(told.started_ns),
                now_ns,
                trace: told.trace.filter(Trace::is_told).map(|trace| trace.id.0),
            };
            let stats = &self.worker.stats;
            match &told.resolution {
                Some(resolution) => stats.finish(resolution.stats(), self.worker.index, &finished),
                None => stats.finish_unrouted(told.direction, &finished),
            }
            self.worker.tells(&told, self.status, now_ns);
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

    /// So much of the response goes down.
    pub fn sends(&self, bytes: usize) {
        self.record.iter().for_each(|record| record.story.sends(bytes));
    }

    /// The response is given up at `now_ns`, not complete.
    pub fn given_up(&self, now_ns: u64) {
        if let Some(record) = self.record.as_ref().filter(|_| now_ns >= self.attempt.deadline_ns()) {
            record.overdue(Stage::Body);
        }
    }

    /// The response broke off, and what for.
    pub fn fail(mut self, mishap: Mishap) {
        if let Some(record) = &mut self.record {
            record.ending.broke_off(mishap);
            record.story.mishap(mishap, clock::now_ns());
        }
        self.attempt.answered(Outcome::Failure, clock::now_ns());
    }
}
