//! Routes and their splits, as the newest revision has them. Resources were checked when they were pushed; what is not there is shown as not
//! there.

use outrigger_snapshot::name::DEFAULT_NAMESPACE;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{LeftOut, bounded, of_kind};

/// Most routes in one overview.
pub const ROUTES_MAX: usize = 300;
/// Most rules of one route.
const RULES_MAX: usize = 32;
/// Most conditions of one rule.
const MATCHES_MAX: usize = 8;
/// Most backends of one rule.
const SHARES_MAX: usize = 32;

const KINDS: [&str; 4] = ["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"];

/// A route.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Route {
    /// Its kind.
    pub kind: String,
    /// `namespace/name`.
    pub name: String,
    /// What it is attached to: a kind and a name each.
    pub parents: Vec<String>,
    /// For which hosts; empty: those of its parents.
    pub hosts: Vec<String>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
    /// Rules that there was no room for.
    pub rules_left_out: usize,
}

/// A rule of a route.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Rule {
    /// What a request must be, one of them; empty: anything.
    pub matches: Vec<String>,
    /// Kinds of its filters.
    pub filters: Vec<String>,
    /// Where it sends requests.
    pub backends: Vec<Share>,
}

/// A service that a rule sends requests to.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Share {
    /// `namespace/name`.
    pub service: String,
    /// Its port.
    pub port: Option<u64>,
    /// Its weight.
    pub weight: u64,
    /// The share of the requests that it gets, from 0 to 1.
    pub share: f64,
}

/// All of them, by namespace and name.
pub(super) fn all(resources: &[Value], left_out: &mut LeftOut) -> Vec<Route> {
    let mut found: Vec<(&Value, String, &str)> = Vec::new();
    for kind in KINDS {
        found.extend(
            of_kind(resources, kind)
                .map(|resource| (resource, name(&resource["metadata"], DEFAULT_NAMESPACE), kind)),
        );
    }
    found.sort_by(|one, other| (&one.1, one.2).cmp(&(&other.1, other.2)));
    left_out.routes = bounded(&mut found, ROUTES_MAX);
    found.into_iter().map(|(resource, name, kind)| route(resource, name, kind)).collect()
}

fn route(resource: &Value, full_name: String, kind: &str) -> Route {
    let namespace = text(&resource["metadata"]["namespace"]).unwrap_or(DEFAULT_NAMESPACE);
    let spec = &resource["spec"];
    let parents = list(&spec["parentRefs"]).map(|parent| {
        let section = text(&parent["sectionName"]).map(|section| format!(" ({section})")).unwrap_or_default();
        let port = parent["port"].as_u64().map(|port| format!(":{port}")).unwrap_or_default();
        let kind = text(&parent["kind"]).unwrap_or("Gateway");
        format!("{kind} {}{port}{section}", name(parent, namespace))
    });
    let mut rules: Vec<Rule> = list(&spec["rules"]).map(|it| rule(it, namespace)).collect();
    let rules_left_out = bounded(&mut rules, RULES_MAX);
    Route {
        kind: kind.to_owned(),
        name: full_name,
        parents: parents.collect(),
        hosts: list(&spec["hostnames"]).filter_map(text).map(str::to_owned).collect(),
        rules,
        rules_left_out,
    }
}

fn rule(rule: &Value, namespace: &str) -> Rule {
    let weight = |backend: &Value| backend["weight"].as_u64().unwrap_or(1);
    let all: u64 = list(&rule["backendRefs"]).map(weight).sum();
    let share = |backend: &Value| Share {
        service: name(backend, namespace),
        port: backend["port"].as_u64(),
        weight: weight(backend),
        share: if all == 0 { 0.0 } else { weight(backend) as f64 / all as f64 },
    };
    Rule {
        matches: list(&rule["matches"]).take(MATCHES_MAX).map(condition).collect(),
        filters: list(&rule["filters"])
            .filter_map(|filter| text(&filter["type"]))
            .map(str::to_owned)
            .collect(),
        backends: list(&rule["backendRefs"]).take(SHARES_MAX).map(share).collect(),
    }
}

/// A match in a few words: `GET /cart/* x-beta: 1`.
fn condition(asked: &Value) -> String {
    let mut words: Vec<String> = Vec::new();
    let method = &asked["method"];
    words.extend(text(method).map(str::to_owned));
    if method.is_object() {
        let part = |field: &str| text(&method[field]).unwrap_or("*").to_owned();
        words.push(format!("{}/{}", part("service"), part("method")));
    }
    if let Some(path) = text(&asked["path"]["value"]) {
        words.push(match text(&asked["path"]["type"]) {
            Some("Exact") => path.to_owned(),
            Some("RegularExpression") => format!("~ {path}"),
            _ => format!("{}/*", path.trim_end_matches('/')),
        });
    }
    for (field, mark) in [("headers", ": "), ("queryParams", "=")] {
        words.extend(list(&asked[field]).map(|wanted| {
            let exactly = if text(&wanted["type"]) == Some("RegularExpression") { "~ " } else { "" };
            let part = |field: &str| text(&wanted[field]).unwrap_or_default();
            format!("{}{mark}{exactly}{}", part("name"), part("value"))
        }));
    }
    words.join(" ")
}

/// `namespace/name` of what refers to something, or is it.
fn name(reference: &Value, namespace: &str) -> String {
    let namespace = text(&reference["namespace"]).unwrap_or(namespace);
    format!("{namespace}/{}", text(&reference["name"]).unwrap_or_default())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}
