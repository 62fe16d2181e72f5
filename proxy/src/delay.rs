//! Holds a request up for as long as a filter asked for.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use crate::deadline::{Stage, Wait};
use crate::error::ProxyError;
use crate::exchange::{Exchange, Reply};
use crate::worker::Worker;

/// See the module. It stands below the filters and above what counts requests in flight.
#[derive(Debug, Clone)]
pub struct DelayLayer {
    worker: Rc<Worker>,
}

impl DelayLayer {
    /// Delays are counted by `worker`.
    pub fn new(worker: Rc<Worker>) -> Self {
        Self { worker }
    }
}

impl<S> Layer<S> for DelayLayer {
    type Service = DelayService<S>;

    fn layer(&self, inner: S) -> DelayService<S> {
        DelayService { inner, worker: self.worker.clone() }
    }
}

/// See [`DelayLayer`].
#[derive(Debug, Clone)]
pub struct DelayService<S> {
    inner: S,
    worker: Rc<Worker>,
}

impl<S> Service<Exchange> for DelayService<S>
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
    S::Future: Unpin + 'static,
{
    type Response = Reply;
    type Error = ProxyError;
    type Future = DelayFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, exchange: Exchange) -> Self::Future {
        let delay_ms = exchange.context.delay_ms;
        if delay_ms == 0 {
            return DelayFuture::Straight(self.inner.call(exchange));
        }
        self.worker.stats.faults_delayed.add(1);
        let wait = Wait::at(Stage::Delay, &exchange, self.worker.index);
        let mut inner = self.inner.clone();
        DelayFuture::Held(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            drop(wait);
            inner.call(exchange).await
        }))
    }
}

/// The response of [`DelayService`].
pub enum DelayFuture<F> {
    /// Not held up.
    Straight(F),
    /// Held up, and then on its way.
    Held(Pin<Box<dyn Future<Output = Result<Reply, ProxyError>>>>),
}

impl<F: Future<Output = Result<Reply, ProxyError>> + Unpin> Future for DelayFuture<F> {
    type Output = Result<Reply, ProxyError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Straight(inner) => Pin::new(inner).poll(context),
            Self::Held(held) => held.as_mut().poll(context),
        }
    }
}

impl<F> std::fmt::Debug for DelayFuture<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Straight(_) => "Straight",
            Self::Held(_) => "Held",
        })
    }
}
