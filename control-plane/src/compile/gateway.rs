//! The scope of a gateway: its listeners, and the services that their routes lead to.

use std::collections::BTreeMap;

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{self, CertificateName, GatewayRoute, Inbound, Policy, SCHEMA};

use super::index::{Attached, Index};
use super::{backend, features};
use crate::config::model::{self, Gateway};
use crate::config::{Checked, Resource};

pub(super) fn policy(index: &Index<'_>, checked: &Checked, name: &ServiceName, gateway: &Gateway) -> Policy {
    let mut listeners: Vec<_> =
        gateway.listeners.iter().map(|written| listener(index, name, written)).collect();
    // Sorted by kind, namespace and name: the order of precedence.
    for resource in checked.resources() {
        for (listener, written) in listeners.iter_mut().zip(&gateway.listeners) {
            attach(index, name, resource, written, listener);
        }
    }
    let gateway = policy::Gateway { listeners };
    let services = reached(&gateway);
    let services = services.filter_map(|name| Some((name, *index.services.get(name)?)));
    let services: BTreeMap<_, _> =
        services.map(|(name, service)| (name.clone(), backend::bare(index, name, service))).collect();
    let features = features::of_policy(&services, Some(&gateway));
    Policy { schema: SCHEMA, features, services, gateway: Some(gateway) }
}

/// The authorities that its listeners name.
pub(super) fn authorities(index: &Index<'_>, gateway: &Gateway) -> Vec<(CertificateName, String)> {
    gateway.authorities.iter().filter_map(|(_, name)| index.authority(&name.value)).collect()
}

fn listener(index: &Index<'_>, name: &ServiceName, listener: &model::Listener) -> policy::Listener {
    policy::Listener {
        name: listener.name.clone(),
        port: listener.port,
        protocol: listener.protocol,
        hostname: listener.hostname.clone(),
        tls: listener.tls.clone(),
        routes: Vec::new(),
        connections: Vec::new(),
        inbound: index
            .inbound
            .effective(name, &listener.name)
            .and_then(|inbound| at_edge(inbound, listener.protocol.is_http())),
    }
}

/// Nothing is shed, and nobody is trusted: the rest is what policies say. Connections have nothing but who may open them.
fn at_edge(inbound: Inbound, is_http: bool) -> Option<Inbound> {
    let inbound = Inbound { shed: None, trusted: Vec::new(), tls: None, ..inbound };
    if is_http { Some(inbound) } else { backend::of_connections(inbound) }
}

/// Adds what a route takes of a listener, once however often it names it.
fn attach(
    index: &Index<'_>,
    name: &ServiceName,
    resource: &Resource,
    written: &model::Listener,
    listener: &mut policy::Listener,
) {
    let Some(route) = resource.spec().route() else { return };
    let named = |reference: &&model::GatewayRef| reference.gateway.value == *name && reference.means(written);
    let namespace = resource.namespace();
    if !route.gateways.iter().any(|reference| named(&reference)) {
        return;
    }
    let Some(hostnames) = written.attach(route, namespace, name.namespace()) else { return };
    let attached = Attached::new(resource, route);
    if listener.protocol.is_http() {
        let rules = route.rules.iter().map(|rule| backend::rule(index, &attached, rule)).collect();
        listener.routes.push(GatewayRoute { hostnames, rules });
    } else {
        let rule = |rule| backend::connection_rule(&attached, rule, hostnames.clone());
        listener.connections.extend(route.rules.iter().map(rule));
    }
}

/// The services that its routes lead to.
fn reached(gateway: &policy::Gateway) -> impl Iterator<Item = &ServiceName> {
    gateway.listeners.iter().flat_map(|listener| {
        let rules = listener.routes.iter().flat_map(|route| &route.rules);
        let requests = rules.flat_map(|rule| &rule.backends).map(|backend| &backend.service);
        let connections = listener.connections.iter().flat_map(|rule| &rule.backends);
        requests.chain(connections.map(|backend| &backend.service))
    })
}
