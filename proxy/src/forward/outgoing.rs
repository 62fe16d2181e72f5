//! A request as it is sent, and sent again.

use std::cell::Cell;
use std::rc::Rc;

use http::header::{self, HeaderName, HeaderValue};
use http::uri::{self, Uri};
use http::{HeaderMap, Method, Request, Version};
use http_body::Body as _;
use outrigger_snapshot::head::RequestHead;

use super::{DEADLINE, GRPC_TIMEOUT, grpc_timeout};
use crate::cluster::{Cluster, Wire};
use crate::deadline::Stage;
use crate::exchange::Exchange;
use crate::http::body::{Body, DownstreamBody};
use crate::http::replay::Replay;
use crate::retry::RetryPolicy;
use crate::retry::pushback::NO_RETRY;
use crate::story::Story;
use crate::worker::Worker;

const ATTEMPT: HeaderName = HeaderName::from_static("outrigger-attempt");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const GRPC_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// For so long what the upstream was told of the time that is left is true: no more than a hop costs.
const TOLD_NS: u64 = 1_000_000;

/// See the module.
pub(super) struct Outgoing {
    /// For the next try, as far as nobody has taken it.
    request: Cell<Option<Box<Request<Body>>>>,
    /// What further tries are made of; `None`: there are none, unless the request comes back unsent.
    copy: Option<Box<Request<()>>>,
    replay: Option<Replay>,
    bodiless: bool,
    /// When its upstream was told how much time is left: what is made anew says nothing that is true.
    told_ns: Cell<u64>,
    /// What is known of it, and under which number the try that is under way.
    pub(super) story: Rc<Story>,
    pub(super) try_number: Cell<u16>,
    /// What it waits for now.
    pub(super) stage: Cell<Option<Stage>>,
    /// Who sends it.
    pub(super) worker: u16,
    /// Whether its response may switch protocols.
    pub(super) switches: bool,
    /// Whether it may be executed twice.
    pub(super) safe: bool,
    /// Whether it is a gRPC call.
    pub(super) grpc: bool,
    /// Whether it may be sent again for a gRPC status.
    pub(super) minds_grpc: bool,
}

impl Outgoing {
    /// Makes the request for the wire; keeps what a retry would need, where there may be one.
    pub(super) fn new(exchange: Exchange, cluster: &Cluster, policy: &RetryPolicy, worker: &Worker) -> Self {
        let Exchange { head, body, upgrade, trailers, grpc, told_ns, story, .. } = exchange;
        let once = upgrade.is_some() || head.header(&NO_RETRY).is_some();
        let safe = !once && policy.safe(head.method(), head.header(&IDEMPOTENCY_KEY).is_some());
        let repeats = policy.attempts > 0 || cluster.hedge.is_some();
        // Over HTTP/1.1, what was not processed comes back by itself.
        let keeps = repeats && (safe || cluster.is_http2()) && upgrade.is_none();
        let (body, replay) = match body {
            Body::Downstream(body) if keeps && fits(&body, policy) => {
                let replay = Replay::new(body, policy.body_bytes_max, worker.replay.part(&cluster.load));
                (Body::Replay(replay.body()), Some(replay))
            }
            other => (other, None),
        };
        let bodiless = body.is_end_stream();
        let head = upstream_head(head, bodiless, cluster, upgrade.as_ref(), trailers);
        let copies = keeps && (bodiless || replay.is_some());
        let minds_grpc = grpc && safe && policy.minds_grpc();
        let (parts, ()) = head.into_parts();
        let copy = copies.then(|| Box::new(Request::from_parts(parts.clone(), ())));
        let request = Cell::new(Some(Box::new(Request::from_parts(parts, body))));
        let (told_ns, stage, switches) = (Cell::new(told_ns), Cell::default(), upgrade.is_some());
        let worker = worker.index as u16;
        let try_number = Cell::default();
        Self {
            request,
            copy,
            replay,
            bodiless,
            told_ns,
            story,
            try_number,
            stage,
            worker,
            switches,
            safe,
            grpc,
            minds_grpc,
        }
    }

    /// The body that will be sent first.
    pub(super) fn body(&mut self) -> &Body {
        self.request.get_mut().as_ref().map_or(&Body::Empty, |request| request.body())
    }

    /// The request for the next try; `None` if it cannot be made again.
    pub(super) fn take(&self) -> Option<Box<Request<Body>>> {
        if let Some(request) = self.request.take() {
            return Some(request);
        }
        let head = (**self.copy.as_ref()?).clone();
        let body = match &self.replay {
            Some(replay) if replay.is_whole() => Body::Replay(replay.body()),
            Some(_) => return None,
            None => Body::Empty,
        };
        self.told_ns.set(0);
        Some(Box::new(head.map(|()| body)))
    }

    /// Whether it can be sent to two at a time, once all of its body has come.
    pub(super) fn has_twin(&self) -> bool {
        self.copy.is_some()
    }

    /// The same once more, while it is under way; `None` if more of its body is to come, or that was too long to be kept.
    pub(super) fn twin(&self) -> Option<Self> {
        let head = self.copy.as_ref()?;
        let body = match &self.replay {
            Some(replay) => Body::Replay(replay.twin()?),
            None => Body::Empty,
        };
        let request = Cell::new(Some(Box::new((**head).clone().map(|()| body))));
        let (told_ns, stage) = (Cell::new(0), Cell::default());
        let (copy, replay) = (None, None);
        let Self { bodiless, worker, switches, safe, grpc, minds_grpc, .. } = *self;
        Some(Self {
            request,
            copy,
            replay,
            bodiless,
            told_ns,
            story: self.story.clone(),
            try_number: Cell::default(),
            stage,
            worker,
            switches,
            safe,
            grpc,
            minds_grpc,
        })
    }

    /// None of it was sent.
    pub(super) fn give_back(&self, request: Box<Request<Body>>) {
        self.request.set(Some(request));
    }

    /// Whether there is a next try to be made.
    pub(super) fn is_repeatable(&self) -> bool {
        let whole = self.bodiless || self.replay.as_ref().is_some_and(Replay::is_whole);
        let request = self.request.take();
        let unsent = request.is_some();
        self.request.set(request);
        unsent || self.copy.is_some() && whole
    }

    /// Tells the upstream the number of this try.
    pub(super) fn number(&mut self, attempt: u32) {
        let grpc = self.grpc;
        for headers in self.heads() {
            headers.insert(ATTEMPT, HeaderValue::from(attempt));
            if grpc {
                headers.insert(GRPC_ATTEMPTS, HeaderValue::from(attempt - 1));
            }
        }
    }

    /// Tells the upstream how much time is left until `deadline_ns`, unless what it was told is still true.
    pub(super) fn tell(&self, request: &mut Request<Body>, deadline_ns: u64, now_ns: u64) {
        if deadline_ns == u64::MAX || now_ns < self.told_ns.get() + TOLD_NS {
            return;
        }
        self.told_ns.set(now_ns);
        let remaining_ms = deadline_ns.saturating_sub(now_ns) / 1_000_000;
        let headers = request.headers_mut();
        headers.insert(DEADLINE, HeaderValue::from(remaining_ms));
        if let (Some(timeout), Some(left)) = (headers.get_mut(GRPC_TIMEOUT), grpc_timeout(remaining_ms)) {
            *timeout = left;
        }
    }

    fn heads(&mut self) -> impl Iterator<Item = &mut HeaderMap> {
        let own = self.request.get_mut().as_mut().map(|request| request.headers_mut());
        own.into_iter().chain(self.copy.as_mut().map(|copy| copy.headers_mut()))
    }
}

/// Whether a body is worth keeping: one that is known to be too long is not.
fn fits(body: &DownstreamBody, policy: &RetryPolicy) -> bool {
    body.size_hint().lower() <= policy.body_bytes_max as u64
}

fn upstream_head(
    head: RequestHead,
    bodiless: bool,
    cluster: &Cluster,
    upgrade: Option<&HeaderValue>,
    trailers: bool,
) -> Request<()> {
    let (method, authority, path_and_query, mut headers) = head.into_parts();
    let mut request = Request::new(());
    if cluster.wire(upgrade.is_some()) == Wire::Http2 {
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
        connection_fields(&mut headers, &method, bodiless, upgrade, trailers);
        *request.uri_mut() = Uri::from(path_and_query);
    }
    *request.method_mut() = method;
    *request.headers_mut() = headers;
    request
}

/// What HTTP/1.1 says about this connection alone.
fn connection_fields(
    headers: &mut HeaderMap,
    method: &Method,
    bodiless: bool,
    upgrade: Option<&HeaderValue>,
    trailers: bool,
) {
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, upgrade.clone());
    } else if trailers {
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    // The codec sends no body of unknown length with these unless it is told to.
    let quiet = matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS);
    if quiet && !bodiless && !headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}
