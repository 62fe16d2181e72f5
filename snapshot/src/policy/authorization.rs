//! Who may call what. Wire types, as in [`crate::policy`].

use std::borrow::Cow;

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
    /// The path as a server may read it.
    meant: Cow<'a, str>,
}

impl<'a> Subject<'a> {
    /// A request for `path`, without the query.
    pub fn new(identity: Option<&'a SpiffeId>, method: &'a str, path: &'a str) -> Self {
        Self { identity, method, path, meant: meant(path) }
    }

    /// A connection that is not looked into: rules about methods or paths are not about it.
    pub fn of_connection(identity: Option<&'a SpiffeId>) -> Self {
        Self { identity, method: "", path: "", meant: Cow::Borrowed("") }
    }
}

/// A path with its escapes resolved once, backslashes as slashes, and without empty and dot segments (RFC 3986 §6.2.2): servers differ in
/// which of these they do, and who wants to pass by a rule picks what the rule does not.
fn meant(path: &str) -> Cow<'_, str> {
    let plain = !path.contains(['%', '\\']) && !path.contains("//") && !path.contains("/.");
    if plain {
        return Cow::Borrowed(path);
    }
    let decoded = percent_decoded(path).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    Cow::Owned(format!("/{}", segments.join("/")))
}

fn percent_decoded(path: &str) -> String {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| std::str::from_utf8(after.get(..2)?).ok()).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
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
        let Subject { path, meant, .. } = subject;
        self.hold_at(subject, |wanted| covers(wanted, path) && covers(wanted, meant))
    }

    /// Whether a request has all of it in some reading of its path.
    fn may_hold(&self, subject: &Subject<'_>) -> bool {
        let Subject { path, meant, .. } = subject;
        self.hold_at(subject, |wanted| covers(wanted, path) || covers(wanted, meant))
    }

    fn hold_at(&self, subject: &Subject<'_>, covers: impl Fn(&PathMatch) -> bool) -> bool {
        let Self { identities, namespaces, methods, paths } = self;
        let anyone = identities.is_empty() && namespaces.is_empty();
        (anyone || subject.identity.is_some_and(|identity| self.is_from(identity)))
            && (methods.is_empty() || methods.iter().any(|method| method == subject.method))
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
