//! `BackendPolicy`.

use outrigger_snapshot::policy::{Balance, HashKey, OnEmpty};
use outrigger_snapshot::validate::TIMEOUT_MS_MAX;

use super::super::model::{BackendPolicy, Settings, Target};
use super::super::node::{Node, Path};
use super::super::shape::Report;
use super::super::text::duration_ms;

pub(super) fn read(spec: &Node, path: &Path<'_>, namespace: &str, report: &mut Report<'_>) -> BackendPolicy {
    let target = |(position, item): (usize, &Node)| {
        Some(Target {
            service: super::service_ref(item, namespace, position)?,
            section: super::placed_text(item, "sectionName"),
        })
    };
    let targets = spec.list("targetRefs").iter().enumerate().filter_map(target).collect();
    let mut settings = Settings::default();
    if let Some(balance) = spec.field("balance") {
        settings.balance = self::balance(balance, &path.field("balance"), report);
    }
    if let Some(timeouts) = spec.field("timeouts") {
        self::timeouts(timeouts, &path.field("timeouts"), &mut settings, report);
    }
    if let Some(limits) = spec.field("limits") {
        let limit =
            |name| limits.field(name).and_then(Node::integer).and_then(|value| u32::try_from(value).ok());
        settings.connections = limit("connections");
        settings.pending = limit("pending");
        settings.requests = limit("requests");
    }
    settings.on_empty = match spec.field("discovery").and_then(|discovery| discovery.text_of("onEmpty")) {
        Some("keep") => Some(OnEmpty::Keep),
        Some("drain") => Some(OnEmpty::Drain),
        _ => None,
    };
    BackendPolicy { targets, settings }
}

fn balance(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Balance> {
    let hash = node.field("hash");
    let policy = node.text_of("policy").unwrap_or("PeakEwma");
    if policy == "ConsistentHash" {
        let path = path.field("hash");
        let Some(hash) = hash else {
            report.unexpected(
                node.at,
                &path,
                "is missing",
                "one of header, cookie, source, for ConsistentHash",
            );
            return None;
        };
        return hash_key(hash, &path, report).map(Balance::ConsistentHash);
    }
    if let Some(hash) = hash {
        let message = format!("has no effect on {policy}");
        report.unexpected(hash.at, &path.field("hash"), message, "policy ConsistentHash, or no hash");
    }
    match policy {
        "PeakEwma" => Some(Balance::PeakEwma),
        "LeastRequest" => Some(Balance::LeastRequest),
        "RoundRobin" => Some(Balance::RoundRobin),
        "Random" => Some(Balance::Random),
        _ => None,
    }
}

fn hash_key(hash: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<HashKey> {
    let mut keys = Vec::new();
    keys.extend(hash.text_of("header").map(|name| HashKey::Header(name.to_ascii_lowercase())));
    keys.extend(hash.text_of("cookie").map(|name| HashKey::Cookie(name.to_owned())));
    keys.extend(
        hash.field("source").and_then(Node::boolean).filter(|source| *source).map(|_| HashKey::Source),
    );
    let only = keys.pop();
    if only.is_none() || !keys.is_empty() {
        let message =
            if only.is_none() { "names nothing to hash by" } else { "names several things to hash by" };
        report.unexpected(hash.at, path, message, "exactly one of header, cookie, source: true");
        return None;
    }
    only
}

fn timeouts(node: &Node, path: &Path<'_>, settings: &mut Settings, report: &mut Report<'_>) {
    settings.connect_ms = limited(node, "connect", 1, path, report);
    settings.request_ms = limited(node, "request", 0, path, report);
    settings.try_ms = limited(node, "try", 0, path, report);
    if let (Some(request), Some(one_try)) = (settings.request_ms, settings.try_ms)
        && request != 0
        && one_try > request
    {
        let at = node.field("try").map_or(node.at, |field| field.at);
        report.unexpected(at, &path.field("try"), "is longer than request", "at most request");
    }
    settings.first_byte_ms = limited(node, "firstByte", 0, path, report);
    settings.idle_ms = limited(node, "idle", 1, path, report);
    settings.body_stall_ms = limited(node, "bodyStall", 0, path, report);
}

/// The duration in a field, in milliseconds, from `least` to a day.
pub(super) fn limited(
    node: &Node,
    name: &str,
    least: u64,
    path: &Path<'_>,
    report: &mut Report<'_>,
) -> Option<u64> {
    let field = node.field(name)?;
    let duration = field.text().and_then(duration_ms)?;
    if duration < least {
        report.unexpected(field.at, &path.field(name), "cannot be 0", "at least 1ms");
    } else if duration > TIMEOUT_MS_MAX {
        report.unexpected(field.at, &path.field(name), "is longer than a day", "at most 24h");
    }
    Some(duration)
}
