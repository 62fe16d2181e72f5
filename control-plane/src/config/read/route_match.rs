//! The conditions of a rule.

use std::collections::HashMap;

use outrigger_snapshot::policy::{PathMatch, RouteMatch, TextMatch, ValueMatch};
use outrigger_snapshot::router::{ConditionError, check_regex};

use super::super::node::{Node, Path, shortened};
use super::super::shape::Report;
use super::super::text::check_path;

/// The matches of a rule; without any, the one that everything fulfils.
pub(super) fn read_all(rule: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Vec<RouteMatch> {
    let path = path.field("matches");
    let items = rule.list("matches");
    if items.is_empty() {
        return vec![everything()];
    }
    items.iter().enumerate().map(|(index, item)| read(item, &path.item(index), report)).collect()
}

/// The match that every request fulfils.
pub(super) fn everything() -> RouteMatch {
    let path = PathMatch::Prefix("/".to_owned());
    RouteMatch { path, method: None, headers: Vec::new(), query: Vec::new() }
}

fn read(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> RouteMatch {
    RouteMatch {
        path: path_match(node.field("path"), &path.field("path"), report),
        method: node.text_of("method").map(str::to_owned),
        headers: values(node, "headers", str::to_ascii_lowercase, path, report),
        query: values(node, "queryParams", str::to_owned, path, report),
    }
}

fn path_match(node: Option<&Node>, path: &Path<'_>, report: &mut Report<'_>) -> PathMatch {
    let value = node.and_then(|node| node.field("value"));
    let text = value.and_then(Node::text).unwrap_or("/").to_owned();
    let at = value.or(node).map(|node| node.at).unwrap_or_default();
    let here = path.field("value");
    match node.and_then(|node| node.text_of("type")) {
        Some("RegularExpression") => {
            report_regex(&text, value, &here, report);
            PathMatch::Regex(text)
        }
        kind => {
            if let Err(expected) = check_path(&text) {
                let message = format!("\"{}\" is not a path", shortened(&text));
                report.unexpected(at, &here, message, expected);
            }
            if kind == Some("Exact") { PathMatch::Exact(text) } else { PathMatch::Prefix(text) }
        }
    }
}

pub(super) fn values(
    node: &Node,
    list: &str,
    normal_name: impl Fn(&str) -> String,
    path: &Path<'_>,
    report: &mut Report<'_>,
) -> Vec<ValueMatch> {
    let path = path.field(list);
    let mut first: HashMap<String, usize> = HashMap::new();
    let mut values = Vec::new();
    for (index, item) in node.list(list).iter().enumerate() {
        let here = path.item(index);
        let (Some(name), Some(value)) = (item.field("name"), item.field("value")) else { continue };
        let (Some(name_text), Some(text)) = (name.text(), value.text()) else { continue };
        let normal = normal_name(name_text);
        if let Some(other) = first.insert(normal.clone(), index) {
            let message = format!("\"{}\" is the name of {list}[{other}] too", shortened(name_text));
            report.unexpected(name.at, &here.field("name"), message, "each name once");
        }
        let matched = if item.text_of("type") == Some("RegularExpression") {
            report_regex(text, Some(value), &here.field("value"), report);
            TextMatch::Regex(text.to_owned())
        } else {
            TextMatch::Exact(text.to_owned())
        };
        values.push(ValueMatch { name: normal, value: matched });
    }
    values
}

pub(super) fn report_regex(pattern: &str, value: Option<&Node>, path: &Path<'_>, report: &mut Report<'_>) {
    let Err(error) = check_regex(pattern) else { return };
    let reason = match &error {
        // The last line says what is wrong; those before draw the pattern.
        ConditionError::Regex { error, .. } => {
            error.to_string().lines().last().unwrap_or_default().to_owned()
        }
        other => other.to_string(),
    };
    let reason = reason.trim_start_matches("error: ").trim_end_matches('.').to_owned();
    let message = format!("\"{}\" is not a usable regular expression: {reason}", shortened(pattern));
    let at = value.map(|value| value.at).unwrap_or_default();
    report.unexpected(
        at,
        path,
        message,
        "an expression of the Rust regex syntax, without look-around and back-references",
    );
}
