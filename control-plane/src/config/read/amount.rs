//! Numbers and durations in fields.

use std::collections::HashMap;

use outrigger_snapshot::validate::TIMEOUT_MS_MAX;

use super::super::node::{Node, Path};
use super::super::shape::Report;
use super::super::text::{duration_ms, duration_text};

/// The number in a field.
pub(super) fn number<T: TryFrom<i64>>(node: &Node, name: &str) -> Option<T> {
    node.field(name).and_then(Node::integer).and_then(|value| T::try_from(value).ok())
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
        let message = if duration == 0 { "cannot be 0" } else { "is too short" };
        let expected = format!("at least {}", duration_text(least));
        report.unexpected(field.at, &path.field(name), message, expected);
    } else if duration > TIMEOUT_MS_MAX {
        report.unexpected(field.at, &path.field(name), "is longer than a day", "at most 24h");
    }
    Some(duration)
}

/// As [`limited`], up to an hour, as the Gateway API has it for the intervals of rates.
pub(super) fn interval(
    node: &Node,
    name: &str,
    least: u64,
    path: &Path<'_>,
    report: &mut Report<'_>,
) -> Option<u64> {
    const HOUR_MS: u64 = 3_600_000;
    let duration = limited(node, name, least, path, report)?;
    if (HOUR_MS + 1..=TIMEOUT_MS_MAX).contains(&duration) {
        let at = node.field(name).map_or(node.at, |field| field.at);
        report.unexpected(at, &path.field(name), "is longer than an hour", "at most 1h");
    }
    Some(duration)
}

/// The items of a list, of which no two may be the same; `None` if there is no list.
pub(super) fn distinct(
    node: &Node,
    name: &str,
    read: impl Fn(&Node) -> Option<u16>,
    path: &Path<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<u16>> {
    let list = node.field(name)?;
    let path = path.field(name);
    let mut first: HashMap<u16, usize> = HashMap::new();
    let mut values = Vec::new();
    for (index, item) in list.items().iter().enumerate() {
        let Some(value) = read(item) else { continue };
        if let Some(other) = first.insert(value, index) {
            let message = format!("is the same as {name}[{other}]");
            report.unexpected(item.at, &path.item(index), message, "each status once");
        }
        values.push(value);
    }
    Some(values)
}

/// A response status, as an item of a list.
pub(super) fn status(node: &Node) -> Option<u16> {
    node.integer().and_then(|status| u16::try_from(status).ok())
}

/// How many per 1,000 seconds `count` in each `interval_ms` are; at least one, unless `count` is 0.
pub(super) fn per_1000_s(count: u64, interval_ms: u64) -> u32 {
    const SPAN_MS: u64 = 1_000_000;
    let rate = count.saturating_mul(SPAN_MS) / interval_ms.max(1);
    u32::try_from(rate.max(count.min(1))).unwrap_or(u32::MAX)
}
