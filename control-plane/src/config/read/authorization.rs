//! Who may call what, and what matters how much.

use std::collections::HashMap;

use outrigger_snapshot::network::Network;
use outrigger_snapshot::policy::{Access, AccessRule, Authorization, Conditions, PathMatch, PriorityRule};

use super::super::node::{Node, Path, shortened};
use super::super::shape::Report;
use super::super::text::check_path;
use super::amount::number;
use super::inbound_policy;

pub(super) fn read(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Authorization {
    let rules = rules(node, path, report);
    let allows = rules.iter().any(|rule| rule.access == Access::Allow);
    let written = node.field("default");
    let default = written.and_then(Node::text).and_then(access);
    if let (Some(written), Some(Access::Allow), true) = (written, default, allows) {
        let message = "leaves rules that allow something without effect, since all is allowed";
        report.unexpected(written.at, &path.field("default"), message, "Deny, or no rule that allows");
    }
    let implied = if allows { Access::Deny } else { Access::Allow };
    Authorization {
        default: default.unwrap_or(implied),
        rules,
        dry_run: node.field("dryRun").and_then(Node::boolean).unwrap_or(false),
    }
}

fn access(word: &str) -> Option<Access> {
    match word {
        "Allow" => Some(Access::Allow),
        "Deny" => Some(Access::Deny),
        _ => None,
    }
}

fn rules(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Vec<AccessRule> {
    let path = path.field("rules");
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut rules = Vec::new();
    for (index, item) in node.list("rules").iter().enumerate() {
        let here = path.item(index);
        let name = item.text_of("name");
        if let (Some(field), Some(name)) = (item.field("name"), name)
            && let Some(other) = first.insert(name, index)
        {
            let message = format!("\"{}\" is the name of rules[{other}] too", shortened(name));
            report.unexpected(field.at, &here.field("name"), message, "each name once");
        }
        let (Some(name), Some(access)) = (name, item.text_of("access").and_then(access)) else { continue };
        rules.push(AccessRule { name: name.to_owned(), access, about: conditions(item, &here, report) });
    }
    rules
}

/// Rules about how much requests matter.
pub(super) fn priorities(spec: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Vec<PriorityRule> {
    let path = path.field("priorities");
    let items = spec.list("priorities").iter().enumerate();
    items
        .filter_map(|(index, item)| {
            let about = conditions(item, &path.item(index), report);
            Some(PriorityRule { priority: number(item, "priority")?, about })
        })
        .collect()
}

fn conditions(rule: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Conditions {
    let texts = |list: &str| rule.list(list).iter().filter_map(Node::text).map(str::to_owned).collect();
    Conditions {
        identities: rule.list("identities").iter().filter_map(|node| node.text()?.parse().ok()).collect(),
        namespaces: texts("namespaces"),
        methods: texts("methods"),
        paths: paths(rule, path, report),
        sources: sources(rule, path, report),
    }
}

fn sources(rule: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Vec<Network> {
    let texts = inbound_policy::texts(rule, "sources", path, report, inbound_policy::network_text);
    texts.into_iter().flatten().filter_map(|text| text.parse().ok()).collect()
}

/// What is written as if it stood for more than itself, or is never the only reading of a request: what, and what would be right.
fn without_effect(path: &str, is_exact: bool) -> Option<(&'static str, &'static str)> {
    if !is_exact && path.contains('*') {
        let message = "has a '*', which stands for itself alone";
        return Some((message, "a path without '*'; PathPrefix means what is below it, too"));
    }
    let message = "has a ';', from which on servers may not read on";
    path.contains(';').then_some((message, "a path without ';'"))
}

fn paths(rule: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Vec<PathMatch> {
    let path = path.field("paths");
    let mut paths = Vec::new();
    for (index, item) in rule.list("paths").iter().enumerate() {
        let Some((field, text)) = item.field("value").and_then(|field| Some((field, field.text()?))) else {
            continue;
        };
        if let Err(expected) = check_path(text) {
            let message = format!("\"{}\" is not a path", shortened(text));
            report.unexpected(field.at, &path.item(index).field("value"), message, expected);
        }
        let is_exact = item.text_of("type") == Some("Exact");
        if let Some((message, expected)) = without_effect(text, is_exact) {
            let message = format!("\"{}\" {message}", shortened(text));
            report.unexpected(field.at, &path.item(index).field("value"), message, expected);
        }
        paths.push(match item.text_of("type") {
            Some("Exact") => PathMatch::Exact(text.to_owned()),
            _ => PathMatch::Prefix(text.to_owned()),
        });
    }
    paths
}
