//! A service as its callers see it.

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{self, ConnectionBackend, ConnectionRule, Inbound, WeightedBackend};

use super::index::{Attached, Index};
use crate::config::model::{BackendRef, Port, Rule, RuleFilter, Service};

pub(super) fn service(
    index: &Index<'_>,
    view: Option<&str>,
    name: &ServiceName,
    service: &Service,
) -> policy::Service {
    let mut hosts: Vec<String> = service.hosts.iter().map(|host| host.value.clone()).collect();
    hosts.sort();
    let ports = service.ports.iter().map(|port| self::port(index, view, name, port)).collect();
    policy::Service { hosts, ports, mtls: index.mtls(service) }
}

fn port(index: &Index<'_>, view: Option<&str>, name: &ServiceName, port: &Port) -> policy::Port {
    let backend = index.backend(name, port);
    let attached = index.attached(view, name, port.port);
    let is_http = port.protocol.is_http();
    let rules = || attached.iter().flat_map(|route| route.rules.iter().map(move |rule| (route, rule)));
    policy::Port {
        name: port.name.clone(),
        port: port.port,
        target_port: port.target_port,
        protocol: port.protocol,
        rules: rules().filter(|_| is_http).map(|(route, rule)| self::rule(index, route, rule)).collect(),
        connections: rules()
            .filter(|_| !is_http)
            .map(|(route, rule)| connection_rule(route, rule, route.hostnames()))
            .collect(),
        backend,
        inbound: match is_http {
            true => index.inbound.effective(name, &port.name),
            false => index.inbound.effective(name, &port.name).and_then(of_connections),
        },
        proxy_protocol: port.proxy_protocol,
    }
}

/// Of what is said of requests, what connections have too: who may call.
pub(super) fn of_connections(inbound: Inbound) -> Option<Inbound> {
    let authorization = inbound.authorization?;
    Some(Inbound { shed: None, authorization: Some(authorization), ..Inbound::default() })
}

/// As a gateway sees it, which goes straight to the endpoints: what strangers may call is said by routes of the gateway's own.
pub(super) fn bare(index: &Index<'_>, name: &ServiceName, service: &Service) -> policy::Service {
    let port = |port: &Port| policy::Port {
        name: port.name.clone(),
        port: port.port,
        target_port: port.target_port,
        protocol: port.protocol,
        rules: Vec::new(),
        connections: Vec::new(),
        backend: index.backend(name, port),
        inbound: None,
        proxy_protocol: port.proxy_protocol,
    };
    policy::Service {
        hosts: Vec::new(),
        ports: service.ports.iter().map(port).collect(),
        mtls: index.mtls(service),
    }
}

pub(super) fn rule(index: &Index<'_>, route: &Attached<'_>, rule: &Rule) -> policy::Rule {
    policy::Rule {
        name: format!("{}/{}#{}", route.namespace, route.name, rule.name),
        grpc: route.grpc,
        matches: rule.matches.clone(),
        filters: filters(index, route.namespace, &rule.filters),
        request_timeout_ms: rule.request_timeout_ms.as_ref().map(|timeout| timeout.value),
        try_timeout_ms: rule.try_timeout_ms.as_ref().map(|timeout| timeout.value),
        retry: rule.retry.clone(),
        backends: rule
            .backends
            .iter()
            .map(|backend| WeightedBackend {
                service: backend.service.value.clone(),
                port: backend.port.value,
                weight: backend.weight,
                filters: filters(index, route.namespace, &backend.filters),
            })
            .collect(),
    }
}

pub(super) fn connection_rule(route: &Attached<'_>, rule: &Rule, hostnames: Vec<String>) -> ConnectionRule {
    let backend = |backend: &BackendRef| ConnectionBackend {
        service: backend.service.value.clone(),
        port: backend.port.value,
        weight: backend.weight,
    };
    ConnectionRule {
        name: format!("{}/{}#{}", route.namespace, route.name, rule.name),
        hostnames,
        backends: rule.backends.iter().map(backend).collect(),
    }
}

/// The filters themselves, in the order of the route.
fn filters(index: &Index<'_>, namespace: &str, filters: &[RuleFilter]) -> Vec<policy::Filter> {
    let filter = |filter: &RuleFilter| match filter {
        RuleFilter::Own(filter) => Some(filter.clone()),
        RuleFilter::Extension(name) => index.filters.get(&(namespace, name.value.as_str()))?.filter.clone(),
    };
    filters.iter().filter_map(filter).collect()
}
