//! The guard against a push that removes more than anyone meant.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;

use outrigger_snapshot::facts::{Cluster, Discovery, Facts};
use outrigger_snapshot::name::{ClusterName, ServiceName};
use outrigger_snapshot::policy::{Policy, Port, Service};
use serde::{Deserialize, Serialize};

use super::Compiled;

/// The share of a scope's routes or endpoints that may go in one step, in percent.
pub const SHRINK_PERCENT_MAX: usize = 30;

/// How many routes or endpoints of a scope may be exchanged for as many others in one step, whatever their share: without it,
/// a service of one endpoint could not move.
pub const EXCHANGED_MAX: usize = 3;

/// A loss that a person has to confirm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrink {
    /// The scope, or the first of several that have the same content.
    pub scope: ServiceName,
    /// How many other scopes lose the same.
    pub others: usize,
    /// What is lost.
    pub loss: Loss,
}

/// What a scope would lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Everything.
    All,
    /// Too many of its routes. A port that no rule is attached to counts as one.
    Routes {
        /// How many there were.
        before: usize,
        /// How many of them would be gone.
        removed: usize,
    },
    /// Too many of its endpoints. A name to look up counts as one.
    Endpoints {
        /// How many there were.
        before: usize,
        /// How many of them would be gone.
        removed: usize,
    },
}

impl fmt::Display for Shrink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "scope {}", self.scope)?;
        if self.others > 0 {
            write!(formatter, " and {} more", self.others)?;
        }
        let (verb, own) = if self.others > 0 { ("lose", "their") } else { ("loses", "its") };
        match self.loss {
            Loss::All => write!(formatter, " {verb} everything"),
            Loss::Routes { before, removed } => {
                write!(formatter, " {verb} {removed} of {own} {before} routes")
            }
            Loss::Endpoints { before, removed } => {
                write!(formatter, " {verb} {removed} of {own} {before} endpoints")
            }
        }
    }
}

/// What `new` takes away from the scopes of `old`, where it is everything or over [`SHRINK_PERCENT_MAX`] of their routes or
/// endpoints. What is there under another name or address instead makes up for [`EXCHANGED_MAX`] of them only. A scope that
/// goes while others stay is no loss of its own: its sidecars keep their plan, and what it offered counts as a loss of those
/// who could call it.
pub fn shrink(old: &Compiled, new: &Compiled) -> Vec<Shrink> {
    let mut found: Vec<Shrink> = Vec::new();
    let mut index: HashMap<(usize, usize, Loss), usize> = HashMap::new();
    // Many scopes share their content: each pair is compared once.
    let (mut routes, mut endpoints) = (HashMap::new(), HashMap::new());
    for (name, scope) in &old.scopes {
        let losses = match new.scopes.get(name) {
            None if new.scopes.is_empty() => vec![Loss::All],
            None => Vec::new(),
            Some(now) => {
                let routes = *routes
                    .entry((scope.policy, now.policy))
                    .or_insert_with(|| route_loss(&old.policies[scope.policy], &new.policies[now.policy]));
                let endpoints = *endpoints
                    .entry((scope.facts, now.facts))
                    .or_insert_with(|| endpoint_loss(&old.facts[scope.facts], &new.facts[now.facts]));
                routes.into_iter().chain(endpoints).collect()
            }
        };
        for loss in losses {
            match index.get(&(scope.policy, scope.facts, loss)) {
                Some(at) => found[*at].others += 1,
                None => {
                    index.insert((scope.policy, scope.facts, loss), found.len());
                    found.push(Shrink { scope: name.clone(), others: 0, loss });
                }
            }
        }
    }
    found
}

/// Whether to lose `removed` of `before` is too much where `after` are left or new.
fn too_many(before: usize, removed: usize, after: usize) -> bool {
    let exceeds = |gone: usize| gone * 100 > before * SHRINK_PERCENT_MAX;
    exceeds(before.saturating_sub(after)) || removed > EXCHANGED_MAX && exceeds(removed)
}

fn route_loss(old: &Policy, new: &Policy) -> Option<Loss> {
    let count = |policy: &Policy| -> usize {
        let ports = policy.services.values().flat_map(|service| &service.ports);
        let ports: usize = ports.map(|port| port.rules.len().max(1)).sum();
        ports + taken(policy).len()
    };
    let removed = |name: &ServiceName, port: &Port| {
        let ports = new.services.get(name).map_or(&[][..], |service| &service.ports);
        let Some(now) = ports.iter().find(|now| now.port == port.port) else {
            return port.rules.len().max(1);
        };
        let kept: HashSet<&str> = now.rules.iter().map(|rule| rule.name.as_str()).collect();
        port.rules.iter().filter(|rule| !kept.contains(rule.name.as_str())).count()
    };
    let of = |(name, service): (&ServiceName, &Service)| -> usize {
        service.ports.iter().map(|port| removed(name, port)).sum()
    };
    let (routed, left) = (taken(old), taken(new));
    let of_listeners = routed.iter().filter(|rule| !left.contains(*rule)).count();
    let (before, removed) = (count(old), old.services.iter().map(of).sum::<usize>() + of_listeners);
    too_many(before, removed, count(new)).then_some(Loss::Routes { before, removed })
}

/// The rules of a gateway, each by its listener.
fn taken(policy: &Policy) -> HashSet<(&str, &str)> {
    let mut taken = HashSet::new();
    for listener in policy.gateway.iter().flat_map(|gateway| &gateway.listeners) {
        let requests = listener.routes.iter().flat_map(|route| &route.rules).map(|rule| &rule.name);
        let connections = listener.connections.iter().map(|rule| &rule.name);
        taken.extend(requests.chain(connections).map(|rule| (listener.name.as_str(), rule.as_str())));
    }
    taken
}

/// What makes an endpoint the same as before.
#[derive(PartialEq, Eq, Hash)]
enum Identity<'a> {
    Address(SocketAddr),
    Dns(&'a str, u16),
    Srv(&'a str),
}

fn endpoint_loss(old: &Facts, new: &Facts) -> Option<Loss> {
    let count = |facts: &Facts| facts.clusters.values().map(|cluster| identities(cluster).len()).sum();
    let removed = |(name, cluster): (&ClusterName, &Cluster)| {
        let kept: HashSet<Identity<'_>> = new.clusters.get(name).into_iter().flat_map(identities).collect();
        identities(cluster).iter().filter(|identity| !kept.contains(identity)).count()
    };
    let (before, removed) = (count(old), old.clusters.iter().map(removed).sum());
    too_many(before, removed, count(new)).then_some(Loss::Endpoints { before, removed })
}

fn identities(cluster: &Cluster) -> Vec<Identity<'_>> {
    match &cluster.discovery {
        Discovery::Static(endpoints) => {
            endpoints.iter().map(|endpoint| Identity::Address(endpoint.address)).collect()
        }
        Discovery::Dns(dns) => vec![Identity::Dns(&dns.name, dns.port)],
        Discovery::Srv(srv) => vec![Identity::Srv(&srv.name)],
    }
}
