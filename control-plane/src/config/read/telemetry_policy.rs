//! `TelemetryPolicy`.

use super::super::model::{TelemetryPolicy, TelemetrySettings};
use super::super::node::{Node, Path};
use super::super::shape::Report;
use super::super::text::percent_share;
use super::amount::limited;
use super::backend_policy;

pub(super) fn read(
    spec: &Node,
    path: &Path<'_>,
    namespace: &str,
    report: &mut Report<'_>,
) -> TelemetryPolicy {
    let mut settings = TelemetrySettings::default();
    if let Some(traces) = spec.field("traces") {
        settings.traces = share(traces);
        settings.slow_ms = limited(traces, "slow", 1, &path.field("traces"), report);
    }
    if let Some(log) = spec.field("accessLog") {
        settings.access_log = log.field("enabled").and_then(Node::boolean).or(Some(true));
        settings.access_log_share = share(log);
        if let (Some(false), Some(field)) = (settings.access_log, log.field("sampling")) {
            let path = path.field("accessLog");
            let message = "says what part of an access log is written that is off";
            report.unexpected(field.at, &path.field("sampling"), message, "either, not both");
        }
    }
    TelemetryPolicy {
        targets: backend_policy::targets(spec, namespace),
        settings,
        written: backend_policy::written(spec),
    }
}

fn share(node: &Node) -> Option<u32> {
    node.text_of("sampling").and_then(percent_share)
}
