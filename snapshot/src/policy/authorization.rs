//! Who may call what. Wire types, as in [`crate::policy`].

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use self::readings::{plain, readings};
use super::PathMatch;
use crate::identity::{SpiffeId, SpiffePattern};
use crate::network::Network;

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
    /// Callers at one of these addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Network>,
}

impl Conditions {
    /// Whether it is about requests alone, and never about a connection that is not looked into.
    pub fn needs_request(&self) -> bool {
        !self.methods.is_empty() || !self.paths.is_empty()
    }
}

/// A request, as far as rules look at it.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The caller, if it has proved who it is.
    pub identity: Option<&'a SpiffeId>,
    /// The method.
    pub method: &'a str,
    /// The path, without the query, as it is written.
    pub path: &'a str,
    /// Where it comes from, if rules look at that.
    pub source: Option<IpAddr>,
    /// What else servers may take the path for.
    meant: Vec<String>,
}

impl<'a> Subject<'a> {
    /// A request for `path`, without the query.
    pub fn new(identity: Option<&'a SpiffeId>, method: &'a str, path: &'a str) -> Self {
        Self { identity, method, path, source: None, meant: readings(path) }
    }

    /// A connection that is not looked into: rules about methods or paths are not about it.
    pub fn of_connection(identity: Option<&'a SpiffeId>) -> Self {
        Self { identity, method: "", path: "", source: None, meant: Vec::new() }
    }

    /// The same, from an address.
    pub fn at(self, source: Option<IpAddr>) -> Self {
        Self { source, ..self }
    }
}

impl Authorization {
    /// What becomes of a request, and the rule that says so; without one, it is the default.
    pub fn decide(&self, subject: &Subject<'_>) -> (Access, Option<&AccessRule>) {
        let of = |access| self.rules.iter().filter(move |rule| rule.access == access);
        let denies = of(Access::Deny).find(|rule| rule.about.may_hold(subject));
        let found = denies.or_else(|| of(Access::Allow).find(|rule| rule.about.hold(subject)));
        (found.map_or(self.default, |rule| rule.access), found)
    }
}

impl Conditions {
    /// Whether a request has all of it, however its path is read.
    pub fn hold(&self, subject: &Subject<'_>) -> bool {
        let same = |wanted: &str, method: &str| wanted == method;
        self.hold_at(subject, same, |wanted| {
            covers(wanted, subject.path, false)
                && subject.meant.iter().all(|meant| covers(wanted, meant, true))
        })
    }

    /// Whether a request has all of it in some reading of its path and its method, whose case some servers do not look at.
    fn may_hold(&self, subject: &Subject<'_>) -> bool {
        self.hold_at(subject, str::eq_ignore_ascii_case, |wanted| {
            covers(wanted, subject.path, false)
                || subject.meant.iter().any(|meant| covers(wanted, meant, true))
        })
    }

    fn hold_at(
        &self,
        subject: &Subject<'_>,
        same: impl Fn(&str, &str) -> bool,
        covers: impl Fn(&PathMatch) -> bool,
    ) -> bool {
        let Self { identities, namespaces, methods, paths, sources } = self;
        let anyone = identities.is_empty() && namespaces.is_empty();
        let comes_from = |source: IpAddr| sources.iter().any(|network| network.covers(source));
        (anyone || subject.identity.is_some_and(|identity| self.is_from(identity)))
            && (sources.is_empty() || subject.source.is_some_and(comes_from))
            && (methods.is_empty() || methods.iter().any(|method| same(method, subject.method)))
            // Only a connection has no path, and the prefix "/" would be one of it.
            && (paths.is_empty() || !subject.path.is_empty() && paths.iter().any(covers))
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

/// Regular expressions were refused: what is allowed must be clear at a glance. Where escapes in `path` are `resolved`, those in what is
/// wanted mean what they stand for.
fn covers(wanted: &PathMatch, path: &str, resolved: bool) -> bool {
    let plain = |text| if resolved { plain(text) } else { Cow::Borrowed(text) };
    match wanted {
        PathMatch::Exact(exact) => plain(exact) == path,
        PathMatch::Prefix(prefix) => {
            let prefix = plain(prefix.trim_end_matches('/'));
            path.strip_prefix(&*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        PathMatch::Regex(_) => false,
    }
}

mod readings;
#[cfg(test)]
mod tests;
