//! The routes of one port or host, in the order of precedence of the Gateway API (`HTTPRouteRule.matches`): exact path, then regular
//! expression, then longest prefix; then a method, more headers, more query parameters; then the operator's order.
//!
//! The specification leaves the place of regular expressions open. They come before prefixes, since after them a catch-all `/` would
//! hide every one.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::RouterError;
use super::conditions::{Conditions, WholeMatch};
use crate::head::RequestHead;
use crate::policy::{PathMatch, RouteMatch, Rule};

#[derive(Debug)]
pub(super) struct Table<R> {
    rules: Vec<R>,
    exact: HashMap<Box<str>, Vec<Entry>>,
    regexes: Vec<(WholeMatch, Entry)>,
    /// By prefix without its trailing slash, so that the root is the empty text.
    prefixes: HashMap<Box<str>, Vec<Entry>>,
    /// Most slashes in a prefix: deeper cuts of a path need no look-up.
    prefix_depth_max: usize,
}

/// One match: further conditions, and the rule that it leads to.
#[derive(Debug)]
struct Entry {
    conditions: Conditions,
    rule: usize,
}

impl<R> Table<R> {
    /// Of a port without routes.
    pub(super) fn everything(payload: R) -> Self {
        let entry = Entry { conditions: Conditions::default(), rule: 0 };
        let prefixes = HashMap::from([("".into(), vec![entry])]);
        Self {
            rules: vec![payload],
            exact: HashMap::new(),
            regexes: Vec::new(),
            prefixes,
            prefix_depth_max: 0,
        }
    }

    /// Of rules, each with its payload.
    pub(super) fn build<'a>(rules: impl IntoIterator<Item = (R, &'a Rule)>) -> Result<Self, RouterError> {
        let mut table = Self {
            rules: Vec::new(),
            exact: HashMap::new(),
            regexes: Vec::new(),
            prefixes: HashMap::new(),
            prefix_depth_max: 0,
        };
        let kept = rules.into_iter().enumerate().map(|(index, (payload, rule))| {
            table.rules.push(payload);
            (index, rule)
        });
        for (index, rule, route_match) in in_order(kept) {
            let refused = |error| RouterError { rule: rule.name.clone(), error };
            let entry = Entry { conditions: Conditions::compile(route_match).map_err(refused)?, rule: index };
            match &route_match.path {
                PathMatch::Exact(path) => table.exact.entry(path.as_str().into()).or_default().push(entry),
                PathMatch::Regex(pattern) => {
                    let regex = WholeMatch::compile(pattern).map_err(refused)?;
                    table.regexes.push((regex, entry));
                }
                PathMatch::Prefix(prefix) => {
                    let prefix = prefix.trim_end_matches('/');
                    let depth = prefix.bytes().filter(|byte| *byte == b'/').count();
                    table.prefix_depth_max = table.prefix_depth_max.max(depth);
                    table.prefixes.entry(prefix.into()).or_default().push(entry);
                }
            }
        }
        Ok(table)
    }

    /// The payload of the rule that a request meets first, and the prefix if it was met by one.
    pub(super) fn find(&self, head: &RequestHead) -> Option<(&R, Option<&str>)> {
        let path = head.path();
        let first = |entries: &[Entry]| {
            entries.iter().find(|entry| entry.conditions.hold(head)).map(|entry| entry.rule)
        };
        if !self.exact.is_empty()
            && let Some(rule) = self.exact.get(path).and_then(|entries| first(entries))
        {
            return Some((&self.rules[rule], None));
        }
        for (regex, entry) in &self.regexes {
            if regex.is_match(path.as_bytes()) && entry.conditions.hold(head) {
                return Some((&self.rules[entry.rule], None));
            }
        }
        let mut cut = cut_at_depth(path, self.prefix_depth_max);
        loop {
            if let Some((prefix, entries)) = self.prefixes.get_key_value(cut)
                && let Some(rule) = first(entries)
            {
                return Some((&self.rules[rule], Some(prefix)));
            }
            cut = &cut[..cut.rfind('/')?];
        }
    }
}

/// Every match of some rules, each with its rule and that one's number, in the order in which they are tried.
pub(super) fn in_order<'a>(
    rules: impl IntoIterator<Item = (usize, &'a Rule)>,
) -> Vec<(usize, &'a Rule, &'a RouteMatch)> {
    let mut matches = Vec::new();
    for (index, rule) in rules {
        matches.extend(rule.matches.iter().map(|route_match| (index, rule, route_match)));
    }
    // Stable: what is equal stays in the operator's order.
    matches.sort_by_key(|(_, _, route_match)| precedence(route_match));
    matches
}

/// The beginning of `path` that has at most `depth` elements, without a trailing slash.
fn cut_at_depth(path: &str, depth: usize) -> &str {
    if path == "*" {
        return ""; // `OPTIONS *` is about the whole server: only a catch-all applies.
    }
    let end = path
        .bytes()
        .enumerate()
        .filter(|(_, byte)| *byte == b'/')
        .nth(depth)
        .map_or(path.len(), |(index, _)| index);
    path[..end].trim_end_matches('/')
}

type Precedence = (u8, Reverse<usize>, Reverse<bool>, Reverse<usize>, Reverse<usize>);

fn precedence(route_match: &RouteMatch) -> Precedence {
    let (kind, length) = match &route_match.path {
        PathMatch::Exact(_) => (0, 0),
        PathMatch::Regex(pattern) => (1, pattern.len()),
        PathMatch::Prefix(prefix) => (2, prefix.trim_end_matches('/').len()),
    };
    (
        kind,
        Reverse(length),
        Reverse(route_match.method.is_some()),
        Reverse(route_match.headers.len()),
        Reverse(route_match.query.len()),
    )
}
