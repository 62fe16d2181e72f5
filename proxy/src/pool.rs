//! Upstream connections of one worker, by endpoint. An HTTP/1.1 connection is leased to one request at a time and the latest returned is
//! used first; HTTP/2 connections are shared, the least loaded first, and another is opened when the peer's stream limit is reached.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock;
use crate::cluster::endpoint::Endpoint;
use crate::cluster::{Cluster, ClusterLoad, Wire};
use crate::connect::{self, TlsFailure};
use crate::error::{Limit, ProxyError, Timeout};
use crate::identity::Identity;
use crate::telemetry::metrics::WorkerStats;

pub use lease::{Lease, SendError};

pub mod http1;
pub mod http2;
mod lease;

/// Idle HTTP/1.1 connections kept per endpoint and worker.
pub const IDLE_MAX: usize = 512;

/// A request that waits for a connection looks again after this even if nobody woke it: a connection of another worker may have
/// made room under a shared limit.
const WAIT_MAX: Duration = Duration::from_millis(20);

/// Every pool of a worker.
#[derive(Debug)]
pub struct Pools {
    /// By endpoint id.
    slots: RefCell<Vec<Option<Rc<EndpointPool>>>>,
    stats: Arc<WorkerStats>,
    identity: Arc<Identity>,
}

/// Connections to one endpoint.
#[derive(Debug)]
pub struct EndpointPool {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) load: Arc<ClusterLoad>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) idle: RefCell<Vec<http1::Idle>>,
    pub(crate) shared: RefCell<Vec<Rc<http2::Shared>>>,
    pub(crate) idle_ns: Cell<u64>,
    /// HTTP/2 connections being opened.
    connecting: Cell<u32>,
    waiting: Cell<u32>,
    /// How many attempts to connect have failed, and how the last one did.
    failed: Cell<(u64, Option<Broken>)>,
    freed: Notify,
}

/// How an attempt to connect failed, for all who waited for it.
#[derive(Debug, Clone, Copy)]
enum Broken {
    Timeout,
    Tls(TlsFailure),
    Error(std::io::ErrorKind),
}

impl Broken {
    fn of(error: &ProxyError) -> Option<Self> {
        match error {
            ProxyError::Timeout(Timeout::Connect) => Some(Self::Timeout),
            ProxyError::Tls { failure } => Some(Self::Tls(*failure)),
            ProxyError::ConnectFailed { error, .. } => Some(Self::Error(error.kind())),
            _ => None,
        }
    }
}

impl Pools {
    pub(crate) fn new(stats: Arc<WorkerStats>, identity: Arc<Identity>) -> Self {
        Self { slots: RefCell::default(), stats, identity }
    }

    /// The pool of an endpoint.
    pub fn of(&self, endpoint: &Arc<Endpoint>, cluster: &Cluster) -> Rc<EndpointPool> {
        let mut slots = self.slots.borrow_mut();
        let index = endpoint.id() as usize;
        if index >= slots.len() {
            slots.resize_with(index + 1, || None);
        }
        match &slots[index] {
            // An id is given anew only after its endpoint is gone, but this slot may not have heard of it.
            Some(pool) if Arc::ptr_eq(&pool.endpoint, endpoint) => pool.clone(),
            _ => {
                let pool = Rc::new(EndpointPool::new(endpoint.clone(), cluster, self));
                slots[index] = Some(pool.clone());
                pool
            }
        }
    }

    /// Closes what has been idle too long and forgets pools without connections.
    pub fn trim(&self, now_ns: u64) {
        for slot in self.slots.borrow_mut().iter_mut() {
            if slot.as_ref().is_some_and(|pool| pool.trim(now_ns) && Rc::strong_count(pool) == 1) {
                *slot = None;
            }
        }
    }
}

impl EndpointPool {
    fn new(endpoint: Arc<Endpoint>, cluster: &Cluster, pools: &Pools) -> Self {
        Self {
            endpoint,
            load: cluster.load.clone(),
            stats: pools.stats.clone(),
            identity: pools.identity.clone(),
            idle: RefCell::default(),
            shared: RefCell::default(),
            idle_ns: Cell::new(cluster.timeouts.idle_ms.saturating_mul(1_000_000)),
            connecting: Cell::new(0),
            waiting: Cell::new(0),
            failed: Cell::new((0, None)),
            freed: Notify::new(),
        }
    }

    /// Drops connections that are closed or have been idle too long; whether none is left.
    fn trim(&self, now_ns: u64) -> bool {
        let oldest_ns = now_ns.saturating_sub(self.idle_ns.get());
        self.idle.borrow_mut().retain(|idle| idle.usable_since(oldest_ns));
        self.shared.borrow_mut().retain(|shared| shared.usable_since(oldest_ns, now_ns));
        self.idle.borrow().is_empty() && self.shared.borrow().is_empty() && self.connecting.get() == 0
    }

    /// A connection that is there and has not been idle too long: its peer may be about to close it.
    pub fn take(self: &Rc<Self>, cluster: &Cluster, wire: Wire, now_ns: u64) -> Option<Lease> {
        let oldest_ns = now_ns.saturating_sub(cluster.timeouts.idle_ms.saturating_mul(1_000_000));
        match wire {
            Wire::Http2 => http2::take(self, oldest_ns, now_ns),
            Wire::Http1 => http1::take(self, oldest_ns),
        }
    }

    /// A connection, opened or waited for within the cluster's limits. Unless it is to be `fresh`, one that became free meanwhile will do.
    pub async fn open(
        self: &Rc<Self>,
        cluster: &Cluster,
        wire: Wire,
        mut fresh: bool,
    ) -> Result<Lease, ProxyError> {
        self.idle_ns.set(cluster.timeouts.idle_ms.saturating_mul(1_000_000));
        if !cluster.load.pending.enter(cluster.limits.pending) {
            return Err(ProxyError::Limit(Limit::Pending));
        }
        let _pending = Pending(&cluster.load);
        loop {
            if !fresh && let Some(lease) = self.take(cluster, wire, clock::now_ns()) {
                return Ok(lease);
            }
            let enough =
                wire == Wire::Http2 && self.waiting.get() < self.connecting.get() * http2::STREAMS_EXPECTED;
            if !enough && self.load.connections.enter(cluster.limits.connections) {
                let connecting = Counted::new(&self.connecting);
                let opened = connect::open(self, cluster, wire).await;
                drop(connecting);
                if let Err(error) = &opened {
                    self.failed.set((self.failed.get().0 + 1, Broken::of(error)));
                }
                self.freed.notify_waiters();
                return opened;
            }
            // Where no other may be opened, any that is there is better than none.
            fresh = false;
            let failed_before = self.failed.get().0;
            let waiting = Counted::new(&self.waiting);
            let _ = tokio::time::timeout(WAIT_MAX, self.freed.notified()).await;
            drop(waiting);
            // One after the other, those who waited would each meet the same end.
            if wire == Wire::Http2
                && let (count, Some(broken)) = self.failed.get()
                && count != failed_before
            {
                return Err(self.connect_error(broken));
            }
        }
    }

    fn connect_error(&self, broken: Broken) -> ProxyError {
        match broken {
            Broken::Timeout => ProxyError::Timeout(Timeout::Connect),
            Broken::Tls(failure) => ProxyError::Tls { failure },
            Broken::Error(kind) => {
                ProxyError::ConnectFailed { address: self.endpoint.address(), error: kind.into() }
            }
        }
    }

    /// Tells one waiting request that a connection or a stream is free.
    pub(crate) fn notify_free(&self) {
        if self.waiting.get() > 0 {
            self.freed.notify_one();
        }
    }
}

/// A place among the requests that wait for a connection.
struct Pending<'a>(&'a ClusterLoad);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.leave();
    }
}

struct Counted<'a>(&'a Cell<u32>);

impl<'a> Counted<'a> {
    fn new(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Counts an open upstream connection; its place under the limit was taken before it was opened.
#[derive(Debug)]
pub(crate) struct OpenConnection(Rc<EndpointPool>);

impl OpenConnection {
    pub(crate) fn new(pool: Rc<EndpointPool>) -> Self {
        pool.stats.upstream_connections.add(1);
        Self(pool)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.stats.upstream_connections.subtract(1);
        self.0.load.connections.leave();
        self.0.notify_free();
    }
}
