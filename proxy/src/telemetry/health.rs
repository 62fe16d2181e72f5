//! How clusters are, as a scrape sees it.

use std::sync::Arc;

use super::exposition::Exposition;
use crate::clock;
use crate::cluster::Cluster;
use crate::cluster::breaker::TRANSITIONS;
use crate::cluster::health::Cause;
use crate::health_check::Results;
use crate::plan::Plan;
use crate::telemetry::metrics::Direction;

/// A cluster, and which way it is.
pub type Aimed = (Direction, Arc<Cluster>);

/// The workload's own, and those that it calls.
pub fn clusters(plan: &Plan) -> Vec<Aimed> {
    let own = plan.inbound.iter().flat_map(|(_, rule)| &rule.destinations);
    let own = own.map(|destination| (Direction::Inbound, destination.cluster.clone()));
    own.chain(plan.clusters.values().map(|called| (Direction::Outbound, called.clone()))).collect()
}

/// Writes ejections and breakers of those clusters that have seen a request, or are not well.
pub fn write_health(clusters: &[Aimed], exposition: &mut Exposition) {
    let matters = |(_, cluster): &&Aimed| {
        let endpoints = cluster.endpoints.load();
        let used = || endpoints.entries().iter().any(|entry| entry.endpoint.requests() > 0);
        cluster.load.health.is_troubled() || used()
    };
    for (direction, cluster) in clusters.iter().filter(matters) {
        if *direction == Direction::Outbound {
            write_ejections(cluster, exposition);
            write_breaker(cluster, exposition);
            write_zones(cluster, exposition);
            write_subset(cluster, exposition);
            write_budget(cluster, exposition);
        }
        write_limits(cluster, *direction, exposition);
    }
}

fn write_limits(cluster: &Cluster, direction: Direction, exposition: &mut Exposition) {
    let load = &cluster.load;
    let used = [
        ("requests", load.requests.value()),
        ("pending", load.pending.value()),
        ("connections", load.connections.open()),
    ];
    let family = exposition.gauge("outrigger_limit_in_use", "What a cluster has of that which is limited.");
    for (kind, count) in used {
        let labels = [("direction", direction.as_str()), ("cluster", &*cluster.name), ("kind", kind)];
        family.sample(&labels, u64::from(count));
    }
}

fn write_budget(cluster: &Cluster, exposition: &mut Exposition) {
    let balance = cluster.load.retries.balance(&cluster.budget, clock::now_ns());
    // Rules may have retries where their cluster has none.
    if balance > 0 || cluster.retry.attempts > 0 || cluster.hedge.is_some() {
        exposition
            .gauge(
                "outrigger_retry_budget_balance",
                "Retries and hedges that the budget has left, its floor aside.",
            )
            .sample(&[("cluster", &*cluster.name)], balance);
    }
}

fn write_zones(cluster: &Cluster, exposition: &mut Exposition) {
    if cluster.endpoints.load().prefers_zone() {
        let picks = exposition.counter(
            "outrigger_zone_picks_total",
            "Tries of requests whose callers prefer their own zone, by where they went.",
        );
        for (zone, count) in cluster.load.zone_picks.counts() {
            picks.sample(&[("cluster", &*cluster.name), ("zone", zone)], count);
        }
    }
}

fn write_subset(cluster: &Cluster, exposition: &mut Exposition) {
    let Some(_) = &cluster.subsetting else { return };
    let (endpoints, labels) = (cluster.endpoints.load(), [("cluster", &*cluster.name)]);
    let own = endpoints.subset().unwrap_or_else(|| endpoints.open()).len();
    exposition
        .gauge("outrigger_subset_size", "Endpoints that are this caller's, while enough of them are well.")
        .sample(&labels, own as u64);
    exposition
        .counter("outrigger_subset_changes_total", "Changes of which endpoints are this caller's.")
        .sample(&labels, cluster.load.subset.changes());
}

fn write_ejections(cluster: &Cluster, exposition: &mut Exposition) {
    let (health, labels) = (&cluster.load.health, [("cluster", &*cluster.name)]);
    exposition
        .gauge("outrigger_endpoints_healthy", "Endpoints that get requests.")
        .sample(&labels, u64::from(health.healthy()));
    exposition
        .gauge("outrigger_ejections_active", "Endpoints that are ejected or on trial.")
        .sample(&labels, u64::from(health.ejected()));
    for cause in Cause::ALL {
        exposition
            .counter("outrigger_ejections_total", "Ejections of endpoints, by what they were ejected for.")
            .sample(&[labels[0], ("type", cause.name())], health.ejections(cause));
    }
    exposition
        .counter(
            "outrigger_ejections_overflow_total",
            "Ejections that did not happen because as many endpoints were out as may be.",
        )
        .sample(&labels, health.overflows());
    exposition
        .counter(
            "outrigger_panic_picks_total",
            "Requests sent without regard to health because too few endpoints were healthy.",
        )
        .sample(&labels, health.panic_picks());
    for (to, well) in [("healthy", true), ("unhealthy", false)] {
        if cluster.health_check.is_some() {
            exposition
                .counter(
                    "outrigger_health_check_transitions_total",
                    "Verdicts of health checks on endpoints that were not the same before.",
                )
                .sample(&[labels[0], ("to", to)], health.check_changes(well));
        }
    }
}

fn write_breaker(cluster: &Cluster, exposition: &mut Exposition) {
    let (breaker, label) = (&cluster.breaker, ("cluster", &*cluster.name));
    exposition
        .gauge("outrigger_breaker_state", "What a cluster's breaker does with requests, in labels; always 1.")
        .sample(&[label, ("state", breaker.state().phase.name())], true);
    for ((from, to, cause), count) in TRANSITIONS.iter().zip(breaker.transitions()) {
        exposition
            .counter(
                "outrigger_breaker_transitions_total",
                "Changes of a breaker's state, by what made them.",
            )
            .sample(&[label, ("from", from.name()), ("to", to.name()), ("reason", cause.name())], count);
    }
    exposition
        .counter("outrigger_breaker_refused_total", "Requests that a breaker refused.")
        .sample(&[label], breaker.refused());
}

/// Writes what came of health checks.
pub fn write_checks(results: &Results, exposition: &mut Exposition) {
    let probes =
        exposition.counter("outrigger_health_checks_total", "Health checks of endpoints, by result.");
    for (result, count) in results.counts() {
        probes.sample(&[("result", result)], count);
    }
    exposition
        .counter(
            "outrigger_health_checks_delayed_total",
            "Health checks that began late, for want of a place.",
        )
        .sample(&[], results.delayed());
}
