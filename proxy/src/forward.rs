//! The last step of the stack: cluster → endpoint → connection → the wire.

use std::future::{poll_fn, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::Either;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::Uri;
use http::{Method, Request, Response, StatusCode, Version, uri};
use http_body::Body as _;
use outrigger_snapshot::head::{RequestHead, ResponseHead};
use outrigger_snapshot::policy::{Balance, HashKey};
use smallvec::SmallVec;

use crate::clock;
use crate::cluster::Cluster;
use crate::cluster::endpoint::{Endpoint, Outcome};
use crate::cluster::hash_ring::stable_hash;
use crate::error::{Limit, ProxyError, Side, Timeout};
use crate::exchange::{Exchange, Reply};
use crate::http::body::{Body, Incoming, Progress, UpstreamBody};
use crate::http::normalize::normalize_response;
use crate::http::upgrade::{Switch, Upgraded};
use crate::passage::{Admission, Attempt, Passage};
use crate::pool::{Lease, SendError};
use crate::sweep::Timer;
use crate::worker::Worker;

/// Endpoints tried for one request because the one before could not be reached.
const ENDPOINTS_TRIED_MAX: usize = 3;

/// Connections tried for one request because the one before turned out closed before anything was sent on it.
const UNSENT_TRIES_MAX: usize = 8;

/// The remaining time of the caller, in milliseconds.
pub const DEADLINE: HeaderName = HeaderName::from_static("outrigger-deadline-ms");

/// Sends a request where its rule says; the future is for the response head. What the exchange is made of is used up at once, so that the
/// future holds little more than it needs to wait.
pub fn forward(worker: Rc<Worker>, exchange: Exchange) -> impl Future<Output = Result<Reply, ProxyError>> {
    let (mut prepared, request) = match Prepared::new(&worker, exchange) {
        Ok(prepared) => prepared,
        Err(error) => return Either::Right(ready(Err(error))),
    };
    // A block and no function: the arguments of an `async fn` stand twice in its future.
    Either::Left(async move {
        let (lease, attempt, response) = prepared.try_endpoints(&worker, request).await?;
        let Prepared { cluster, admission, watch, upgrade, deadline_ns, .. } = prepared;
        let passage = Passage { lease, attempt, admission, record: None };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // Boxed: rare.
            return Box::pin(switch(response.into_parts().0, passage, upgrade)).await;
        }
        Ok(reply(response, passage, watch, &cluster, deadline_ns))
    })
}

/// A request on its way to a cluster, but for the request itself.
struct Prepared {
    cluster: Arc<Cluster>,
    admission: Admission,
    watch: Watch,
    /// What consistent hashing goes by.
    key: Option<u64>,
    upgrade: Option<HeaderValue>,
    deadline_ns: u64,
}

impl Prepared {
    fn new(worker: &Worker, exchange: Exchange) -> Result<(Self, Box<Request<Body>>), ProxyError> {
        let Exchange { head, body, resolution, upgrade, trailers, deadline_ns, peer, .. } = exchange;
        let cluster = resolution.destination().ok_or(ProxyError::NoBackend)?.cluster.clone();
        let admission = Admission::enter(&cluster.load, cluster.limits.requests)
            .ok_or(ProxyError::Limit(Limit::Requests))?;
        let key = hash_key(&cluster.balance, &head, &peer);
        // The clock is read once for this and the first attempt.
        let watch = Watch::new(worker, &cluster, &resolution.rule, &body, clock::now_ns());
        let request = Box::new(upstream_request(head, body, &cluster, upgrade.as_ref(), trailers));
        Ok((Self { cluster, admission, watch, key, upgrade, deadline_ns }, request))
    }

    /// Sends to one endpoint, and to others if that could not be reached.
    async fn try_endpoints(
        &mut self,
        worker: &Worker,
        mut request: Box<Request<Body>>,
    ) -> Result<(Lease, Attempt, Response<Incoming>), ProxyError> {
        let mut tried = SmallVec::<[u32; ENDPOINTS_TRIED_MAX]>::new();
        let mut started_ns = self.watch.started_ns;
        loop {
            let endpoint = pick(worker, &self.cluster, self.key, &tried, started_ns)?;
            let known = tried.contains(&endpoint.id());
            tried.push(endpoint.id());
            let mut attempt = Attempt::start(endpoint, started_ns, self.deadline_ns);
            let may_switch = self.upgrade.is_some();
            match send(worker, &self.cluster, &attempt, request, may_switch, &mut self.watch).await {
                Ok((lease, response)) => {
                    let failed = response.status().is_server_error();
                    let outcome = if failed { Outcome::Failure } else { Outcome::Success };
                    attempt.answered(outcome, clock::now_ns());
                    return Ok((lease, attempt, response));
                }
                Err(failed) => {
                    let blame = failed.error.side() == Side::Upstream;
                    attempt
                        .answered(if blame { Outcome::Failure } else { Outcome::Cancelled }, clock::now_ns());
                    match failed.request {
                        // Nothing was sent, so another endpoint may have it, whatever its method.
                        Some(back)
                            if failed.error.unprocessed() && !known && tried.len() < ENDPOINTS_TRIED_MAX =>
                        {
                            request = back;
                            started_ns = clock::now_ns();
                        }
                        _ => return Err(failed.error),
                    }
                }
            }
        }
    }
}

fn pick(
    worker: &Worker,
    cluster: &Cluster,
    key: Option<u64>,
    tried: &[u32],
    now_ns: u64,
) -> Result<Arc<Endpoint>, ProxyError> {
    let endpoints = cluster.endpoints.load();
    let endpoint = endpoints.pick(now_ns, &mut || worker.random(), key, tried);
    endpoint.cloned().ok_or_else(|| ProxyError::NoEndpoint(cluster.name.clone()))
}

fn hash_key(balance: &Balance, head: &RequestHead, peer: &HeaderValue) -> Option<u64> {
    let key = match balance {
        Balance::ConsistentHash(key) => key,
        Balance::PeakEwma | Balance::LeastRequest | Balance::RoundRobin | Balance::Random => return None,
    };
    match key {
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

/// The time limits of one try, until its response head.
struct Watch {
    timer: Timer,
    try_ns: u64,
    first_byte_ns: Option<u64>,
    stall_ns: Option<u64>,
    started_ns: u64,
    /// `None`: the request has no body.
    progress: Option<Rc<Progress>>,
}

impl Watch {
    fn new(
        worker: &Worker,
        cluster: &Cluster,
        rule: &crate::plan::Rule,
        body: &Body,
        started_ns: u64,
    ) -> Self {
        let try_ns = clock::limit_ns(rule.try_timeout_ms.unwrap_or(cluster.timeouts.try_ms));
        let progress = match body {
            Body::Downstream(body) => Some(body.progress()),
            Body::Empty | Body::Full(_) | Body::Upstream(_) => None,
        };
        Self {
            timer: Timer::new(&worker.sweep),
            try_ns: try_ns.map_or(u64::MAX, |limit| started_ns.saturating_add(limit)),
            first_byte_ns: clock::limit_ns(cluster.timeouts.first_byte_ms),
            stall_ns: clock::limit_ns(cluster.timeouts.body_stall_ms),
            started_ns,
            progress,
        }
    }

    /// The next limit, and what it means: the body must move while it is sent, and the head must come once it is.
    fn next(&self) -> (u64, Timeout) {
        let after =
            |from_ns: u64, limit: Option<u64>| limit.map_or(u64::MAX, |limit| from_ns.saturating_add(limit));
        let wait = match &self.progress {
            Some(progress) if !progress.ended.get() => {
                let timeout =
                    if progress.wanted.get() { Timeout::RequestBody } else { Timeout::UpstreamBody };
                (after(progress.since_ns.get(), self.stall_ns), timeout)
            }
            Some(progress) => (after(progress.since_ns.get(), self.first_byte_ns), Timeout::FirstByte),
            None => (after(self.started_ns, self.first_byte_ns), Timeout::FirstByte),
        };
        if self.try_ns <= wait.0 { (self.try_ns, Timeout::Try) } else { wait }
    }

    /// Waits for `future`, pinned where it is, within the limits.
    async fn limit<F: Future + Unpin>(&mut self, mut future: F) -> Result<F::Output, ProxyError> {
        poll_fn(|context| {
            if let Poll::Ready(output) = Pin::new(&mut future).poll(context) {
                return Poll::Ready(Ok(output));
            }
            if !self.timer.armed() {
                let (at_ns, timeout) = self.next();
                // The body may have moved since the timer was armed.
                if self.timer.fired() && at_ns <= clock::now_ns() {
                    return Poll::Ready(Err(ProxyError::Timeout(timeout)));
                }
                if at_ns != u64::MAX {
                    self.timer.arm(at_ns, context.waker());
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// A try that failed.
struct Failed {
    error: ProxyError,
    /// The request, if none of it was sent.
    request: Option<Box<Request<Body>>>,
}

/// Sends to an endpoint, on a connection that is there, else on a new one; again if the connection turns out to be closed.
async fn send(
    worker: &Worker,
    cluster: &Cluster,
    attempt: &Attempt,
    mut request: Box<Request<Body>>,
    may_switch: bool,
    watch: &mut Watch,
) -> Result<(Lease, Response<Incoming>), Box<Failed>> {
    let pool = worker.pools.of(attempt.endpoint(), cluster);
    for _ in 0..UNSENT_TRIES_MAX {
        let mut lease = match pool.take(cluster, attempt.started_ns()) {
            Some(lease) => lease,
            // Boxed: rare, and an idle connection should not be as large as this.
            None => match watch.limit(Box::pin(pool.open(cluster))).await {
                Ok(Ok(lease)) => lease,
                Ok(Err(error)) | Err(error) => {
                    return Err(Box::new(Failed { error, request: Some(request) }));
                }
            },
        };
        lease.may_switch(may_switch);
        match watch.limit(pin!(lease.send(*request))).await {
            Ok(Ok(response)) => return Ok((lease, response)),
            Ok(Err(SendError::Unsent(back))) => request = back,
            Ok(Err(SendError::Failed(error))) | Err(error) => {
                return Err(Box::new(Failed { error, request: None }));
            }
        }
    }
    let error = ProxyError::ConnectFailed {
        address: attempt.endpoint().address(),
        error: std::io::ErrorKind::ConnectionAborted.into(),
    };
    Err(Box::new(Failed { error, request: Some(request) }))
}

fn upstream_request(
    head: RequestHead,
    body: Body,
    cluster: &Cluster,
    upgrade: Option<&HeaderValue>,
    trailers: bool,
) -> Request<Body> {
    let (method, authority, path_and_query, mut headers) = head.into_parts();
    let bodiless = body.is_end_stream();
    let mut request = Request::new(body);
    if cluster.is_http2() {
        headers.remove(header::HOST);
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        let mut parts = uri::Parts::default();
        parts.scheme = Some(uri::Scheme::HTTP);
        parts.authority = uri::Authority::try_from(authority.as_header().as_bytes()).ok();
        parts.path_and_query = Some(path_and_query);
        // Both were parsed before; without them hyper refuses the request.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        *request.version_mut() = Version::HTTP_2;
    } else {
        if let Some(upgrade) = upgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, upgrade.clone());
        } else if trailers {
            headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        // The codec sends no body of unknown length with these unless it is told to.
        let quiet = matches!(method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS);
        if quiet && !bodiless && !headers.contains_key(header::CONTENT_LENGTH) {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        *request.uri_mut() = Uri::from(path_and_query);
    }
    *request.method_mut() = method;
    *request.headers_mut() = headers;
    request
}

fn reply(
    response: Response<Incoming>,
    passage: Passage,
    watch: Watch,
    cluster: &Cluster,
    deadline_ns: u64,
) -> Reply {
    let (mut parts, incoming) = response.into_parts();
    normalize_response(&mut parts.headers);
    let head = ResponseHead::new(parts.status, parts.headers);
    if incoming.is_end_stream() {
        passage.complete();
        return Reply { head, body: Body::Empty, upgraded: None };
    }
    let Watch { mut timer, try_ns, .. } = watch;
    timer.disarm();
    let stall_ns = clock::limit_ns(cluster.timeouts.body_stall_ms);
    let body = UpstreamBody::new(incoming, passage, timer, try_ns.min(deadline_ns), stall_ns);
    Reply { head, body: Body::Upstream(Box::new(body)), upgraded: None }
}

/// A 101 is passed on only if it says what was asked for (RFC 9110 §15.2.2).
async fn switch(
    mut parts: http::response::Parts,
    passage: Passage,
    upgrade: Option<HeaderValue>,
) -> Result<Reply, ProxyError> {
    let agreed = parts.headers.get(header::UPGRADE).cloned();
    let matches = match (&upgrade, &agreed) {
        (Some(asked), Some(agreed)) => offers(asked, agreed),
        _ => false,
    };
    let (true, Lease::Http1 { switch, .. }, Some(agreed)) = (matches, &passage.lease, agreed) else {
        return Err(ProxyError::UnexpectedUpgrade);
    };
    let switch: Switch = switch.clone();
    let upstream = switch.socket().await.ok_or(ProxyError::UnexpectedUpgrade)?;
    normalize_response(&mut parts.headers);
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(header::UPGRADE, agreed);
    let head = ResponseHead::new(parts.status, parts.headers);
    Ok(Reply { head, body: Body::Empty, upgraded: Some(Box::new(Upgraded { upstream, passage })) })
}

/// Whether one of the protocols asked for is the one agreed on.
fn offers(asked: &HeaderValue, agreed: &HeaderValue) -> bool {
    let (Ok(asked), Ok(agreed)) = (asked.to_str(), agreed.to_str()) else { return false };
    asked.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case(agreed.trim()))
}
