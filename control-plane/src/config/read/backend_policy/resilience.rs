//! Retries, hedging, ejection and breakers.

use outrigger_snapshot::policy::BreakerWindow;

use super::super::super::grpc_status;
use super::super::super::model::{BreakerSettings, EjectionSettings, HedgeSettings, RetrySettings, Settings};
use super::super::super::node::{Node, Path};
use super::super::super::shape::Report;
use super::super::amount::{distinct, interval, limited, number, per_1000_s, status};

/// Shortest window of a budget: below, it would be a single retry.
const BUDGET_WINDOW_MS_MIN: u64 = 1_000;

pub(super) fn read(spec: &Node, path: &Path<'_>, settings: &mut Settings, report: &mut Report<'_>) {
    if let Some(retry) = spec.field("retry") {
        settings.retry = self::retry(retry, &path.field("retry"), report);
    }
    settings.hedge = super::switched(spec, "hedge", path, report, hedge);
    if let Some(ejection) = spec.field("ejection") {
        settings.ejection = self::ejection(ejection, &path.field("ejection"), report);
    }
    if let Some(breaker) = spec.field("breaker") {
        settings.breaker = self::breaker(breaker, &path.field("breaker"), report);
    }
}

fn hedge(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<HedgeSettings> {
    Some(HedgeSettings {
        percentile: number(node, "percentile"),
        delay_min_ms: limited(node, "minDelay", 0, path, report),
    })
}

fn retry(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> RetrySettings {
    let grpc_status = |item: &Node| match item.text() {
        Some(text) => grpc_status::named(text),
        None => item.integer().and_then(grpc_status::numbered),
    };
    let mut retry = RetrySettings {
        attempts: number(node, "attempts"),
        statuses: distinct(node, "statuses", status, path, report),
        grpc_statuses: distinct(node, "grpcStatuses", grpc_status, path, report),
        idempotent: node.field("idempotent").and_then(Node::boolean),
        body_bytes_max: number(node, "bodyBytes"),
        ..RetrySettings::default()
    };
    if let Some(backoff) = node.field("backoff") {
        let path = path.field("backoff");
        retry.backoff_base_ms = limited(backoff, "base", 0, &path, report);
        retry.backoff_max_ms = limited(backoff, "max", 0, &path, report);
    }
    if let Some(budget) = node.field("budget") {
        let path = path.field("budget");
        retry.budget_percent = number(budget, "percent");
        retry.budget_window_ms = limited(budget, "window", BUDGET_WINDOW_MS_MIN, &path, report);
        retry.budget_floor = budget.field("floor").map(|floor| {
            let each_ms = interval(floor, "interval", 1_000, &path.field("floor"), report);
            per_1000_s(number(floor, "count").unwrap_or(1), each_ms.unwrap_or(1_000))
        });
    }
    retry
}

fn ejection(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> EjectionSettings {
    EjectionSettings {
        consecutive: number(node, "consecutive"),
        consecutive_local: number(node, "consecutiveLocal"),
        failure_percent: number(node, "failurePercent"),
        slow_percent: number(node, "slowPercent"),
        slow_ms: limited(node, "slowAfter", 1, path, report),
        requests_min: number(node, "minRequests"),
        window_ms: limited(node, "window", 1, path, report),
        deviation_permille: number(node, "deviationPermille"),
        base_ms: limited(node, "base", 1, path, report),
        max_ms: limited(node, "max", 1, path, report),
        max_percent: number(node, "maxPercent"),
        panic_percent: number(node, "panicPercent"),
    }
}

fn breaker(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> BreakerSettings {
    BreakerSettings {
        failure_percent: number(node, "failurePercent"),
        slow_percent: number(node, "slowPercent"),
        slow_ms: limited(node, "slowAfter", 1, path, report),
        window: node.field("window").and_then(|window| self::window(window, &path.field("window"), report)),
        requests_min: number(node, "minRequests"),
        endpoints_percent: number(node, "endpointsPercent"),
        open_ms: limited(node, "open", 1, path, report),
        open_max_ms: limited(node, "openMax", 1, path, report),
        probes: number(node, "probes"),
        successes: number(node, "successes"),
        ramp_ms: limited(node, "ramp", 1, path, report),
    }
}

fn window(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<BreakerWindow> {
    let time = limited(node, "time", 1, path, report).map(BreakerWindow::TimeMs);
    let count = number(node, "requests").map(BreakerWindow::Count);
    if node.field("time").is_some() == node.field("requests").is_some() {
        let message =
            if node.field("time").is_some() { "has both time and requests" } else { "says nothing" };
        report.unexpected(node.at, path, message, "exactly one of time, requests");
    }
    time.or(count)
}
