//! The router of connections: the host that a client asks for → rule. The proxy and `explain` run this very code.

use std::collections::HashMap;

use crate::policy::{ConnectionRule, Port};

/// The connection rules of one port, each carrying an `R`. The most specific host counts: itself, then the longest that stands for all
/// below it.
#[derive(Debug)]
pub struct Connections<R> {
    rules: Vec<R>,
    exact: HashMap<Box<str>, usize>,
    /// By what follows `*.`.
    below: HashMap<Box<str>, usize>,
    /// What needs no host.
    any: Option<usize>,
}

impl<R> Connections<R> {
    /// Builds the router of a port; `payload` is called once for each rule, or once with `None` if the port has none: then everything
    /// goes to its own cluster.
    pub fn build<'a>(port: &'a Port, mut payload: impl FnMut(Option<&'a ConnectionRule>) -> R) -> Self {
        let mut table = Self { rules: Vec::new(), exact: HashMap::new(), below: HashMap::new(), any: None };
        for (index, rule) in port.connections.iter().enumerate() {
            table.rules.push(payload(Some(rule)));
            if rule.hostnames.is_empty() {
                table.any = Some(index);
            }
            for host in &rule.hostnames {
                match host.strip_prefix("*.") {
                    Some(parent) => table.below.insert(parent.into(), index),
                    None => table.exact.insert(host.as_str().into(), index),
                };
            }
        }
        if port.connections.is_empty() {
            table.rules.push(payload(None));
            table.any = Some(0);
        }
        table
    }

    /// Whether the host that a client asks for decides: then it must be waited for.
    pub fn by_host(&self) -> bool {
        !self.exact.is_empty() || !self.below.is_empty()
    }

    /// The rule of a connection whose client asks for `host` (lower case), if it says so.
    pub fn find(&self, host: Option<&str>) -> Option<&R> {
        let named = host.and_then(|host| {
            let parents = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
            let mut below = parents.filter_map(|parent| self.below.get(parent));
            self.exact.get(host).or_else(|| below.next())
        });
        named.or(self.any.as_ref()).map(|index| &self.rules[*index])
    }

    /// Every rule.
    pub fn rules(&self) -> &[R] {
        &self.rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Backend, Protocol};

    fn table(protocol: Protocol, rules: &[(&str, &[&str])]) -> Connections<Option<String>> {
        let rule = |(name, hosts): &(&str, &[&str])| ConnectionRule {
            name: (*name).to_owned(),
            hostnames: hosts.iter().map(|host| (*host).to_owned()).collect(),
            backends: Vec::new(),
        };
        let port = Port {
            name: "x".into(),
            port: 1,
            target_port: 1,
            protocol,
            rules: Vec::new(),
            connections: rules.iter().map(rule).collect(),
            backend: Backend::defaults_for(protocol),
            inbound: None,
            proxy_protocol: None,
        };
        Connections::build(&port, |rule| rule.map(|rule| rule.name.clone()))
    }

    #[test]
    fn the_most_specific_host_decides() {
        let rules: &[(&str, &[&str])] =
            &[("a", &["*.example"]), ("b", &["db.shop.example", "other.test"]), ("c", &["*.shop.example"])];
        let table = table(Protocol::Tls, rules);
        assert!(table.by_host());
        for (host, rule) in [
            (Some("db.shop.example"), Some("b")),
            (Some("other.test"), Some("b")),
            (Some("web.shop.example"), Some("c")),
            (Some("x.db.shop.example"), Some("c")),
            (Some("shop.example"), Some("a")),
            (Some("example"), None),
            (Some("db.shop.example.evil"), None),
            (Some("notother.test"), None),
            (None, None),
        ] {
            let found = table.find(host);
            assert_eq!(found.map(Option::as_deref), rule.map(Some), "{host:?}");
        }
    }

    #[test]
    fn without_hosts_everything_has_the_one_rule() {
        let routed = table(Protocol::Tcp, &[("a", &[])]);
        let bare = table(Protocol::Tls, &[]);
        for host in [None, Some("db.example")] {
            assert_eq!(routed.find(host), Some(&Some("a".to_owned())));
            assert_eq!(bare.find(host), Some(&None));
        }
        assert!(!routed.by_host() && !bare.by_host());
    }
}
