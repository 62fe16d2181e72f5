//! `InboundPolicy`.

use std::collections::HashMap;
use std::net::IpAddr;

use outrigger_snapshot::policy::{InboundTls, RateLimit, Termination};
use outrigger_snapshot::validate::network;

use super::super::model::{AuthorityRefs, InboundPolicy, InboundSettings};
use super::super::node::{Node, Path, shortened};
use super::super::problem::Problem;
use super::super::shape::Report;
use super::super::text::check_path;
use super::amount::number;
use super::route::GATEWAY_GROUP;
use super::{authorization, backend_policy, gateway, rate_limit};

pub(super) fn read(spec: &Node, path: &Path<'_>, namespace: &str, report: &mut Report<'_>) -> InboundPolicy {
    let mut settings = InboundSettings::default();
    if let Some(shed) = spec.field("shed") {
        settings.shed = shed.field("enabled").and_then(Node::boolean);
        settings.tolerance_percent = number(shed, "tolerance");
        settings.exempt = texts(shed, "exempt", &path.field("shed"), report, exempt);
    }
    settings.rate_limits = spec.field("rateLimits").map(|_| rate_limits(spec, path, report));
    settings.authorization = spec
        .field("authorization")
        .map(|node| authorization::read(node, &path.field("authorization"), report));
    settings.priorities = spec.field("priorities").map(|_| authorization::priorities(spec, path, report));
    settings.trusted = texts(spec, "trustedSources", path, report, network_text);
    let (tls_path, authorities) = (path.field("tls"), &mut settings.authorities);
    settings.tls = spec.field("tls").map(|node| tls(node, &tls_path, namespace, authorities, report));
    check_groups(spec, path, report);
    InboundPolicy {
        targets: backend_policy::targets(spec, namespace),
        settings,
        written: backend_policy::written(spec),
    }
}

fn tls(
    node: &Node,
    path: &Path<'_>,
    namespace: &str,
    authorities: &mut AuthorityRefs,
    report: &mut Report<'_>,
) -> InboundTls {
    let shown = gateway::references(node, "certificateRefs", path, namespace, report);
    let certificates = shown.into_iter().map(|(_, name)| name.value).collect();
    let only_tls13 = node.text_of("minVersion") == Some("1.3");
    let clients = gateway::clients(node, path, namespace, authorities, report);
    let cleartext = node.text_of("cleartext") == Some("Allowed");
    let must_prove = clients.as_ref().is_some_and(|clients| clients.required);
    if let Some(field) = node.field("cleartext").filter(|_| cleartext && must_prove) {
        let message = "cannot be Allowed where clients must prove who they are: in the clear nobody does";
        let expected = "Refused, or validation.mode AllowInsecureFallback";
        report.unexpected(field.at, &path.field("cleartext"), message, expected);
    }
    InboundTls { termination: Termination { certificates, only_tls13, clients }, cleartext }
}

/// A kind has one group, whichever is written.
fn check_groups(spec: &Node, path: &Path<'_>, report: &mut Report<'_>) {
    let path = path.field("targetRefs");
    for (index, item) in spec.list("targetRefs").iter().enumerate() {
        let (Some(field), Some(kind)) = (item.field("group"), item.text_of("kind")) else { continue };
        let Some(group) = field.text() else { continue };
        let is_gateway = kind == "Gateway";
        if is_gateway == (group == GATEWAY_GROUP) || !matches!(kind, "Gateway" | "Service") {
            continue;
        }
        let message = format!("\"{}\" is not the group of {kind}", shortened(group));
        let expected = if is_gateway { GATEWAY_GROUP } else { "\"\" or outrigger.dev" };
        report.unexpected(field.at, &path.item(index).field("group"), message, expected);
    }
}

/// The limits of a port, of which no two may have the same name.
fn rate_limits(spec: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Vec<RateLimit> {
    let path = path.field("rateLimits");
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut limits = Vec::new();
    for (index, item) in spec.list("rateLimits").iter().enumerate() {
        let here = path.item(index);
        if let Some((name, text)) = item.field("name").and_then(|name| Some((name, name.text()?)))
            && let Some(other) = first.insert(text, index)
        {
            let message = format!("\"{}\" is the name of rateLimits[{other}] too", shortened(text));
            report.unexpected(name.at, &here.field("name"), message, "each name once");
        }
        limits.extend(rate_limit::read(item, &here, report));
    }
    limits
}

/// The texts in a list, of which no two may be the same, each judged by `check`; `None` if there is no list.
pub(super) fn texts(
    node: &Node,
    list: &str,
    path: &Path<'_>,
    report: &mut Report<'_>,
    check: fn(&Node, &str, &Path<'_>, &mut Report<'_>),
) -> Option<Vec<String>> {
    let items = node.field(list)?.items();
    let path = path.field(list);
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut values = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(text) = item.text() else { continue };
        let here = path.item(index);
        if let Some(other) = first.insert(text, index) {
            report.unexpected(item.at, &here, format!("is the same as {list}[{other}]"), "each once");
        }
        check(item, text, &here, report);
        values.push(text.to_owned());
    }
    Some(values)
}

fn exempt(node: &Node, text: &str, path: &Path<'_>, report: &mut Report<'_>) {
    if let Err(expected) = check_path(text) {
        report.unexpected(node.at, path, format!("\"{}\" is not a path", shortened(text)), expected);
    }
}

/// Bits that do not count can only be a mistake, and so can the notation in which no peer is written.
pub(super) fn network_text(node: &Node, text: &str, path: &Path<'_>, report: &mut Report<'_>) {
    let Some((address, bits)) = network(text) else { return };
    let (first, width) = match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            (IpAddr::V4((address.to_bits() & mask).into()), 32)
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            (IpAddr::V6((address.to_bits() & mask).into()), 128)
        }
    };
    let (message, meant) = if address.to_canonical() != address {
        let bits = bits.saturating_sub(width - 32);
        ("is an IPv4 address in IPv6 notation, which no peer has", (address.to_canonical(), bits, 32))
    } else if first != address {
        ("has bits beyond those that count", (first, bits, width))
    } else {
        return;
    };
    let (address, bits, width) = meant;
    let meant = if bits == width { address.to_string() } else { format!("{address}/{bits}") };
    report.problems.add(|| {
        Problem::new(report.file, node.at, path, format!("\"{}\" {message}", shortened(text)))
            .expected("the first address of the network")
            .nearest(Some(meant))
    });
}
