//! Looking at the first bytes of a connection without taking them, until they say what it is, or it has had its time.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use outrigger_certs::mesh::Spoken as Inside;
use outrigger_snapshot::policy::Mtls;

use crate::caller;
use crate::clock;
use crate::detect::client_hello::{self, ClientHello, HELLO_BYTES_MAX, Opening};
use crate::detect::spoken::{FIRST_BYTES_MAX, Spoken, spoken};
use crate::error::ProxyError;
use crate::http::server::{Downstream, UNSPOKEN_NS};
use crate::identity::Standing;
use crate::opaque::Refusal;
use crate::plan::connection::{Expected, InboundPort};
use crate::sweep::Timer;
use crate::telemetry::metrics::Direction;
use crate::transport::Socket;
use crate::worker::Worker;

/// What a connection is.
#[derive(Debug)]
pub(super) enum Found {
    /// HTTP/1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// TLS, which a caller of the mesh begins with.
    Tls,
    /// A connection of this port that is not looked into.
    Opaque(Result<Arc<InboundPort>, Refusal>),
    /// It left, said nothing for too long, or the proxy drains.
    Over,
}

/// Looks at it.
pub(super) async fn look(stream: &mut Socket, downstream: &Downstream) -> io::Result<Found> {
    let worker = &downstream.worker;
    let expected = match downstream.direction {
        Direction::Outbound => Some(Expected::Http),
        Direction::Inbound => worker.with_plan(|plan| plan.expected(downstream.port)),
    };
    match expected {
        Some(Expected::Http) => look_for_http(stream, downstream).await,
        Some(Expected::Opaque(port)) => look_for_caller(stream, downstream, port).await,
        Some(Expected::Either(port)) => look_for_all(stream, downstream, port).await,
        Some(Expected::Nothing(port)) => {
            let name = worker.with_plan(|plan| plan.service.cluster(port));
            let refusal =
                name.map_or(Refusal::Request(ProxyError::NoPlan), |port| Refusal::NoPort(port.to_string()));
            Ok(Found::Opaque(Err(refusal)))
        }
        // Over HTTP there is an answer that says so; what came for one port may be anything.
        None if downstream.port.is_none() => look_for_http(stream, downstream).await,
        None => Ok(Found::Opaque(Err(ProxyError::NoPlan.into()))),
    }
}

/// HTTP or TLS. A preface that stops half-way has as long as a head has; whoever has said nothing yet, as long as there are places for others.
async fn look_for_http(stream: &mut Socket, downstream: &Downstream) -> io::Result<Found> {
    let limits = &downstream.worker.limits;
    let mut peek = Peek::of(stream, downstream, limits.idle_ns.min(limits.head_ns));
    let until_ns = clock::now_ns().saturating_add(limits.idle_ns);
    let mut first = [0; FIRST_BYTES_MAX];
    loop {
        let count = match peek.more(&mut first).await? {
            Peeked::Bytes(count) => count,
            Peeked::Late if peek.goes_on(until_ns) => continue,
            Peeked::Late | Peeked::End => return Ok(Found::Over),
        };
        match spoken(&first[..count], true) {
            Spoken::Undecided => peek.begun(limits.head_ns),
            Spoken::Tls => return Ok(Found::Tls),
            Spoken::Http2 => return Ok(Found::Http2),
            Spoken::Http1 | Spoken::Opaque => return Ok(Found::Http1),
        }
    }
}

/// A connection of the port, inside TLS with a caller of the mesh or not.
async fn look_for_caller(
    stream: &mut Socket,
    downstream: &Downstream,
    port: Arc<InboundPort>,
) -> io::Result<Found> {
    let limits = &downstream.worker.limits;
    let wait_ns = match port.mtls() {
        // Nobody calls by mutual TLS: the workload may speak first.
        None => return Ok(Found::Opaque(Ok(port))),
        Some(Mtls::Permissive) => limits.detect_ns,
        Some(Mtls::Strict) => limits.head_ns,
    };
    let mut peek = Peek::of(stream, downstream, wait_ns);
    let mut first = [0];
    let caller = match peek.more(&mut first).await? {
        Peeked::Bytes(_) => first == [0x16] && is_caller(&mut peek).await?,
        Peeked::End | Peeked::Late => false,
    };
    Ok(if caller { Found::Tls } else { Found::Opaque(Ok(port)) })
}

/// Anything: what is neither HTTP nor a caller of the mesh is for the one port that carries no requests, if there is one, and so is whoever
/// is silent.
async fn look_for_all(
    stream: &mut Socket,
    downstream: &Downstream,
    port: Option<Arc<InboundPort>>,
) -> io::Result<Found> {
    let mut peek = Peek::of(stream, downstream, downstream.worker.limits.detect_ns);
    let mut first = [0; FIRST_BYTES_MAX];
    let opaque = || Found::Opaque(port.clone().ok_or(Refusal::NoInboundPort));
    loop {
        let Peeked::Bytes(count) = peek.more(&mut first).await? else { break };
        match spoken(&first[..count], false) {
            Spoken::Undecided => {}
            Spoken::Http1 => return Ok(Found::Http1),
            Spoken::Http2 => return Ok(Found::Http2),
            Spoken::Tls if is_caller(&mut peek).await? || port.is_none() && ends_tls(downstream) => {
                return Ok(Found::Tls);
            }
            Spoken::Tls | Spoken::Opaque => return Ok(opaque()),
        }
    }
    let silent = peek.seen == 0;
    match &port {
        // Whoever is silent may still be about to send a request, and would be refused there.
        None if silent => look_for_http(stream, downstream).await,
        Some(port) if silent && port.mtls() == Some(Mtls::Strict) => look_for_http(stream, downstream).await,
        _ => Ok(opaque()),
    }
}

/// Whether TLS of clients outside the mesh is ended for requests.
fn ends_tls(downstream: &Downstream) -> bool {
    downstream.worker.with_plan(|plan| plan.ending(None).is_some()).unwrap_or(false)
}

/// Whether a ClientHello is that of a caller of the mesh: others are for the workload.
async fn is_caller(peek: &mut Peek<'_>) -> io::Result<bool> {
    let mut bytes = vec![0; HELLO_BYTES_MAX];
    peek.seen = 0;
    loop {
        let Peeked::Bytes(count) = peek.more(&mut bytes).await? else { return Ok(false) };
        match client_hello::read(&bytes[..count]) {
            Opening::NeedMore => {}
            Opening::Hello(hello) => {
                return Ok(is_of_caller(&hello, &peek.worker.identity.standing()));
            }
            Opening::NotTls | Opening::Malformed(_) => return Ok(false),
        }
    }
}

fn is_of_caller(hello: &ClientHello, standing: &Standing) -> bool {
    let domain = match standing {
        Standing::Proved(mesh) => Some(mesh.bundle().domain()),
        Standing::None | Standing::Awaited => None,
    };
    caller::is_caller(hello.server_name.as_deref(), hello.alpn.offers(Inside::Opaque.alpn()), domain)
}

/// What is there.
pub(super) enum Peeked {
    /// So many bytes, more than before.
    Bytes(usize),
    /// No more will come.
    End,
    /// None have come in time, or none will.
    Late,
}

/// Waits for bytes without taking them.
pub(super) struct Peek<'a> {
    stream: &'a mut Socket,
    worker: &'a Worker,
    direction: Direction,
    timer: Timer,
    due_ns: u64,
    /// Bytes that were there.
    seen: usize,
    /// The time is not changed any more.
    settled: bool,
}

impl<'a> Peek<'a> {
    pub(super) fn new(
        stream: &'a mut Socket,
        worker: &'a Worker,
        direction: Direction,
        wait_ns: u64,
    ) -> Self {
        let timer = Timer::new(&worker.sweep);
        let due_ns = clock::now_ns().saturating_add(wait_ns);
        Self { stream, worker, direction, timer, due_ns, seen: 0, settled: false }
    }

    fn of(stream: &'a mut Socket, downstream: &'a Downstream, wait_ns: u64) -> Self {
        Self::new(stream, &downstream.worker, downstream.direction, wait_ns)
    }

    /// The first bytes have come: there is so long for the rest.
    fn begun(&mut self, wait_ns: u64) {
        if !self.settled {
            self.settled = true;
            self.due_ns = clock::now_ns().saturating_add(wait_ns);
        }
    }

    /// Whether nothing has come, and may still until `until_ns`, as nobody lacks a place; it is asked again after as long as a head has.
    fn goes_on(&mut self, until_ns: u64) -> bool {
        let now_ns = clock::now_ns();
        let silent = self.seen == 0 && !self.settled;
        if !silent || now_ns >= until_ns || self.worker.places.are_short(self.direction) {
            return false;
        }
        self.due_ns = now_ns.saturating_add(self.worker.limits.head_ns).min(until_ns);
        self.timer.disarm();
        true
    }

    /// All bytes are new, and there is so long for them.
    pub(super) fn begin_again(&mut self, wait_ns: u64) {
        self.seen = 0;
        self.begun(wait_ns);
    }

    /// Waits until there are more than before.
    pub(super) async fn more(&mut self, bytes: &mut [u8]) -> io::Result<Peeked> {
        match poll_fn(|context| self.poll(context, bytes)).await? {
            Some(0) => Ok(Peeked::End),
            Some(count) if count > self.seen => {
                self.seen = count;
                Ok(Peeked::Bytes(count))
            }
            Some(_) | None => {
                if self.seen > 0 {
                    self.stream.renew()?;
                }
                Ok(Peeked::Late)
            }
        }
    }

    /// Ready when there is something, with `None` when the time is over.
    fn poll(&mut self, context: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<Option<usize>>> {
        if let Poll::Ready(peeked) = self.stream.poll_peek(context, bytes, self.seen) {
            return Poll::Ready(peeked.map(Some));
        }
        if self.timer.fired() {
            return Poll::Ready(Ok(None));
        }
        if self.worker.phase().drains(self.direction) && !self.settled {
            self.settled = true;
            self.due_ns = self.due_ns.min(clock::now_ns() + UNSPOKEN_NS);
        }
        self.timer.arm(self.due_ns, context.waker());
        Poll::Pending
    }
}
