//! The guard against a push that removes more than anyone meant.

use std::collections::HashMap;
use std::fmt;

use outrigger_snapshot::facts::{Discovery, Facts};
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::Policy;
use serde::{Deserialize, Serialize};

use super::Compiled;

/// The share of a scope's routes or endpoints that may go in one step, in percent.
pub const SHRINK_PERCENT_MAX: usize = 30;

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
        /// How many would be left.
        after: usize,
    },
    /// Too many of its endpoints. A name to look up counts as one.
    Endpoints {
        /// How many there were.
        before: usize,
        /// How many would be left.
        after: usize,
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
            Loss::Routes { before, after } => {
                write!(formatter, " {verb} {} of {own} {before} routes", before - after)
            }
            Loss::Endpoints { before, after } => {
                write!(formatter, " {verb} {} of {own} {before} endpoints", before - after)
            }
        }
    }
}

/// What `new` takes away from the scopes of `old`, where it is everything or over [`SHRINK_PERCENT_MAX`] of their routes or
/// endpoints. A scope that goes while others stay is no loss of its own: its sidecars keep their plan, and what it offered
/// counts as a loss of those who could call it.
pub fn shrink(old: &Compiled, new: &Compiled) -> Vec<Shrink> {
    let mut found: Vec<Shrink> = Vec::new();
    let mut index: HashMap<(usize, usize, Loss), usize> = HashMap::new();
    let routes_old: Vec<usize> = old.policies.iter().map(routes).collect();
    let routes_new: Vec<usize> = new.policies.iter().map(routes).collect();
    let endpoints_old: Vec<usize> = old.facts.iter().map(endpoints).collect();
    let endpoints_new: Vec<usize> = new.facts.iter().map(endpoints).collect();
    for (name, scope) in &old.scopes {
        let losses = match new.scopes.get(name) {
            None if new.scopes.is_empty() => vec![Loss::All],
            None => Vec::new(),
            Some(now) => {
                let (before, after) = (routes_old[scope.policy], routes_new[now.policy]);
                let routes = too_few(before, after).then_some(Loss::Routes { before, after });
                let (before, after) = (endpoints_old[scope.facts], endpoints_new[now.facts]);
                let endpoints = too_few(before, after).then_some(Loss::Endpoints { before, after });
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

fn too_few(before: usize, after: usize) -> bool {
    before > after && (before - after) * 100 > before * SHRINK_PERCENT_MAX
}

fn routes(policy: &Policy) -> usize {
    let ports = policy.services.values().flat_map(|service| &service.ports);
    ports.map(|port| port.rules.len().max(1)).sum()
}

fn endpoints(facts: &Facts) -> usize {
    let of = |discovery: &Discovery| match discovery {
        Discovery::Static(endpoints) => endpoints.len(),
        Discovery::Dns(_) | Discovery::Srv(_) => 1,
    };
    facts.clusters.values().map(|cluster| of(&cluster.discovery)).sum()
}
