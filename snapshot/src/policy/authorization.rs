//! Who may call what. Wire types, as in [`crate::policy`].

use serde::{Deserialize, Serialize};

use super::PathMatch;
use crate::identity::{SpiffeId, SpiffePattern};

/// Decides about each request before its body is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// What becomes of a request that no rule is about.
    pub default: Access,
    /// Rules about requests; one that denies wins.
    pub rules: Vec<AccessRule>,
    /// Only counts what it would refuse.
    pub dry_run: bool,
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It may pass.
    Allow,
    /// It may not.
    Deny,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessRule {
    /// What people see in logs and metrics.
    pub name: String,
    /// What it decides.
    pub access: Access,
    /// What it is about.
    pub about: Conditions,
}

/// How much requests matter, whatever their callers say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorityRule {
    /// From 0, which must not fail, to 3, which goes first.
    pub priority: u8,
    /// What it is about.
    pub about: Conditions,
}

/// Which requests a rule is about: those that have everything that is listed; of what nothing is listed of, all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// Callers with one of these identities. One without identity is none of them.
    pub identities: Vec<SpiffePattern>,
    /// Callers that are services of one of these namespaces.
    pub namespaces: Vec<String>,
    /// Requests with one of these methods, in upper case.
    pub methods: Vec<String>,
    /// Requests for one of these paths.
    pub paths: Vec<PathMatch>,
}

/// A request, as far as rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The caller, if it has proved who it is.
    pub identity: Option<&'a SpiffeId>,
    /// The method.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
}

impl Authorization {
    /// What becomes of a request, and the rule that says so; without one, it is the default.
    pub fn decide(&self, subject: &Subject<'_>) -> (Access, Option<&AccessRule>) {
        let find = |access| self.rules.iter().find(|rule| rule.access == access && rule.about.hold(subject));
        let found = find(Access::Deny).or_else(|| find(Access::Allow));
        (found.map_or(self.default, |rule| rule.access), found)
    }
}

impl Conditions {
    /// Whether a request has all of it.
    pub fn hold(&self, subject: &Subject<'_>) -> bool {
        let Self { identities, namespaces, methods, paths } = self;
        let anyone = identities.is_empty() && namespaces.is_empty();
        (anyone || subject.identity.is_some_and(|identity| self.is_from(identity)))
            && (methods.is_empty() || methods.iter().any(|method| method == subject.method))
            && (paths.is_empty() || paths.iter().any(|path| covers(path, subject.path)))
    }

    /// Each list that is not empty must have it.
    fn is_from(&self, identity: &SpiffeId) -> bool {
        let named =
            self.identities.is_empty() || self.identities.iter().any(|pattern| pattern.matches(identity));
        let placed = self.namespaces.is_empty()
            || identity.service().is_some_and(|service| {
                self.namespaces.iter().any(|namespace| namespace == service.namespace())
            });
        named && placed
    }
}

/// Regular expressions were refused: what is allowed must be clear at a glance.
fn covers(wanted: &PathMatch, path: &str) -> bool {
    match wanted {
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(prefix) => {
            let prefix = prefix.trim_end_matches('/');
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        PathMatch::Regex(_) => false,
    }
}

#[cfg(test)]
mod tests;
