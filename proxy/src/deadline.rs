//! The time for the whole request, as a layer: until the response head here, until its last byte in the body that goes down.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::clock;
use crate::error::{ProxyError, Timeout};
use crate::exchange::{Exchange, Reply};
use crate::http::body::Body;
use crate::sweep::{Sweep, Timer};
use crate::telemetry::metrics::RequestStats;

/// What a request was at when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// It had none left when it came.
    Arrival,
    /// A fault held it up.
    Delay,
    /// It waited for a place at the workload.
    Queue,
    /// It waited for a connection.
    Connect,
    /// It was sent, and not answered.
    Head,
    /// Its answer was under way.
    Body,
    /// Another try was to come, and would have come too late, or likely.
    Backoff,
}

/// Every [`Stage`] as metrics spell it.
pub const STAGES: [&str; 7] = ["arrival", "delay", "queue", "connect", "head", "body", "backoff"];

/// A request that waits at a stage, for as long as this is held: if its time is over by then, that is counted.
#[derive(Debug)]
pub struct Wait {
    stats: Arc<RequestStats>,
    worker: usize,
    deadline_ns: u64,
    stage: Stage,
}

impl Wait {
    /// From now on.
    pub fn at(stage: Stage, exchange: &Exchange, worker: usize) -> Self {
        let (stats, deadline_ns) = (exchange.resolution.stats().clone(), exchange.deadline_ns);
        Self { stats, worker, deadline_ns, stage }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if clock::now_ns() >= self.deadline_ns {
            self.stats.shard(self.worker).overdue(self.stage);
        }
    }
}

/// Ends a request that nobody waits for any more.
#[derive(Debug, Clone)]
pub struct DeadlineLayer {
    sweep: Rc<Sweep>,
}

impl DeadlineLayer {
    /// Deadlines are watched by `sweep`.
    pub fn new(sweep: Rc<Sweep>) -> Self {
        Self { sweep }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> DeadlineService<S> {
        DeadlineService { inner, sweep: self.sweep.clone() }
    }
}

/// See [`DeadlineLayer`].
#[derive(Debug, Clone)]
pub struct DeadlineService<S> {
    inner: S,
    sweep: Rc<Sweep>,
}

impl<S> Service<Exchange> for DeadlineService<S>
where
    S: Service<Exchange, Response = Reply, Error = ProxyError>,
{
    type Response = Reply;
    type Error = ProxyError;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, exchange: Exchange) -> Self::Future {
        let deadline_ns = exchange.deadline_ns;
        let timer = (deadline_ns != u64::MAX).then(|| Timer::new(&self.sweep));
        DeadlineFuture { inner: self.inner.call(exchange), deadline_ns, timer }
    }
}

pin_project! {
    /// The response of [`DeadlineService`].
    #[derive(Debug)]
    pub struct DeadlineFuture<F> {
        #[pin]
        inner: F,
        deadline_ns: u64,
        timer: Option<Timer>,
    }
}

impl<F: Future<Output = Result<Reply, ProxyError>>> Future for DeadlineFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match this.inner.poll(context) {
            Poll::Ready(Ok(mut reply)) => {
                if let Body::Upstream(body) = &mut reply.body {
                    body.shorten(*this.deadline_ns);
                }
                Poll::Ready(Ok(reply))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => match this.timer {
                Some(timer) if timer.fired() => Poll::Ready(Err(ProxyError::Timeout(Timeout::Request))),
                Some(timer) => {
                    if !timer.armed() {
                        timer.arm(*this.deadline_ns, context.waker());
                    }
                    Poll::Pending
                }
                None => Poll::Pending,
            },
        }
    }
}

#[cfg(test)]
mod tests;
