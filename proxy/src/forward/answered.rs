//! What a try came to: for another one, and for what is thought of its endpoint.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::course::Tries;
use super::hedge::Sent;
use super::send::{Failed, first_frame};
use crate::cluster::endpoint::Outcome;
use crate::error::{ProxyError, Side};
use crate::grpc;
use crate::retry::Ended;
use crate::retry::pushback::Pushback;

/// Waits for what the first of the body says about a gRPC call, for a moment.
pub(super) async fn peek(sent: Sent) -> Sent {
    let mut answer = sent?;
    answer.held = true;
    if grpc::status(answer.response.headers()).is_some() {
        return Ok(answer);
    }
    match first_frame(answer.response.body_mut()).await {
        Some(Ok(frame)) => answer.ahead = Some(Box::new(frame)),
        Some(Err(error)) => return Err(Box::new(Failed { error, rested: false })),
        None => {}
    }
    Ok(answer)
}

impl Failed {
    /// Whether its connection was closed at the moment at which the request was sent, and perhaps for having carried nothing.
    fn is_race(&self) -> bool {
        self.rested && matches!(&self.error, ProxyError::Reset(wire) if wire.ends_connection())
    }
}

/// What a try came to, as far as another one depends on it, and those before; `known`: its endpoint was tried before.
pub(super) fn look(sent: &Sent, grpc: bool, known: bool, tries: &Tries) -> (Ended, Pushback) {
    let answer = match sent {
        Ok(answer) => answer,
        Err(failed) => {
            let ended = match Ended::by(&failed.error) {
                Ended::Broken if failed.is_race() && !tries.raced => Ended::Stale,
                Ended::Refused if tries.refused => Ended::RefusedAgain,
                Ended::Unsent if known => Ended::Unreachable,
                ended => ended,
            };
            return (ended, Pushback::Unsaid);
        }
    };
    let (status, headers) = (answer.response.status().as_u16(), answer.response.headers());
    if (grpc || status >= 400) && answer.was_shed() {
        return (Ended::Shed { grpc: status < 400 }, Pushback::of(headers, answer.believed));
    }
    if status >= 400 {
        return (Ended::Status(status), Pushback::of(headers, answer.believed));
    }
    let trailers = answer.ahead.as_deref().and_then(Frame::trailers_ref);
    match trailers.or(answer.held.then_some(headers)) {
        Some(fields) => match grpc::status(fields) {
            Some(status) => (Ended::Grpc(status), Pushback::of(fields, answer.believed)),
            None => (Ended::Final, Pushback::Unsaid),
        },
        None => (Ended::Final, Pushback::Unsaid),
    }
}

/// What a try says about its endpoint; `None`: what is to come of a gRPC call does.
pub(super) fn outcome(sent: &Sent, grpc: bool) -> Option<Outcome> {
    let outcome = match sent {
        Ok(answer) => match (answer.response.status().as_u16(), answer.response.headers()) {
            (429, _) => Outcome::Overloaded,
            (status, _) if (grpc || status >= 500) && answer.was_shed() => Outcome::Overloaded,
            (500.., _) => Outcome::Failure,
            (_, headers) if grpc => return call_outcome(headers, answer.ahead.as_deref()),
            _ => Outcome::Success,
        },
        Err(failed) if Ended::by(&failed.error) == Ended::Unsent => Outcome::Unreachable,
        Err(failed) if failed.error.side() == Side::Upstream => Outcome::Failure,
        Err(_) => Outcome::Cancelled,
    };
    Some(outcome)
}

/// The same by the head of an answer, and what has been taken from its body.
fn call_outcome(head: &HeaderMap, ahead: Option<&Frame<Bytes>>) -> Option<Outcome> {
    match ahead.map(|frame| frame.trailers_ref()) {
        Some(Some(trailers)) => Some(grpc::outcome(trailers).unwrap_or(Outcome::Success)),
        Some(None) => Some(Outcome::Success),
        None => grpc::outcome(head),
    }
}
