//! Gateways.

use std::collections::{BTreeMap, HashSet};

use super::{Invalid, RULES_MAX, at_most, check_host, check_rule, check_text, connection, invalid};
use crate::policy::{Gateway, GatewayRoute, Listener, ListenerProtocol, Protocol};

/// Listeners of one gateway: those of the Gateway API.
pub const LISTENERS_MAX: usize = 64;
/// Certificates of one listener: those of the Gateway API.
pub const CERTIFICATES_MAX: usize = 64;
/// Authorities that one listener or cluster names.
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
    if let Some(tls) = &listener.tls {
        at_most(place, "certificates", tls.certificates.len(), CERTIFICATES_MAX)?;
        let authorities = tls.clients.as_ref().map(|clients| clients.authorities.len());
        at_most(place, "authorities", authorities.unwrap_or_default(), AUTHORITIES_MAX)?;
        if tls.certificates.is_empty() || authorities == Some(0) {
            return Err(invalid(place, "no certificate to show, or none to believe".into()));
        }
    }
    let is_http = listener.protocol.is_http();
    if !(if is_http { listener.connections.is_empty() } else { listener.routes.is_empty() }) {
        return Err(invalid(place, "routes of another protocol".into()));
    }
    let rules = listener.routes.iter().map(|route| route.rules.len()).sum();
    at_most(place, "rules", rules, RULES_MAX)?;
    listener.routes.iter().try_for_each(|route| check_route(place, route))?;
    let carried = if listener.protocol == ListenerProtocol::Tls { Protocol::Tls } else { Protocol::Tcp };
    connection::check_rules(place, &listener.connections, carried)
}

fn check_route(place: &str, route: &GatewayRoute) -> Result<(), Invalid> {
    at_most(place, "hosts", route.hostnames.len(), connection::HOSTNAMES_MAX)?;
    for host in &route.hostnames {
        check_host(place, host.strip_prefix("*.").unwrap_or(host))?;
    }
    route.rules.iter().try_for_each(|rule| check_rule(&format!("{place} rule {}", rule.name), rule))
}
