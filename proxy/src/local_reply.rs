//! The one place that turns an error into a response: [`ROWS`], which `docs/ERRORS.md` repeats for people.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use outrigger_certs::problem::Problem;
use outrigger_filters::context::{Exceeded, Refused};
use outrigger_snapshot::head::ResponseHead;

use crate::connect::TlsFailure;
use crate::error::{Limit, Malformed, ProxyError, Timeout};

use self::rows::Cause;
pub use self::rows::{
    Fault, GrpcStatus, MISHAPS, Mishap, REASONS, RESPONSE_BROKEN, RESPONSE_OVERDUE, RESPONSE_STALLED, ROWS,
    Row, UPSTREAM_GRPC_STATUS, UPSTREAM_STATUS, is_held_against, look_up, reasons,
};

pub mod rows;

/// Says why the proxy answered by itself.
pub const REASON: HeaderName = HeaderName::from_static("outrigger-reason");

/// Says that the answering side is overloaded: the request was not looked at, and another endpoint may have room.
pub const SHED: HeaderName = HeaderName::from_static("outrigger-shed");
/// When a gRPC client may try again, in milliseconds (gRPC A6, "Client Retry Design").
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

fn cause(error: &ProxyError) -> Cause {
    match error {
        ProxyError::Malformed(
            Malformed::HostMissing
            | Malformed::HostTwice
            | Malformed::Host(_)
            | Malformed::HostDiffers
            | Malformed::Target
            | Malformed::Nul
            | Malformed::Scheme
            | Malformed::TransferEncoding
            | Malformed::TwoFramings
            | Malformed::Upgrade
            | Malformed::Body,
        ) => Cause::Malformed,
        ProxyError::Connect => Cause::Connect,
        ProxyError::NoPlan => Cause::NoPlan,
        ProxyError::NoHost => Cause::NoHost,
        ProxyError::NoPort => Cause::NoPort,
        ProxyError::NoRule => Cause::NoRule,
        ProxyError::NoBackend => Cause::NoBackend,
        ProxyError::NoEndpoint(_) => Cause::NoEndpoint,
        ProxyError::BreakerOpen { .. } => Cause::BreakerOpen,
        ProxyError::Limit(Limit::Requests | Limit::EndpointRequests) => Cause::LimitRequests,
        ProxyError::Limit(Limit::Pending | Limit::PendingTime) => Cause::LimitPending,
        ProxyError::Shed { .. } => Cause::Shed,
        ProxyError::Filter(Refused::RateLimited(_)) => Cause::RateLimited,
        ProxyError::Filter(Refused::Fault { .. }) => Cause::Fault,
        ProxyError::Timeout(Timeout::Request) => Cause::Request,
        ProxyError::Timeout(Timeout::Deadline) => Cause::Deadline,
        ProxyError::Timeout(Timeout::Try) => Cause::Try,
        ProxyError::Timeout(Timeout::FirstByte) => Cause::FirstByte,
        ProxyError::Timeout(Timeout::Connect) => Cause::ConnectTimeout,
        ProxyError::Timeout(Timeout::RequestBody) => Cause::RequestBody,
        ProxyError::Timeout(Timeout::UpstreamBody) => Cause::UpstreamBody,
        ProxyError::ConnectFailed { .. } => Cause::ConnectFailed,
        ProxyError::Tls { failure } => tls_cause(failure),
        ProxyError::IdentityRequired => Cause::IdentityRequired,
        ProxyError::TlsRequired => Cause::TlsRequired,
        ProxyError::Denied { .. } => Cause::Denied,
        ProxyError::Reset(_) => Cause::Reset,
        ProxyError::Refused(_) => Cause::Refused,
        ProxyError::MalformedResponse(_) => Cause::MalformedResponse,
        ProxyError::UnexpectedUpgrade => Cause::UnexpectedUpgrade,
        ProxyError::ClientGone => Cause::ClientGone,
    }
}

fn tls_cause(failure: &TlsFailure) -> Cause {
    let problem = match failure {
        TlsFailure::Certificate(problem) => *problem,
        TlsFailure::Refused(_) => return Cause::UpstreamTlsRefused,
        TlsFailure::Plaintext => return Cause::UpstreamNotTls,
        TlsFailure::NoIdentity => return Cause::NoIdentity,
        TlsFailure::Broken(_) | TlsFailure::Late | TlsFailure::NoCertificate => {
            return Cause::UpstreamTlsFailed;
        }
    };
    match problem {
        Problem::Expired => Cause::PeerExpired,
        Problem::NotYetValid => Cause::PeerNotYetValid,
        Problem::WrongName => Cause::PeerWrongName,
        Problem::WrongTrustDomain => Cause::PeerWrongTrustDomain,
        Problem::WrongKeyUsage => Cause::PeerWrongKeyUsage,
        Problem::SelfSigned => Cause::PeerSelfSigned,
        Problem::UnknownIssuer => Cause::PeerUnknownIssuer,
        Problem::Revoked => Cause::PeerRevoked,
        Problem::WeakSignature => Cause::PeerWeakSignature,
        Problem::BadSignature => Cause::PeerBadSignature,
        Problem::ChainTooDeep => Cause::PeerChainTooDeep,
        Problem::NameConstraint => Cause::PeerNameConstraint,
        Problem::Malformed => Cause::PeerMalformed,
        Problem::NoIdentity => Cause::PeerNoIdentity,
        // Of what is our own, or not to be had in a handshake.
        Problem::Missing | Problem::KeyMismatch | Problem::UnusableKey | Problem::NoTrust => {
            Cause::UpstreamTlsFailed
        }
    }
}

/// The reason that an answer gives, if it is one of [`ROWS`]: any other is not ours.
pub fn reason_of(headers: &HeaderMap) -> Option<&'static str> {
    let said = headers.get(&REASON)?.as_bytes();
    ROWS.iter().map(|row| row.reason).find(|reason| reason.as_bytes() == said)
}

/// The index of an error's row in [`ROWS`].
pub fn row_index(error: &ProxyError) -> usize {
    cause(error) as usize
}

/// The response to a request that failed with `error`. A gRPC client reads its status from a header and expects 200.
pub fn local_reply(error: &ProxyError, grpc: bool) -> (ResponseHead, Bytes) {
    let row = &ROWS[row_index(error)];
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(REASON, HeaderValue::from_static(row.reason));
    let retry_after_ms = retry_after_ms(error);
    let (status, grpc_status) = match error {
        // The one cause whose status is the operator's.
        ProxyError::Filter(Refused::Fault { status, grpc_status }) => (status.as_u16(), *grpc_status),
        _ => (row.status, row.grpc as u16),
    };
    match error {
        ProxyError::Shed { .. } => {
            headers.insert(SHED, HeaderValue::from_static("1"));
        }
        ProxyError::Filter(Refused::RateLimited(exceeded)) => write_rate(&mut headers, exceeded),
        _ => {}
    }
    if grpc {
        if let Some(retry_after_ms) = retry_after_ms {
            headers.insert(PUSHBACK, HeaderValue::from(retry_after_ms));
            headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_ms.div_ceil(1_000)));
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(grpc_status));
        // What errors say is plain text of ours; where it is not, the code alone must do.
        if let Ok(message) = HeaderValue::from_str(&format!("{}: {error}", row.reason)) {
            headers.insert(HeaderName::from_static("grpc-message"), message);
        }
        return (ResponseHead::new(StatusCode::OK, headers), Bytes::new());
    }
    let body = Bytes::from(format!("{}: {error}\n", row.reason));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let usual_ms = (status == 503).then_some(1_000);
    if let Some(retry_after_ms) = retry_after_ms.or(usual_ms) {
        headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_ms.div_ceil(1_000)));
    }
    // Rows hold valid codes; a test walks them.
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (ResponseHead::new(status, headers), body)
}

/// The limit and what is left of it (draft-ietf-httpapi-ratelimit-headers-10). Names of limits are of characters that need no escape.
fn write_rate(headers: &mut HeaderMap, exceeded: &Exceeded) {
    let Exceeded { limit, requests, .. } = exceeded;
    let policy = format!("\"{limit}\";q={requests};w={}", exceeded.period_s());
    let left = format!("\"{limit}\";r=0;t={}", exceeded.retry_after_s());
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// When to try again, where that is known.
fn retry_after_ms(error: &ProxyError) -> Option<u64> {
    match error {
        ProxyError::Shed { retry_after_ms, .. } => Some(u64::from(*retry_after_ms)),
        ProxyError::BreakerOpen { retry_after_ms, .. } => Some(*retry_after_ms),
        ProxyError::Filter(Refused::RateLimited(exceeded)) => {
            Some(exceeded.retry_after_ns.div_ceil(1_000_000))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_distinct_and_valid() {
        let mut reasons: Vec<_> = ROWS.iter().map(|row| row.reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), ROWS.len());
        assert!(
            ROWS.iter()
                .all(|row| StatusCode::from_u16(row.status).is_ok_and(|status| status.as_u16() >= 400))
        );
    }

    #[test]
    fn the_table_for_people_is_this_one() {
        let document = include_str!("../../docs/ERRORS.md");
        let (table, _) = document.split_once("\n## ").expect("other tables follow");
        let rows: Vec<_> = table.lines().filter_map(|line| line.strip_prefix("| `")).collect();
        let expected: Vec<_> = ROWS
            .iter()
            .map(|row| {
                let Row { reason, status, grpc, fault, meaning } = row;
                format!("{reason}` | {status} | {} | {} | {meaning} |", *grpc as u8, fault.as_str())
            })
            .collect();
        assert_eq!(rows, expected);
        for Mishap { reason, fault, meaning } in MISHAPS {
            let row = format!("\n| `{reason}` | {} | {meaning} |\n", fault.as_str());
            assert!(document.contains(&row), "docs/ERRORS.md lacks {row}");
        }
    }

    #[test]
    fn a_reply_says_why_in_the_callers_protocol() {
        let error = ProxyError::NoEndpoint("shop/cart:80".into());
        let (head, body) = local_reply(&error, false);
        assert_eq!(head.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(head.header(&REASON).unwrap(), "no_endpoint");
        assert_eq!(&body[..], b"no_endpoint: the cluster shop/cart:80 has no endpoint\n");

        let (head, body) = local_reply(&error, true);
        assert_eq!((head.status(), body.len()), (StatusCode::OK, 0));
        assert_eq!(head.header(&HeaderName::from_static("grpc-status")).unwrap(), "14");
    }

    fn field<'a>(head: &'a ResponseHead, name: &'static str) -> &'a str {
        head.header(&HeaderName::from_static(name)).map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        use crate::overload::{Cause, Shed};
        let shed = Shed { cause: Cause::Waited, limit: 9, in_flight: 9 };
        let error = ProxyError::Shed { shed, retry_after_ms: 1_001 };
        let (head, body) = local_reply(&error, false);
        assert_eq!((head.status(), field(&head, "retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "2"));
        assert_eq!(field(&head, "outrigger-shed"), "1");
        assert!(body.starts_with(b"overloaded: the application has 9 of 9 "));
        let (head, _) = local_reply(&error, true);
        assert_eq!((field(&head, "grpc-status"), field(&head, "grpc-retry-pushback-ms")), ("14", "1001"));
        assert_eq!((field(&head, "retry-after"), field(&head, "outrigger-shed")), ("2", "1"));

        let exceeded = Exceeded {
            limit: "calls".into(),
            requests: 100,
            period_ms: 60_000,
            retry_after_ns: 1_500_000_000,
        };
        let error = ProxyError::from(Refused::RateLimited(exceeded));
        let (head, _) = local_reply(&error, false);
        assert_eq!((head.status(), field(&head, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, "2"));
        assert_eq!(field(&head, "ratelimit-policy"), "\"calls\";q=100;w=60");
        assert_eq!(field(&head, "ratelimit"), "\"calls\";r=0;t=2");
        let (head, _) = local_reply(&error, true);
        assert_eq!((field(&head, "grpc-status"), field(&head, "grpc-retry-pushback-ms")), ("8", "1500"));
        assert_eq!((field(&head, "retry-after"), field(&head, "ratelimit")), ("2", "\"calls\";r=0;t=2"));

        let error = ProxyError::from(Refused::Fault { status: StatusCode::IM_A_TEAPOT, grpc_status: 5 });
        let (head, _) = local_reply(&error, false);
        assert_eq!(
            (head.status(), field(&head, "outrigger-reason")),
            (StatusCode::IM_A_TEAPOT, "fault_injected")
        );
        assert_eq!(field(&local_reply(&error, true).0, "grpc-status"), "5");
    }
}
