//! The resources by what they belong to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{Backend, CertificateName, Mtls};

use crate::config::layers::Layers;
use crate::config::model::{
    BackendTlsPolicy, Carried, Gateway, InboundSettings, Mesh, Port, Route, RouteFilter, Rule, Service, Spec,
    Target, TelemetrySettings,
};
use crate::config::{Checked, Resource, parent_ports, service_name};

/// A port of a service.
type PortOf = (ServiceName, u16);

/// The rules that one route brings to a port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attached<'a> {
    /// The route's namespace.
    pub(super) namespace: &'a str,
    /// The route's name.
    pub(super) name: &'a str,
    /// Whether it is a `GRPCRoute`.
    pub(super) grpc: bool,
    pub(super) rules: &'a [Rule],
    route: &'a Route,
}

impl<'a> Attached<'a> {
    pub(super) fn new(resource: &'a Resource, route: &'a Route) -> Self {
        Self {
            namespace: resource.namespace(),
            name: resource.name(),
            grpc: matches!(route.carried, Carried::Grpc),
            rules: &route.rules,
            route,
        }
    }

    /// The hosts that it names.
    pub(super) fn hostnames(&self) -> Vec<String> {
        self.route.hostnames.iter().map(|host| host.value.clone()).collect()
    }
}

#[derive(Debug, Default)]
pub(super) struct Index<'a> {
    pub(super) services: BTreeMap<ServiceName, &'a Service>,
    /// Namespaces with routes of their own to services of others.
    pub(super) consumer_namespaces: BTreeSet<&'a str>,
    /// Routes in the namespace of their service: for all callers.
    producers: HashMap<PortOf, Vec<Attached<'a>>>,
    /// Routes in another namespace: for the callers in that namespace.
    consumers: HashMap<&'a str, HashMap<PortOf, Vec<Attached<'a>>>>,
    /// How each port is used.
    pub(super) layers: Layers<'a>,
    /// What is done about requests that come to each port.
    pub(super) inbound: Layers<'a, InboundSettings>,
    /// What is told of requests to each port.
    pub(super) telemetry: Layers<'a, TelemetrySettings>,
    /// What holds for all services.
    pub(super) mesh: Option<&'a Mesh>,
    /// The filters that routes name, by namespace and name.
    pub(super) filters: HashMap<(&'a str, &'a str), &'a RouteFilter>,
    pub(super) gateways: BTreeMap<ServiceName, &'a Gateway>,
    /// Certificates of authorities.
    pub(super) authorities: HashMap<CertificateName, &'a str>,
    /// How services outside the mesh are called, by service and the name of its port; `None`: all ports.
    upstream: HashMap<(&'a ServiceName, Option<&'a str>), &'a BackendTlsPolicy>,
}

impl<'a> Index<'a> {
    pub(super) fn new(checked: &'a Checked) -> Self {
        let resources = checked.resources();
        let (layers, inbound) = (Layers::backend(resources), Layers::inbound(resources));
        let telemetry = Layers::telemetry(resources);
        let mut index = Self { layers, inbound, telemetry, ..Self::default() };
        for resource in resources {
            if let (Spec::Service(service), Some(name)) = (resource.spec(), service_name(resource)) {
                index.services.insert(name, service);
            }
            match resource.spec() {
                Spec::RouteFilter(filter) => {
                    index.filters.insert((resource.namespace(), resource.name()), filter);
                }
                Spec::Mesh(mesh) => index.mesh = Some(mesh),
                Spec::Gateway(gateway) => {
                    index.gateways.extend(service_name(resource).map(|name| (name, gateway)))
                }
                Spec::ConfigMap(map) => {
                    index.authorities.extend(service_name(resource).zip(map.authorities.as_deref()));
                }
                Spec::BackendTlsPolicy(policy) => {
                    let target = |target: &'a Target| {
                        let section = target.section.as_ref().map(|section| section.value.as_str());
                        ((&target.service.value, section), policy)
                    };
                    index.upstream.extend(policy.targets.iter().map(target));
                }
                _ => {}
            }
        }
        // The resources are sorted by namespace and name: so are the routes of each port, which is their order of precedence.
        for resource in resources {
            let Some(route) = resource.spec().route() else { continue };
            let namespace = resource.namespace();
            let attached = Attached::new(resource, route);
            for parent in &route.parents {
                let service_name = &parent.service.value;
                let Some(service) = index.services.get(service_name) else { continue };
                for port in parent_ports(route, parent, service) {
                    let key = (service_name.clone(), port.port);
                    let table = if service_name.namespace() == namespace {
                        &mut index.producers
                    } else {
                        index.consumer_namespaces.insert(namespace);
                        index.consumers.entry(namespace).or_default()
                    };
                    table.entry(key).or_default().push(attached);
                }
            }
        }
        index
    }

    /// How a port is used, and what is told of that.
    pub(super) fn backend(&self, service: &ServiceName, port: &Port) -> Backend {
        let telemetry = self.telemetry.effective(service, &port.name).filter(|_| port.protocol.is_http());
        Backend { telemetry, ..self.layers.effective(service, &port.name, port.protocol) }
    }

    /// What the sidecars of a service ask of callers; `None`: nothing.
    pub(super) fn mtls(&self, service: &Service) -> Option<Mtls> {
        let mesh = self.mesh?;
        service.mtls.as_ref().map_or(mesh.mtls, |mtls| mtls.value)
    }

    /// How a port outside the mesh is called by TLS, if it is. What is said of the port itself wins (Gateway API v1,
    /// `BackendTLSPolicySpec.targetRefs`).
    pub(super) fn upstream(&self, service: &ServiceName, port_name: &str) -> Option<&'a BackendTlsPolicy> {
        let of = |section| self.upstream.get(&(service, section)).copied();
        of(Some(port_name)).or_else(|| of(None))
    }

    /// The authorities that the sidecars of a service believe about clients outside the mesh.
    pub(super) fn asked_of_clients(
        &self,
        name: &ServiceName,
        service: &'a Service,
    ) -> impl Iterator<Item = &'a CertificateName> {
        let layers = service.ports.iter().flat_map(|port| self.inbound.of(name, &port.name));
        let tls = layers.filter_map(|layer| layer.policy.settings.tls.as_ref());
        tls.filter_map(|tls| tls.termination.clients.as_ref()).flat_map(|clients| &clients.authorities)
    }

    /// Authorities by their name, as facts have them.
    pub(super) fn authority(&self, name: &CertificateName) -> Option<(CertificateName, String)> {
        Some((name.clone(), (*self.authorities.get(name)?).to_owned()))
    }

    /// The routes of a port as callers in `view` see them: their own namespace's, if it has any, in place of the service's.
    pub(super) fn attached(&self, view: Option<&str>, service: &ServiceName, port: u16) -> &[Attached<'a>] {
        let key = (service.clone(), port);
        let own = view.and_then(|namespace| self.consumers.get(namespace)?.get(&key));
        own.or_else(|| self.producers.get(&key)).map_or(&[], Vec::as_slice)
    }
}
