//! The scope of a gateway: its listeners, and the services that their routes lead to.

use std::collections::BTreeMap;

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{
    self, CertificateName, ClientCertificates, GatewayRoute, Policy, SCHEMA, Termination,
};

use super::index::{Attached, Index};
use super::{backend, features};
use crate::config::model::{self, Clients, Gateway};
use crate::config::{Checked, Resource};

pub(super) fn policy(index: &Index<'_>, checked: &Checked, name: &ServiceName, gateway: &Gateway) -> Policy {
    let mut listeners: Vec<_> = gateway.listeners.iter().map(listener).collect();
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

fn listener(listener: &model::Listener) -> policy::Listener {
    let clients = |clients: &Clients| ClientCertificates {
        authorities: clients.authorities.clone(),
        required: clients.required,
    };
    let tls = listener.tls.as_ref().map(|tls| Termination {
        certificates: tls.certificates.clone(),
        only_tls13: tls.only_tls13,
        clients: tls.clients.as_ref().map(clients),
    });
    policy::Listener {
        name: listener.name.clone(),
        port: listener.port,
        protocol: listener.protocol,
        hostname: listener.hostname.clone(),
        tls,
        routes: Vec::new(),
        connections: Vec::new(),
    }
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
