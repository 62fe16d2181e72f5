//! Limits of rate, of a port or of a rule.

use std::collections::HashMap;

use outrigger_snapshot::policy::{RateKey, RateLimit};
use outrigger_snapshot::validate::REQUESTS_PER_MS_MAX;

use super::super::node::{Node, Path};
use super::super::shape::Report;
use super::amount::{limited, number};

/// `None` if a part that it needs could not be read, which has been reported.
pub(super) fn read(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<RateLimit> {
    let key = keys(node, path, report);
    let period_ms = limited(node, "period", 1, path, report);
    let written = node.field("requests");
    let requests: Option<u32> = number(node, "requests");
    if let (Some(written), Some(requests), Some(period_ms @ 1..)) = (written, requests, period_ms) {
        let most = period_ms.saturating_mul(REQUESTS_PER_MS_MAX);
        if u64::from(requests) > most {
            let message = "is more than one in a nanosecond";
            report.unexpected(written.at, &path.field("requests"), message, format!("at most {most}"));
        }
    }
    let requests = requests?;
    Some(RateLimit {
        name: node.text_of("name")?.to_owned(),
        requests,
        period_ms: period_ms?,
        burst: number(node, "burst").unwrap_or(RateLimit::default_burst(requests)),
        key,
        global: node.field("global").and_then(Node::boolean).unwrap_or(false),
    })
}

fn keys(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Vec<RateKey> {
    let path = path.field("keys");
    let mut first: HashMap<RateKey, usize> = HashMap::new();
    let mut keys = Vec::new();
    for (index, item) in node.list("keys").iter().enumerate() {
        let here = path.item(index);
        let Some(part) = key(item, &here, report) else { continue };
        if let Some(other) = first.insert(part.clone(), index) {
            report.unexpected(item.at, &here, format!("is the same as keys[{other}]"), "each once");
        }
        keys.push(part);
    }
    keys
}

fn key(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<RateKey> {
    let header = node.text_of("header").map(|name| RateKey::Header(name.to_ascii_lowercase()));
    let source = node.field("source").and_then(Node::boolean).filter(|source| *source);
    let element = number(node, "pathElement").map(RateKey::PathElement);
    let identity = node.field("identity").and_then(Node::boolean).filter(|identity| *identity);
    let given = ["header", "source", "identity", "pathElement"]
        .iter()
        .filter(|name| node.field(name).is_some())
        .count();
    let off = |name| node.field(name).is_some_and(|flag| flag.boolean() == Some(false));
    if given != 1 || off("source") || off("identity") {
        let message =
            if given > 1 { "names several things to count by" } else { "names nothing to count by" };
        let expected = "exactly one of header, source: true, identity: true, pathElement";
        report.unexpected(node.at, path, message, expected);
    }
    let source = source.map(|_| RateKey::Source);
    header.or(source).or(identity.map(|_| RateKey::Identity)).or(element)
}
