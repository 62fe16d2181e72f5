//! What the status of a gRPC call says about the endpoint that gave it: the HTTP status of nearly every answer is 200.
//!
//! | status | counts as |
//! |---|---|
//! | UNKNOWN 2, DEADLINE_EXCEEDED 4, INTERNAL 13, UNAVAILABLE 14, DATA_LOSS 15 | a failure, like 5xx |
//! | RESOURCE_EXHAUSTED 8 | load, like 429 |
//! | OK 0 and all others: the caller asked for what there is not, or may not have it | an answer |
//!
//! Failures are those that Envoy takes for 500, 503 and 504 (`Grpc::Utility::grpcToHttpStatus`). Its 501, UNIMPLEMENTED, is none: one caller
//! that is newer than the service would have all endpoints ejected.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cluster::endpoint::Outcome;

/// In the head of an answer that has no message, in the trailers of any other (gRPC over HTTP/2, "Responses").
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What is said beside it, for people.
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

const UNKNOWN: u16 = 2;
const DEADLINE_EXCEEDED: u16 = 4;
const RESOURCE_EXHAUSTED: u16 = 8;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;
const DATA_LOSS: u16 = 15;

/// The status in a head or in trailers; `None` if there is none, or no number.
pub fn status(fields: &HeaderMap) -> Option<u16> {
    fields.get(&STATUS).and_then(code)
}

/// What that status says about the endpoint.
pub fn outcome(fields: &HeaderMap) -> Option<Outcome> {
    status(fields).map(judge)
}

/// A value of [`STATUS`], judged.
pub fn outcome_of(value: &HeaderValue) -> Option<Outcome> {
    code(value).map(judge)
}

/// What a call has come to, in words: the status, and so many bytes of what is said about it.
pub fn said(fields: &HeaderMap, bytes_max: usize) -> String {
    let code = status(fields).map_or_else(|| "none".to_owned(), |status| status.to_string());
    match fields.get(&MESSAGE).map(|message| message.as_bytes()) {
        Some(message) if !message.is_empty() => {
            let message = &message[..message.len().min(bytes_max)];
            format!("grpc-status {code}: {}", String::from_utf8_lossy(message))
        }
        _ => format!("grpc-status {code}"),
    }
}

/// A value of [`STATUS`].
pub fn code(value: &HeaderValue) -> Option<u16> {
    value.to_str().ok().and_then(|text| text.parse().ok())
}

fn judge(status: u16) -> Outcome {
    match status {
        UNKNOWN | DEADLINE_EXCEEDED | INTERNAL | UNAVAILABLE | DATA_LOSS => Outcome::Failure,
        RESOURCE_EXHAUSTED => Outcome::Overloaded,
        _ => Outcome::Success,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(status: &str) -> HeaderMap {
        HeaderMap::from_iter([(STATUS, HeaderValue::from_str(status).unwrap())])
    }

    #[test]
    fn what_each_status_says_about_its_endpoint() {
        for code in 0..=17 {
            let outcome_is = match code {
                2 | 4 | 13 | 14 | 15 => Outcome::Failure,
                8 => Outcome::Overloaded,
                _ => Outcome::Success,
            };
            assert_eq!(outcome(&fields(&code.to_string())), Some(outcome_is), "{code}");
        }
        for nothing in ["", "-1", "fourteen", "99999999999"] {
            assert_eq!(outcome(&fields(nothing)), None, "{nothing}");
        }
        assert_eq!(outcome(&HeaderMap::new()), None);
    }

    #[test]
    fn the_table_for_people_is_this_one() {
        let document = include_str!("../../docs/RESILIENCE.md");
        let rows: Vec<_> = include_str!("grpc.rs")
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .filter_map(|line| line.strip_prefix(" | "))
            .collect();
        assert_eq!(rows.len(), 4);
        for row in rows {
            assert!(document.contains(&format!("| {row}\n")), "{row}");
        }
    }
}
