//! What a report says of requests: what came of them lately, by cluster, and the last ones that failed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ReportError, TEXT_BYTES_MAX};

/// Most clusters whose traffic one report tells of.
pub const TRAFFIC_MAX: usize = 64;

/// Most buckets of durations.
pub const BUCKETS_MAX: usize = 64;

/// Most failures in one report.
pub const FAILURES_MAX: usize = 16;

/// What came of requests lately.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// For how long it was counted, in milliseconds.
    pub window_ms: u64,
    /// Upper bounds of the buckets of durations, in microseconds, rising; one more bucket has none.
    #[serde(default)]
    pub bounds_us: Vec<u64>,
    /// The busiest clusters.
    #[serde(default)]
    pub clusters: Vec<ClusterTraffic>,
    /// Clusters with traffic that are not among them.
    #[serde(default)]
    pub left_out: u64,
}

/// What came of the requests to one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterTraffic {
    /// Which, `namespace/name:port`.
    pub cluster: String,
    /// `outbound`: called by the service that the proxy stands beside; `inbound`: that service.
    pub direction: String,
    /// Requests that ended.
    #[serde(default)]
    pub requests: u64,
    /// Of those: ended with a status of 500 or more, or as a call of gRPC that failed by no fault of its caller, or without any.
    #[serde(default)]
    pub failures: u64,
    /// Those requests by duration, a count for each bucket.
    #[serde(default)]
    pub durations: Vec<u64>,
    /// Connections that were carried without being looked into and have ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connections: u64,
    /// Connections of that kind that are open.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub open: u64,
}

/// One request that a proxy refused or gave up on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailureStory {
    /// The request's id.
    pub id: String,
    /// When, in milliseconds since 1970, by the proxy's clock.
    pub at_unix_ms: u64,
    /// The code of `outrigger-reason`.
    pub reason: String,
    /// What happened and what to do, for people.
    #[serde(default)]
    pub sentence: String,
    /// The service that was called.
    #[serde(default)]
    pub service: String,
    /// The rule that the request met; empty if none.
    #[serde(default)]
    pub route: String,
}

/// Whether that much is taken.
pub(super) fn check(traffic: Option<&Traffic>, failures: &[FailureStory]) -> Result<(), ReportError> {
    let too_long = |field, limit| Err(ReportError::TooLong { field, limit });
    if failures.len() > FAILURES_MAX {
        return too_long("failures", FAILURES_MAX);
    }
    let told =
        failures.iter().flat_map(|one| [&one.id, &one.reason, &one.sentence, &one.service, &one.route]);
    if told.into_iter().any(|text| text.len() > TEXT_BYTES_MAX) {
        return too_long("failures", TEXT_BYTES_MAX);
    }
    let Some(traffic) = traffic else { return Ok(()) };
    if traffic.clusters.len() > TRAFFIC_MAX {
        return too_long("traffic.clusters", TRAFFIC_MAX);
    }
    let buckets = |one: &ClusterTraffic| one.durations.len() > BUCKETS_MAX;
    if traffic.bounds_us.len() > BUCKETS_MAX || traffic.clusters.iter().any(buckets) {
        return too_long("traffic.clusters.durations", BUCKETS_MAX);
    }
    let mut texts = traffic.clusters.iter().flat_map(|one| [&one.cluster, &one.direction]);
    if texts.any(|text| text.len() > TEXT_BYTES_MAX) {
        return too_long("traffic.clusters", TEXT_BYTES_MAX);
    }
    Ok(())
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
