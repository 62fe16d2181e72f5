//! The verdict on a request that comes to a gateway.

use outrigger_snapshot::facts::Facts;
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::hosts::Hosts;
use outrigger_snapshot::policy::{Gateway, Listener, Policy, Rule, Termination};
use outrigger_snapshot::router::{GatewayRoutes, Miss};

use super::origin::Origins;
use super::verdict::{Lines, NoRoute, no_host, routed};
use crate::config::Resource;

/// The verdict on `head`, sent to a port: lines of (name, text).
pub(super) fn verdict(
    policy: &Policy,
    gateway: &Gateway,
    facts: &Facts,
    port: u16,
    head: &RequestHead,
    written: Option<&[Resource]>,
) -> Result<Vec<(String, String)>, NoRoute> {
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
        known: known(gateway),
    })?;
    let routes: GatewayRoutes<&Rule> =
        GatewayRoutes::build(&listener.routes, |rule| rule).map_err(NoRoute::Policy)?;
    let (rule, prefix) = routes.find(head).map_err(|miss| match miss {
        Miss::Host | Miss::Port => no_host(policy, host.to_owned()),
        Miss::Rule => NoRoute::of_rules(&listener.name, head, routes.rules().iter().copied()),
    })?;
    let origins = Origins::new(written);
    let mut lines = Lines::new(&origins);
    let name = listener.hostname.as_deref().unwrap_or("every host");
    lines
        .add("listener", format!("{}, port {port} ({}) for {name}", listener.name, listener.protocol.name()));
    if let Some(tls) = &listener.tls {
        lines.add("tls", tls_text(tls));
    }
    let kind = if rule.grpc { "GRPCRoute" } else { "HTTPRoute" };
    let route = format!("{kind} {}", rule.name.split('#').next().unwrap_or_default());
    routed(&mut lines, rule, prefix, &route, |_| Vec::new(), policy, facts);
    Ok(lines.into_pairs())
}

/// Every listener for requests, for a sentence.
fn known(gateway: &Gateway) -> String {
    let listeners = gateway.listeners.iter().filter(|listener| listener.protocol.is_http());
    let known: Vec<String> = listeners
        .map(|listener| {
            format!("{} (port {})", listener.hostname.as_deref().unwrap_or("every host"), listener.port)
        })
        .collect();
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

fn tls_text(tls: &Termination) -> String {
    let names = |names: &[_]| names.iter().map(ToString::to_string).collect::<Vec<String>>().join(", ");
    let least = if tls.only_tls13 { "1.3" } else { "1.2" };
    let asked = tls.clients.as_ref().map(|clients| {
        let how = if clients.required { "must prove" } else { "may prove" };
        format!("; clients {how} who they are to {}", names(&clients.authorities))
    });
    format!("shows {}; TLS {least} at least{}", names(&tls.certificates), asked.unwrap_or_default())
}
