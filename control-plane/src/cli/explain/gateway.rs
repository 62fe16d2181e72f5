//! The verdict on a request or a connection that comes to a gateway.

use outrigger_snapshot::connections::Connections;
use outrigger_snapshot::facts::Facts;
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::hosts::Hosts;
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{
    ConnectionRule, Gateway, Listener, ListenerProtocol, Policy, Rule, Termination,
};
use outrigger_snapshot::router::{GatewayRoutes, Miss, gateway_trials};

use super::connection::{asked, no_rule, routed as routed_connection};
use super::inbound::listener_lines;
use super::no_route::NoRoute;
use super::origin::{Origins, Place};
use super::verdict::{Lines, no_host, routed};
use crate::config::Resource;

/// What is known of a gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge<'a> {
    pub(super) name: &'a ServiceName,
    pub(super) policy: &'a Policy,
    pub(super) gateway: &'a Gateway,
    pub(super) facts: &'a Facts,
    pub(super) written: Option<&'a [Resource]>,
}

/// The verdict on `head`, sent to a port: lines of (name, text).
pub(super) fn verdict(
    edge: Edge<'_>,
    port: u16,
    head: &RequestHead,
) -> Result<Vec<(String, String)>, NoRoute> {
    let Edge { policy, gateway, facts, written, .. } = edge;
    let host = head.authority().host();
    let mut listeners = Hosts::default();
    for listener in
        gateway.listeners.iter().filter(|listener| listener.port == port && listener.protocol.is_http())
    {
        listeners.insert(listener.hostname.as_deref(), listener);
    }
    let listener: &&Listener = listeners.find(Some(host)).ok_or_else(|| NoRoute::Listener {
        host: host.to_owned(),
        port,
        known: known(gateway, true),
    })?;
    let routes: GatewayRoutes<&Rule> =
        GatewayRoutes::build(&listener.routes, |rule| rule).map_err(NoRoute::Policy)?;
    let (rule, prefix) = routes.find(head).map_err(|miss| match miss {
        Miss::Host | Miss::Port => no_host(policy, host.to_owned()),
        Miss::Rule => NoRoute::of_trials(&listener.name, head, gateway_trials(&listener.routes, head)),
    })?;
    let origins = Origins::new(written);
    let mut lines = Lines::new(&origins, Some(head));
    edge.listener(&mut lines, &origins, listener);
    if let Some(tls) = &listener.tls {
        lines.add("tls", tls_text(tls));
    }
    lines.tried(gateway_trials(&listener.routes, head));
    let kind = if rule.grpc { "GRPCRoute" } else { "HTTPRoute" };
    let route = format!("{kind} {}", rule.name.split('#').next().unwrap_or_default());
    routed(&mut lines, rule, prefix, &route, |_| Vec::new(), policy, facts);
    Ok(lines.into_pairs())
}

/// The verdict on a connection that is not looked into, opened to a port, whose client asks for `host`.
pub(super) fn connection_verdict(
    edge: Edge<'_>,
    port: Option<u16>,
    host: Option<&str>,
) -> Result<Vec<(String, String)>, NoRoute> {
    let Edge { policy, gateway, facts, written, .. } = edge;
    let mut listeners = Hosts::default();
    for listener in &gateway.listeners {
        if Some(listener.port) == port && !listener.protocol.is_http() {
            listeners.insert(listener.hostname.as_deref(), listener);
        }
    }
    // Of what is not TLS, nobody reads a host.
    let by_host = listeners.values().any(|listener: &&Listener| listener.protocol == ListenerProtocol::Tls);
    let host = host.filter(|_| by_host);
    let listener: &&Listener = listeners.find(host).ok_or_else(|| NoRoute::OpaqueListener {
        host: if by_host { asked(host) } else { "anything".to_owned() },
        port: port.map_or_else(|| "(none was named)".to_owned(), |port| port.to_string()),
        known: known(gateway, false),
    })?;
    let rules = Connections::of_rules(&listener.connections, |rule| rule);
    let rule: &&ConnectionRule = rules
        .find(host)
        .ok_or_else(|| no_rule(format!("listener {}", listener.name), host, &listener.connections))?;
    let origins = Origins::new(written);
    let mut lines = Lines::new(&origins, None);
    edge.listener(&mut lines, &origins, listener);
    let kind = if by_host { "TLSRoute" } else { "TCPRoute" };
    let route = format!("{kind} {}", rule.name.split('#').next().unwrap_or_default());
    routed_connection(&mut lines, rule, &route, policy, facts);
    Ok(lines.into_pairs())
}

impl Edge<'_> {
    /// A listener, and what is done about what comes to it.
    fn listener(&self, lines: &mut Lines<'_>, origins: &Origins<'_>, listener: &Listener) {
        let Listener { name, port, protocol, hostname, .. } = listener;
        let host = hostname.as_deref().unwrap_or("every host");
        lines.add("listener", format!("{name}, port {port} ({}) for {host}", protocol.name()));
        let place = Place { service: self.name, port_name: name };
        for (group, text) in listener_lines(origins, place, listener, lines.head) {
            lines.add(&format!("  {group}"), text);
        }
    }
}

/// Every listener for requests, or for connections that are not looked into, for a sentence.
fn known(gateway: &Gateway, requests: bool) -> String {
    let listeners = gateway.listeners.iter().filter(|listener| listener.protocol.is_http() == requests);
    let known: Vec<String> = listeners
        .map(|listener| {
            let protocol = if requests { String::new() } else { format!("{}, ", listener.protocol.name()) };
            let host = listener.hostname.as_deref().unwrap_or("every host");
            format!("{host} ({protocol}port {})", listener.port)
        })
        .collect();
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

/// What clients outside the mesh are shown and asked, in words.
pub(super) fn tls_text(tls: &Termination) -> String {
    let names = |names: &[_]| names.iter().map(ToString::to_string).collect::<Vec<String>>().join(", ");
    let least = if tls.only_tls13 { "1.3" } else { "1.2" };
    let asked = tls.clients.as_ref().map(|clients| {
        let how = if clients.required { "must prove" } else { "may prove" };
        format!("; clients {how} who they are to {}", names(&clients.authorities))
    });
    format!("shows {}; TLS {least} at least{}", names(&tls.certificates), asked.unwrap_or_default())
}
