//! `HTTPRoute`.

use std::collections::HashMap;

use outrigger_snapshot::policy::Filter;

use super::super::model::{BackendRef, HttpRoute, Parent, Rule};
use super::super::node::{Node, Path};
use super::super::shape::Report;
use super::super::shape::http_route::ROUTE_MATCHES_MAX;
use super::backend_policy::limited;
use super::filter::{self, Place};
use super::route_match;

pub(super) fn read(spec: &Node, path: &Path<'_>, namespace: &str, report: &mut Report<'_>) -> HttpRoute {
    let parent = |(position, item): (usize, &Node)| {
        // Unlike in a backend, here they stand for a Gateway if absent.
        item.field("group").and(item.field("kind"))?;
        Some(Parent {
            service: super::service_ref(item, namespace, position)?,
            section: super::placed_text(item, "sectionName"),
            port: super::placed_port(item, "port"),
        })
    };
    let parents = spec.list("parentRefs").iter().enumerate().filter_map(parent).collect();
    let path = path.field("rules");
    let rules: Vec<Rule> = spec
        .list("rules")
        .iter()
        .enumerate()
        .map(|(position, item)| rule(item, position, &path.item(position), namespace, report))
        .collect();
    check_names(spec, &rules, &path, report);
    let matches: usize = rules.iter().map(|rule| rule.matches.len()).sum();
    if matches > ROUTE_MATCHES_MAX {
        let at = spec.field("rules").map_or(spec.at, |rules| rules.at);
        let expected = format!("at most {ROUTE_MATCHES_MAX} in one HTTPRoute");
        report.unexpected(at, &path, format!("have {matches} matches"), expected);
    }
    HttpRoute { parents, rules }
}

/// Names and positions share one space: both stand in metrics.
fn check_names(spec: &Node, rules: &[Rule], path: &Path<'_>, report: &mut Report<'_>) {
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (rule, node) in rules.iter().zip(spec.list("rules")) {
        if let Some(other) = first.insert(&rule.name, rule.position) {
            let at = node.field("name").map_or(node.at, |name| name.at);
            let message = format!("\"{}\" is the name of rules[{other}] too", rule.name);
            report.unexpected(
                at,
                &path.item(rule.position).field("name"),
                message,
                "each name once; a rule without one has its position",
            );
        }
    }
}

fn rule(node: &Node, position: usize, path: &Path<'_>, namespace: &str, report: &mut Report<'_>) -> Rule {
    let matches = route_match::read_all(node, path, report);
    let place = Place { prefixes: filter::only_prefixes(&matches), in_backend: false };
    let filters = filter::read_all(node, path, place, report);
    let backends = backends(node, path, namespace, Place { in_backend: true, ..place }, report);
    check_destination(node, path, &filters, report);
    let (request_timeout_ms, try_timeout_ms) = timeouts(node, path, report);
    Rule {
        position,
        name: node.text_of("name").map_or_else(|| position.to_string(), str::to_owned),
        matches,
        filters,
        request_timeout_ms,
        try_timeout_ms,
        backends,
    }
}

fn backends(
    rule: &Node,
    path: &Path<'_>,
    namespace: &str,
    place: Place,
    report: &mut Report<'_>,
) -> Vec<BackendRef> {
    let path = path.field("backendRefs");
    let mut backends = Vec::new();
    for (position, item) in rule.list("backendRefs").iter().enumerate() {
        let filters = filter::read_all(item, &path.item(position), place, report);
        let service = super::service_ref(item, namespace, position);
        let (Some(service), Some(port)) = (service, super::placed_port(item, "port")) else { continue };
        backends.push(BackendRef { service, port, weight: super::weight(item), filters });
    }
    backends
}

/// A rule that redirects has no backend. One that has none, or none with a weight, is answered with 500 (Gateway API v1,
/// `HTTPRouteRule.backendRefs`).
fn check_destination(rule: &Node, path: &Path<'_>, filters: &[Filter], report: &mut Report<'_>) {
    let redirects = filters.iter().any(|filter| matches!(filter, Filter::Redirect(_)));
    let Some(backends) =
        rule.field("backendRefs").filter(|backends| redirects && !backends.items().is_empty())
    else {
        return;
    };
    report.unexpected(
        backends.at,
        &path.field("backendRefs"),
        "would never be used: the rule redirects",
        "no backend beside a RequestRedirect",
    );
}

fn timeouts(rule: &Node, path: &Path<'_>, report: &mut Report<'_>) -> (Option<u64>, Option<u64>) {
    let Some(node) = rule.field("timeouts") else { return (None, None) };
    let path = path.field("timeouts");
    let request = limited(node, "request", 0, &path, report);
    let one_try = limited(node, "backendRequest", 0, &path, report);
    if let (Some(request), Some(one_try)) = (request, one_try)
        && request != 0
        && one_try > request
    {
        let at = node.field("backendRequest").map_or(node.at, |field| field.at);
        report.unexpected(at, &path.field("backendRequest"), "is longer than request", "at most request");
    }
    (request, one_try)
}
