//! Bytes between two connections, whatever they mean. An end of either side is passed on alone (RFC 9293 §3.6, "half-closed"), so that
//! whoever has said everything can still listen. A connection that breaks breaks on the other side too: an end would tell the peer that it
//! has everything.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use self::flow::Flow;
use crate::clock;
use crate::error::Side;
use crate::sweep::{Sweep, Timer};
use crate::telemetry::metrics::{Direction, WorkerStats};

pub use end::End;
pub use passthrough::{Passing, pass, turn_away};
pub use pipe::Pipes;
pub use refusal::{REASONS, Refusal, reason};
pub use serve::{Forward, serve, serve_inbound, serve_port};

pub mod answer;
mod batches;
mod end;
mod flow;
mod hello;
mod low_water;
mod open;
mod passthrough;
mod pipe;
mod refusal;
mod serve;

/// How often a connection that may be idle for ever is woken for nothing.
const WATCH_NS: u64 = 3_600_000_000_000;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the downstream to the upstream.
    Up,
    /// From the upstream to the downstream.
    Down,
}

/// How it ended.
#[derive(Debug)]
pub enum Ended {
    /// Both sides have said everything.
    Done,
    /// Nothing has moved for too long.
    Idle,
    /// One of the sides is believed no more.
    Parted,
    /// The connection of this side broke.
    Broken(Side, io::Error),
}

/// How connections end, as metrics spell it.
pub const ENDS: [&str; 5] = ["done", "idle", "broken", "parted", "cut"];

impl Ended {
    /// Index into [`ENDS`].
    pub fn index(&self) -> usize {
        match self {
            Self::Done => 0,
            Self::Idle => 1,
            Self::Broken(..) => 2,
            Self::Parted => 3,
        }
    }
}

/// What connections of one worker are carried with.
#[derive(Debug, Clone)]
pub struct Means {
    /// The worker's deadlines.
    pub sweep: Rc<Sweep>,
    /// The worker's pipes.
    pub pipes: Pipes,
    /// The worker's counters.
    pub stats: Arc<WorkerStats>,
}

/// Two connections and what is under way between them: a future that is ready once both are over. Dropped before, it breaks both.
#[derive(Debug)]
pub struct Carry<D: End, U: End, F> {
    downstream: D,
    upstream: U,
    up: Flow,
    down: Flow,
    idle: Idle,
    pipes: Pipes,
    stats: Arc<WorkerStats>,
    count: F,
    over: bool,
}

impl<D: End, U: End, F: FnMut(Way, u64)> Carry<D, U, F> {
    /// Carries what comes from now on, after what is `ahead`: read of the downstream, and of the upstream, already. It ends when nothing
    /// has moved for `idle_ns`; `None`: it does not. `count` is told of every byte that was taken.
    pub fn new(
        means: &Means,
        downstream: D,
        upstream: U,
        ahead: (Bytes, Bytes),
        idle_ns: Option<u64>,
        mut count: F,
    ) -> Self {
        count(Way::Up, ahead.0.len() as u64);
        count(Way::Down, ahead.1.len() as u64);
        Self {
            downstream,
            upstream,
            up: Flow::new(ahead.0),
            down: Flow::new(ahead.1),
            idle: Idle { timer: Timer::new(&means.sweep), limit_ns: idle_ns, moved_ns: clock::now_ns() },
            pipes: means.pipes.clone(),
            stats: means.stats.clone(),
            count,
            over: false,
        }
    }

    fn poll_ways(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let before = (self.up.moved(), self.down.moved());
        let (downstream, upstream) = (&mut self.downstream, &mut self.upstream);
        let up = self.up.poll(context, downstream, upstream, &self.pipes);
        let up = up.map_err(|fault| fault.between(Side::Downstream, Side::Upstream))?;
        let down = self.down.poll(context, upstream, downstream, &self.pipes);
        let down = down.map_err(|fault| fault.between(Side::Upstream, Side::Downstream))?;
        let moved = (self.up.moved() - before.0, self.down.moved() - before.1);
        if moved != (0, 0) {
            self.idle.moved_ns = clock::now_ns();
            (self.count)(Way::Up, moved.0);
            (self.count)(Way::Down, moved.1);
        }
        match (up, down) {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    /// Whether a side is believed no more, which is told and counted.
    fn parts(&self) -> bool {
        let (downstream, upstream) = (&self.downstream, &self.upstream);
        let parted = |end: &dyn End, direction| {
            let Some((peer, problem)) = end.peer().and_then(|peer| Some((peer, peer.refused()?))) else {
                return false;
            };
            peer.part(problem, &self.stats, direction, end.address());
            true
        };
        parted(downstream, Direction::Inbound) || parted(upstream, Direction::Outbound)
    }

    fn is_watched(&self) -> bool {
        self.downstream.peer().or(self.upstream.peer()).is_some()
    }

    /// Ends both sides in order, as far as that can be said at once.
    fn take_leave(&mut self, context: &mut Context<'_>) {
        let _ = Pin::new(&mut self.downstream).poll_shutdown(context);
        let _ = Pin::new(&mut self.upstream).poll_shutdown(context);
    }

    fn abort(&self) {
        self.downstream.abort();
        self.upstream.abort();
    }
}

impl<D: End, U: End, F: FnMut(Way, u64) + Unpin> Future for Carry<D, U, F> {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        let this = self.get_mut();
        if this.parts() {
            this.abort();
            this.over = true;
            return Poll::Ready(Ended::Parted);
        }
        let ended = match this.poll_ways(context) {
            Poll::Ready(Ok(())) => Ended::Done,
            Poll::Ready(Err(broken)) => {
                this.abort();
                broken
            }
            Poll::Pending if this.idle.is_over(context, this.is_watched()) => {
                // Where bytes are stuck, their receiver must not take what it has for everything.
                match this.up.is_stuck() || this.down.is_stuck() {
                    true => this.abort(),
                    false => this.take_leave(context),
                }
                Ended::Idle
            }
            Poll::Pending => return Poll::Pending,
        };
        this.over = true;
        Poll::Ready(ended)
    }
}

impl<D: End, U: End, F> Drop for Carry<D, U, F> {
    fn drop(&mut self) {
        if !self.over {
            self.downstream.abort();
            self.upstream.abort();
        }
    }
}

/// Notices that nothing moves.
#[derive(Debug)]
struct Idle {
    timer: Timer,
    limit_ns: Option<u64>,
    moved_ns: u64,
}

impl Idle {
    /// The timer is set anew only when it has gone off: bytes come more often than that. What is `watched` has one in any case, to be woken by.
    fn is_over(&mut self, context: &Context<'_>, watched: bool) -> bool {
        if self.timer.armed() {
            return false;
        }
        let Some(limit_ns) = self.limit_ns else {
            if watched {
                self.timer.arm(clock::now_ns().saturating_add(WATCH_NS), context.waker());
            }
            return false;
        };
        let due_ns = self.moved_ns.saturating_add(limit_ns);
        if clock::now_ns() >= due_ns {
            return true;
        }
        self.timer.arm(due_ns, context.waker());
        false
    }
}

#[cfg(test)]
mod tests;
