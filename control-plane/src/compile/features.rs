//! Which features a policy uses beyond the schema's first version, so that a proxy that does not know one says so.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_snapshot::facts::TlsMode;
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{CONNECTION_RULES, Filter, Port, RateKey, RateLimit, Service};
use outrigger_snapshot::validate::{
    AUTHORIZATION, CONNECTION_ACCESS, GRPC_RULES, IDENTITY_KEYS, MESH_CONNECTIONS, MESH_TLS, PRIORITY_RULES,
    PROXY_PROTOCOL,
};

use crate::config::model as config;

pub(super) fn of_policy(services: &BTreeMap<ServiceName, Service>) -> BTreeSet<String> {
    let ports = || services.values().flat_map(|service| &service.ports);
    let rules = || ports().flat_map(|port| &port.rules);
    let inbound = || ports().filter_map(|port| port.inbound.as_ref());
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
    let by_identity = |limit: &RateLimit| limit.key.contains(&RateKey::Identity);
    let mut limits = limits.chain(inbound().flat_map(|inbound| &inbound.rate_limits));
    let used = [
        (MESH_TLS, services.values().any(|service| service.mtls.is_some())),
        (CONNECTION_RULES, ports().any(|port| !port.connections.is_empty())),
        (GRPC_RULES, rules().any(|rule| rule.grpc)),
        (AUTHORIZATION, access(true)),
        (CONNECTION_ACCESS, access(false)),
        (PRIORITY_RULES, inbound().any(|inbound| !inbound.priorities.is_empty())),
        (IDENTITY_KEYS, limits.any(by_identity)),
        (PROXY_PROTOCOL, ports().any(|port| port.proxy_protocol.is_some())),
    ];
    used.into_iter().filter(|(_, used)| *used).map(|(name, _)| name.to_owned()).collect()
}

/// The same of facts: whether there is someone to believe, and whether connections that are not looked into are dialled by mutual TLS.
pub(super) fn of_facts<'a>(
    trusts: bool,
    services: impl Iterator<Item = (&'a config::Service, TlsMode)>,
) -> BTreeSet<String> {
    let carries = |(service, tls): (&config::Service, TlsMode)| {
        tls == TlsMode::Mesh && service.ports.iter().any(|port| !port.protocol.is_http())
    };
    let used = [(MESH_TLS, trusts), (MESH_CONNECTIONS, { services }.any(carries))];
    used.into_iter().filter(|(_, used)| *used).map(|(name, _)| name.to_owned()).collect()
}
