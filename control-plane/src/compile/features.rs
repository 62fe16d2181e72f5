//! Which features a policy uses beyond the schema's first version, so that a proxy that does not know one says so.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{
    CONNECTION_RULES, Filter, Gateway, Inbound, Port, RateKey, RateLimit, Service, Subset,
};
use outrigger_snapshot::validate::{
    AUTHORIZATION, CONNECTION_ACCESS, GATEWAY, GATEWAY_INBOUND, GRPC_RULES, IDENTITY_KEYS, INBOUND_TLS,
    MESH_CONNECTIONS, MESH_TLS, PRIORITY_RULES, PROXY_PROTOCOL, SLOW_EJECTION, SOURCE_CONDITIONS, SUBSETS,
    TELEMETRY, TELEMETRY_LABELS, UPSTREAM_TLS,
};

use crate::config::model as config;

pub(super) fn of_policy(
    services: &BTreeMap<ServiceName, Service>,
    gateway: Option<&Gateway>,
) -> BTreeSet<String> {
    let ports = || services.values().flat_map(|service| &service.ports);
    let listeners = || gateway.into_iter().flat_map(|gateway| &gateway.listeners);
    let routed = || listeners().flat_map(|listener| &listener.routes).flat_map(|route| &route.rules);
    let rules = || ports().flat_map(|port| &port.rules).chain(routed());
    let at_edge = || listeners().filter_map(|listener| listener.inbound.as_ref());
    let inbound = || ports().filter_map(|port| port.inbound.as_ref()).chain(at_edge());
    let access = |is_http: bool| {
        let with = |port: &Port| port.inbound.as_ref().is_some_and(|inbound| inbound.authorization.is_some());
        ports().any(|port| port.protocol.is_http() == is_http && with(port))
    };
    let filters =
        rules().flat_map(|rule| rule.filters.iter().chain(rule.backends.iter().flat_map(|to| &to.filters)));
    let limits = filters.filter_map(|filter| match filter {
        Filter::RateLimit(limit) => Some(limit),
        _ => None,
    });
    let by_source = |inbound: &Inbound| {
        let access = inbound.authorization.iter().flat_map(|authorization| &authorization.rules);
        let about = access.map(|rule| &rule.about);
        about.chain(inbound.priorities.iter().map(|rule| &rule.about)).any(|about| !about.sources.is_empty())
    };
    let by_identity = |limit: &RateLimit| limit.key.contains(&RateKey::Identity);
    let mut limits = limits.chain(inbound().flat_map(|inbound| &inbound.rate_limits));
    let told = || ports().filter_map(|port| port.backend.telemetry.as_ref());
    let used = [
        (MESH_TLS, services.values().any(|service| service.mtls.is_some())),
        (CONNECTION_RULES, ports().any(|port| !port.connections.is_empty())),
        (GATEWAY, gateway.is_some()),
        (GATEWAY_INBOUND, at_edge().next().is_some()),
        (SOURCE_CONDITIONS, inbound().any(by_source)),
        (UPSTREAM_TLS, ports().any(|port| port.backend.client_certificate.is_some())),
        (GRPC_RULES, rules().any(|rule| rule.grpc)),
        (AUTHORIZATION, access(true)),
        (CONNECTION_ACCESS, access(false)),
        (PRIORITY_RULES, inbound().any(|inbound| !inbound.priorities.is_empty())),
        (INBOUND_TLS, inbound().any(|inbound| inbound.tls.is_some())),
        (IDENTITY_KEYS, limits.any(by_identity)),
        (SUBSETS, ports().any(|port| !Subset::is_default(&port.backend.subset))),
        (SLOW_EJECTION, ports().any(|port| port.backend.ejection.minds_slow())),
        (TELEMETRY, told().next().is_some()),
        (TELEMETRY_LABELS, told().any(|telemetry| !telemetry.labels.is_empty())),
        (PROXY_PROTOCOL, ports().any(|port| port.proxy_protocol.is_some())),
    ];
    used.into_iter().filter(|(_, used)| *used).map(|(name, _)| name.to_owned()).collect()
}

/// The same of facts: whether there is someone to believe, which services are dialled by mutual TLS, and whether any are as servers outside
/// the mesh.
pub(super) fn of_facts<'a>(
    trusts: bool,
    mut by_mesh: impl Iterator<Item = &'a config::Service>,
    by_tls: bool,
) -> BTreeSet<String> {
    let carries = |service: &config::Service| service.ports.iter().any(|port| !port.protocol.is_http());
    let used = [(MESH_TLS, trusts), (MESH_CONNECTIONS, by_mesh.any(carries)), (UPSTREAM_TLS, by_tls)];
    used.into_iter().filter(|(_, used)| *used).map(|(name, _)| name.to_owned()).collect()
}
