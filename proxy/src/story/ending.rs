//! How a request ended that was not simply answered.

use outrigger_filters::context::Refused;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::error::{Limit, ProxyError, Timeout};
use crate::local_reply::{Fault, Mishap, ROWS, row_index};
use crate::plan::Resolution;

/// See the module.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The code, as in `docs/ERRORS.md`.
    pub reason: &'static str,
    /// Whose fault it is.
    pub fault: Fault,
    /// The same in words.
    pub said: String,
    /// When, on [`crate::clock`].
    pub at_ns: u64,
    /// The limit that ended it, if one did.
    pub fired: Option<Fired>,
    /// Retries that the budget of its cluster had left, if it has met one.
    pub budget: Option<u64>,
}

/// When what happened to a request; on [`crate::clock`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) started_ns: u64,
    /// When its last try began; when it came, if there was none.
    pub(super) sent_ns: u64,
    pub(super) deadline_ns: u64,
}

/// A limit that ended a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fired {
    /// Which, as the configuration spells it.
    pub limit: String,
    /// What is configured, or was measured.
    pub configured: u64,
    /// What there was of what it bounds, if that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// Of what.
    pub unit: &'static str,
}

impl Ending {
    /// Of a request that came at `started_ns`, was last sent at `sent_ns` and failed with `error` at `at_ns`, on its way to where it
    /// `resolution` says.
    pub(super) fn of(
        error: &ProxyError,
        resolution: Option<&Resolution>,
        Times { started_ns, sent_ns, deadline_ns }: Times,
        at_ns: u64,
    ) -> Self {
        let row = &ROWS[row_index(error)];
        let cluster = resolution.and_then(Resolution::destination).map(|destination| &*destination.cluster);
        let tried_ms = resolution.and_then(|resolution| resolution.rule.try_timeout_ms);
        let since = |ns: u64| at_ns.saturating_sub(ns) / 1_000_000;
        let elapsed_ms = (since(started_ns), since(sent_ns));
        let whole_ms = deadline_ns.checked_sub(started_ns).map(|ns| ns / 1_000_000);
        let fired = match error {
            ProxyError::Timeout(timeout) => expired(*timeout, cluster, tried_ms, whole_ms, elapsed_ms),
            _ => reached(error, cluster),
        };
        let budget = cluster.map(|cluster| cluster.load.retries.balance(&cluster.budget, at_ns));
        Self { reason: row.reason, fault: row.fault, said: error.to_string(), at_ns, fired, budget }
    }

    /// By what happened to the answer of another.
    pub(super) fn by(mishap: Mishap, said: String, at_ns: u64) -> Self {
        let Mishap { reason, fault, .. } = mishap;
        Self { reason, fault, said, at_ns, fired: None, budget: None }
    }
}

/// The limit of a number that an error is about.
fn reached(error: &ProxyError, cluster: Option<&Cluster>) -> Option<Fired> {
    let fired = |limit: &str, configured: u64, current: u64, unit| {
        Some(Fired { limit: limit.to_owned(), configured, current: Some(current), unit })
    };
    match (error, cluster) {
        (ProxyError::Limit(limit), Some(cluster)) => {
            let (limits, load) = (&cluster.limits, &cluster.load);
            let (requests, pending) = (load.requests.value().into(), load.pending.value().into());
            match limit {
                Limit::Requests => fired("limits.requests", limits.requests.into(), requests, "requests"),
                Limit::EndpointRequests => {
                    let most = limits.endpoint_requests.into();
                    let endpoints = cluster.endpoints.load();
                    let each = endpoints.entries().iter().map(|entry| entry.endpoint.in_flight());
                    let fewest = each.min().unwrap_or_default().into();
                    fired("limits.endpointRequests", most, fewest, "requests at the endpoint with the fewest")
                }
                Limit::Pending => fired("limits.pending", limits.pending.into(), pending, "requests"),
                Limit::PendingTime => {
                    fired("limits.connections", limits.connections.into(), pending, "requests that wait")
                }
            }
        }
        (ProxyError::Shed { shed, .. }, _) => {
            fired("concurrency (measured)", shed.limit.into(), shed.in_flight.into(), "requests")
        }
        (ProxyError::Filter(Refused::RateLimited(exceeded)), _) => {
            let requests = exceeded.requests.into();
            let name = format!("rate limit {}, per {} s", exceeded.limit, exceeded.period_s());
            Some(Fired { limit: name, configured: requests, current: None, unit: "requests" })
        }
        _ => None,
    }
}

/// The limit of a time that is over.
fn expired(
    timeout: Timeout,
    cluster: Option<&Cluster>,
    tried_ms: Option<u64>,
    whole_ms: Option<u64>,
    (elapsed_ms, tried_for_ms): (u64, u64),
) -> Option<Fired> {
    let timeouts = cluster.map(|cluster| &cluster.timeouts);
    let (whole, tried) = (Some(elapsed_ms), Some(tried_for_ms));
    let (limit, configured, current) = match timeout {
        Timeout::Request => ("timeouts.request, or what the caller's deadline left", whole_ms, whole),
        Timeout::Deadline => ("the caller's deadline", Some(0), whole),
        Timeout::Try => {
            let configured = tried_ms.or_else(|| timeouts.map(|timeouts| timeouts.try_ms));
            ("timeouts.backendRequest", configured, tried)
        }
        Timeout::FirstByte => ("timeouts.firstByte", timeouts.map(|timeouts| timeouts.first_byte_ms), tried),
        Timeout::Connect => ("timeouts.connect", timeouts.map(|timeouts| timeouts.connect_ms), tried),
        Timeout::RequestBody | Timeout::UpstreamBody => {
            ("timeouts.bodyStall", timeouts.map(|timeouts| timeouts.body_stall_ms), None)
        }
    };
    let limit = limit.to_owned();
    configured.map(|configured| Fired { limit, configured, current, unit: "ms" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_from_where_its_limit_counts() {
        // 300 ms of other tries, then one of 100 ms.
        let current = |timeout, tried_ms| {
            let fired = expired(timeout, None, tried_ms, Some(500), (400, 100));
            fired.map(|fired| (fired.configured, fired.current))
        };
        assert_eq!(current(Timeout::Try, Some(100)), Some((100, Some(100))));
        assert_eq!(current(Timeout::Request, None), Some((500, Some(400))));
        assert_eq!(current(Timeout::Deadline, None), Some((0, Some(400))));
        assert_eq!(current(Timeout::Try, None), None, "nobody has said how long it may take");
    }
}
