//! What the connections of a listener are taken for, and how many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use serde::Serialize;
use tokio::sync::oneshot;

use crate::connection::Interceptor;
use crate::listener::Bound;
use crate::opaque::Forward;
use crate::telemetry::metrics::Direction;

/// What the connections of a listener are taken for.
#[derive(Debug)]
pub struct Door {
    /// Which way they go.
    pub direction: Direction,
    /// Where they go, if they are not looked into.
    pub forward: Option<Arc<Forward>>,
    /// The port of the own service that they are for, if the listener is one port's.
    pub port: Option<u16>,
    /// The port of the gateway that they came to.
    pub gateway: Option<u16>,
    /// The listener is closed when the other side is dropped.
    pub closed: Option<oneshot::Receiver<()>>,
    /// How those are treated that were intercepted, if there are such.
    pub interceptor: Option<Arc<Interceptor>>,
}

impl From<Direction> for Door {
    fn from(direction: Direction) -> Self {
        Self { direction, forward: None, port: None, gateway: None, closed: None, interceptor: None }
    }
}

/// Where a connection goes.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// To be looked into: which way they go, the port of the own service that they are for, and how those are treated that were intercepted.
    Calls(Direction, Option<u16>, Option<Arc<Interceptor>>),
    Forward(Arc<Forward>),
    Gateway(u16),
}

impl From<&Door> for Way {
    fn from(door: &Door) -> Self {
        match (&door.forward, door.gateway) {
            (Some(forward), _) => Self::Forward(forward.clone()),
            (None, Some(port)) => Self::Gateway(port),
            (None, None) => Self::Calls(door.direction, door.port, door.interceptor.clone()),
        }
    }
}

/// How many connections a listener has and has had.
#[derive(Debug)]
pub(super) struct Tally {
    name: &'static str,
    address: String,
    direction: Direction,
    listens: AtomicBool,
    open: AtomicU64,
    accepted: AtomicU64,
}

/// What people are told of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenerView {
    /// By its flag.
    pub name: &'static str,
    /// Where it is.
    pub address: String,
    /// Which way its connections go, seen from the workload; `None`: they come to the proxy itself.
    pub direction: Option<&'static str>,
    /// `listening`, `bound` (it refuses connections until they can be served), or `closed` (what it took is not over).
    pub state: &'static str,
    /// Connections that are open; `None`: they are not counted.
    pub connections: Option<u64>,
    /// Connections that it has ever taken.
    pub accepted: Option<u64>,
}

impl Tally {
    /// Of a listener that takes connections from now on.
    pub(super) fn new(listener: &Bound, door: &Door) -> Arc<Self> {
        let name = match (&door.forward, door.gateway, door.port) {
            (Some(_), ..) => "forward",
            (None, Some(_), _) => "gateway",
            (None, None, Some(_)) => "inbound-port",
            (None, None, None) => door.direction.as_str(),
        };
        Arc::new(Self {
            name,
            address: listener.place().map_or_else(|| "?".to_owned(), |place| place.to_string()),
            direction: door.direction,
            listens: AtomicBool::new(true),
            open: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
        })
    }

    /// It takes no more.
    pub(super) fn closes(&self) {
        self.listens.store(false, Relaxed);
    }

    /// Whether there is nothing to tell of it any more.
    pub(super) fn is_over(&self) -> bool {
        !self.listens.load(Relaxed) && self.open.load(Relaxed) == 0
    }

    pub(super) fn view(&self) -> ListenerView {
        ListenerView {
            name: self.name,
            address: self.address.clone(),
            direction: Some(self.direction.as_str()),
            state: if self.listens.load(Relaxed) { "listening" } else { "closed" },
            connections: Some(self.open.load(Relaxed)),
            accepted: Some(self.accepted.load(Relaxed)),
        }
    }
}

/// A connection of a listener, for as long as it is open.
#[derive(Debug)]
pub(super) struct Counted(Arc<Tally>);

impl Counted {
    pub(super) fn new(tally: &Arc<Tally>) -> Self {
        tally.open.fetch_add(1, Relaxed);
        tally.accepted.fetch_add(1, Relaxed);
        Self(tally.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
