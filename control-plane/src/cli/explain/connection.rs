//! What would happen to a connection that is not looked into, found by the router that proxies run.

use outrigger_snapshot::connections::Connections;
use outrigger_snapshot::facts::Facts;
use outrigger_snapshot::head::Authority;
use outrigger_snapshot::policy::{ConnectionRule, Policy, Port, Service};

use super::no_route::NoRoute;
use super::origin::{Origins, Place};
use super::verdict::{Lines, called_by, no_host, share};
use crate::config::Resource;

/// The verdict on a connection to `authority`, opened by a workload in `namespace`, whose client asks for `host`: lines of (name, text).
pub(super) fn verdict(
    policy: &Policy,
    facts: &Facts,
    namespace: &str,
    authority: &Authority,
    host: Option<&str>,
    written: Option<&[Resource]>,
) -> Result<Vec<(String, String)>, NoRoute> {
    let called = authority.host();
    let found = policy.services.iter().find(|(name, service)| called_by(called, name, service, namespace));
    let (name, service) = found.ok_or_else(|| no_host(policy, called.to_owned()))?;
    let port = port(service, authority.port()).ok_or_else(|| {
        let known: Vec<String> = opaque(service).map(|port| port.port.to_string()).collect();
        NoRoute::OpaquePort {
            service: name.to_string(),
            port: authority.port().map_or_else(|| "at all".to_owned(), |port| port.to_string()),
            known: if known.is_empty() { "none".to_owned() } else { known.join(", ") },
        }
    })?;
    let origins = Origins::new(written);
    let mut lines = Lines::new(&origins, None);
    lines.add("service", format!("{name}, port {} ({}, {})", port.port, port.protocol.name(), port.name));
    let connections: Connections<Option<&ConnectionRule>> =
        Connections::build(&port.connections, |rule| rule);
    let rule = connections
        .find(host)
        .ok_or_else(|| no_rule(name.cluster(port.port).to_string(), host, &port.connections))?;
    let Some(rule) = rule else {
        lines.add("rule", "none: the port has no route, everything goes to its own endpoints".to_owned());
        lines.cluster(&name.cluster(port.port), "all", policy, facts, None);
        return Ok(lines.into_pairs());
    };
    let place = Place { service: name, port_name: &port.name };
    routed(&mut lines, rule, &origins.route(place, &rule.name), policy, facts);
    Ok(lines.into_pairs())
}

/// That none of these rules is for the host that a client asks for.
pub(super) fn no_rule(of: String, host: Option<&str>, rules: &[ConnectionRule]) -> NoRoute {
    let line = |rule: &ConnectionRule| match rule.hostnames.join(", ") {
        hosts if hosts.is_empty() => format!("  {}: every host", rule.name),
        hosts => format!("  {}: {hosts}", rule.name),
    };
    let rules: Vec<_> = rules.iter().map(line).collect();
    let rules = if rules.is_empty() { "  none".to_owned() } else { rules.join("\n") };
    NoRoute::ServerName { service: of, host: asked(host), rules }
}

/// The host that a client asks for, for a sentence.
pub(super) fn asked(host: Option<&str>) -> String {
    host.map_or_else(|| "no host".to_owned(), |host| format!("the host {host:?}"))
}

/// A rule, and where it leads.
pub(super) fn routed(
    lines: &mut Lines<'_>,
    rule: &ConnectionRule,
    route: &str,
    policy: &Policy,
    facts: &Facts,
) {
    lines.add("rule", format!("{} ({route})", rule.name));
    if !rule.hostnames.is_empty() {
        lines.add("hosts", rule.hostnames.join(", "));
    }
    let total: u64 = rule.backends.iter().map(|backend| u64::from(backend.weight)).sum();
    for backend in &rule.backends {
        let cluster = backend.service.cluster(backend.port);
        lines.cluster(&cluster, &share(backend.weight, total), policy, facts, None);
    }
    if total == 0 {
        lines.add("cluster", "none has a share: the proxy would refuse the connection".to_owned());
    }
}

fn opaque(service: &Service) -> impl Iterator<Item = &Port> {
    service.ports.iter().filter(|port| !port.protocol.is_http())
}

/// The port of that number; without one, the only one that there is.
fn port(service: &Service, number: Option<u16>) -> Option<&Port> {
    let mut ports = opaque(service).filter(|port| number.is_none_or(|number| number == port.port));
    let first = ports.next();
    first.filter(|_| number.is_some() || ports.next().is_none())
}
