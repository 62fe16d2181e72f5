//! What belongs to hosts, some of which stand for all below them (Gateway API v1, `Hostname`).

use std::collections::HashMap;

/// A `T` for each of some hosts: exact ones, `*.example` for all below `example`, or any.
#[derive(Debug)]
pub struct Hosts<T> {
    exact: HashMap<Box<str>, T>,
    /// By what follows `*.`.
    below: HashMap<Box<str>, T>,
    any: Option<T>,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), below: HashMap::new(), any: None }
    }
}

impl<T> Hosts<T> {
    /// Puts `value` in the place of what there was for this host; `None`: for every host.
    pub fn insert(&mut self, host: Option<&str>, value: T) {
        match host.map(|host| (host, host.strip_prefix("*."))) {
            None => self.any = Some(value),
            Some((_, Some(parent))) => {
                self.below.insert(parent.into(), value);
            }
            Some((host, None)) => {
                self.exact.insert(host.into(), value);
            }
        }
    }

    /// Everything, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.below.values()).chain(&self.any)
    }

    /// Whether any host is told from another.
    pub fn by_host(&self) -> bool {
        !self.exact.is_empty() || !self.below.is_empty()
    }

    /// What belongs to the most specific host that `host` (lower case) is or is below.
    pub fn find(&self, host: Option<&str>) -> Option<&T> {
        match host {
            Some(host) => self.matching(host).next(),
            None => self.any.as_ref(),
        }
    }

    /// All that belongs to hosts that `host` (lower case) is or is below, the most specific first.
    pub fn matching<'a, 'h>(&'a self, host: &'h str) -> impl Iterator<Item = &'a T> + use<'a, 'h, T> {
        let parents = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
        let below = parents.filter_map(|parent| self.below.get(parent));
        self.exact.get(host).into_iter().chain(below).chain(&self.any)
    }
}

/// The host that is meant where both say which they are for; `None`: there is none. A missing one means every host.
pub fn intersection<'a>(one: Option<&'a str>, other: Option<&'a str>) -> Option<Option<&'a str>> {
    let (one, other) = match (one, other) {
        (None, host) | (host, None) => return Some(host),
        (Some(one), Some(other)) => (one, other),
    };
    let covers = |wide: &str, narrow: &str| {
        wide == narrow
            || wide.strip_prefix('*').is_some_and(|parent| {
                let narrow = narrow.strip_prefix('*').unwrap_or(narrow);
                narrow.len() > parent.len() && narrow.ends_with(parent)
            })
    };
    match () {
        () if covers(one, other) => Some(Some(other)),
        () if covers(other, one) => Some(Some(one)),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_hosts_have_in_common_is_the_narrower() {
        for (one, other, both) in [
            (None, None, Some(None)),
            (None, Some("a.example"), Some(Some("a.example"))),
            (Some("a.example"), Some("a.example"), Some(Some("a.example"))),
            (Some("a.example"), Some("b.example"), None),
            (Some("*.example"), Some("a.example"), Some(Some("a.example"))),
            (Some("*.example"), Some("b.a.example"), Some(Some("b.a.example"))),
            (Some("*.example"), Some("example"), None),
            (Some("*.example"), Some("aexample"), None),
            (Some("*.example"), Some("*.a.example"), Some(Some("*.a.example"))),
            (Some("*.example"), Some("*.example"), Some(Some("*.example"))),
            (Some("*.a.example"), Some("*.b.example"), None),
            (Some("*.a.example"), Some("*.ba.example"), None),
        ] {
            assert_eq!(intersection(one, other), both, "{one:?} {other:?}");
            assert_eq!(intersection(other, one), both, "{other:?} {one:?}");
        }
    }

    #[test]
    fn the_most_specific_comes_first() {
        let mut hosts = Hosts::default();
        for host in [None, Some("*.example"), Some("*.a.example"), Some("b.a.example")] {
            hosts.insert(host, host.unwrap_or("any"));
        }
        let matching = |host| hosts.matching(host).copied().collect::<Vec<_>>();
        assert_eq!(matching("b.a.example"), ["b.a.example", "*.a.example", "*.example", "any"]);
        assert_eq!(matching("a.example"), ["*.example", "any"]);
        assert_eq!(matching("example"), ["any"]);
        assert_eq!((hosts.find(Some("c.a.example")), hosts.find(None)), (Some(&"*.a.example"), Some(&"any")));
    }
}
