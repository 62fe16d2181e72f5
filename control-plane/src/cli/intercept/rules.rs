//! The rules, as a script for nft: a pure function of what was asked for. One script is one transaction of the kernel.
//!
//! Loops cannot be built from them. What the proxy's user opens is redirected in one case alone: to an address of this very namespace, and from
//! one, since that is a call to the own service, which arrives inbound. What comes in that way the proxy hands on to the application from or to
//! loopback, and that is redirected in no case.

use std::fmt::Write;

use super::lists::{Network, Ports, User, networks_apart, ports_apart, set};

/// What no other program makes rules in.
pub(super) const TABLE: &str = "outrigger";

/// Takes the table away, whether it is there or not.
pub(super) const REMOVAL: &str = "add table inet outrigger\ndelete table inet outrigger\n";

/// Names are resolved with the proxy gone, too.
const DNS: u16 = 53;

/// Where a proxy serves metrics and readiness, and its admin pages: by its own address nobody is to come to them through itself.
const PAGES: [u16; 2] = [15_020, 15_200];

/// What is intercepted in a network namespace.
#[derive(Debug)]
pub(super) struct Interception {
    /// Whom the proxy runs as.
    pub(super) proxy: User,
    /// Connections that are opened here.
    pub(super) outbound: Option<Outbound>,
    /// Connections that come from elsewhere.
    pub(super) inbound: Option<Inbound>,
}

/// Of connections that are opened here.
#[derive(Debug)]
pub(super) struct Outbound {
    /// Where the proxy takes them.
    pub(super) port: u16,
    /// To these ports they are left alone.
    pub(super) excluded_ports: Vec<Ports>,
    /// To these addresses they are left alone.
    pub(super) excluded: Vec<Network>,
    /// If there are any, to all others they are left alone.
    pub(super) only: Vec<Network>,
    /// Of these users they are left alone.
    pub(super) excluded_users: Vec<User>,
}

/// Of connections that come from elsewhere.
#[derive(Debug)]
pub(super) struct Inbound {
    /// Where the proxy takes them.
    pub(super) port: u16,
    /// Where it takes those of the other direction.
    pub(super) outbound_port: u16,
    /// To these ports they are left alone.
    pub(super) excluded_ports: Vec<Ports>,
}

impl Interception {
    /// Puts the table in the place of the one that is there.
    pub(super) fn script(&self) -> String {
        let mut script = format!("{REMOVAL}table inet {TABLE} {{\n");
        if let Some(inbound) = &self.inbound {
            let excluded = inbound.excluded_ports.iter().copied();
            let own = [inbound.port, inbound.outbound_port].into_iter().chain(PAGES).map(Ports::from);
            let ports = set(ports_apart(excluded.chain(own)));
            chain(
                &mut script,
                "to_inbound",
                None,
                &[
                    (format!("tcp dport {ports} return"), "ports of the proxy, and those that are excluded"),
                    (
                        format!("meta l4proto tcp redirect to :{}", inbound.port),
                        "all others: to the proxy's inbound",
                    ),
                ],
            );
            chain(
                &mut script,
                "inbound",
                Some("prerouting"),
                &[
                    ("iifname \"lo\" return".into(), "nothing from elsewhere"),
                    ("fib daddr type != local return".into(), "on its way to another machine"),
                    ("meta l4proto tcp goto to_inbound".into(), "from elsewhere"),
                ],
            );
        }
        if let Some(outbound) = &self.outbound {
            chain(&mut script, "outbound", Some("output"), &self.outbound(outbound));
        }
        script.push_str("}\n");
        script
    }

    fn outbound(&self, outbound: &Outbound) -> Vec<(String, &'static str)> {
        let User(proxy) = self.proxy;
        let mut rules = vec![
            ("meta l4proto != tcp return".to_owned(), "no TCP"),
            ("ip daddr 127.0.0.0/8 return".to_owned(), "to loopback"),
            ("ip6 daddr ::1 return".to_owned(), "to loopback"),
            ("ip saddr 127.0.0.0/8 return".to_owned(), "from loopback"),
            ("ip6 saddr ::1 return".to_owned(), "from loopback"),
        ];
        if self.inbound.is_some() {
            let rule = format!("meta skuid {proxy} oifname \"lo\" goto to_inbound");
            rules.push((rule, "the proxy calls its own service"));
        }
        let mut users: Vec<_> =
            outbound.excluded_users.iter().map(|User(user)| *user).chain([proxy]).collect();
        users.sort_unstable();
        users.dedup();
        rules.push((
            format!("meta skuid {} return", set(users)),
            "the proxy itself, and users that are excluded",
        ));
        rules.push(("oifname \"lo\" return".to_owned(), "the application calls itself"));
        let ports = ports_apart(outbound.excluded_ports.iter().copied().chain([DNS.into()]));
        rules.push((format!("tcp dport {} return", set(ports)), "DNS, and ports that are excluded"));
        let (v4, v6) = networks_apart(&outbound.excluded);
        let excluded =
            [("ip", (!v4.is_empty()).then(|| set(v4))), ("ip6", (!v6.is_empty()).then(|| set(v6)))];
        for (family, networks) in excluded {
            if let Some(networks) = networks {
                rules.push((format!("{family} daddr {networks} return"), "addresses that are excluded"));
            }
        }
        if !outbound.only.is_empty() {
            let (v4, v6) = networks_apart(&outbound.only);
            let only = [
                ("ip", "ipv4", (!v4.is_empty()).then(|| set(v4))),
                ("ip6", "ipv6", (!v6.is_empty()).then(|| set(v6))),
            ];
            for (family, protocol, networks) in only {
                let rule = match networks {
                    Some(networks) => format!("{family} daddr != {networks} return"),
                    None => format!("meta nfproto {protocol} return"),
                };
                rules.push((rule, "not one of the addresses that are intercepted"));
            }
        }
        let rule = format!("meta l4proto tcp redirect to :{}", outbound.port);
        rules.push((rule, "all others: to the proxy's outbound"));
        rules
    }
}

/// Writes a chain; with a hook, it begins there. Each rule says in a comment what it means, which `show` repeats.
fn chain(script: &mut String, name: &str, hook: Option<&str>, rules: &[(String, &str)]) {
    // Writing to a String does not fail.
    let _ = writeln!(script, "\tchain {name} {{");
    if let Some(hook) = hook {
        let _ = writeln!(script, "\t\ttype nat hook {hook} priority -100; policy accept;");
    }
    for (rule, meaning) in rules {
        let _ = writeln!(script, "\t\t{rule} comment \"{meaning}\"");
    }
    script.push_str("\t}\n");
}

#[cfg(test)]
mod tests;
