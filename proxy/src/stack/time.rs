//! How long a request has.

use http::header::HeaderValue;
use outrigger_snapshot::head::RequestHead;

use crate::clock;
use crate::error::{ProxyError, Timeout};
use crate::forward::{self, GRPC_TIMEOUT};
use crate::lineage::Parent;
use crate::plan::Resolution;

/// What a hop takes from the time that is left: the way from the caller to here, about which nothing is known.
const HOP_NS: u64 = 1_000_000;

/// When nobody waits any more: by the caller's deadline, that of the call on whose behalf it is made, or the route's, whichever is first. The upstream is told what remains.
pub(super) fn deadline(
    head: &mut RequestHead,
    timed: bool,
    parent: Option<Parent>,
    resolution: &Resolution,
    started_ns: u64,
) -> Result<u64, ProxyError> {
    let configured = resolution
        .rule
        .request_timeout_ms
        .or_else(|| resolution.destination().map(|destination| destination.cluster.timeouts.request_ms));
    let carried_ns = if timed { carried_ns(head) } else { None };
    let inherited_ns = parent.map(|parent| parent.inheritance.deadline_ns).filter(|ns| *ns != u64::MAX);
    let inherited_ns = inherited_ns.map(|deadline_ns| deadline_ns.saturating_sub(started_ns));
    let limits = [carried_ns, inherited_ns, configured.and_then(clock::limit_ns)];
    let Some(limit_ns) = limits.into_iter().flatten().min() else {
        return Ok(u64::MAX);
    };
    let limit_ms = limit_ns / 1_000_000;
    if limit_ms == 0 {
        return Err(ProxyError::Timeout(Timeout::Deadline));
    }
    head.set_header(forward::DEADLINE, HeaderValue::from(limit_ms));
    if timed
        && head.header(&GRPC_TIMEOUT).is_some()
        && let Some(value) = forward::grpc_timeout(limit_ms)
    {
        head.set_header(GRPC_TIMEOUT, value);
    }
    Ok(started_ns.saturating_add(limit_ns))
}

/// The caller's remaining time, less what the hop costs; what cannot be read does not count.
fn carried_ns(head: &RequestHead) -> Option<u64> {
    let own = head
        .header(&forward::DEADLINE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    let own = own.map(|ms: u64| ms.saturating_mul(1_000_000));
    let grpc = head.header(&GRPC_TIMEOUT).and_then(|value| value.to_str().ok()).and_then(grpc_timeout_ns);
    own.into_iter().chain(grpc).min().map(|ns| ns.saturating_sub(HOP_NS))
}

/// At most eight digits and a unit (gRPC over HTTP/2, "Timeout").
fn grpc_timeout_ns(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_ns: u64 = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => return None,
    };
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok().map(|count| count.saturating_mul(unit_ns))
}

#[cfg(test)]
mod tests {
    use super::grpc_timeout_ns;

    #[test]
    fn grpc_timeouts_are_read_as_specified() {
        for (text, ns) in [
            ("1H", Some(3_600_000_000_000)),
            ("99999999S", Some(99_999_999_000_000_000)),
            ("20m", Some(20_000_000)),
            ("7u", Some(7_000)),
            ("0n", Some(0)),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("5", None),
            ("-5S", None),
            ("5x", None),
            ("5µ", None),
        ] {
            assert_eq!(grpc_timeout_ns(text), ns, "{text}");
        }
    }
}
