//! Routes find their parents and backends.

use std::collections::HashMap;

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::validate::RULES_MAX;

use super::super::model::{BackendRef, Parent, Port, Route, Service};
use super::super::nearest::nearest;
use super::super::problem::{Problem, Problems};
use super::super::resource::Resource;
use super::Services;

pub(super) fn check(resource: &Resource, route: &Route, services: &Services<'_>, problems: &mut Problems) {
    let mut attached: HashMap<(&ServiceName, u16), usize> = HashMap::new();
    for parent in &route.parents {
        let field = format!("spec.parentRefs[{}]", parent.service.position);
        let name = &parent.service.value;
        let found = services.find(resource, name, parent.service.at, &format!("{field}.name"), problems);
        let Some((_, service)) = found else { continue };
        check_parent(resource, route, parent, service, &field, problems);
        for port in parent_ports(route, parent, service) {
            // A port that stands twice in its Service is a problem there, not here.
            let other = attached.insert((name, port.port), parent.service.position);
            if let Some(other) = other.filter(|other| *other != parent.service.position) {
                problems.add(|| {
                    let message =
                        format!("attaches to port {} of {name}, as parentRefs[{other}] does", port.port);
                    resource.problem(parent.service.at, &field, message).expected("each port once")
                });
            }
        }
    }
    for rule in &route.rules {
        for backend in &rule.backends {
            let field = format!("spec.rules[{}].backendRefs[{}]", rule.position, backend.service.position);
            check_backend(resource, route, backend, &field, services, problems);
        }
    }
}

/// The ports of a service that a parent reference means: those that carry what the route takes, narrowed by port and name.
pub(crate) fn parent_ports<'a>(
    route: &'a Route,
    parent: &'a Parent,
    service: &'a Service,
) -> impl Iterator<Item = &'a Port> {
    service.ports.iter().filter(|port| {
        route.takes(port.protocol)
            && parent.port.as_ref().is_none_or(|wanted| wanted.value == port.port)
            && parent.section.as_ref().is_none_or(|wanted| wanted.value == port.name)
    })
}

fn check_parent(
    resource: &Resource,
    route: &Route,
    parent: &Parent,
    service: &Service,
    field: &str,
    problems: &mut Problems,
) {
    let name = &parent.service.value;
    let port = |wanted: u16| service.ports.iter().find(|port| port.port == wanted);
    let section = |wanted: &str| service.ports.iter().find(|port| port.name == wanted);
    let mut found = true;
    if let Some(wanted) = &parent.port
        && port(wanted.value).is_none()
    {
        found = false;
        missing(service, problems, || {
            let message = format!("{name} has no port {}", wanted.value);
            resource.problem(wanted.at, format!("{field}.port"), message).expected(numbers(service))
        });
    }
    if let Some(wanted) = &parent.section
        && section(&wanted.value).is_none()
    {
        found = false;
        missing(service, problems, || {
            let message = format!("{name} has no port named \"{}\"", wanted.value);
            let names = service.ports.iter().map(|port| port.name.as_str());
            resource
                .problem(wanted.at, format!("{field}.sectionName"), message)
                .expected(names_of(service))
                .nearest(nearest(&wanted.value, names))
        });
    }
    // Without either, all ports are meant, also those that could not be read.
    let known = service.ports_whole || parent.port.is_some() || parent.section.is_some();
    if found && known && parent_ports(route, parent, service).next().is_none() {
        let carried = route.carried.name();
        problems.add(|| {
            let message = match (&parent.port, &parent.section) {
                (Some(_), Some(_)) => {
                    format!("port and sectionName name different ports of {name}, or one without {carried}")
                }
                _ => format!("{name} has no such port that carries {carried}"),
            };
            resource.problem(parent.service.at, field, message).expected(route.protocols())
        });
    }
}

fn check_backend(
    resource: &Resource,
    route: &Route,
    backend: &BackendRef,
    field: &str,
    services: &Services<'_>,
    problems: &mut Problems,
) {
    let (name, wanted) = (&backend.service.value, &backend.port);
    let found = services.find(resource, name, backend.service.at, &format!("{field}.name"), problems);
    let Some((_, service)) = found else { return };
    match service.ports.iter().find(|port| port.port == wanted.value) {
        Some(port) if route.leads_to(port.protocol) => {}
        Some(_) => problems.add(|| {
            let message = format!("port {} of {name} does not carry {}", wanted.value, route.carried.name());
            resource.problem(wanted.at, format!("{field}.port"), message).expected(route.backend_protocols())
        }),
        None => missing(service, problems, || {
            let message = format!("{name} has no port {}", wanted.value);
            resource.problem(wanted.at, format!("{field}.port"), message).expected(numbers(service))
        }),
    }
}

/// Reports a port that is not there, unless it may be among those that could not be read.
pub(super) fn missing(service: &Service, problems: &mut Problems, problem: impl FnOnce() -> Problem) {
    if service.ports_whole {
        problems.add(problem);
    }
}

/// Rules that come together on one port are bounded.
pub(super) fn check_totals(resources: &[Resource], services: &Services<'_>, problems: &mut Problems) {
    let mut rules: HashMap<(&ServiceName, u16), usize> = HashMap::new();
    for resource in resources {
        let Some(route) = resource.spec().route() else { continue };
        for parent in &route.parents {
            let Some((_, service)) = services.by_name.get(&parent.service.value) else { continue };
            for port in parent_ports(route, parent, service) {
                let count = rules.entry((&parent.service.value, port.port)).or_default();
                let before = *count;
                *count += route.rules.len();
                if before <= RULES_MAX && *count > RULES_MAX {
                    problems.add(|| {
                        let message = format!(
                            "brings port {} of {} over {RULES_MAX} rules",
                            port.port, parent.service.value
                        );
                        let field = format!("spec.parentRefs[{}]", parent.service.position);
                        resource
                            .problem(parent.service.at, field, message)
                            .expected("fewer rules on one port")
                    });
                }
            }
        }
    }
}

fn numbers(service: &Service) -> String {
    let ports: Vec<String> = service.ports.iter().map(|port| port.port.to_string()).collect();
    one_of(&ports)
}

pub(super) fn names_of(service: &Service) -> String {
    let names: Vec<String> = service.ports.iter().map(|port| port.name.clone()).collect();
    one_of(&names)
}

fn one_of(words: &[String]) -> String {
    if let [only] = words { only.clone() } else { format!("one of {}", words.join(", ")) }
}
