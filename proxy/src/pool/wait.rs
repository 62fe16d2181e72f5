//! How a request comes to a connection where none is ready: a place for another one, or its turn when there is none.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, pending, select};
use tokio::time::timeout;

use super::{EndpointPool, Lease, OpenConnection, http2};
use crate::clock;
use crate::cluster::places::Line;
use crate::cluster::{Cluster, Wire};
use crate::error::{Limit, ProxyError};

/// A request that waits looks again after this even if nobody woke it: others may have gone just then, or their clients have.
const WAIT_MAX: Duration = Duration::from_millis(50);

/// The same where a connection has yet to wind up what it carried before.
const WIND_UP: Duration = Duration::from_millis(5);

/// What a request has got.
#[derive(Debug)]
pub enum Ready {
    /// A connection.
    Lease(Lease),
    /// A place for one.
    Place(Opening),
}

/// A place for a connection that is to be opened.
#[derive(Debug)]
pub struct Opening {
    pub(super) place: OpenConnection,
    pub(super) connecting: Connecting,
    pub(super) pending: Pending,
}

impl EndpointPool {
    /// A connection, or a place for one, within the cluster's limits. Unless it is to be `fresh`, one that became free meanwhile will do.
    /// `in_line` is true while no place is free, and stays so where that is why there is none in the end: the endpoint has nothing to do with it.
    /// That wait has the time to connect, and comes before it.
    pub async fn ready(
        self: &Rc<Self>,
        cluster: &Cluster,
        wire: Wire,
        mut fresh: bool,
        in_line: &Cell<bool>,
    ) -> Result<Ready, ProxyError> {
        self.idle_ns.set(cluster.timeouts.idle_ms.saturating_mul(1_000_000));
        let Some(pending) = Pending::enter(self, cluster.limits.pending) else {
            in_line.set(true);
            return Err(ProxyError::Limit(Limit::Pending));
        };
        let since_ns = clock::now_ns();
        let mut line = None;
        let mut now_ns = since_ns;
        loop {
            if !fresh && let Some((lease, _)) = self.take(cluster, wire, now_ns) {
                return Ok(Ready::Lease(lease));
            }
            let expected =
                wire == Wire::Http2 && self.waiting.get() < self.connecting.get() * http2::STREAMS_EXPECTED;
            if !expected && self.enter(cluster, wire, &mut line) {
                let (place, connecting) = (OpenConnection::new(self.clone()), Connecting::new(self));
                return Ok(Ready::Place(Opening { place, connecting, pending }));
            }
            in_line.set(line.is_some());
            // Where no other may be opened, any that is there is better than none.
            fresh = false;
            // A connection that another request opens has a time of its own.
            let limit_ms = cluster.timeouts.connect_ms.saturating_mul(1 + u64::from(expected));
            let until_ns = since_ns.saturating_add(limit_ms.saturating_mul(1_000_000));
            if now_ns >= until_ns {
                in_line.set(true);
                return Err(ProxyError::Limit(Limit::PendingTime));
            }
            self.wait(wire, line.as_ref(), Duration::from_nanos(until_ns - now_ns))
                .await
                .inspect_err(|_| in_line.set(false))?;
            now_ns = clock::now_ns();
        }
    }

    /// Takes a place, if there is one and nobody has waited for it longer; if not, has a connection given up that carries nothing.
    fn enter<'a>(&self, cluster: &'a Cluster, wire: Wire, line: &mut Option<Line<'a>>) -> bool {
        let (places, limit) = (&cluster.load.connections, cluster.limits.connections);
        let first = line.is_none();
        let entered = match line {
            None => places.waiting() == 0 && places.enter(limit),
            Some(line) => line.enter(limit),
        };
        if !entered {
            let line = line.get_or_insert_with(|| places.line_up());
            if !self.members.give_up(self, wire) && (line.ask() || !first) {
                line.ring(&self.members.bell);
            }
        }
        entered
    }

    /// Waits for a connection or a place that is free; the error is that of another request's attempt to connect.
    async fn wait(&self, wire: Wire, line: Option<&Line<'_>>, left: Duration) -> Result<(), ProxyError> {
        let failed_before = self.failed.get().0;
        let winding_up = wire == Wire::Http1 && !self.idle.borrow().is_empty();
        let look = if winding_up { WIND_UP } else { WAIT_MAX };
        let waiting = Counted::new(&self.waiting);
        let freed = match line {
            Some(line) => Either::Left(line.freed()),
            None => Either::Right(pending()),
        };
        let own = pin!(self.freed.notified());
        let freed = pin!(freed);
        let _ = timeout(look.min(left), select(own, freed)).await;
        drop(waiting);
        // One after the other, those who waited would each meet the same end.
        match self.failed.get() {
            (count, Some(broken)) if wire == Wire::Http2 && count != failed_before => {
                Err(self.connect_error(broken))
            }
            _ => Ok(()),
        }
    }
}

/// A place among the requests that wait for a connection.
#[derive(Debug)]
pub(super) struct Pending(Rc<EndpointPool>);

impl Pending {
    fn enter(pool: &Rc<EndpointPool>, limit: u32) -> Option<Self> {
        pool.load.pending.enter(limit).then(|| Self(pool.clone()))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.load.pending.leave();
    }
}

/// A connection that is being opened. Those who wait for it look again when it is over.
#[derive(Debug)]
pub(super) struct Connecting(Rc<EndpointPool>);

impl Connecting {
    fn new(pool: &Rc<EndpointPool>) -> Self {
        pool.connecting.set(pool.connecting.get() + 1);
        Self(pool.clone())
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.connecting.set(self.0.connecting.get() - 1);
        self.0.freed.notify_waiters();
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
