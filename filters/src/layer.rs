//! Filters as one step of a tower stack.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use outrigger_snapshot::head::{RequestHead, ResponseHead};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::chain::FilterChain;
use crate::context::{Answer, Context, Flow, Refused};

/// A request that has met its rule.
pub trait FilteredRequest {
    /// What keeps the rule's filters until the response.
    type Filters: Filters;

    /// The filters of the rule; `None` if it has none.
    fn filters(&self) -> Option<Self::Filters>;

    /// The head, and what filters may know.
    fn head_and_context(&mut self) -> (&mut RequestHead, &mut Context);
}

/// The chains that apply to one request, outermost first.
pub trait Filters {
    /// The chains.
    fn chains(&self) -> impl DoubleEndedIterator<Item = &FilterChain>;
}

/// A response on its way back.
pub trait FilteredResponse {
    /// The response that a filter gave.
    fn from_answer(answer: Answer) -> Self;

    /// The head.
    fn head(&mut self) -> &mut ResponseHead;
}

/// Runs the filters of the rule that a request met around everything below.
#[derive(Debug, Clone, Copy, Default)]
pub struct FilterLayer;

impl<S> Layer<S> for FilterLayer {
    type Service = FilterService<S>;

    fn layer(&self, inner: S) -> FilterService<S> {
        FilterService { inner }
    }
}

/// See [`FilterLayer`].
#[derive(Debug, Clone)]
pub struct FilterService<S> {
    inner: S,
}

impl<S, Q> Service<Q> for FilterService<S>
where
    S: Service<Q>,
    S::Response: FilteredResponse,
    S::Error: From<Refused>,
    Q: FilteredRequest,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = FilterFuture<S::Future, Q::Filters>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Q) -> Self::Future {
        let filters = request.filters();
        if let Some(filters) = &filters {
            let (head, context) = request.head_and_context();
            for chain in filters.chains() {
                let state = match chain.on_request(head, context) {
                    Flow::Continue => continue,
                    Flow::Answer(answer) => State::Answered { answer: Some(answer) },
                    Flow::Refuse(refused) => State::Refused { refused: Some(refused) },
                };
                return FilterFuture { state, filters: None };
            }
        }
        FilterFuture { state: State::Forwarded { inner: self.inner.call(request) }, filters }
    }
}

pin_project! {
    /// The response of [`FilterService`].
    #[derive(Debug)]
    pub struct FilterFuture<F, C> {
        #[pin]
        state: State<F>,
        filters: Option<C>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Answered { answer: Option<Answer> },
        Refused { refused: Option<Refused> },
        Forwarded { #[pin] inner: F },
    }
}

impl<F, C, P, E> Future for FilterFuture<F, C>
where
    F: Future<Output = Result<P, E>>,
    C: Filters,
    P: FilteredResponse,
    E: From<Refused>,
{
    type Output = Result<P, E>;

    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.state.project() {
            StateProjection::Answered { answer } => match answer.take() {
                Some(answer) => Poll::Ready(Ok(P::from_answer(answer))),
                None => Poll::Pending, // polled after completion, which the contract of `Future` leaves open
            },
            StateProjection::Refused { refused } => match refused.take() {
                Some(refused) => Poll::Ready(Err(refused.into())),
                None => Poll::Pending,
            },
            StateProjection::Forwarded { inner } => {
                let mut response = ready!(inner.poll(context))?;
                if let Some(filters) = this.filters {
                    filters.chains().rev().for_each(|chain| chain.on_response(response.head()));
                }
                Poll::Ready(Ok(response))
            }
        }
    }
}

#[cfg(test)]
mod tests;
