//! The metrics of a proxy that are read here, and nowhere else in the command line.

/// Requests that are over.
pub(super) const REQUESTS: &str = "outrigger_requests_total";
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
/// How it was answered.
pub(super) const CLASS: &str = "code_class";
/// Classes of requests that were no success.
pub(super) const FAILED: [&str; 2] = ["5xx", "aborted"];
/// The upper bound of a bucket.
pub(super) const BOUND: &str = "le";
