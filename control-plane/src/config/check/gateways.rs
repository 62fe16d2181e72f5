//! Gateways have names of their own, and routes find their listeners.

use std::collections::{BTreeMap, HashMap, HashSet};

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::validate::RULES_MAX;

use super::super::model::{Carried, Gateway, GatewayRef, Listener, Route, Spec};
use super::super::nearest::nearest;
use super::super::problem::{Problem, Problems, Spot};
use super::super::resource::Resource;
use super::{Services, service_name, written};

/// A listener, by the gateway and its name there.
type ListenerOf<'a> = (&'a ServiceName, &'a str);

/// What is known of listeners so far.
#[derive(Default)]
struct Taken<'a> {
    /// Rules.
    rules: HashMap<ListenerOf<'a>, usize>,
    /// The first route of each host; `None`: of all.
    hosts: HashMap<(ListenerOf<'a>, Option<String>), &'a Resource>,
}

pub(super) fn check(resources: &[Resource], services: &Services<'_>, problems: &mut Problems) {
    let mut gateways: BTreeMap<ServiceName, (&Resource, &Gateway)> = BTreeMap::new();
    let (mut maps, mut references) = (HashMap::new(), Vec::new());
    for resource in resources {
        let Some(name) = service_name(resource) else { continue };
        match resource.spec() {
            Spec::Gateway(gateway) => {
                check_name(resource, &name, services, problems);
                references
                    .extend(gateway.authorities.iter().map(|(field, name)| (resource, field.clone(), name)));
                gateways.entry(name).or_insert((resource, gateway));
            }
            Spec::ConfigMap(map) => {
                maps.insert(name, map);
            }
            Spec::InboundPolicy(policy) => {
                let named = policy.settings.authorities.iter();
                references.extend(named.map(|(field, name)| (resource, field.clone(), name)));
            }
            Spec::BackendTlsPolicy(policy) => references.extend(policy.authorities.iter().map(|name| {
                (resource, format!("spec.validation.caCertificateRefs[{}].name", name.position), name)
            })),
            _ => {}
        }
    }
    for (resource, field, name) in references {
        let (message, expected) = match maps.get(&name.value) {
            Some(map) if map.authorities.is_some() => continue,
            Some(_) => (format!("ConfigMap {} has no certificates", name.value), "PEM in data, as ca.crt"),
            None => {
                (format!("there is no ConfigMap {}", name.value), "a ConfigMap of this push or of the mesh")
            }
        };
        let near = nearest(name.value.name(), maps.keys().map(ServiceName::name));
        let near = near.filter(|near| *near != name.value.name());
        problems.add(|| resource.problem(name.at, field, message).expected(expected).nearest(near));
    }
    let mut taken = Taken::default();
    for resource in resources {
        let Some(route) = resource.spec().route() else { continue };
        for reference in &route.gateways {
            let name = &reference.gateway.value;
            let Some((key, (_, gateway))) = gateways.get_key_value(name) else {
                problems.add(|| dangling(resource, reference, gateways.keys()));
                continue;
            };
            check_reference(resource, route, reference, gateway, problems);
            taken.attach(resource, route, reference, key, gateway, problems);
        }
    }
}

/// A gateway proves who it is as a service does, and has a scope as a service has.
fn check_name(resource: &Resource, name: &ServiceName, services: &Services<'_>, problems: &mut Problems) {
    let Some((other, _)) = services.by_name.get(name) else { return };
    problems.add(|| {
        let place = written(&other.parts().file, other.parts().at);
        let message = format!("is the name of Service {name} too, in {place}: both would have one identity");
        resource.problem(resource.parts().at, "metadata.name", message).expected("a name that no Service has")
    });
}

fn dangling<'a>(
    resource: &Resource,
    reference: &GatewayRef,
    gateways: impl Iterator<Item = &'a ServiceName> + Clone,
) -> Problem {
    let (name, at) = (&reference.gateway.value, reference.gateway.at);
    let here = gateways.clone().filter(|other| other.namespace() == name.namespace());
    let elsewhere = || gateways.clone().find(|other| other.name() == name.name()).map(ToString::to_string);
    let near = nearest(name.name(), here.map(ServiceName::name)).or_else(elsewhere);
    let message = format!("there is no Gateway {name}");
    resource
        .problem(at, format!("{}.name", field(reference)), message)
        .expected("a Gateway of this push or of the mesh, or kind: Service and group: \"\"")
        .nearest(near)
}

fn field(reference: &GatewayRef) -> String {
    format!("spec.parentRefs[{}]", reference.gateway.position)
}

/// Says which of the conditions for attaching leaves no listener.
fn check_reference(
    resource: &Resource,
    route: &Route,
    reference: &GatewayRef,
    gateway: &Gateway,
    problems: &mut Problems,
) {
    let name = &reference.gateway.value;
    let (namespace, home) = (resource.namespace(), name.namespace());
    let mut left: Vec<&Listener> = gateway.listeners.iter().collect();
    let mut ends = |keep: &dyn Fn(&Listener) -> bool| {
        left.retain(|listener| keep(listener));
        left.is_empty()
    };
    let at = reference.gateway.at;
    let (at, what, message, expected) = if !gateway.whole {
        return;
    } else if ends(&|listener| reference.means(listener)) {
        not_meant(reference, gateway)
    } else if ends(&|listener| namespace == home || listener.all_namespaces) {
        let message = format!("{name} takes no routes of namespace {namespace}");
        (at, "", message, "a listener with allowedRoutes.namespaces.from: All".to_owned())
    } else if ends(&|listener| listener.takes(route.carried)) {
        let expected = match route.carried {
            Carried::Http | Carried::Grpc => {
                "a listener of HTTP or HTTPS, whose allowedRoutes.kinds names it if any"
            }
            Carried::Tcp => "a listener of TCP",
            Carried::Tls => "a listener of TLS",
        };
        let message = format!("{name} has no such listener that takes {}s", resource.kind());
        (at, "", message, expected.to_owned())
    } else if ends(&|listener| listener.attach(route, namespace, home).is_some()) {
        let at = route.hostnames.first().map_or(at, |host| host.at);
        let message = format!("has no hostname that a listener of {name} is for");
        (at, "", message, "a host that is, or is below, that of a listener".to_owned())
    } else {
        return;
    };
    problems.add(|| resource.problem(at, format!("{}{what}", field(reference)), message).expected(expected));
}

/// That a gateway has no listener of the name or the port: where, in which field, what, and what would be right.
fn not_meant(reference: &GatewayRef, gateway: &Gateway) -> (Spot, &'static str, String, String) {
    let name = &reference.gateway.value;
    let names: Vec<_> = gateway.listeners.iter().map(|listener| listener.name.clone()).collect();
    let mut ports: Vec<_> = gateway.listeners.iter().map(|listener| listener.port.to_string()).collect();
    ports.dedup();
    let one_of = |words: Vec<String>| format!("one of {}", words.join(", "));
    match (&reference.section, &reference.port) {
        (Some(section), None) => {
            let message = format!("{name} has no listener named \"{}\"", section.value);
            (section.at, ".sectionName", message, one_of(names))
        }
        (None, Some(port)) => {
            (port.at, ".port", format!("{name} has no listener with port {}", port.value), one_of(ports))
        }
        _ => {
            let message = format!("{name} has no listener of that name and port");
            (reference.gateway.at, "", message, one_of(names))
        }
    }
}

impl<'a> Taken<'a> {
    /// Adds what a route takes of each listener, of which nothing may be taken already, and not too much in all.
    fn attach(
        &mut self,
        resource: &'a Resource,
        route: &Route,
        reference: &GatewayRef,
        name: &'a ServiceName,
        gateway: &'a Gateway,
        problems: &mut Problems,
    ) {
        let (namespace, home) = (resource.namespace(), name.namespace());
        for listener in gateway.listeners.iter().filter(|listener| reference.means(listener)) {
            let Some(hosts) = listener.attach(route, namespace, home) else { continue };
            let here = (name, listener.name.as_str());
            let any = hosts.is_empty().then_some(None);
            let mut reported = HashSet::new();
            for host in hosts.into_iter().map(Some).chain(any) {
                let other = *self.hosts.entry((here, host.clone())).or_insert(resource);
                let fine = match route.carried {
                    // Rules of HTTPRoute and GRPCRoute are never merged (Gateway API v1, `GRPCRouteSpec.hostnames`).
                    Carried::Http | Carried::Grpc => other.kind() == resource.kind(),
                    Carried::Tcp | Carried::Tls => other == resource,
                };
                if !fine && reported.insert(other.key()) {
                    problems.add(|| clash(resource, reference, listener, host.as_deref(), other));
                }
            }
            let rules = self.rules.entry(here).or_default();
            let before = *rules;
            *rules += route.rules.len();
            if before <= RULES_MAX && *rules > RULES_MAX {
                problems.add(|| {
                    let message =
                        format!("brings listener \"{}\" of {name} over {RULES_MAX} rules", listener.name);
                    resource
                        .problem(reference.gateway.at, field(reference), message)
                        .expected("fewer rules on one listener")
                });
            }
        }
    }
}

fn clash(
    resource: &Resource,
    reference: &GatewayRef,
    listener: &Listener,
    host: Option<&str>,
    other: &Resource,
) -> Problem {
    let place = format!("{} in {}", other.key(), written(&other.parts().file, other.parts().at));
    let what = host.map_or(String::new(), |host| format!("\"{host}\" of "));
    let name = &reference.gateway.value;
    let (message, expected) = if other.kind() == resource.kind() {
        (
            format!("{what}listener \"{}\" of {name} has a route: {place}", listener.name),
            if host.is_some() { "each host once on a listener" } else { "one route on a listener" },
        )
    } else {
        let message =
            format!("{what}listener \"{}\" of {name} has a route of another kind: {place}", listener.name);
        (message, "routes of one kind for a host")
    };
    resource.problem(reference.gateway.at, field(reference), message).expected(expected)
}
