//! The last step of the stack: cluster → endpoint → connection → the wire, and again where that is safe.

use std::future::{Future, ready};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body as _, Frame};
use outrigger_snapshot::head::ResponseHead;

use self::answered::{look, outcome, peek};
use self::course::Course;
pub(crate) use self::course::Tries;
use self::hedge::{Aside, Sent, alone, beside};
use self::outgoing::Outgoing;
use self::send::{discard, hash_key, send};
use self::watch::Watch;
use crate::clock;
use crate::cluster::Cluster;
use crate::cluster::balance::PICK_REASONS;
use crate::cluster::breaker::{Admit, Permit};
use crate::cluster::endpoint::Endpoint;
use crate::deadline::Stage;
use crate::error::{Limit, ProxyError};
use crate::exchange::{Exchange, Reply};
use crate::http::body::{Body, Incoming, UpstreamBody};
use crate::http::normalize::{Marks, normalize_response};
use crate::lineage::Parent;
use crate::passage::{Admission, Attempt, Passage};
use crate::plan::Destination;
use crate::pool::Lease;
use crate::retry::budget::BudgetSettings;
use crate::retry::pushback::{Pushback, was_shed};
use crate::retry::{Ended, Obstacle, Verdict};
use crate::telemetry::metrics::Counter;
use crate::worker::Worker;

mod answered;
mod course;
mod hedge;
mod outgoing;
mod send;
mod switch;
mod told;
mod watch;

/// The remaining time of the caller, in milliseconds.
pub const DEADLINE: HeaderName = HeaderName::from_static("outrigger-deadline-ms");

/// The same to those who speak gRPC (gRPC over HTTP/2, "Timeout").
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Longest time that [`GRPC_TIMEOUT`] has room for, in milliseconds: eight digits.
const GRPC_TIMEOUT_MAX_MS: u64 = 99_999_999;

/// A value of [`GRPC_TIMEOUT`].
pub fn grpc_timeout(remaining_ms: u64) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{}m", remaining_ms.min(GRPC_TIMEOUT_MAX_MS))).ok()
}

/// Sends a request where its rule says; the future is for the response head. What the exchange is made of is used up at once, so that the
/// future holds little more than it needs to wait.
pub fn forward(worker: Rc<Worker>, exchange: Exchange) -> impl Future<Output = Result<Reply, ProxyError>> {
    let mut prepared = match Prepared::new(&worker, exchange) {
        Ok(prepared) => prepared,
        Err(error) => return Either::Right(ready(Err(error))),
    };
    // A block and no function: the arguments of an `async fn` stand twice in its future.
    Either::Left(async move {
        let (attempt, answer) = prepared.run(&worker).await?;
        let (grpc, deadline_ns) = (prepared.course.outgoing.grpc, prepared.course.deadline_ns);
        let marks = Marks::of(answer.believed, prepared.course.outgoing.to_stranger);
        let Prepared { cluster, admission, watch, upgrade, .. } = prepared;
        let Answer { lease, mut response, ahead, .. } = *answer;
        let passage = Passage { lease, attempt, admission, record: None };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // Boxed: rare.
            let idle = clock::limit_ns(cluster.timeouts.tunnel_idle_ms).map(Duration::from_nanos);
            return Box::pin(switch::switch(response.into_parts().0, marks, passage, upgrade, idle)).await;
        }
        normalize_response(response.headers_mut(), marks);
        Ok(reply(response, ahead, passage, grpc, watch, &cluster, deadline_ns))
    })
}

/// A request on its way to a cluster.
struct Prepared {
    course: Course,
    cluster: Arc<Cluster>,
    admission: Admission,
    watch: Watch,
    /// What consistent hashing and shuffle sharding go by.
    key: Option<u64>,
    /// Boxed, as it is rare.
    upgrade: Option<Box<HeaderValue>>,
    parent: Option<Parent>,
}

/// What an endpoint answered.
struct Answer {
    lease: Lease,
    response: Response<Incoming>,
    /// Taken from its body already.
    ahead: Option<Box<Frame<Bytes>>>,
    /// It is a gRPC call's, and what the first of its body says was waited for.
    held: bool,
    /// Who wrote it is believed to be a proxy of the mesh.
    believed: bool,
}

impl Answer {
    /// Boxed: it is handed on often, and kept while others wait.
    fn new(lease: Lease, response: Response<Incoming>, believed: bool) -> Box<Self> {
        Box::new(Self { lease, response, ahead: None, held: false, believed })
    }

    /// Whether a sidecar refused the request unprocessed, to protect its application.
    fn was_shed(&self) -> bool {
        self.believed && was_shed(self.response.headers())
    }
}

impl Prepared {
    fn new(worker: &Worker, exchange: Exchange) -> Result<Self, ProxyError> {
        let resolution = exchange.resolution.clone();
        let destination = resolution.destination().ok_or(ProxyError::NoBackend)?;
        let cluster = destination.cluster.clone();
        let admission = Admission::enter(&cluster.load, cluster.limits.requests)
            .ok_or(ProxyError::Limit(Limit::Requests))?;
        let key = hash_key(&cluster.balance, &exchange.head, &exchange.peer);
        let (upgrade, deadline_ns, parent) =
            (exchange.upgrade.clone().map(Box::new), exchange.deadline_ns, exchange.parent);
        // The clock is read once for this and the first try.
        let now_ns = clock::now_ns();
        resolution.stats().shard(worker.index).prepared(now_ns.saturating_sub(exchange.told_ns));
        let mut outgoing = Outgoing::new(exchange, &cluster, &destination.retry, worker);
        let watch = Watch::new(worker, &cluster, &resolution.rule, outgoing.body(), now_ns);
        if destination.retry.attempts > 0 || cluster.hedge.is_some() {
            cluster.load.retries.deposit(&cluster.budget, now_ns);
        }
        let course = Course { resolution, outgoing, tries: Tries::default(), deadline_ns };
        Ok(Self { course, cluster, admission, watch, key, upgrade, parent })
    }

    /// Sends to one endpoint, and again as long as its retry policy says so.
    async fn run(&mut self, worker: &Worker) -> Result<(Attempt, Box<Answer>), ProxyError> {
        loop {
            let started_ns = self.watch.started_ns();
            let permit = permit(worker, &self.cluster, started_ns).inspect_err(|_| self.spend(worker))?;
            let late_ns = self.late_ns(started_ns);
            let (endpoint, known) = self.pick(worker, started_ns)?;
            let mut attempt = Attempt::start(endpoint, permit, started_ns, self.course.deadline_ns);
            let number = self.course.outgoing.begins(attempt.endpoint().address(), started_ns, false);
            let (second, sent) = {
                let (watch, fresh) = (&mut self.watch, self.course.tries.fresh);
                let mut own =
                    pin!(send(worker, &self.cluster, &attempt, &self.course.outgoing, watch, fresh));
                match alone(worker, own.as_mut(), late_ns).await {
                    Some(sent) => (None, sent),
                    None => {
                        let (cluster, parent, key) = (&self.cluster, self.parent, self.key);
                        let (outgoing, resolution) = (&self.course.outgoing, &self.course.resolution);
                        let deadline_ns = self.course.deadline_ns;
                        let aside = Aside { worker, cluster, resolution, outgoing, parent, key, deadline_ns };
                        // Boxed, as it is rare: every request's future would have room for it.
                        Box::pin(beside(aside, own, &attempt, &mut self.course.tries)).await
                    }
                }
            };
            let number = if second.is_some() { self.course.outgoing.story.last() } else { number };
            if let Some(second) = second {
                attempt = *second;
            }
            let sent = if self.holds_back(&sent) { Box::pin(peek(sent)).await } else { sent };
            let stage = self.course.outgoing.stage.take();
            let (ended, pushback) = look(&sent, self.course.outgoing.grpc, known, &self.course.tries);
            let now_ns = clock::now_ns();
            if let (Some(hedge), true) = (&self.cluster.hedge, sent.is_ok()) {
                // Of a hedge that won, too, from the first try on: that one took longer yet.
                let took_ns = now_ns.saturating_sub(started_ns);
                self.cluster.load.answers.observe(took_ns, hedge.percentile);
            }
            match outcome(&sent, self.course.outgoing.grpc) {
                Some(outcome) => attempt.answered(outcome, now_ns),
                None => attempt.begun(now_ns),
            }
            // A 429 speaks of who asks; others may be welcome.
            if let (Pushback::Away(away_ms), Ended::Shed { .. } | Ended::Status(500..)) = (pushback, ended) {
                attempt.endpoint().is_away(away_ms, now_ns);
            }
            self.course.outgoing.ended(&self.cluster, number, &sent, attempt.endpoint(), now_ns);
            let Some(wait_ns) = self.again(worker, ended, pushback, now_ns) else {
                return self.over(number, sent, attempt, stage, now_ns);
            };
            drop(attempt);
            let next_ns = clock::now_ns().saturating_add(wait_ns);
            if let Ok(answer) = sent {
                Box::pin(discard(answer)).await;
            }
            if wait_ns > 0 {
                self.course.outgoing.stage.set(Some(Stage::Backoff));
                Box::pin(self.watch.pause(next_ns)).await;
            }
            self.renew();
        }
    }

    /// Where the next try goes, and whether one went there before.
    fn pick(&mut self, worker: &Worker, now_ns: u64) -> Result<(Arc<Endpoint>, bool), ProxyError> {
        let Course { resolution, tries, .. } = &mut self.course;
        let picks = &resolution.stats().shard(worker.index).picks;
        pick(worker, &self.cluster, self.key, tries, picks, now_ns)
    }

    /// There is no other try; the one of this number, whose answer is passed on, was at `stage`.
    fn over(
        &self,
        number: u16,
        sent: Sent,
        attempt: Attempt,
        stage: Option<Stage>,
        now_ns: u64,
    ) -> Result<(Attempt, Box<Answer>), ProxyError> {
        let Course { tries, deadline_ns, .. } = &self.course;
        if let Some(stage) = stage.filter(|_| now_ns >= *deadline_ns) {
            self.course.shard().overdue(stage);
        }
        if let Ok(answer) = &sent {
            let shard = self.course.shard();
            if tries.counted + tries.uncounted > 0 {
                shard.seldom().retry_answers.add(1);
            }
            if !answer.response.status().is_server_error() {
                shard.usual.observe(now_ns.saturating_sub(attempt.started_ns()), 50);
            }
            self.settle(number, now_ns);
        }
        sent.map(|answer| (attempt, answer)).map_err(|failed| failed.error)
    }

    /// Whether a 200 may still turn out to be a failure that is worth another try, and nobody has waited for that yet.
    fn holds_back(&self, sent: &Sent) -> bool {
        let open = |answer: &Answer| answer.response.status() == StatusCode::OK && !answer.held;
        sent.as_ref().is_ok_and(|answer| open(answer)) && self.course.outgoing.minds_grpc
    }

    /// Whether it is sent again, and after how many nanoseconds.
    fn again(&mut self, worker: &Worker, ended: Ended, pushback: Pushback, now_ns: u64) -> Option<u64> {
        if ended == Ended::Final {
            return None;
        }
        let policy = &self.destination()?.retry;
        let pushback = match pushback {
            Pushback::Away(_) if !self.has_other() => pushback.at_the_same(),
            said => said,
        };
        let Course { tries, outgoing, deadline_ns, .. } = &self.course;
        let verdict = policy.judge(ended, outgoing.safe, tries.repeated(), pushback, worker.random());
        let (reason, counted, wait_ns) = match verdict {
            Verdict::Done => return None,
            Verdict::Last(obstacle) => return self.last(worker, obstacle),
            Verdict::Again { reason, counted, wait_ns } => (reason, counted, wait_ns),
        };
        if !outgoing.is_repeatable() {
            return self.last(worker, Obstacle::Body);
        }
        // What costs somebody work is not sent where that would likely come too late.
        let takes_ns = if counted { self.course.usual_ns() } else { 0 };
        if now_ns.saturating_add(wait_ns).saturating_add(takes_ns) >= *deadline_ns {
            if now_ns < *deadline_ns {
                self.course.shard().overdue(Stage::Backoff);
            }
            return self.last(worker, Obstacle::Deadline);
        }
        if counted && !self.cluster.load.retries.withdraw(&budget(&self.cluster, self.parent), now_ns) {
            return self.last(worker, Obstacle::Budget);
        }
        let tries = &mut self.course.tries;
        tries.counted += u8::from(counted);
        tries.uncounted += u8::from(!counted);
        tries.fresh = ended == Ended::Stale;
        tries.raced |= tries.fresh;
        tries.refused |= ended == Ended::Refused;
        self.course.shard().seldom().retries[reason as usize].add(1);
        Some(wait_ns)
    }

    /// Whether the next try goes where none of this request has been.
    fn has_other(&self) -> bool {
        let (tries, endpoints) = (&self.course.tries, self.cluster.endpoints.load());
        usize::from(tries.begun) < endpoints.reach() && endpoints.has_other(self.key, tries.endpoints())
    }

    fn last(&self, worker: &Worker, obstacle: Obstacle) -> Option<u64> {
        self.course.shard().seldom().retry_obstacles[obstacle as usize].add(1);
        if obstacle.is_exhaustion() {
            self.spend(worker);
        }
        None
    }

    /// Whoever retries what this request is part of does no better.
    fn spend(&self, worker: &Worker) {
        if let Some(parent) = &self.parent {
            worker.lineages.spend(parent.key);
        }
    }

    /// The next try starts.
    fn renew(&mut self) {
        let now_ns = clock::now_ns();
        self.watch.restart(now_ns);
        let Course { outgoing, tries, .. } = &mut self.course;
        outgoing.stage.set(None);
        outgoing.number(1 + u32::from(tries.counted));
    }

    fn destination(&self) -> Option<&Destination> {
        self.course.resolution.destination()
    }
}

/// What one more try draws on, be it a retry or a hedge.
fn budget(cluster: &Cluster, parent: Option<Parent>) -> BudgetSettings {
    let retried = parent.is_some_and(|parent| parent.inheritance.retried);
    if retried { cluster.budget.halved() } else { cluster.budget }
}

pub(crate) fn permit(worker: &Worker, cluster: &Cluster, now_ns: u64) -> Result<Permit, ProxyError> {
    match cluster.breaker.admit(now_ns, worker.random()) {
        Admit::Permit(permit) => Ok(permit),
        Admit::Refused { retry_after_ns } => {
            let retry_after_ms = retry_after_ns.div_ceil(1_000_000);
            Err(ProxyError::BreakerOpen { cluster: cluster.name.clone(), retry_after_ms })
        }
    }
}

/// An endpoint, and whether it was tried before; what it was picked for is counted among `picks`.
pub(crate) fn pick(
    worker: &Worker,
    cluster: &Cluster,
    key: Option<u64>,
    tries: &mut Tries,
    picks: &[Counter; PICK_REASONS.len()],
    now_ns: u64,
) -> Result<(Arc<Endpoint>, bool), ProxyError> {
    let endpoints = cluster.endpoints.load();
    let picked = endpoints.pick(now_ns, &mut || worker.random(), key, tries.endpoints());
    let picked = picked.ok_or_else(|| match endpoints.open() {
        [] => ProxyError::NoEndpoint(cluster.name.clone()),
        _ => ProxyError::Limit(Limit::EndpointRequests),
    })?;
    picks[picked.reason as usize].add(1);
    Ok((picked.clone(), tries.note(&picked, endpoints.reach())))
}

fn reply(
    response: Response<Incoming>,
    ahead: Option<Box<Frame<Bytes>>>,
    passage: Passage,
    grpc: bool,
    watch: Watch,
    cluster: &Cluster,
    deadline_ns: u64,
) -> Reply {
    let (parts, incoming) = response.into_parts();
    let head = ResponseHead::new(parts.status, parts.headers);
    if ahead.is_none() && incoming.is_end_stream() {
        passage.complete();
        return Reply { head, body: Body::Empty, upgraded: None };
    }
    let try_ns = watch.try_ns();
    let stall_ns = clock::limit_ns(cluster.timeouts.body_stall_ms);
    let timer = watch.into_timer();
    let mut body = UpstreamBody::new(incoming, passage, grpc, timer, try_ns.min(deadline_ns), stall_ns);
    if let Some(frame) = ahead {
        body.put_back(*frame);
    }
    Reply { head, body: Body::Upstream(Box::new(body)), upgraded: None }
}
