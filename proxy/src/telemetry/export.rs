//! The data path's metrics as a scrape sees them: shards summed up.

use std::sync::Arc;

use outrigger_certs::problem::Problem;

use super::exposition::Exposition;
use super::metrics::{Counter, Direction, WorkerStats};
use crate::clock;
use crate::local_reply::ROWS;
use crate::plan::Plan;
use crate::resolve::Metrics as ResolveMetrics;
use crate::resolve::state::{Failure, Nothing};

/// Endpoints of one cluster that are written; beyond it `/clusters` shows them.
pub const ENDPOINTS_WRITTEN_MAX: usize = 100;
/// Those of all clusters.
pub const ALL_ENDPOINTS_WRITTEN_MAX: usize = 10_000;

/// Writes the load of every endpoint that has seen a request, of clusters with few enough of them.
pub fn write_endpoints(plan: &Plan, exposition: &mut Exposition) {
    let now_ns = clock::now_ns();
    let mut clusters: Vec<_> = plan.clusters.values().collect();
    // Those that there is no room for are the same in each scrape.
    clusters.sort_by(|one, next| one.name.cmp(&next.name));
    let mut written = 0;
    for cluster in clusters {
        let endpoints = cluster.endpoints.load();
        if endpoints.entries().len() > ENDPOINTS_WRITTEN_MAX {
            continue;
        }
        written += endpoints.entries().len();
        if written > ALL_ENDPOINTS_WRITTEN_MAX {
            return;
        }
        for endpoint in
            endpoints.entries().iter().map(|entry| &entry.endpoint).filter(|endpoint| endpoint.requests() > 0)
        {
            let address = endpoint.address().to_string();
            let labels = [("cluster", &*cluster.name), ("endpoint", address.as_str())];
            exposition
                .gauge(
                    "outrigger_endpoint_in_flight",
                    "Requests that an endpoint has not answered to the end.",
                )
                .sample(&labels, u64::from(endpoint.in_flight()));
            exposition
                .counter("outrigger_endpoint_requests_total", "Requests sent to an endpoint.")
                .sample(&labels, endpoint.requests());
            exposition
                .counter(
                    "outrigger_endpoint_failures_total",
                    "Requests that an endpoint failed, or could not be sent.",
                )
                .sample(&labels, endpoint.failures());
            if let Some(cost_ns) = endpoint.cost_ns(now_ns) {
                exposition
                    .gauge(
                        "outrigger_endpoint_cost_seconds",
                        "What the balancer takes an endpoint's latency for.",
                    )
                    .sample(&labels, cost_ns as f64 / 1e9);
            }
        }
    }
}

/// Writes what workers count beside requests.
pub fn write_workers(workers: &[Arc<WorkerStats>], exposition: &mut Exposition) {
    let sum = |counter: &dyn Fn(&WorkerStats) -> &Counter| {
        workers.iter().map(|worker| counter(worker).value()).fold(0, u64::wrapping_add)
    };
    for direction in [Direction::Inbound, Direction::Outbound] {
        let (labels, index) = ([("direction", direction.as_str())], direction as usize);
        exposition
            .gauge("outrigger_downstream_connections", "Open downstream connections.")
            .sample(&labels, sum(&|stats| &stats.downstream_connections[index]));
        exposition
            .counter("outrigger_downstream_connections_total", "Downstream connections accepted.")
            .sample(&labels, sum(&|stats| &stats.downstream_accepted[index]));
    }
    exposition
        .gauge("outrigger_upstream_connections", "Open upstream connections.")
        .sample(&[], sum(&|stats| &stats.upstream_connections));
    exposition
        .counter("outrigger_upstream_connections_total", "Upstream connections opened.")
        .sample(&[], sum(&|stats| &stats.upstream_opened));
    exposition
        .counter(
            "outrigger_upstream_connect_failures_total",
            "Upstream connections that could not be opened.",
        )
        .sample(&[], sum(&|stats| &stats.upstream_connect_failed));
    let longest_ns = workers.iter().map(|stats| stats.turns.take_longest_ns()).max().unwrap_or_default();
    exposition
        .gauge(
            "outrigger_worker_longest_turn_seconds",
            "Longest time since the last scrape for which a busy worker gave no connection a turn.",
        )
        .sample(&[], longest_ns as f64 / 1e9);
    exposition
        .counter("outrigger_worker_halts_total", "Times that a worker was halted for a second or more.")
        .sample(&[], sum(&|stats| &stats.halts));
    exposition
        .gauge("outrigger_replay_bytes", "Kept of request bodies, to send them again.")
        .sample(&[], sum(&|stats| &stats.replay_bytes));
    write_handshakes(workers, exposition);
    write_parted(workers, exposition);
    for (index, row) in ROWS.iter().enumerate() {
        let count = sum(&|stats| &stats.local_replies.0[index]);
        exposition
            .counter("outrigger_local_replies_total", "Responses that the proxy wrote itself, by reason.")
            .sample(&[("reason", row.reason)], count);
    }
}

/// What became of peers that were believed at first; only what has happened, but for what people will want to know of.
fn write_parted(workers: &[Arc<WorkerStats>], exposition: &mut Exposition) {
    for direction in [Direction::Inbound, Direction::Outbound] {
        for (place, problem) in Problem::ALL.iter().enumerate() {
            let counts = workers.iter().map(|stats| stats.parted[direction as usize].count(place));
            let count = counts.fold(0, u64::wrapping_add);
            if count > 0 || *problem == Problem::Revoked {
                exposition
                    .counter(
                        "outrigger_peer_connections_ended_total",
                        "Open connections of mutual TLS that were ended since the peer is believed no more.",
                    )
                    .sample(&[("direction", direction.as_str()), ("reason", problem.code())], count);
            }
        }
    }
}

/// What mutual TLS came to; only what has happened.
fn write_handshakes(workers: &[Arc<WorkerStats>], exposition: &mut Exposition) {
    let sum = |counter: &dyn Fn(&WorkerStats) -> u64| {
        workers.iter().map(|worker| counter(worker)).fold(0, u64::wrapping_add)
    };
    for direction in [Direction::Inbound, Direction::Outbound] {
        let index = direction as usize;
        let words = workers.first().map_or(0, |worker| worker.handshakes[index].failed.len());
        let done = ("ok", sum(&|stats| stats.handshakes[index].done.value()));
        let failed = (0..words).map(|word| {
            let count = sum(&|stats| stats.handshakes[index].failed[word].1.value());
            (workers[0].handshakes[index].failed[word].0, count)
        });
        for (result, count) in std::iter::once(done).chain(failed).filter(|(_, count)| *count > 0) {
            exposition
                .counter("outrigger_tls_handshakes_total", "Handshakes of TLS, by how they ended.")
                .sample(&[("direction", direction.as_str()), ("result", result)], count);
        }
    }
    let plaintext = sum(&|stats| stats.plaintext_requests.value());
    exposition
        .counter(
            "outrigger_plaintext_requests_total",
            "Requests in the clear to a workload that others call by mutual TLS, or may call by TLS.",
        )
        .sample(&[], plaintext);
    let denied = exposition
        .counter("outrigger_denied_requests_total", "Requests that access rules deny, or would deny.");
    denied.sample(&[("dry_run", "false")], sum(&|stats| stats.denied.value()));
    denied.sample(&[("dry_run", "true")], sum(&|stats| stats.denied_dry.value()));
    let plaintext = sum(&|stats| stats.plaintext_connections.value());
    exposition
        .counter(
            "outrigger_plaintext_connections_total",
            "Connections to a workload with an identity from callers that proved none.",
        )
        .sample(&[], plaintext);
    let denied = exposition
        .counter("outrigger_denied_connections_total", "Connections that access rules deny, or would deny.");
    denied.sample(&[("dry_run", "false")], sum(&|stats| stats.denied_connections.value()));
    denied.sample(&[("dry_run", "true")], sum(&|stats| stats.denied_connections_dry.value()));
}

/// Writes what is known of names.
pub fn write_discovery(metrics: &ResolveMetrics, exposition: &mut Exposition) {
    exposition
        .counter("outrigger_discovery_queries_total", "DNS questions asked.")
        .sample(&[], metrics.queries());
    let failures =
        exposition.counter("outrigger_discovery_failures_total", "DNS questions without an answer, by kind.");
    for failure in Failure::ALL {
        failures.sample(&[("kind", failure.name())], metrics.failures(failure));
    }
    let nothing = exposition
        .counter("outrigger_discovery_nothing_total", "DNS answers that there is nothing, by kind.");
    nothing.sample(&[("kind", "empty")], metrics.nothing(Nothing::Empty));
    nothing.sample(&[("kind", "nxdomain")], metrics.nothing(Nothing::NoSuchName));
    exposition
        .counter("outrigger_discovery_truncated_total", "DNS answers that had more endpoints than are used.")
        .sample(&[], metrics.truncated());
    for name in metrics.names().iter() {
        let cluster = name.cluster.to_string();
        let labels = [("cluster", cluster.as_str())];
        exposition
            .gauge(
                "outrigger_discovery_stale_seconds",
                "For how long the endpoints in use have not been what DNS says.",
            )
            .sample(&labels, name.stale_for().as_secs_f64());
        exposition
            .gauge(
                "outrigger_discovery_state",
                "How far the endpoints in use can be trusted, in labels; always 1.",
            )
            .sample(&[labels[0], ("state", name.freshness().name())], true);
        exposition
            .gauge("outrigger_discovery_endpoints", "Endpoints in use from DNS.")
            .sample(&labels, u64::from(name.endpoints()));
    }
}
