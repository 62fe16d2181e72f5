//! A rule's filters, in the operator's order.

use http::header::HeaderName;
use outrigger_snapshot::head::{RequestHead, ResponseHead};
use outrigger_snapshot::policy;

use crate::context::{Context, Flow, Refused};
use crate::fault::Fault;
use crate::headers::HeaderEdit;
use crate::rate_limit::{RateLimit, RateLimits};
use crate::redirect::Redirect;
use crate::rewrite::{Rewrite, check_path};

/// Why a filter cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No field name (RFC 9110 §5.1).
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    /// No field value (RFC 9110 §5.5).
    #[error("the value of {name:?} has a character that no header value has")]
    HeaderValue {
        /// The field.
        name: String,
    },
    /// A field that frames the message or belongs to one connection.
    #[error("{0:?} belongs to the connection: a filter may not change it")]
    Untouchable(HeaderName),
    /// No host.
    #[error("{0:?} is not a host")]
    Host(String),
    /// No path.
    #[error("{0:?} is not a path: expected one that starts with '/' and has neither query nor fragment")]
    Path(String),
    /// No redirect.
    #[error("{0} is not a redirect status")]
    Status(u16),
    /// No status.
    #[error("{0} is not an HTTP status")]
    FaultStatus(u16),
    /// Neither `http` nor `https`.
    #[error("{0:?} is not a scheme: expected http or https")]
    Scheme(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    RequestHeaders(HeaderEdit),
    ResponseHeaders(HeaderEdit),
    Redirect(Redirect),
    Rewrite(Rewrite),
    RateLimit(RateLimit),
    Fault(Fault),
}

/// Filters ready to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterChain {
    filters: Box<[Filter]>,
}

impl FilterChain {
    /// Builds every filter, or says what is wrong with the first that cannot be. Rate limits start full.
    pub fn build(filters: &[policy::Filter]) -> Result<Self, FilterError> {
        Self::build_in("", 1, filters, &mut RateLimits::default())
    }

    /// Builds every filter. A rate limit that `known` has for the same `scope` goes on where it is; about `peers` proxies count it, if it is
    /// global.
    pub fn build_in(
        scope: &str,
        peers: u32,
        filters: &[policy::Filter],
        known: &mut RateLimits,
    ) -> Result<Self, FilterError> {
        let filters = filters.iter().map(|filter| match filter {
            policy::Filter::RequestHeaders(edit) => HeaderEdit::build(edit).map(Filter::RequestHeaders),
            policy::Filter::ResponseHeaders(edit) => HeaderEdit::build(edit).map(Filter::ResponseHeaders),
            policy::Filter::Redirect(redirect) => {
                if let Some(policy::PathEdit::Full(path) | policy::PathEdit::Prefix(path)) = &redirect.path {
                    check_path(path)?;
                }
                Redirect::build(redirect).map(Filter::Redirect)
            }
            policy::Filter::Rewrite(rewrite) => Rewrite::build(rewrite).map(Filter::Rewrite),
            policy::Filter::RateLimit(limit) => {
                known.limiter(scope, peers, limit).map(|limiter| Filter::RateLimit(RateLimit(limiter)))
            }
            policy::Filter::Fault(fault) => Fault::build(fault).map(Filter::Fault),
        });
        Ok(Self { filters: filters.collect::<Result<_, _>>()? })
    }

    /// These and then those of another chain.
    pub fn then(&self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        Self { filters: self.filters.iter().cloned().chain(other.filters).collect() }
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Runs the filters on a request, until one answers.
    pub fn on_request(&self, head: &mut RequestHead, context: &mut Context) -> Flow {
        for filter in &self.filters {
            match filter {
                Filter::RequestHeaders(edit) => edit.on_request(head),
                Filter::Rewrite(rewrite) => rewrite.on_request(head, context),
                Filter::Redirect(redirect) => return Flow::Answer(redirect.answer(head, context)),
                Filter::RateLimit(limit) => {
                    if let Err(exceeded) = limit.on_request(head, context) {
                        return Flow::Refuse(Refused::RateLimited(exceeded));
                    }
                }
                Filter::Fault(fault) => {
                    if let Err(refused) = fault.on_request(context) {
                        return Flow::Refuse(refused);
                    }
                }
                Filter::ResponseHeaders(_) => {}
            }
        }
        Flow::Continue
    }

    /// Runs the filters on a response, last first: the outermost has the last word.
    pub fn on_response(&self, head: &mut ResponseHead) {
        for filter in self.filters.iter().rev() {
            match filter {
                Filter::ResponseHeaders(edit) => edit.on_response(head),
                Filter::RequestHeaders(_)
                | Filter::Redirect(_)
                | Filter::Rewrite(_)
                | Filter::RateLimit(_)
                | Filter::Fault(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
