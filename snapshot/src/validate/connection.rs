//! Connection rules.

use std::collections::HashSet;

use super::{BACKENDS_MAX, Invalid, RULES_MAX, WEIGHT_MAX, at_most, check_host, check_text, invalid};
use crate::policy::{ConnectionRule, Port, Protocol};

/// Hosts of one rule: that of the Gateway API.
pub const HOSTNAMES_MAX: usize = 1_024;

pub(super) fn check(place: &str, port: &Port) -> Result<(), Invalid> {
    let rules = &port.connections;
    if rules.is_empty() {
        return Ok(());
    }
    if port.protocol.is_http() {
        return Err(invalid(place, "rules for connections on a port that carries requests".into()));
    }
    check_rules(place, rules, port.protocol)
}

/// Rules that share a port or a listener of this protocol.
pub(super) fn check_rules(place: &str, rules: &[ConnectionRule], protocol: Protocol) -> Result<(), Invalid> {
    at_most(place, "connection rules", rules.len(), RULES_MAX)?;
    let mut hosts = HashSet::new();
    for rule in rules {
        check_rule(&format!("{place} rule {}", rule.name), rule, protocol)?;
        for host in &rule.hostnames {
            if !hosts.insert(host.as_str()) {
                return Err(invalid(place, format!("the host {host:?} stands twice")));
            }
        }
    }
    if protocol == Protocol::Tcp && rules.len() > 1 {
        return Err(invalid(place, "two rules and nothing to tell their connections apart".into()));
    }
    Ok(())
}

fn check_rule(place: &str, rule: &ConnectionRule, protocol: Protocol) -> Result<(), Invalid> {
    check_text(place, &rule.name)?;
    at_most(place, "hosts", rule.hostnames.len(), HOSTNAMES_MAX)?;
    if rule.hostnames.is_empty() != (protocol == Protocol::Tcp) {
        return Err(invalid(place, "hosts on a port of TCP, or none on one of TLS".into()));
    }
    for host in &rule.hostnames {
        check_host(place, host.strip_prefix("*.").unwrap_or(host))?;
    }
    at_most(place, "backends", rule.backends.len(), BACKENDS_MAX)?;
    for backend in &rule.backends {
        if backend.port == 0 || backend.weight > WEIGHT_MAX {
            let what = format!("backend {} with weight {}", backend.service, backend.weight);
            return Err(invalid(place, what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
