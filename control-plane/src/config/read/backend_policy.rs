//! `BackendPolicy`.

use std::collections::BTreeMap;

use outrigger_snapshot::policy::{Balance, HashKey, OnEmpty, ShuffleShard};
use outrigger_snapshot::validate::SHARD_ENDPOINTS_MAX;

use super::super::model::{BackendPolicy, Settings, Switch, Target};
use super::super::node::{Node, Path};
use super::super::problem::Spot;
use super::super::shape::Report;
use super::amount::{limited, number};
use super::gateway;

mod health_check;
mod resilience;

pub(super) fn read(spec: &Node, path: &Path<'_>, namespace: &str, report: &mut Report<'_>) -> BackendPolicy {
    let mut settings = Settings::default();
    if let Some(balance) = spec.field("balance") {
        settings.balance = self::balance(balance, &path.field("balance"), report);
    }
    if let Some(timeouts) = spec.field("timeouts") {
        self::timeouts(timeouts, &path.field("timeouts"), &mut settings, report);
    }
    if let Some(limits) = spec.field("limits") {
        settings.connections = number(limits, "connections");
        settings.pending = number(limits, "pending");
        settings.requests = number(limits, "requests");
        settings.endpoint_requests = number(limits, "endpointRequests");
    }
    if let Some(zones) = spec.field("zonePreference") {
        settings.zones.enabled = zones.field("enabled").and_then(Node::boolean);
        settings.zones.endpoints_min = number(zones, "minEndpoints");
    }
    if let Some(subset) = spec.field("subset") {
        settings.subset.enabled = subset.field("enabled").and_then(Node::boolean);
        settings.subset.endpoints_min = number(subset, "minEndpoints");
    }
    resilience::read(spec, path, &mut settings, report);
    settings.health_check = switched(spec, "healthCheck", path, report, health_check::read);
    settings.slow_start_ms = limited(spec, "slowStart", 1, path, report);
    settings.on_empty = match spec.field("discovery").and_then(|discovery| discovery.text_of("onEmpty")) {
        Some("keep") => Some(OnEmpty::Keep),
        Some("drain") => Some(OnEmpty::Drain),
        _ => None,
    };
    if let Some(tls) = spec.field("tls") {
        let (field, path) = ("clientCertificateRef", path.field("tls"));
        let shown = tls.field(field);
        settings.client_certificate =
            shown.and_then(|shown| gateway::reference(shown, &path.field(field), namespace, report));
    }
    BackendPolicy { targets: targets(spec, namespace), settings, written: written(spec) }
}

/// The services and ports that a policy applies to, and the gateways and listeners.
pub(super) fn targets(spec: &Node, namespace: &str) -> Vec<Target> {
    let target = |(position, item): (usize, &Node)| {
        let is_gateway = item.text_of("kind") == Some("Gateway");
        let service = match is_gateway {
            true => super::gateway_ref(item, namespace, position),
            false => super::service_ref(item, namespace, position),
        };
        Some(Target { service: service?, section: super::placed_text(item, "sectionName"), is_gateway })
    };
    spec.list("targetRefs").iter().enumerate().filter_map(target).collect()
}

/// Where the fields below `spec` stand.
pub(super) fn written(spec: &Node) -> BTreeMap<String, Spot> {
    fn collect(node: &Node, prefix: &str, spots: &mut BTreeMap<String, Spot>) {
        for entry in node.entries().iter().filter(|entry| !entry.value.is_null()) {
            let path = format!("{prefix}{}", entry.key);
            collect(&entry.value, &format!("{path}."), spots);
            spots.insert(path, entry.value.at);
        }
    }
    let mut spots = BTreeMap::new();
    collect(spec, "", &mut spots);
    spots
}

/// What is on where it is written, unless it says `enabled: false`, beside which nothing else makes sense.
fn switched<T>(
    spec: &Node,
    name: &str,
    path: &Path<'_>,
    report: &mut Report<'_>,
    read: fn(&Node, &Path<'_>, &mut Report<'_>) -> Option<T>,
) -> Option<Switch<T>> {
    let (node, path) = (spec.field(name)?, path.field(name));
    if node.field("enabled").and_then(Node::boolean) != Some(false) {
        return read(node, &path, report).map(Switch::On);
    }
    for entry in node.entries().iter().filter(|entry| entry.key != "enabled" && !entry.value.is_null()) {
        let expected = format!("enabled: true, or no {}", entry.key);
        let message = format!("has no effect: {name} is off");
        report.unexpected(entry.value.at, &path.field(&entry.key), message, expected);
    }
    Some(Switch::Off)
}

fn balance(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Balance> {
    let policy = node.text_of("policy").unwrap_or("PeakEwma");
    let sharded = policy == "ShuffleShard";
    let key = match node.field("hash") {
        Some(hash) if !sharded && policy != "ConsistentHash" => {
            let message = format!("has no effect on {policy}");
            let expected = "policy ConsistentHash or ShuffleShard, or no hash";
            report.unexpected(hash.at, &path.field("hash"), message, expected);
            None
        }
        Some(hash) => hash_key(hash, &path.field("hash"), report),
        None => None,
    };
    let size = number(node, "shardSize");
    if let (Some(written), false) = (node.field("shardSize"), sharded) {
        let message = format!("has no effect on {policy}");
        report.unexpected(
            written.at,
            &path.field("shardSize"),
            message,
            "policy ShuffleShard, or no shardSize",
        );
    }
    let mut needs = |field: &str, expected: &str| {
        if node.field(field).is_none() {
            report.unexpected(node.at, &path.field(field), "is missing", format!("{expected}, for {policy}"));
        }
    };
    match policy {
        "PeakEwma" => Some(Balance::PeakEwma),
        "LeastRequest" => Some(Balance::LeastRequest),
        "RoundRobin" => Some(Balance::RoundRobin),
        "Random" => Some(Balance::Random),
        "ConsistentHash" => {
            needs("hash", "one of header, cookie, source");
            key.map(Balance::ConsistentHash)
        }
        "ShuffleShard" => {
            needs("hash", "one of header, cookie, source");
            needs("shardSize", &format!("1 to {SHARD_ENDPOINTS_MAX}"));
            Some(Balance::ShuffleShard(ShuffleShard { size: size?, key: key? }))
        }
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
    settings.first_byte_ms = limited(node, "firstByte", 0, path, report);
    settings.idle_ms = limited(node, "idle", 1, path, report);
    settings.body_stall_ms = limited(node, "bodyStall", 0, path, report);
    settings.tunnel_idle_ms = limited(node, "tunnelIdle", 0, path, report);
}
