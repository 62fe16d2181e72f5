//! The step of the stack that sheds load. It stands right above the one that forwards, so that what waits or is answered above it is not
//! taken for work of the application.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tower_layer::Layer;
use tower_service::Service;

use super::gate::COUNTED_S;
use super::ticket::Ticket;
use super::{Admission, Overload, Permit, Priority, Shed};
use crate::clock;
use crate::cluster::endpoint::Outcome;
use crate::deadline::{Stage, Wait};
use crate::error::ProxyError;
use crate::exchange::{Exchange, Reply};
use crate::grpc;
use crate::http::body::Body;
use crate::plan::Resolution;
use crate::worker::Worker;

/// Shortest time after which the shed may come back, in milliseconds; the longest is this and [`RETRY_SPREAD_MS`].
const RETRY_MIN_MS: u32 = 1_000;
/// All that are shed at once should not come back at once.
const RETRY_SPREAD_MS: u32 = 2_000;

/// Gives the application what it can take; see [`crate::overload`].
#[derive(Debug, Clone)]
pub struct ShedLayer {
    worker: Rc<Worker>,
}

impl ShedLayer {
    /// For the connections of `worker`.
    pub fn new(worker: Rc<Worker>) -> Self {
        Self { worker }
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = ShedService<S>;

    fn layer(&self, inner: S) -> ShedService<S> {
        ShedService { inner, worker: self.worker.clone() }
    }
}

/// See [`ShedLayer`].
#[derive(Debug, Clone)]
pub struct ShedService<S> {
    inner: S,
    worker: Rc<Worker>,
}

impl<S> Service<Exchange> for ShedService<S>
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
    S::Future: Unpin + 'static,
{
    type Response = Reply;
    type Error = ProxyError;
    type Future = ShedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, exchange: Exchange) -> Self::Future {
        let rule = &exchange.resolution.rule;
        let Some(guard) = &rule.guard else {
            return ShedFuture::Unguarded(self.inner.call(exchange));
        };
        let (worker, now_ns) = (&self.worker, now_ns(&self.worker));
        if worker.memory.is_short() && !rule.is_exempt(&exchange.head) {
            let priority = Priority::of(&exchange.head);
            if worker.memory.refuses(priority) {
                let shed = guard.overload.refuse(priority);
                return ShedFuture::Shed(Some(refusal(shed, worker.random())));
            }
        }
        if let Some(permit) = guard.overload.enter(now_ns) {
            return ShedFuture::Admitted(self.forward(exchange, permit));
        }
        if rule.is_exempt(&exchange.head) {
            return ShedFuture::Unguarded(self.inner.call(exchange));
        }
        let priority = Priority::of(&exchange.head);
        match guard.overload.admit(priority, exchange.deadline_ns, now_ns) {
            Admission::Enters(permit) => ShedFuture::Admitted(self.forward(exchange, permit)),
            Admission::Shed(shed) => ShedFuture::Shed(Some(refusal(shed, worker.random()))),
            Admission::Waits(ticket) => {
                let overload = guard.overload.clone();
                let wait = Wait::at(Stage::Queue, &exchange, worker.index);
                let waiting = Waiting { overload, ticket: Some(ticket), came_ns: now_ns, _wait: wait };
                let mut service = self.clone();
                // Boxed: rare.
                ShedFuture::Queued(Box::pin(async move {
                    let permit = waiting.place().await;
                    let permit = permit.map_err(|shed| refusal(shed, service.worker.random()))?;
                    service.forward(exchange, permit).await
                }))
            }
        }
    }
}

impl<S> ShedService<S>
where
    S: Service<Exchange, Response = Reply, Error = ProxyError>,
{
    fn forward(&mut self, exchange: Exchange, permit: Permit) -> Admitted<S::Future>
    where
        S::Future: Unpin + 'static,
    {
        let (works_on, grpc) = (works_on(&exchange.resolution), exchange.grpc);
        let inner = Some(self.inner.call(exchange));
        Admitted { inner, permit: Some(permit), works_on, grpc, worker: self.worker.clone() }
    }
}

/// Whether the application goes on when its caller is gone: over HTTP/1.1 nothing tells it to stop.
fn works_on(resolution: &Resolution) -> bool {
    resolution.destination().is_some_and(|destination| !destination.cluster.is_http2())
}

/// The time, as far as a turn can tell.
fn now_ns(worker: &Worker) -> u64 {
    match worker.stats.turns.began_ns() {
        0 => clock::now_ns(),
        began_ns => began_ns,
    }
}

fn refusal(shed: Shed, random: u64) -> ProxyError {
    let retry_after_ms = RETRY_MIN_MS + (random % u64::from(RETRY_SPREAD_MS + 1)) as u32;
    ProxyError::Shed { shed, retry_after_ms }
}

/// The response of [`ShedService`].
pub enum ShedFuture<F: Future<Output = Result<Reply, ProxyError>> + Unpin + 'static> {
    /// Not protected.
    Unguarded(F),
    /// On its way.
    Admitted(Admitted<F>),
    /// In the queue, and what comes after it.
    Queued(Pin<Box<dyn Future<Output = Result<Reply, ProxyError>>>>),
    /// Refused.
    Shed(Option<ProxyError>),
}

impl<F: Future<Output = Result<Reply, ProxyError>> + Unpin + 'static> Future for ShedFuture<F> {
    type Output = Result<Reply, ProxyError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Unguarded(inner) => Pin::new(inner).poll(context),
            Self::Admitted(admitted) => Pin::new(admitted).poll(context),
            Self::Queued(queued) => queued.as_mut().poll(context),
            // Polled again after completion, which the contract of `Future` leaves open.
            Self::Shed(error) => error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        }
    }
}

impl<F: Future<Output = Result<Reply, ProxyError>> + Unpin + 'static> std::fmt::Debug for ShedFuture<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Unguarded(_) => "Unguarded",
            Self::Admitted(_) => "Admitted",
            Self::Queued(_) => "Queued",
            Self::Shed(_) => "Shed",
        })
    }
}

/// A request that has its place until the application has answered, whether or not somebody still waits for that.
pub struct Admitted<F: Future<Output = Result<Reply, ProxyError>> + Unpin + 'static> {
    inner: Option<F>,
    permit: Option<Permit>,
    works_on: bool,
    grpc: bool,
    worker: Rc<Worker>,
}

impl<F: Future<Output = Result<Reply, ProxyError>> + Unpin + 'static> Future for Admitted<F> {
    type Output = Result<Reply, ProxyError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(inner) = &mut self.inner else { return Poll::Pending };
        let mut result = ready!(Pin::new(inner).poll(context));
        self.inner = None;
        if let Some(permit) = self.permit.take() {
            let later = match &mut result {
                Ok(Reply { body: Body::Upstream(body), .. }) if self.grpc => body.glance(context),
                _ => None,
            };
            let telling = tells(&result, self.grpc) && later.is_none_or(|later| later == Outcome::Success);
            permit.answered(telling, now_ns(&self.worker));
        }
        Poll::Ready(result)
    }
}

impl<F: Future<Output = Result<Reply, ProxyError>> + Unpin + 'static> Drop for Admitted<F> {
    fn drop(&mut self) {
        let (Some(inner), Some(permit)) = (self.inner.take(), self.permit.take()) else { return };
        let grpc = self.grpc;
        if self.works_on && tokio::runtime::Handle::try_current().is_ok() {
            // Not waited for longer than it would count.
            let until = clock::instant(permit.entered_ns() + u64::from(COUNTED_S) * 1_000_000_000);
            tokio::task::spawn_local(async move {
                if let Ok(result) = tokio::time::timeout_at(until, inner).await {
                    permit.answered(tells(&result, grpc), clock::now_ns());
                }
            });
        }
    }
}

impl<F: Future<Output = Result<Reply, ProxyError>> + Unpin + 'static> std::fmt::Debug for Admitted<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Admitted").field("permit", &self.permit).finish_non_exhaustive()
    }
}

/// Whether an answer tells how long the application's work takes: an error comes too soon, or is none of its.
fn tells(result: &Result<Reply, ProxyError>, grpc: bool) -> bool {
    let Ok(reply) = result else { return false };
    let outcome = if grpc { reply.head.header(&grpc::STATUS).and_then(grpc::outcome_of) } else { None };
    !reply.head.status().is_server_error() && matches!(outcome, None | Some(Outcome::Success))
}

/// A request in the queue, which leaves it when it is dropped.
struct Waiting {
    overload: Arc<Overload>,
    ticket: Option<Arc<Ticket>>,
    came_ns: u64,
    _wait: Wait,
}

impl Waiting {
    async fn place(mut self) -> Result<Permit, Shed> {
        let Some(ticket) = self.ticket.clone() else { return std::future::pending().await };
        let granted = std::future::poll_fn(|context| match ticket.poll(context.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        // Over or not, the ticket says what came of it.
        let _ = tokio::time::timeout_at(clock::instant(ticket.until_ns()), granted).await;
        self.ticket = None;
        self.overload.settle(&ticket, self.came_ns, clock::now_ns())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            // The place that it may have been given is free again.
            drop(self.overload.leave_queue(&ticket, clock::now_ns()));
        }
    }
}

#[cfg(test)]
mod tests;
