//! `HTTPRoute` and `GRPCRoute`.

use std::collections::HashMap;

use outrigger_snapshot::policy::{Filter, RuleRetry};

use super::super::model::{BackendRef, Carried, GatewayRef, Parent, Placed, Route, Rule, RuleFilter};
use super::super::node::{Node, Path};
use super::super::resource::Kind;
use super::super::shape::Report;
use super::super::shape::http_route::ROUTE_MATCHES_MAX;
use super::amount::{distinct, limited, number, status};
use super::filter::{self, Place};
use super::{connection_route, method_match, route_match};

/// The group of what routes attach to where they do not say it.
pub(super) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

pub(super) fn read(
    spec: &Node,
    kind: Kind,
    path: &Path<'_>,
    namespace: &str,
    report: &mut Report<'_>,
) -> Route {
    let (parents, gateways) = parents(spec, path, namespace, report);
    let hostnames = connection_route::hostnames(spec, path, report);
    let path = path.field("rules");
    let rules: Vec<Rule> = spec
        .list("rules")
        .iter()
        .enumerate()
        .map(|(position, item)| rule(item, kind, position, &path.item(position), namespace, report))
        .collect();
    check_names(spec, &rules, &path, report);
    let matches: usize = rules.iter().map(|rule| rule.matches.len()).sum();
    if matches > ROUTE_MATCHES_MAX {
        let at = spec.field("rules").map_or(spec.at, |rules| rules.at);
        let expected = format!("at most {ROUTE_MATCHES_MAX} in one {kind}");
        report.unexpected(at, &path, format!("have {matches} matches"), expected);
    }
    let carried = if kind == Kind::GrpcRoute { Carried::Grpc } else { Carried::Http };
    Route { carried, parents, gateways, hostnames, rules }
}

/// The services and the gateways that it attaches to.
pub(super) fn parents(
    spec: &Node,
    path: &Path<'_>,
    namespace: &str,
    report: &mut Report<'_>,
) -> (Vec<Parent>, Vec<GatewayRef>) {
    let path = path.field("parentRefs");
    let (mut services, mut gateways) = (Vec::new(), Vec::new());
    for (position, item) in spec.list("parentRefs").iter().enumerate() {
        let group = item.text_of("group").unwrap_or(GATEWAY_GROUP);
        let (section, port) = (super::placed_text(item, "sectionName"), super::placed_port(item, "port"));
        let (expected, fits) = match item.text_of("kind").unwrap_or("Gateway") {
            "Service" => ("\"\", the group of Service", matches!(group, "" | "outrigger.dev")),
            "Gateway" => (GATEWAY_GROUP, group == GATEWAY_GROUP),
            _ => continue,
        };
        if !fits {
            let at = item.field("group").map_or(item.at, |group| group.at);
            let message = if item.field("group").is_some() { "is of another kind" } else { "is missing" };
            report.unexpected(at, &path.item(position).field("group"), message, expected);
        } else if group == GATEWAY_GROUP {
            let gateway = super::named_ref(item, namespace, position);
            gateways.extend(gateway.map(|gateway| GatewayRef { gateway, section, port }));
        } else {
            let service = super::service_ref(item, namespace, position);
            services.extend(service.map(|service| Parent { service, section, port }));
        }
    }
    (services, gateways)
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

fn rule(
    node: &Node,
    kind: Kind,
    position: usize,
    path: &Path<'_>,
    namespace: &str,
    report: &mut Report<'_>,
) -> Rule {
    let matches = match kind {
        Kind::GrpcRoute => method_match::read_all(node, path, report),
        _ => route_match::read_all(node, path, report),
    };
    let place =
        Place { prefixes: filter::only_prefixes(&matches), in_backend: false, grpc: kind == Kind::GrpcRoute };
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
        retry: node.field("retry").map(|retry| self::retry(retry, &path.field("retry"), report)),
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
fn check_destination(rule: &Node, path: &Path<'_>, filters: &[RuleFilter], report: &mut Report<'_>) {
    let redirects = filters.iter().any(|filter| matches!(filter, RuleFilter::Own(Filter::Redirect(_))));
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

fn retry(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> RuleRetry {
    RuleRetry {
        attempts: number(node, "attempts"),
        statuses: distinct(node, "codes", status, path, report),
        backoff_base_ms: limited(node, "backoff", 0, path, report),
    }
}

/// For the whole request and for one try.
fn timeouts(
    rule: &Node,
    path: &Path<'_>,
    report: &mut Report<'_>,
) -> (Option<Placed<u64>>, Option<Placed<u64>>) {
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
    (
        request.map(|request| super::placed(node, "request", request)),
        one_try.map(|one_try| super::placed(node, "backendRequest", one_try)),
    )
}
