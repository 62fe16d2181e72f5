//! `XBackendTrafficPolicy`.

use super::super::model::{BackendPolicy, Settings, Target};
use super::super::node::{Node, Path};
use super::super::shape::Report;
use super::amount::{interval, number, per_1000_s};

// What the specification has where `retryConstraint` leaves something out.
const PERCENT: u32 = 20;
const INTERVAL_MS: u64 = 10_000;
const COUNT: u64 = 10;
const RATE_INTERVAL_MS: u64 = 1_000;

/// The fields of a [`BackendPolicy`] that a `retryConstraint` stands for.
const BUDGET: [&str; 4] =
    ["retry.budget", "retry.budget.percent", "retry.budget.window", "retry.budget.floor"];

pub(super) fn read(spec: &Node, path: &Path<'_>, namespace: &str, report: &mut Report<'_>) -> BackendPolicy {
    let target = |(position, item): (usize, &Node)| {
        item.field("group").and(item.field("kind"))?;
        Some(Target {
            service: super::service_ref(item, namespace, position)?,
            section: None,
            is_gateway: false,
        })
    };
    let mut policy = BackendPolicy {
        targets: spec.list("targetRefs").iter().enumerate().filter_map(target).collect(),
        settings: Settings::default(),
        written: std::collections::BTreeMap::new(),
    };
    let Some(constraint) = spec.field("retryConstraint") else { return policy };
    policy.written = BUDGET.map(|field| (field.to_owned(), constraint.at)).into();
    let path = path.field("retryConstraint");
    let (budget, rate) = (constraint.field("budget"), constraint.field("minRetryRate"));
    let window_ms =
        budget.and_then(|budget| interval(budget, "interval", 1_000, &path.field("budget"), report));
    let each_ms = rate.and_then(|rate| interval(rate, "interval", 1, &path.field("minRetryRate"), report));
    let count = rate.and_then(|rate| number(rate, "count")).unwrap_or(COUNT);
    let retry = &mut policy.settings.retry;
    retry.budget_percent = Some(budget.and_then(|budget| number(budget, "percent")).unwrap_or(PERCENT));
    retry.budget_window_ms = Some(window_ms.unwrap_or(INTERVAL_MS));
    retry.budget_floor = Some(per_1000_s(count, each_ms.unwrap_or(RATE_INTERVAL_MS)));
    policy
}
