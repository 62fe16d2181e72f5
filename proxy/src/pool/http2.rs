//! HTTP/2 connections: shared by many requests, up to the peer's stream limit.

use std::cell::Cell;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::SendRequest;

use super::EndpointPool;
use super::lease::Lease;
use crate::clock;
use crate::http::body::Body;

/// Streams that a connection being opened is expected to take: so many requests wait for one attempt.
pub const STREAMS_EXPECTED: u32 = 100;

/// Streams used of one connection, whatever more the peer allows: beyond it, its window and its loss are shared by too many.
pub const STREAMS_MAX: usize = 1_000;

/// A connection takes no new stream after this, so that load finds new endpoints behind one address.
const AGE_MAX_NS: u64 = 3_600_000_000_000;

/// One connection.
#[derive(Debug)]
pub struct Shared {
    sender: SendRequest<Body>,
    /// As the peer allows.
    streams_max: Cell<u32>,
    streams: Cell<u32>,
    opened_ns: u64,
    used_ns: Cell<u64>,
    /// Its peer is believed no more.
    parted: Cell<bool>,
}

impl Shared {
    pub(crate) fn new(sender: SendRequest<Body>) -> Rc<Self> {
        let now_ns = clock::now_ns();
        Rc::new(Self {
            sender,
            streams_max: Cell::new(STREAMS_EXPECTED),
            streams: Cell::new(0),
            opened_ns: now_ns,
            used_ns: Cell::new(now_ns),
            parted: Cell::new(false),
        })
    }

    /// The peer allows so many streams now.
    pub(crate) fn allow(&self, streams_max: usize) {
        self.streams_max.set(streams_max.min(STREAMS_MAX) as u32);
    }

    /// It is to take no more streams, since its peer is believed no more.
    pub(crate) fn part(&self) {
        self.parted.set(true);
    }

    pub(super) fn is_parted(&self) -> bool {
        self.parted.get()
    }

    fn idle_ns(&self, now_ns: u64) -> u64 {
        if self.streams.get() == 0 { now_ns.saturating_sub(self.used_ns.get()) } else { 0 }
    }

    fn room(&self) -> u32 {
        self.streams_max.get().saturating_sub(self.streams.get())
    }

    pub(super) fn usable_since(&self, oldest_ns: u64, now_ns: u64) -> bool {
        let young = now_ns.saturating_sub(self.opened_ns) < AGE_MAX_NS;
        !self.sender.is_closed() && young && (self.streams.get() > 0 || self.used_ns.get() >= oldest_ns)
    }
}

/// One stream.
#[derive(Debug)]
pub struct Stream {
    pool: Rc<EndpointPool>,
    shared: Rc<Shared>,
}

impl Stream {
    /// Takes a stream whether or not there is room; [`take`] asks first.
    pub(crate) fn new(pool: Rc<EndpointPool>, shared: Rc<Shared>) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        Self { pool, shared }
    }

    pub(super) fn send(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>> + use<> {
        self.shared.sender.clone().try_send_request(request)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.streams.set(self.shared.streams.get() - 1);
        if self.shared.streams.get() == 0 {
            self.shared.used_ns.set(clock::now_ns());
            if self.pool.gives_up(0) {
                self.pool.shared.borrow_mut().retain(|shared| !Rc::ptr_eq(shared, &self.shared));
            }
        }
        self.pool.notify_free();
    }
}

/// A stream of the connection with the most room, if any has room. Also for how long that has carried nothing.
pub(super) fn take(pool: &Rc<EndpointPool>, oldest_ns: u64, now_ns: u64) -> Option<(Lease, u64)> {
    let mut connections = pool.shared.borrow_mut();
    connections.retain(|shared| shared.usable_since(oldest_ns, now_ns));
    let shared =
        connections.iter().max_by_key(|shared| shared.room()).filter(|shared| shared.room() > 0)?.clone();
    let idle_ns = shared.idle_ns(now_ns);
    Some((Lease::Http2(Stream::new(pool.clone(), shared)), idle_ns))
}

/// Since when the one has been idle that was used least recently, if any is.
pub(super) fn idle_since(pool: &EndpointPool) -> Option<u64> {
    let connections = pool.shared.borrow();
    connections.iter().filter(|shared| shared.streams.get() == 0).map(|shared| shared.used_ns.get()).min()
}

/// Closes that one.
pub(super) fn close_idle(pool: &EndpointPool) {
    let Some(since_ns) = idle_since(pool) else { return };
    let mut connections = pool.shared.borrow_mut();
    let longest = |shared: &Rc<Shared>| shared.streams.get() == 0 && shared.used_ns.get() == since_ns;
    if let Some(index) = connections.iter().position(longest) {
        connections.swap_remove(index);
    }
}
