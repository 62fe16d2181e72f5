//! `RouteFilter`.

use outrigger_snapshot::policy::{Abort, Delay, Fault, Filter};

use super::super::grpc_status;
use super::super::model::RouteFilter;
use super::super::node::{Node, Path};
use super::super::shape::Report;
use super::amount::{limited, number};
use super::rate_limit;

/// What callers get where a fault does not say.
const STATUS: u16 = 503;
/// What callers of gRPC get there: `UNAVAILABLE`.
const GRPC_STATUS: u16 = 14;

pub(super) fn read(spec: &Node, path: &Path<'_>, report: &mut Report<'_>) -> RouteFilter {
    let (limit, fault) = (spec.field("rateLimit"), spec.field("fault"));
    // Where there is no spec at all, that has been said.
    if limit.is_some() == fault.is_some() && !spec.is_null() {
        let message = if limit.is_some() { "has both rateLimit and fault" } else { "filters nothing" };
        report.unexpected(spec.at, path, message, "exactly one of rateLimit, fault");
    }
    let limit = limit.and_then(|limit| rate_limit::read(limit, &path.field("rateLimit"), report));
    let fault = fault.and_then(|fault| self::fault(fault, &path.field("fault"), report));
    RouteFilter { filter: limit.map(Filter::RateLimit).or(fault.map(Filter::Fault)) }
}

fn fault(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Fault> {
    let (delay, abort) = (node.field("delay"), node.field("abort"));
    if delay.is_none() && abort.is_none() {
        report.unexpected(node.at, path, "does nothing", "delay, abort or both");
        return None;
    }
    let delay = delay.and_then(|delay| {
        let delay_ms = limited(delay, "duration", 1, &path.field("delay"), report);
        Some(Delay { percent: number(delay, "percent")?, delay_ms: delay_ms? })
    });
    let abort = abort.and_then(|abort| {
        let grpc_status = abort.field("grpcStatus").and_then(|status| match status.text() {
            Some(text) => grpc_status::named(text),
            None => status.integer().and_then(grpc_status::numbered),
        });
        Some(Abort {
            percent: number(abort, "percent")?,
            status: number(abort, "status").unwrap_or(STATUS),
            grpc_status: grpc_status.unwrap_or(GRPC_STATUS),
        })
    });
    Some(Fault { delay, abort })
}
