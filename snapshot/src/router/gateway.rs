//! The routes of one listener of a gateway.

use std::collections::BTreeMap;

use super::table::Table;
use super::{Miss, RouterError};
use crate::head::RequestHead;
use crate::hosts::Hosts;
use crate::policy::{GatewayRoute, Rule};

/// Routes by host, each rule carrying an `R`. The rules of the most specific host come first; where none of them matches, those of wider
/// ones have their turn (Gateway API v1, `HTTPRouteSpec.hostnames`).
#[derive(Debug)]
pub struct GatewayRoutes<R> {
    rules: Vec<R>,
    /// Indexes into `rules`.
    hosts: Hosts<Table<usize>>,
}

impl<R> GatewayRoutes<R> {
    /// Builds the router of a listener; `payload` is called once for each rule.
    pub fn build<'a>(
        routes: &'a [GatewayRoute],
        mut payload: impl FnMut(&'a Rule) -> R,
    ) -> Result<Self, RouterError> {
        let mut rules = Vec::new();
        let mut by_host: BTreeMap<Option<&str>, Vec<(usize, &Rule)>> = BTreeMap::new();
        for route in routes {
            let first = rules.len();
            rules.extend(route.rules.iter().map(&mut payload));
            let any = route.hostnames.is_empty().then_some(None);
            for host in route.hostnames.iter().map(|host| Some(host.as_str())).chain(any) {
                by_host.entry(host).or_default().extend((first..).zip(&route.rules));
            }
        }
        let mut hosts = Hosts::default();
        for (host, rules) in by_host {
            hosts.insert(host, Table::build(rules)?);
        }
        Ok(Self { rules, hosts })
    }

    /// The rule for a request, and the path prefix if it was met by one.
    pub fn find(&self, head: &RequestHead) -> Result<(&R, Option<&str>), Miss> {
        let mut miss = Miss::Host;
        for table in self.hosts.matching(head.authority().host()) {
            match table.find(head) {
                Some((rule, prefix)) => return Ok((&self.rules[*rule], prefix)),
                None => miss = Miss::Rule,
            }
        }
        Err(miss)
    }

    /// Every rule.
    pub fn rules(&self) -> &[R] {
        &self.rules
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;
    use crate::policy::{PathMatch, RouteMatch};

    fn route(hostnames: &[&str], rules: &[(&str, &str)]) -> GatewayRoute {
        let rule = |(name, path): &(&str, &str)| Rule {
            name: (*name).into(),
            grpc: false,
            matches: vec![RouteMatch {
                path: PathMatch::Prefix((*path).into()),
                method: None,
                headers: vec![],
                query: vec![],
            }],
            filters: vec![],
            request_timeout_ms: None,
            try_timeout_ms: None,
            retry: None,
            backends: vec![],
        };
        let hostnames = hostnames.iter().map(|host| (*host).to_owned()).collect();
        GatewayRoute { hostnames, rules: rules.iter().map(rule).collect() }
    }

    #[test]
    fn the_rules_of_the_most_specific_host_come_first_and_wider_ones_have_their_turn() {
        let routes = [
            route(&[], &[("any", "/")]),
            route(&["*.example", "other.test"], &[("wild", "/a"), ("wild-b", "/a/b")]),
            route(&["shop.example"], &[("shop", "/a")]),
        ];
        let table = GatewayRoutes::build(&routes, |rule| rule.name.clone()).unwrap();
        let find = |table: &GatewayRoutes<String>, host: &str, path: &str| {
            let (authority, path) = (host.parse().unwrap(), path.parse().unwrap());
            let head = RequestHead::new(Method::GET, authority, path, HeaderMap::new());
            table.find(&head).map(|(rule, _)| rule.clone())
        };
        for (host, path, rule) in [
            ("shop.example", "/a", "shop"),
            ("shop.example:8443", "/a/b", "shop"),
            ("shop.example", "/c", "any"),
            ("x.shop.example", "/a/b", "wild-b"),
            ("other.test", "/a/c", "wild"),
            ("example", "/a", "any"),
        ] {
            assert_eq!(find(&table, host, path).as_deref(), Ok(rule), "{host}{path}");
        }
        let table = GatewayRoutes::build(&routes[2..], |rule| rule.name.clone()).unwrap();
        assert_eq!(find(&table, "shop.example", "/b"), Err(Miss::Rule));
        assert_eq!(find(&table, "x.example", "/a"), Err(Miss::Host));
    }
}
