//! The end of an upstream connection whose peer is believed no more.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::EndpointPool;
use crate::clock;
use crate::identity::peers::{PARTING_NS, Peer};
use crate::sweep::Timer;
use crate::telemetry::metrics::Direction;

/// How often a connection is woken for nothing: those that have a timer hear of it when somebody is refused.
const WATCH_NS: u64 = 3_600_000_000_000;

/// Watches over one connection.
#[derive(Debug)]
pub(crate) struct Parting {
    pool: Rc<EndpointPool>,
    /// Who is there, as long as that is believed.
    peer: Option<Arc<Peer>>,
    timer: Timer,
    /// What is under way there is about to be cut.
    parted: bool,
}

impl Parting {
    /// Over a connection of the pool; nothing is to be done where nobody has proved to be of the mesh.
    pub(crate) fn new(pool: &Rc<EndpointPool>, peer: Option<Arc<Peer>>) -> Self {
        Self { pool: pool.clone(), peer, timer: Timer::new(&pool.sweep), parted: false }
    }

    /// Ready when the connection must end. Before that it is retired, and the pool lets go of it.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>, retire: impl FnOnce()) -> Poll<()> {
        if self.parted {
            return if self.timer.fired() { Poll::Ready(()) } else { Poll::Pending };
        }
        let Some(peer) = &self.peer else { return Poll::Pending };
        if let Some(problem) = peer.refused() {
            let address = self.pool.endpoint.address().ip();
            peer.part(problem, &self.pool.stats, Direction::Outbound, Some(address));
            retire();
            self.pool.part();
            self.parted = true;
            self.timer.arm(clock::now_ns().saturating_add(PARTING_NS), context.waker());
        } else if !self.timer.armed() {
            self.timer.arm(clock::now_ns().saturating_add(WATCH_NS), context.waker());
        }
        Poll::Pending
    }
}
