//! Upstream connections of one worker, by endpoint. An HTTP/1.1 connection is leased to one request at a time and the latest returned is
//! used first; HTTP/2 connections are shared, the least loaded first, and another is opened when the peer's stream limit is reached.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::cluster::endpoint::Endpoint;
use crate::cluster::{Cluster, ClusterLoad, Wire};
use crate::connect::{self, TlsFailure};
use crate::error::{ProxyError, Timeout};
use crate::identity::Identity;
use crate::story::Milestones;
use crate::sweep::Sweep;
use crate::telemetry::metrics::WorkerStats;

pub use lease::{Lease, SendError};
pub use wait::{Opening, Ready};

use members::Members;

pub(crate) use parting::Parting;

pub mod http1;
pub mod http2;
mod lease;
mod members;
mod parting;
mod wait;

/// Idle HTTP/1.1 connections kept per endpoint and worker.
pub const IDLE_MAX: usize = 512;

/// While requests for other endpoints wait for a place, one in so many connections that become free goes to them although requests wait for it here.
const TURNS: u32 = 4;

/// Every pool of a worker.
#[derive(Debug)]
pub struct Pools {
    /// By endpoint id.
    slots: RefCell<Vec<Option<Rc<EndpointPool>>>>,
    /// By the address of their load, which they hold.
    clusters: RefCell<HashMap<usize, Rc<Members>>>,
    /// Rung when requests of other workers wait for places.
    bell: Arc<Notify>,
    stats: Arc<WorkerStats>,
    identity: Arc<Identity>,
    sweep: Rc<Sweep>,
}

/// Connections to one endpoint.
#[derive(Debug)]
pub struct EndpointPool {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) load: Arc<ClusterLoad>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) identity: Arc<Identity>,
    sweep: Rc<Sweep>,
    pub(crate) idle: RefCell<Vec<http1::Idle>>,
    pub(crate) shared: RefCell<Vec<Rc<http2::Shared>>>,
    pub(crate) idle_ns: Cell<u64>,
    /// HTTP/2 connections being opened.
    connecting: Cell<u32>,
    waiting: Cell<u32>,
    turns: Cell<u32>,
    members: Rc<Members>,
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
    pub(crate) fn new(stats: Arc<WorkerStats>, identity: Arc<Identity>, sweep: Rc<Sweep>) -> Self {
        Self {
            slots: RefCell::default(),
            clusters: RefCell::default(),
            bell: Arc::default(),
            stats,
            identity,
            sweep,
        }
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
                let members = self.members(cluster);
                let pool = Rc::new(EndpointPool::new(endpoint.clone(), cluster, self, members.clone()));
                members.add(&pool);
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
        self.clusters.borrow_mut().retain(|_, members| members.trim());
    }

    /// Gives up connections that carry nothing when requests of other workers wait for their places, for as long as the worker runs.
    pub async fn give_way(&self) {
        loop {
            self.bell.notified().await;
            self.clusters.borrow().values().for_each(|members| members.give_way());
        }
    }

    fn members(&self, cluster: &Cluster) -> Rc<Members> {
        let mut clusters = self.clusters.borrow_mut();
        let fresh = || Rc::new(Members::new(cluster.load.clone(), self.bell.clone()));
        clusters.entry(Arc::as_ptr(&cluster.load).addr()).or_insert_with(fresh).clone()
    }
}

impl EndpointPool {
    fn new(endpoint: Arc<Endpoint>, cluster: &Cluster, pools: &Pools, members: Rc<Members>) -> Self {
        Self {
            endpoint,
            load: cluster.load.clone(),
            stats: pools.stats.clone(),
            identity: pools.identity.clone(),
            sweep: pools.sweep.clone(),
            idle: RefCell::default(),
            shared: RefCell::default(),
            idle_ns: Cell::new(cluster.timeouts.idle_ms.saturating_mul(1_000_000)),
            connecting: Cell::new(0),
            waiting: Cell::new(0),
            turns: Cell::new(0),
            members,
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

    /// A connection that is there and has not been idle too long: its peer may be about to close it. Also for how long it has carried nothing.
    pub fn take(self: &Rc<Self>, cluster: &Cluster, wire: Wire, now_ns: u64) -> Option<(Lease, u64)> {
        let oldest_ns = now_ns.saturating_sub(cluster.timeouts.idle_ms.saturating_mul(1_000_000));
        match wire {
            Wire::Http2 => http2::take(self, oldest_ns, now_ns),
            Wire::Http1 => http1::take(self, oldest_ns, now_ns),
        }
    }

    /// A connection in the place that was got for it.
    pub async fn open(
        self: &Rc<Self>,
        opening: Opening,
        cluster: &Cluster,
        wire: Wire,
        milestones: &Milestones,
    ) -> Result<Lease, ProxyError> {
        let Opening { place, connecting, pending: _pending } = opening;
        let opened = connect::open(self, place, cluster, wire, milestones).await;
        if let Err(error) = &opened {
            self.failed.set((self.failed.get().0 + 1, Broken::of(error)));
        }
        drop(connecting);
        opened
    }

    /// Lets go of connections whose peers are believed no more; requests that are under way there go on.
    fn part(&self) {
        self.idle.borrow_mut().retain(|idle| !idle.is_parted());
        self.shared.borrow_mut().retain(|shared| !shared.is_parted());
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

    /// Whether a connection that carries nothing any more is to be closed for the sake of requests that wait for a place. Those that wait for this
    /// very endpoint, with `kept` connections there for them, have it first, but not always: the others would wait in vain.
    pub(crate) fn gives_up(&self, kept: usize) -> bool {
        let places = &self.load.connections;
        if !places.is_wanted() {
            return false;
        }
        let waiting = self.waiting.get();
        let turn = self.turns.get().wrapping_add(1);
        self.turns.set(turn);
        let others = places.waiting() > waiting && turn.is_multiple_of(TURNS);
        (waiting as usize <= kept || others) && places.grant()
    }

    /// Tells one waiting request that a connection or a stream is free.
    pub(crate) fn notify_free(&self) {
        if self.waiting.get() > 0 {
            self.freed.notify_one();
        }
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
    }
}
