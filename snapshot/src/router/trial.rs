//! What a router tries on its way to a rule, in its order, for people who ask why a request went where it did.

use std::collections::BTreeMap;

use super::RouterError;
use super::conditions::{Conditions, WholeMatch};
use super::table::in_order;
use crate::head::RequestHead;
use crate::hosts::Hosts;
use crate::policy::{GatewayRoute, PathMatch, RouteMatch, Rule};

/// One match that was tried.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// Of this rule.
    pub rule: &'a Rule,
    /// What it asks for.
    pub route_match: &'a RouteMatch,
    /// What of that the request has not; `None`: it has all of it, and the rule is met.
    pub unmet: Option<Unmet>,
}

/// What a request has not, the first of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// The path.
    Path,
    /// The method.
    Method,
    /// A header, by its place among those that are asked for.
    Header(usize),
    /// A parameter of the query, the same.
    Query(usize),
}

/// Tries `rules` of one port one after the other, until one is met: [`Router::find`](super::Router::find), step by step.
pub fn trials<'a>(
    rules: impl IntoIterator<Item = &'a Rule>,
    head: &RequestHead,
) -> Result<Vec<Trial<'a>>, RouterError> {
    let mut trials = Vec::new();
    for (_, rule, route_match) in in_order(rules.into_iter().enumerate()) {
        let refused = |error| RouterError { rule: rule.name.clone(), error };
        let path = path_holds(&route_match.path, head.path()).map_err(refused)?;
        let unmet = match path {
            true => Conditions::compile(route_match).map_err(refused)?.unmet(head),
            false => Some(Unmet::Path),
        };
        trials.push(Trial { rule, route_match, unmet });
        if unmet.is_none() {
            break;
        }
    }
    Ok(trials)
}

/// The same of the routes of a gateway's listener: [`GatewayRoutes::find`](super::GatewayRoutes::find), step by step.
pub fn gateway_trials<'a>(
    routes: &'a [GatewayRoute],
    head: &RequestHead,
) -> Result<Vec<Trial<'a>>, RouterError> {
    let mut by_host: BTreeMap<Option<&str>, Vec<&Rule>> = BTreeMap::new();
    for route in routes {
        let any = route.hostnames.is_empty().then_some(None);
        for host in route.hostnames.iter().map(|host| Some(host.as_str())).chain(any) {
            by_host.entry(host).or_default().extend(&route.rules);
        }
    }
    let mut hosts = Hosts::default();
    for (host, rules) in by_host {
        hosts.insert(host, rules);
    }
    let mut all = Vec::new();
    for rules in hosts.matching(head.authority().host()) {
        all.extend(trials(rules.iter().copied(), head)?);
        if all.last().is_some_and(|last: &Trial<'_>| last.unmet.is_none()) {
            break;
        }
    }
    Ok(all)
}

fn path_holds(asked: &PathMatch, path: &str) -> Result<bool, super::ConditionError> {
    Ok(match asked {
        PathMatch::Exact(asked) => asked == path,
        PathMatch::Regex(pattern) => WholeMatch::compile(pattern)?.is_match(path.as_bytes()),
        PathMatch::Prefix(prefix) => {
            // By element. `OPTIONS *` is about the whole server: only a catch-all applies.
            let prefix = prefix.trim_end_matches('/');
            let below = |rest: &str| rest.trim_end_matches('/').is_empty() || rest.starts_with('/');
            prefix.is_empty() || path.strip_prefix(prefix).is_some_and(below)
        }
    })
}
