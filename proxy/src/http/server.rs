//! The downstream side: hyper's servers, the limits that hyper does not have, and the way out when the proxy drains.

use std::cell::{OnceCell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outrigger_snapshot::name::ClusterName;
use tower_service::Service;

use self::guard::{Guard, Verdict};
use crate::caller::Caller;
use crate::clock;
use crate::connection::Arrival;
use crate::error::ProxyError;
use crate::exchange::{Exchange, Reply};
use crate::gateway::Edge;
use crate::http::body::{Body, DownstreamBody};
use crate::http::forwarded::peer_value;
use crate::http::gather::gather;
use crate::http::normalize::normalize_request;
use crate::http::stream::{CutAt, StreamExecutor};
use crate::http::upgrade::Upgraded;
use crate::passage::{Accepted, Activity, Record};
use crate::proxy_protocol::Between;
use crate::stack::{Call, answer};
use crate::telemetry::metrics::Direction;
use crate::termination::Client;
use crate::transport::Transport;
use crate::worker::{Phase, Worker};

pub use http1::serve_http1;

mod guard;
mod http1;

/// Most that is read at once from an HTTP/1.1 connection, in bytes; it gets there only for bodies.
const READ_BYTES_MAX: usize = 256 * 1024;
/// Largest request head, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Fields of a request head.
const FIELDS_MAX: usize = 128;
/// Flow-control window of one HTTP/2 stream, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Window of an HTTP/2 connection: several streams may stall without stalling the rest.
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;
/// Sent and not yet taken by the socket, per HTTP/2 stream.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// In a drain, a connection that was accepted and has not spoken has this long: its request is on its way.
pub const UNSPOKEN_NS: u64 = 500_000_000;

/// The other side of a connection that has switched protocols, and what counts it.
type Tunnel = (Upgraded, Option<Record>);

/// A downstream connection, as its requests share it.
#[derive(Debug)]
pub struct Downstream {
    /// Its worker.
    pub worker: Rc<Worker>,
    /// Which listener it came through.
    pub direction: Direction,
    /// The port of the own service that it came for, where that is known before its first byte.
    pub port: Option<u16>,
    /// Who the peer is, and what it connected to.
    pub between: Between,
    /// The peer's address as a field value.
    pub peer: HeaderValue,
    /// The port of the mesh that it was going to, if it was intercepted.
    pub addressed: OnceCell<Arc<ClusterName>>,
    /// Who the peer has proved to be.
    pub caller: OnceCell<Rc<Caller>>,
    /// What is known of a client outside the mesh that has come inside TLS.
    pub client: OnceCell<Rc<Client>>,
    /// What is known of a stranger, where this is a gateway.
    pub edge: OnceCell<Rc<Edge>>,
    /// What it is doing.
    pub activity: Rc<Activity>,
    /// When its response is to be cut, over HTTP/1.1: there is one at a time.
    cut_at: CutAt,
    /// The other side of a tunnel, once a response has switched protocols. Boxed: rare.
    tunnel: RefCell<Option<Box<Tunnel>>>,
    _accepted: Accepted,
}

impl Downstream {
    /// A connection that nothing was read of.
    pub fn new(arrival: Arrival) -> Rc<Self> {
        let Arrival { worker, direction, port, edge, between, accepted } = arrival;
        Rc::new(Self {
            worker,
            direction,
            port,
            peer: peer_value(between.source.ip()),
            between,
            addressed: OnceCell::new(),
            caller: OnceCell::new(),
            client: OnceCell::new(),
            edge: edge.map_or_else(OnceCell::new, OnceCell::from),
            activity: Rc::new(Activity::new(clock::now_ns())),
            cut_at: CutAt::default(),
            tunnel: RefCell::default(),
            _accepted: accepted,
        })
    }

    async fn answer<S>(
        &self,
        stack: &S,
        request: Request<Incoming>,
        cut_at: CutAt,
        started_ns: u64,
    ) -> Result<Response<Body>, Infallible>
    where
        S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone,
    {
        let record = Record::start(self.worker.clone(), self.activity.clone(), self.direction, started_ns);
        let (parts, incoming) = request.into_parts();
        let version = parts.version;
        let story = record.story();
        story.arrives(&parts, [self.worker.random(), self.worker.random()]);
        let port = self.edge.get().map(|edge| edge.port());
        let port = port.or_else(|| self.addressed.get().map(|cluster| cluster.port));
        story.comes_from(self.between.source, self.caller.get(), port);
        let body = match incoming.is_end_stream() {
            true => Body::Empty,
            false => {
                let body = DownstreamBody::new(incoming, started_ns);
                self.activity.body_begins(body.progress());
                story.has_body(body.progress());
                Body::Downstream(body)
            }
        };
        let caller = self.caller.get().cloned();
        let call = Call {
            request: normalize_request(parts),
            body,
            direction: self.direction,
            port: caller.as_ref().and_then(|caller| caller.port).or(self.port),
            addressed: self.addressed.get().cloned(),
            peer: self.peer.clone(),
            caller,
            client: self.client.get().cloned(),
            edge: self.edge.get().cloned(),
            version,
            started_ns,
        };
        let (mut reply, record) = answer(&self.worker, stack, call, record).await;
        if let Some(caller) = self.caller.get() {
            caller.calls.answered(reply.head.status());
        }
        if let Body::Upstream(body) = &mut reply.body {
            body.watch(cut_at, self.worker.stats.turns.began_ns());
        }
        let mut response = self.response(reply, record);
        if version < Version::HTTP_2 && self.worker.phase() >= Phase::Leaving {
            response.headers_mut().entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    fn response(&self, reply: Reply, record: Option<Record>) -> Response<Body> {
        let (status, headers) = reply.head.into_parts();
        let mut response = Response::new(reply.body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if let Some(upgraded) = reply.upgraded {
            *self.tunnel.borrow_mut() = Some(Box::new((*upgraded, record)));
        }
        response
    }
}

/// Serves HTTP/2 until the connection ends.
pub async fn serve_http2<S>(stream: Transport, downstream: Rc<Downstream>, stack: S)
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
{
    let shared = downstream.clone();
    let streams = StreamExecutor::new(downstream.worker.sweep.clone());
    let spawning = streams.clone();
    let service = service_fn(move |request| {
        let (downstream, stack, streams) = (shared.clone(), stack.clone(), streams.clone());
        async move { downstream.answer(&stack, request, streams.cut_at(), clock::now_ns()).await }
    });
    let (io, executor) = gather(stream);
    let connection = http2::Builder::new(spawning)
        .auto_date_header(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(downstream.worker.limits.streams)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let mut guard = Guard::new(&downstream, true);
    guard.retire(clock::now_ns().saturating_add(downstream.worker.limits.age_ns));
    let serving = poll_fn(|context| {
        downstream.worker.stats.turns.next(clock::now_ns());
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        match guard.poll(context) {
            Verdict::Stay | Verdict::Rest => Poll::Pending,
            Verdict::Cut => Poll::Ready(()),
            Verdict::Finish => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().poll(context).map(|_| ())
            }
        }
    });
    executor.wrap(serving).await;
}
