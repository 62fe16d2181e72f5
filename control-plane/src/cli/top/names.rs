//! The metrics of a proxy that are read here, and nowhere else in the command line.

/// Requests that are over.
pub(super) const REQUESTS: &str = "outrigger_requests_total";
/// Those that failed.
pub(super) const FAILURES: &str = "outrigger_request_failures_total";
/// Requests that are not, and which way they went.
pub(super) const IN_FLIGHT: [(&str, &str); 2] =
    [("http_server_active_requests", "inbound"), ("http_client_active_requests", "outbound")];
/// How long they took, by upper bounds, and which way they went.
pub(super) const DURATION_BUCKET: [(&str, &str); 2] = [
    ("http_server_request_duration_seconds_bucket", "inbound"),
    ("http_client_request_duration_seconds_bucket", "outbound"),
];

/// Which way a request went.
pub(super) const DIRECTION: &str = "direction";
/// The rule that it met.
pub(super) const RULE: &str = "rule";
/// Where it went.
pub(super) const CLUSTER: &str = "cluster";
/// Why it failed.
pub(super) const REASON: &str = "reason";
/// Whose fault that was.
pub(super) const FAULT: &str = "fault";
/// The upper bound of a bucket.
pub(super) const BOUND: &str = "le";

/// Whether a failure is held against the route. What the caller got wrong is not, and neither is what meets no route; who left without an
/// answer may have waited too long.
pub(super) fn counts(fault: &str, reason: &str) -> bool {
    reason == "client_gone" || fault != "client" && !["no_host", "no_port", "no_rule"].contains(&reason)
}
