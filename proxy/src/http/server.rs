//! The downstream side: hyper's servers, the limits that hyper does not have, and the way out when the proxy drains.

use std::cell::{OnceCell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::rt::ReadBufCursor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outrigger_snapshot::name::ClusterName;
use tower_service::Service;

use crate::caller::Caller;
use crate::clock;
use crate::connection::Arrival;
use crate::error::ProxyError;
use crate::exchange::{Exchange, Reply};
use crate::http::body::{Body, DownstreamBody};
use crate::http::forwarded::peer_value;
use crate::http::gather::gather;
use crate::http::io::FlatIo;
use crate::http::normalize::normalize_request;
use crate::http::stream::{CutAt, StreamExecutor};
use crate::http::upgrade::{Socket, Upgraded, tunnel};
use crate::passage::{Accepted, Activity, Record};
use crate::proxy_protocol::Between;
use crate::stack::{Call, answer};
use crate::sweep::Timer;
use crate::telemetry::metrics::Direction;
use crate::transport::Transport;
use crate::worker::{Phase, Worker};

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
    /// What it is doing.
    pub activity: Rc<Activity>,
    /// When its response is to be cut, over HTTP/1.1: there is one at a time.
    cut_at: CutAt,
    /// The other side of a tunnel, once a response has switched protocols.
    tunnel: RefCell<Option<(Upgraded, Option<Record>)>>,
    _accepted: Accepted,
}

impl Downstream {
    /// A connection that nothing was read of.
    pub fn new(arrival: Arrival, between: Between) -> Rc<Self> {
        let Arrival { worker, direction, port, accepted, .. } = arrival;
        let peer = peer_value(between.source.ip());
        let activity = Rc::new(Activity::new(clock::now_ns()));
        let (addressed, caller) = (OnceCell::new(), OnceCell::new());
        let (cut_at, tunnel) = (CutAt::default(), RefCell::default());
        Rc::new(Self {
            worker,
            direction,
            port,
            between,
            peer,
            addressed,
            caller,
            activity,
            cut_at,
            tunnel,
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
        let body = match incoming.is_end_stream() {
            true => Body::Empty,
            false => Body::Downstream(DownstreamBody::new(incoming, started_ns)),
        };
        let request = normalize_request(parts);
        let (direction, peer, caller) = (self.direction, self.peer.clone(), self.caller.get().cloned());
        let port = caller.as_ref().and_then(|caller| caller.port).or(self.port);
        let addressed = self.addressed.get().cloned();
        let call = Call { request, body, direction, addressed, port, peer, caller, version, started_ns };
        let (mut reply, record) = answer(&self.worker, stack, call, record).await;
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
            *self.tunnel.borrow_mut() = Some((*upgraded, record));
        }
        response
    }
}

/// Serves HTTP/1.1 until the connection ends.
pub async fn serve_http1<S>(stream: Transport, downstream: Rc<Downstream>, stack: S)
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
{
    let shared = downstream.clone();
    let service = service_fn(move |request| {
        let (downstream, stack) = (shared.clone(), stack.clone());
        async move {
            // In the turn that read the request.
            let started_ns = downstream.worker.stats.turns.began_ns();
            downstream.answer(&stack, request, downstream.cut_at.clone(), started_ns).await
        }
    });
    let io = HeadWatch { io: FlatIo::new(stream), activity: downstream.activity.clone() };
    let mut connection = http1::Builder::new()
        .auto_date_header(false)
        .max_buf_size(READ_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .serve_connection(io, service);
    let mut guard = Guard::new(&downstream, false);
    let ended = poll_fn(|context| {
        downstream.worker.stats.turns.next(clock::now_ns());
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(context) {
            return Poll::Ready(Some(ended));
        }
        match guard.poll(context) {
            Verdict::Stay => Poll::Pending,
            Verdict::Cut => Poll::Ready(None),
            Verdict::Finish => {
                Pin::new(&mut connection).graceful_shutdown();
                Pin::new(&mut connection).poll(context).map(Some)
            }
        }
    })
    .await;
    let switched = downstream.tunnel.borrow_mut().take();
    if let (Some(Ok(())), Some((upgraded, record))) = (ended, switched) {
        let parts = connection.into_parts();
        let socket = Socket { stream: parts.io.io.into_inner(), read: parts.read_buf };
        tunnel(socket, upgraded, record, &downstream.worker.means()).await;
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
    guard.retire_ns = clock::now_ns().saturating_add(downstream.worker.limits.age_ns);
    let serving = poll_fn(|context| {
        downstream.worker.stats.turns.next(clock::now_ns());
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        match guard.poll(context) {
            Verdict::Stay => Poll::Pending,
            Verdict::Cut => Poll::Ready(()),
            Verdict::Finish => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().poll(context).map(|_| ())
            }
        }
    });
    executor.wrap(serving).await;
}

/// What is to become of a connection.
enum Verdict {
    Stay,
    /// No new requests; what is under way goes on.
    Finish,
    /// At once.
    Cut,
}

/// Watches over a connection: idle too long, a head that does not end, too old, or the proxy drains.
struct Guard {
    worker: Rc<Worker>,
    activity: Rc<Activity>,
    timer: Timer,
    armed_ns: u64,
    /// When the response under way is to be cut.
    cut_at: CutAt,
    /// When it must take no more requests.
    retire_ns: u64,
    finishing: bool,
    /// Until then the first request is on its way, and a connection that ends before it would drop it.
    unspoken_until_ns: u64,
    direction: Direction,
    /// Whether it is told as soon as the proxy leaves. An idle HTTP/1.1 connection cannot be told, and one that came after that knows no
    /// better place: both stay until the proxy takes no more.
    told: bool,
}

impl Guard {
    fn new(downstream: &Downstream, http2: bool) -> Self {
        let worker = downstream.worker.clone();
        let timer = Timer::new(&worker.sweep);
        let told = http2 && worker.phase() == Phase::Running;
        Self {
            worker,
            activity: downstream.activity.clone(),
            timer,
            armed_ns: u64::MAX,
            cut_at: downstream.cut_at.clone(),
            retire_ns: u64::MAX,
            finishing: false,
            unspoken_until_ns: clock::now_ns().saturating_add(UNSPOKEN_NS),
            direction: downstream.direction,
            told,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Verdict {
        let phase = self.worker.phase();
        if !self.finishing && (phase.drains(self.direction) || self.told && phase >= Phase::Leaving) {
            if self.activity.is_unspoken() && clock::now_ns() < self.unspoken_until_ns {
                self.arm(self.unspoken_until_ns, context);
                return Verdict::Stay;
            }
            self.finishing = true;
            return Verdict::Finish;
        }
        let head_begins = self.activity.head_begins();
        // Later is found out when it fires.
        if self.timer.armed() && !head_begins && self.cut_at.get() >= self.armed_ns {
            return Verdict::Stay;
        }
        let now_ns = clock::now_ns();
        if head_begins {
            self.activity.head_began(now_ns);
        }
        let due_ns = self.due_ns(now_ns);
        if due_ns > now_ns {
            self.arm(due_ns, context);
            return Verdict::Stay;
        }
        let cut = self.cut_at.get() <= now_ns;
        if self.finishing || cut || self.activity.head_since().is_some() {
            return Verdict::Cut;
        }
        self.finishing = true;
        self.arm(now_ns.saturating_add(self.worker.limits.idle_ns), context);
        Verdict::Finish
    }

    fn arm(&mut self, at_ns: u64, context: &Context<'_>) {
        self.armed_ns = at_ns;
        self.timer.arm(at_ns, context.waker());
    }

    /// When to look again, or act.
    fn due_ns(&self, now_ns: u64) -> u64 {
        let limits = &self.worker.limits;
        if let Some(head_ns) = self.activity.head_since() {
            return head_ns.saturating_add(limits.head_ns);
        }
        let idle_ns = match self.activity.in_flight() {
            0 => self.activity.idle_since().saturating_add(limits.idle_ns),
            _ => now_ns.saturating_add(limits.idle_ns).min(self.cut_at.get()),
        };
        if self.finishing { idle_ns } else { idle_ns.min(self.retire_ns) }
    }
}

/// Notices the first bytes of a request head.
#[derive(Debug)]
struct HeadWatch {
    io: FlatIo,
    activity: Rc<Activity>,
}

impl hyper::rt::Read for HeadWatch {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if read.is_ready() {
            self.activity.bytes_came();
        }
        read
    }
}

impl hyper::rt::Write for HeadWatch {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}
