//! The time limits of one try, until its response head.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use crate::clock;
use crate::cluster::Cluster;
use crate::error::{ProxyError, Timeout};
use crate::http::body::{Body, Progress};
use crate::plan::Rule;
use crate::sweep::Timer;
use crate::worker::Worker;

/// See the module.
pub(super) struct Watch {
    timer: Timer,
    /// For one try; like the others `u64::MAX`, if there is no limit.
    try_limit_ns: u64,
    first_byte_ns: u64,
    stall_ns: u64,
    started_ns: u64,
    /// `None`: the request has no body.
    progress: Option<Rc<Progress>>,
}

impl Watch {
    /// For a request whose first try starts now.
    pub(super) fn new(worker: &Worker, cluster: &Cluster, rule: &Rule, body: &Body, started_ns: u64) -> Self {
        let progress = match body {
            Body::Downstream(body) => Some(body.progress()),
            Body::Replay(body) => Some(body.progress()),
            Body::Empty | Body::Full(_) | Body::Upstream(_) => None,
        };
        Self {
            timer: Timer::new(&worker.sweep),
            try_limit_ns: limit_ns(rule.try_timeout_ms.unwrap_or(cluster.timeouts.try_ms)),
            first_byte_ns: limit_ns(cluster.timeouts.first_byte_ms),
            stall_ns: limit_ns(cluster.timeouts.body_stall_ms),
            started_ns,
            progress,
        }
    }

    /// When the try started.
    pub(super) fn started_ns(&self) -> u64 {
        self.started_ns
    }

    /// When the try must be over, to its last byte.
    pub(super) fn try_ns(&self) -> u64 {
        self.started_ns.max(clock::resumed_ns()).saturating_add(self.try_limit_ns)
    }

    /// Another try starts.
    pub(super) fn restart(&mut self, now_ns: u64) {
        self.timer.disarm();
        self.started_ns = now_ns;
        if let Some(progress) = &self.progress {
            progress.since_ns.set(now_ns);
        }
    }

    /// The timer, disarmed, for the response body.
    pub(super) fn into_timer(mut self) -> Timer {
        self.timer.disarm();
        self.timer
    }

    /// The next limit, and what it means: the body must move while it is sent, and the head must come once it is.
    fn next(&self) -> (u64, Timeout) {
        // What passed while nothing was read is nobody's delay.
        let resumed_ns = clock::resumed_ns();
        let moved_ns = |progress: &Progress| progress.since_ns.get().max(resumed_ns);
        let started_ns = self.started_ns.max(resumed_ns);
        let wait = match &self.progress {
            Some(progress) if !progress.ended.get() => {
                let timeout =
                    if progress.wanted.get() { Timeout::RequestBody } else { Timeout::UpstreamBody };
                (moved_ns(progress).saturating_add(self.stall_ns), timeout)
            }
            Some(progress) => (moved_ns(progress).saturating_add(self.first_byte_ns), Timeout::FirstByte),
            None => (started_ns.saturating_add(self.first_byte_ns), Timeout::FirstByte),
        };
        let try_ns = self.try_ns();
        if try_ns <= wait.0 { (try_ns, Timeout::Try) } else { wait }
    }

    /// Waits for `future`, pinned where it is, within the limits.
    pub(super) async fn limit<F: Future + Unpin>(&mut self, mut future: F) -> Result<F::Output, ProxyError> {
        poll_fn(|context| {
            if let Poll::Ready(output) = Pin::new(&mut future).poll(context) {
                return Poll::Ready(Ok(output));
            }
            if !self.timer.armed() {
                let (at_ns, timeout) = self.next();
                // The body may have moved since the timer was armed.
                if self.timer.fired() && at_ns <= clock::now_ns() {
                    return Poll::Ready(Err(ProxyError::Timeout(timeout)));
                }
                if at_ns != u64::MAX {
                    self.timer.arm(at_ns, context.waker());
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Waits until `at_ns`; the request's own deadline is watched elsewhere.
    pub(super) async fn pause(&mut self, at_ns: u64) {
        self.timer.disarm();
        poll_fn(|context| {
            if self.timer.fired() {
                return Poll::Ready(());
            }
            self.timer.arm(at_ns, context.waker());
            Poll::Pending
        })
        .await;
        self.timer.disarm();
    }
}

fn limit_ns(limit_ms: u64) -> u64 {
    clock::limit_ns(limit_ms).unwrap_or(u64::MAX)
}
