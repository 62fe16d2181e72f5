//! All resources together: everything that names something else finds it, and no two want the same.

use std::collections::{BTreeMap, HashMap};

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::validate::SERVICES_MAX;

use super::layers::Layers;
use super::model::{Port, Service, Spec, Target};
use super::nearest::nearest;
use super::problem::{Problem, Problems, Spot};
use super::resource::{Key, Resource};

pub(crate) use routes::parent_ports;

mod backend_tls;
mod clashes;
mod connections;
mod filters;
mod gateway_policies;
mod gateways;
mod hosts;
mod inbound;
mod mesh;
mod policies;
mod routes;
mod scopes;
mod settings;
mod timeouts;

/// Resources that fit together: what can be compiled.
#[derive(Debug, Clone)]
pub struct Checked {
    resources: Vec<Resource>,
}

impl Checked {
    /// The resources, by kind, namespace and name.
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }
}

/// Checks resources against each other; all problems are reported at once.
pub fn check(resources: &[Resource]) -> Result<Checked, Problems> {
    let mut problems = Problems::default();
    check_unique(resources, &mut problems);
    let services = Services::new(resources);
    let layers = Layers::backend(resources);
    check_totals(&services, &mut problems);
    hosts::check(&services, &mut problems);
    for resource in resources {
        match resource.spec() {
            Spec::Service(service) => check_uses(resource, service, &services, &mut problems),
            Spec::HttpRoute(route) | Spec::GrpcRoute(route) => {
                routes::check(resource, route, &services, &mut problems);
                timeouts::check(resource, route, &layers, &services, &mut problems);
            }
            Spec::TcpRoute(route) | Spec::TlsRoute(route) => {
                routes::check(resource, route, &services, &mut problems);
            }
            Spec::BackendPolicy(_)
            | Spec::XBackendTrafficPolicy(_)
            | Spec::InboundPolicy(_)
            | Spec::TelemetryPolicy(_)
            | Spec::RouteFilter(_)
            | Spec::Gateway(_)
            | Spec::BackendTlsPolicy(_)
            | Spec::ConfigMap(_)
            | Spec::Mesh(_) => {}
        }
    }
    routes::check_totals(resources, &services, &mut problems);
    clashes::check(resources, &services, &mut problems);
    connections::check(resources, &services, &mut problems);
    filters::check(resources, &mut problems);
    policies::check(resources, &services, &mut problems);
    settings::check(resources, &layers, &services, &mut problems);
    inbound::check(resources, &services, &mut problems);
    mesh::check(resources, &services, &mut problems);
    gateways::check(resources, &services, &mut problems);
    gateway_policies::check(resources, &mut problems);
    backend_tls::check(resources, &services, &mut problems);
    scopes::check(resources, &services, &mut problems);
    let mut resources = resources.to_vec();
    resources.sort_by_cached_key(Resource::key);
    problems.or(Checked { resources })
}

/// The services, by name.
struct Services<'a> {
    by_name: BTreeMap<ServiceName, (&'a Resource, &'a Service)>,
    /// In the order of the resources, so that of two that want the same the later one is reported.
    in_order: Vec<(ServiceName, &'a Resource, &'a Service)>,
}

impl<'a> Services<'a> {
    fn new(resources: &'a [Resource]) -> Self {
        let mut by_name = BTreeMap::new();
        let mut in_order = Vec::new();
        for resource in resources {
            if let (Spec::Service(service), Some(name)) = (resource.spec(), service_name(resource)) {
                by_name.entry(name.clone()).or_insert((resource, service));
                in_order.push((name, resource, service));
            }
        }
        Self { by_name, in_order }
    }

    /// The service that `referrer` names; reports it if there is none.
    fn find(
        &self,
        referrer: &Resource,
        name: &ServiceName,
        at: Spot,
        field: &str,
        problems: &mut Problems,
    ) -> Option<(&'a Resource, &'a Service)> {
        let found = self.by_name.get(name).copied();
        if found.is_none() {
            problems.add(|| self.dangling(referrer, name, at, field));
        }
        found
    }

    /// The ports that a policy with this target applies to.
    fn ports_of(&self, target: &'a Target) -> impl Iterator<Item = &'a Port> {
        let found = self.by_name.get(&target.service.value);
        let section = target.section.as_ref().map(|section| section.value.as_str());
        let ports = found.map_or(&[][..], |(_, service)| service.ports.as_slice());
        ports.iter().filter(move |port| section.is_none_or(|wanted| wanted == port.name))
    }

    fn dangling(&self, referrer: &Resource, name: &ServiceName, at: Spot, field: &str) -> Problem {
        let near = |namespace: &str| {
            let here = self.by_name.keys().filter(|other| other.namespace() == namespace);
            nearest(name.name(), here.map(ServiceName::name))
        };
        let elsewhere = || {
            let same = self.by_name.keys().find(|other| other.name() == name.name());
            same.map(ToString::to_string)
        };
        referrer
            .problem(at, field, format!("there is no Service {name}"))
            .expected("a Service of this push or of the mesh")
            .nearest(near(name.namespace()).or_else(elsewhere))
    }
}

/// The name of a resource as that of a service.
pub(crate) fn service_name(resource: &Resource) -> Option<ServiceName> {
    ServiceName::new(resource.namespace(), resource.name()).ok()
}

fn check_unique(resources: &[Resource], problems: &mut Problems) {
    let mut first: HashMap<Key, &Resource> = HashMap::new();
    for resource in resources {
        let Some(other) = first.get(&resource.key()) else {
            first.insert(resource.key(), resource);
            continue;
        };
        problems.add(|| {
            let other = other.parts();
            let message =
                format!("{} is defined before, in {}", resource.key(), written(&other.file, other.at));
            resource
                .problem(resource.parts().at, "metadata.name", message)
                .expected("each name once for a kind")
        });
    }
}

/// A place for a sentence.
fn written(file: &str, at: Spot) -> String {
    if at.line == 0 { file.to_owned() } else { format!("{file}:{}", at.line) }
}

fn check_totals(services: &Services<'_>, problems: &mut Problems) {
    let clusters: usize = services.by_name.values().map(|(_, service)| service.ports.len()).sum();
    for (what, count) in [("services", services.by_name.len()), ("ports of services", clusters)] {
        if count > SERVICES_MAX {
            problems.add(|| {
                Problem::new("the mesh", Spot::default(), "", format!("has {count} {what}"))
                    .expected(format!("at most {SERVICES_MAX}"))
            });
        }
    }
}

fn check_uses(resource: &Resource, service: &Service, services: &Services<'_>, problems: &mut Problems) {
    for used in service.uses.iter().flatten() {
        let field = format!("spec.uses[{}]", used.position);
        services.find(resource, &used.value, used.at, &field, problems);
    }
}
