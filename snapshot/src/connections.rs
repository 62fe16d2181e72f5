//! The router of connections: the host that a client asks for → rule. The proxy and `explain` run this very code.

use crate::hosts::Hosts;
use crate::policy::ConnectionRule;

/// The connection rules of one port, each carrying an `R`. The most specific host counts: itself, then the longest that stands for all
/// below it.
#[derive(Debug)]
pub struct Connections<R> {
    rules: Vec<R>,
    /// By host; index into `rules`.
    hosts: Hosts<usize>,
}

impl<R> Connections<R> {
    /// Builds the router of these rules; `payload` is called once for each, or once with `None` if there is none: then everything goes to
    /// the port's own cluster.
    pub fn build<'a>(
        written: &'a [ConnectionRule],
        mut payload: impl FnMut(Option<&'a ConnectionRule>) -> R,
    ) -> Self {
        if written.is_empty() {
            let mut hosts = Hosts::default();
            hosts.insert(None, 0);
            return Self { rules: vec![payload(None)], hosts };
        }
        Self::of_rules(written, |rule| payload(Some(rule)))
    }

    /// The same where nothing goes anywhere without a rule.
    pub fn of_rules<'a>(
        written: &'a [ConnectionRule],
        mut payload: impl FnMut(&'a ConnectionRule) -> R,
    ) -> Self {
        let mut table = Self { rules: Vec::new(), hosts: Hosts::default() };
        for (index, rule) in written.iter().enumerate() {
            table.rules.push(payload(rule));
            if rule.hostnames.is_empty() {
                table.hosts.insert(None, index);
            }
            for host in &rule.hostnames {
                table.hosts.insert(Some(host), index);
            }
        }
        table
    }

    /// Whether the host that a client asks for decides: then it must be waited for.
    pub fn by_host(&self) -> bool {
        self.hosts.by_host()
    }

    /// The rule of a connection whose client asks for `host` (lower case), if it says so.
    pub fn find(&self, host: Option<&str>) -> Option<&R> {
        self.hosts.find(host).map(|index| &self.rules[*index])
    }

    /// Every rule.
    pub fn rules(&self) -> &[R] {
        &self.rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rules: &[(&str, &[&str])]) -> Connections<Option<String>> {
        let rule = |(name, hosts): &(&str, &[&str])| ConnectionRule {
            name: (*name).to_owned(),
            hostnames: hosts.iter().map(|host| (*host).to_owned()).collect(),
            backends: Vec::new(),
        };
        let rules: Vec<_> = rules.iter().map(rule).collect();
        Connections::build(&rules, |rule| rule.map(|rule| rule.name.clone()))
    }

    #[test]
    fn the_most_specific_host_decides() {
        let rules: &[(&str, &[&str])] =
            &[("a", &["*.example"]), ("b", &["db.shop.example", "other.test"]), ("c", &["*.shop.example"])];
        let table = table(rules);
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
        let routed = table(&[("a", &[])]);
        let bare = table(&[]);
        for host in [None, Some("db.example")] {
            assert_eq!(routed.find(host), Some(&Some("a".to_owned())));
            assert_eq!(bare.find(host), Some(&None));
        }
        assert!(!routed.by_host() && !bare.by_host());
    }
}
