//! The metrics of a proxy that are read here, and nowhere else in the command line.

/// Requests that are over.
pub(super) const REQUESTS: &str = "outrigger_requests_total";
/// Requests that are not.
pub(super) const IN_FLIGHT: &str = "outrigger_requests_in_flight";
/// How long they took, by upper bounds.
pub(super) const DURATION_BUCKET: &str = "outrigger_request_duration_seconds_bucket";
/// Requests sent to an endpoint.
pub(super) const ENDPOINT_REQUESTS: &str = "outrigger_endpoint_requests_total";
/// Those that it failed.
pub(super) const ENDPOINT_FAILURES: &str = "outrigger_endpoint_failures_total";

/// Which way a request went.
pub(super) const DIRECTION: &str = "direction";
/// The rule that it met.
pub(super) const RULE: &str = "rule";
/// Where it went.
pub(super) const CLUSTER: &str = "cluster";
/// To which endpoint.
pub(super) const ENDPOINT: &str = "endpoint";
/// How it was answered.
pub(super) const CLASS: &str = "code_class";
/// Classes of requests that were no success.
pub(super) const FAILED: [&str; 2] = ["5xx", "aborted"];
/// The upper bound of a bucket.
pub(super) const BOUND: &str = "le";
