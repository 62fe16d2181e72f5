//! Gateways.

use std::collections::{BTreeMap, HashSet};

use super::{Invalid, RULES_MAX, at_most, check_host, check_rule, check_text, connection, invalid};
use crate::policy::{Gateway, GatewayRoute, Listener, ListenerProtocol, Protocol, Termination};

/// Listeners of one gateway: those of the Gateway API.
pub const LISTENERS_MAX: usize = 64;
/// Certificates of one listener, or of one port of a service: those of the Gateway API.
pub const CERTIFICATES_MAX: usize = 64;
/// Authorities that one listener, port or cluster names.
pub const AUTHORITIES_MAX: usize = 8;

pub(super) fn check(gateway: &Gateway) -> Result<(), Invalid> {
    at_most("the gateway", "listeners", gateway.listeners.len(), LISTENERS_MAX)?;
    let (mut names, mut places) = (HashSet::new(), HashSet::new());
    let mut protocols = BTreeMap::new();
    for listener in &gateway.listeners {
        let place = format!("listener {}", listener.name);
        if !names.insert(listener.name.as_str()) || !places.insert((listener.port, &listener.hostname)) {
            return Err(invalid(&place, "its name, or its port and host, stand twice".into()));
        }
        if *protocols.entry(listener.port).or_insert(listener.protocol) != listener.protocol {
            return Err(invalid(&place, format!("two protocols on port {}", listener.port)));
        }
        check_listener(&place, listener)?;
    }
    Ok(())
}

fn check_listener(place: &str, listener: &Listener) -> Result<(), Invalid> {
    check_text(place, &listener.name)?;
    if listener.port == 0 {
        return Err(invalid(place, "port 0".into()));
    }
    if let Some(host) = &listener.hostname {
        check_host(place, host.strip_prefix("*.").unwrap_or(host))?;
    }
    if listener.tls.is_some() != (listener.protocol == ListenerProtocol::Https) {
        return Err(invalid(place, "certificates and no HTTPS, or HTTPS and no certificates".into()));
    }
    listener.tls.as_ref().map_or(Ok(()), |tls| check_termination(place, tls))?;
    let is_http = listener.protocol.is_http();
    if !(if is_http { listener.connections.is_empty() } else { listener.routes.is_empty() }) {
        return Err(invalid(place, "routes of another protocol".into()));
    }
    let rules = listener.routes.iter().map(|route| route.rules.len()).sum();
    at_most(place, "rules", rules, RULES_MAX)?;
    listener.routes.iter().try_for_each(|route| check_route(place, route))?;
    if let Some(inbound) = &listener.inbound {
        super::inbound::check(place, inbound)?;
        // What comes from outside believes nobody, and what it costs is for each backend's own sidecar to say.
        let more = inbound.shed.is_some() || !inbound.trusted.is_empty();
        let of_requests = !inbound.rate_limits.is_empty() || !inbound.priorities.is_empty();
        if more || of_requests && !is_http {
            return Err(invalid(place, "more is said of what comes in than can be done".into()));
        }
    }
    let carried = if listener.protocol == ListenerProtocol::Tls { Protocol::Tls } else { Protocol::Tcp };
    connection::check_rules(place, &listener.connections, carried)
}

pub(super) fn check_termination(place: &str, tls: &Termination) -> Result<(), Invalid> {
    at_most(place, "certificates", tls.certificates.len(), CERTIFICATES_MAX)?;
    let authorities = tls.clients.as_ref().map(|clients| clients.authorities.len());
    at_most(place, "authorities", authorities.unwrap_or_default(), AUTHORITIES_MAX)?;
    if tls.certificates.is_empty() || authorities == Some(0) {
        return Err(invalid(place, "no certificate to show, or none to believe".into()));
    }
    Ok(())
}

fn check_route(place: &str, route: &GatewayRoute) -> Result<(), Invalid> {
    at_most(place, "hosts", route.hostnames.len(), connection::HOSTNAMES_MAX)?;
    for host in &route.hostnames {
        check_host(place, host.strip_prefix("*.").unwrap_or(host))?;
    }
    route.rules.iter().try_for_each(|rule| check_rule(&format!("{place} rule {}", rule.name), rule))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Access, Authorization, Conditions, Inbound, PriorityRule, Shed};

    #[test]
    fn a_listener_is_asked_for_no_more_than_it_can_do() {
        let nothing = Inbound { shed: None, ..Inbound::default() };
        let authorization = Authorization { default: Access::Deny, rules: Vec::new(), dry_run: false };
        let access = Inbound { authorization: Some(authorization), ..nothing.clone() };
        let rule = PriorityRule { priority: 1, about: Conditions::default() };
        let priorities = Inbound { priorities: vec![rule], ..nothing.clone() };
        let sheds = Inbound { shed: Some(Shed::default()), ..nothing.clone() };
        let trusts = Inbound { trusted: vec!["::1".into()], ..nothing.clone() };
        let (http, tcp) = (ListenerProtocol::Http, ListenerProtocol::Tcp);
        for (valid, protocol, inbound) in [
            (true, http, &nothing),
            (true, http, &access),
            (true, tcp, &access),
            (true, http, &priorities),
            (false, tcp, &priorities),
            (false, http, &sheds),
            (false, http, &trusts),
            (false, http, &Inbound { trusted: vec!["nobody".into()], ..nothing.clone() }),
        ] {
            let listener = Listener {
                name: "web".into(),
                port: 80,
                protocol,
                hostname: None,
                tls: None,
                routes: Vec::new(),
                connections: Vec::new(),
                inbound: Some(inbound.clone()),
            };
            assert_eq!(
                check(&Gateway { listeners: vec![listener] }).is_ok(),
                valid,
                "{protocol:?} {inbound:?}"
            );
        }
    }
}
