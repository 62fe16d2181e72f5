//! What hyper says when an exchange with an upstream fails.

use std::error::Error;
use std::io;

use crate::connect::TlsFailure;
use crate::error::{Malformed, ProxyError};

/// A failure on the wire, as hyper describes it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct WireError(hyper::Error);

impl WireError {
    /// Whether the whole connection has ended, and not just one stream of it.
    pub fn ends_connection(&self) -> bool {
        causes::<h2::Error>(&self.0).next().is_none_or(|error| error.is_io() || error.is_go_away())
    }
}

/// What a failed exchange with an upstream means.
pub fn upstream_failure(error: hyper::Error) -> ProxyError {
    if let Some(failure) = refuses_certificate(&error) {
        return ProxyError::Tls { failure };
    }
    let refused = refuses_stream(&error);
    let (malformed, ours) = (error.is_parse() || error.is_parse_too_large(), error.is_user());
    let wire = WireError(error);
    match () {
        () if malformed => ProxyError::MalformedResponse(wire),
        () if refused => ProxyError::Refused(wire),
        // The only part of a request that can fail in our hands is the body that the client sends.
        () if ours => ProxyError::Malformed(Malformed::Body),
        () => ProxyError::Reset(wire),
    }
}

fn refuses_certificate(error: &hyper::Error) -> Option<TlsFailure> {
    causes::<io::Error>(error).find_map(TlsFailure::of_refusal)
}

/// RFC 9113 §8.7: a stream refused so was not processed, nor one above the last of a GOAWAY. Of a GOAWAY without an error, h2 tells only
/// those; of one with an error all, and they may have been.
fn refuses_stream(error: &hyper::Error) -> bool {
    let Some(error) = causes::<h2::Error>(error).next() else { return false };
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => true,
        Some(h2::Reason::NO_ERROR) => error.is_go_away() && error.is_remote(),
        _ => false,
    }
}

/// What caused it, as far as that is of this type.
fn causes<C: Error + 'static>(error: &hyper::Error) -> impl Iterator<Item = &C> {
    let mut source = error.source();
    let all = std::iter::from_fn(move || {
        let cause = source?;
        source = cause.source();
        Some(cause)
    });
    all.filter_map(|cause| cause.downcast_ref())
}
