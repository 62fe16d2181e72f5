//! Which features a policy uses beyond the schema's first version, so that a proxy that does not know one says so.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{CONNECTION_RULES, Filter, Gateway, RateKey, RateLimit, Service};
use outrigger_snapshot::validate::{
    AUTHORIZATION, GATEWAY, GRPC_RULES, IDENTITY_KEYS, MESH_TLS, PRIORITY_RULES, UPSTREAM_TLS,
};

pub(super) fn of_policy(
    services: &BTreeMap<ServiceName, Service>,
    gateway: Option<&Gateway>,
) -> BTreeSet<String> {
    let ports = || services.values().flat_map(|service| &service.ports);
    let listeners = || gateway.into_iter().flat_map(|gateway| &gateway.listeners);
    let routed = || listeners().flat_map(|listener| &listener.routes).flat_map(|route| &route.rules);
    let rules = || ports().flat_map(|port| &port.rules).chain(routed());
    let inbound = || ports().filter_map(|port| port.inbound.as_ref());
    let filters =
        rules().flat_map(|rule| rule.filters.iter().chain(rule.backends.iter().flat_map(|to| &to.filters)));
    let limits = filters.filter_map(|filter| match filter {
        Filter::RateLimit(limit) => Some(limit),
        _ => None,
    });
    let by_identity = |limit: &RateLimit| limit.key.contains(&RateKey::Identity);
    let mut limits = limits.chain(inbound().flat_map(|inbound| &inbound.rate_limits));
    let used = [
        (MESH_TLS, services.values().any(|service| service.mtls.is_some())),
        (CONNECTION_RULES, ports().any(|port| !port.connections.is_empty())),
        (GATEWAY, gateway.is_some()),
        (UPSTREAM_TLS, ports().any(|port| port.backend.client_certificate.is_some())),
        (GRPC_RULES, rules().any(|rule| rule.grpc)),
        (AUTHORIZATION, inbound().any(|inbound| inbound.authorization.is_some())),
        (PRIORITY_RULES, inbound().any(|inbound| !inbound.priorities.is_empty())),
        (IDENTITY_KEYS, limits.any(by_identity)),
    ];
    used.into_iter().filter(|(_, used)| *used).map(|(name, _)| name.to_owned()).collect()
}
