//! A service as its callers see it.

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{self, Backend, WeightedBackend};

use super::index::{Attached, Index};
use crate::config::model::{Port, Rule, Service, Settings};

pub(super) fn service(
    index: &Index<'_>,
    view: Option<&str>,
    name: &ServiceName,
    service: &Service,
) -> policy::Service {
    let mut hosts: Vec<String> = service.hosts.iter().map(|host| host.value.clone()).collect();
    hosts.sort();
    let ports = service.ports.iter().map(|port| self::port(index, view, name, port)).collect();
    policy::Service { hosts, ports }
}

fn port(index: &Index<'_>, view: Option<&str>, name: &ServiceName, port: &Port) -> policy::Port {
    let mut backend = Backend::defaults_for(port.protocol);
    for settings in index.settings(name, &port.name) {
        apply(settings, &mut backend);
    }
    let attached = index.attached(view, name, port.port);
    policy::Port {
        name: port.name.clone(),
        port: port.port,
        target_port: port.target_port,
        protocol: port.protocol,
        rules: attached
            .iter()
            .flat_map(|route| route.rules.iter().map(|rule| self::rule(route, rule)))
            .collect(),
        backend,
        inbound: None,
    }
}

fn rule(route: &Attached<'_>, rule: &Rule) -> policy::Rule {
    policy::Rule {
        name: format!("{}/{}#{}", route.namespace, route.name, rule.name),
        matches: rule.matches.clone(),
        filters: rule.filters.clone(),
        request_timeout_ms: rule.request_timeout_ms,
        try_timeout_ms: rule.try_timeout_ms,
        retry: None,
        backends: rule
            .backends
            .iter()
            .map(|backend| WeightedBackend {
                service: backend.service.value.clone(),
                port: backend.port.value,
                weight: backend.weight,
                filters: backend.filters.clone(),
            })
            .collect(),
    }
}

fn apply(settings: &Settings, backend: &mut Backend) {
    fn set<T: Clone>(field: &mut T, value: &Option<T>) {
        if let Some(value) = value {
            *field = value.clone();
        }
    }
    set(&mut backend.balance, &settings.balance);
    set(&mut backend.on_empty, &settings.on_empty);
    let timeouts = &mut backend.timeouts;
    set(&mut timeouts.connect_ms, &settings.connect_ms);
    set(&mut timeouts.request_ms, &settings.request_ms);
    set(&mut timeouts.try_ms, &settings.try_ms);
    set(&mut timeouts.first_byte_ms, &settings.first_byte_ms);
    set(&mut timeouts.idle_ms, &settings.idle_ms);
    set(&mut timeouts.body_stall_ms, &settings.body_stall_ms);
    let limits = &mut backend.limits;
    set(&mut limits.connections, &settings.connections);
    set(&mut limits.pending, &settings.pending);
    set(&mut limits.requests, &settings.requests);
}
