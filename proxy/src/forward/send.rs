//! One try: an endpoint, a connection, the request on it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http_body::{Body as _, Frame};
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::{Balance, HashKey};

use super::Answer;
use super::outgoing::Outgoing;
use super::watch::Watch;
use crate::clock;
use crate::cluster::hash_ring::stable_hash;
use crate::cluster::{Cluster, Wire};
use crate::deadline::Stage;
use crate::error::{Limit, ProxyError};
use crate::http::body::Incoming;
use crate::http::failure::upstream_failure;
use crate::passage::Attempt;
use crate::pool::{EndpointPool, Lease, Ready, SendError};
use crate::story::Milestones;
use crate::worker::Worker;

/// Connections tried for one request because the one before turned out closed before anything was sent on it.
const UNSENT_TRIES_MAX: usize = 8;

/// Read of an answer that nobody will see, so that its connection can be used again, in bytes.
const DISCARD_BYTES_MAX: usize = 64 * 1024;

/// For so long a response head waits for the first of its body, where that may say that the call failed.
const HOLD: Duration = Duration::from_millis(100);

/// A connection that has carried nothing for so long may be closed by its peer for that, while the next request is on its way there (RFC 9112
/// §9.3.1). One that is in quick use is closed for what it was asked.
const RESTED_NS: u64 = 100_000_000;

/// A try that failed.
pub(super) struct Failed {
    pub(super) error: ProxyError,
    /// Whether its connection had rested, and nothing came of it any more: the peer may have closed it before it saw the request.
    pub(super) rested: bool,
}

/// What consistent hashing and shuffle sharding go by.
pub(super) fn hash_key(balance: &Balance, head: &RequestHead, peer: &HeaderValue) -> Option<u64> {
    match balance.key()? {
        HashKey::Source => Some(stable_hash(peer.as_bytes())),
        HashKey::Header(name) => {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            head.header(&name).map(|value| stable_hash(value.as_bytes()))
        }
        HashKey::Cookie(name) => head
            .headers_named(&header::COOKIE)
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|crumb| crumb.trim().split_once('='))
            .find(|(crumb, _)| crumb == name)
            .map(|(_, value)| stable_hash(value.as_bytes())),
    }
}

/// Sends to an endpoint, on a connection that is there, else on a new one; again if the connection turns out to be closed.
pub(super) async fn send(
    worker: &Worker,
    cluster: &Cluster,
    attempt: &Attempt,
    outgoing: &Outgoing,
    watch: &mut Watch,
    fresh: bool,
) -> Result<Box<Answer>, Box<Failed>> {
    let pool = worker.pools.of(attempt.endpoint(), cluster);
    let wire = cluster.wire(outgoing.switches);
    let mut now_ns = attempt.started_ns();
    for _ in 0..UNSENT_TRIES_MAX {
        outgoing.stage.set(Some(Stage::Connect));
        let (mut reused, mut rested) = (false, false);
        let mut lease = if !fresh
            && let Some((lease, idle_ns)) = pool.take(cluster, wire, attempt.started_ns())
        {
            (reused, rested) = (true, idle_ns >= RESTED_NS);
            lease
        } else {
            // Boxed: rare, and an idle connection should not be as large as this.
            let opened = Box::pin(connection(&pool, cluster, wire, attempt, outgoing, watch, fresh)).await;
            now_ns = clock::now_ns();
            opened.map_err(|error| Box::new(Failed { error, rested }))?
        };
        outgoing.ready(now_ns, reused);
        lease.may_switch(outgoing.switches);
        let Some(mut request) = outgoing.take() else { break };
        outgoing.tell(&mut request, attempt.deadline_ns(), now_ns);
        outgoing.tell_trace(worker, &mut request);
        if rested {
            outgoing.spare(&request);
        }
        outgoing.stage.set(Some(Stage::Head));
        match watch.limit(pin!(lease.send(*request))).await {
            Ok(Ok(response)) => {
                return Ok(Answer::new(lease, response, attempt.endpoint().is_believed()));
            }
            Ok(Err(SendError::Unsent(back))) => outgoing.give_back(back),
            Ok(Err(SendError::Failed(error))) | Err(error) => {
                let rested = rested && !lease.has_heard();
                return Err(Box::new(Failed { error, rested }));
            }
        }
    }
    let address = attempt.endpoint().address();
    let error = std::io::ErrorKind::ConnectionAborted.into();
    Err(Box::new(Failed { error: ProxyError::ConnectFailed { address, error }, rested: false }))
}

/// A connection to the endpoint of a try. Its time begins when there is a place for one: what comes before is no doing of the endpoint's.
async fn connection(
    pool: &Rc<EndpointPool>,
    cluster: &Cluster,
    wire: Wire,
    attempt: &Attempt,
    outgoing: &Outgoing,
    watch: &mut Watch,
    fresh: bool,
) -> Result<Lease, ProxyError> {
    let mut ready = pin!(pool.ready(cluster, wire, fresh, attempt.in_line()));
    let ready = loop {
        match watch.limit(ready.as_mut()).await {
            Ok(ready) => break ready?,
            Err(_) if attempt.in_line().get() => watch.restart(clock::now_ns()),
            Err(late) => return Err(late),
        }
    };
    if attempt.in_line().get() {
        let now_ns = clock::now_ns();
        if now_ns >= attempt.deadline_ns() {
            return Err(ProxyError::Limit(Limit::PendingTime));
        }
        attempt.turn(now_ns);
        watch.restart(now_ns);
    }
    match ready {
        Ready::Lease(lease) => Ok(lease),
        Ready::Place(opening) => {
            let milestones = Milestones::default();
            let opened = watch.limit(pin!(pool.open(opening, cluster, wire, &milestones))).await;
            outgoing.connected(&milestones);
            opened?
        }
    }
}

/// The first of a response body; `None` if it is empty or does not come in time.
pub(super) async fn first_frame(body: &mut Incoming) -> Option<Result<Frame<Bytes>, ProxyError>> {
    let first = poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
    let frame = tokio::time::timeout(HOLD, first).await.ok()??;
    Some(frame.map_err(upstream_failure))
}

/// Lets go of an answer that nobody will see; its connection is kept if the rest of it is there already.
pub(super) async fn discard(answer: Box<Answer>) {
    let Answer { lease, response, .. } = *answer;
    let mut body = response.into_body();
    let mut room = DISCARD_BYTES_MAX;
    let over = poll_fn(|context| {
        loop {
            match Pin::new(&mut body).poll_frame(context) {
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    let Some(rest) = room.checked_sub(bytes) else { return Poll::Ready(false) };
                    room = rest;
                }
                Poll::Ready(Some(Err(_))) | Poll::Pending => return Poll::Ready(false),
            }
        }
    });
    if over.await {
        lease.release(clock::now_ns());
    }
}
