//! The resources by what they belong to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::Mtls;

use crate::config::layers::Layers;
use crate::config::model::{Carried, InboundSettings, Mesh, Placed, RouteFilter, Rule, Service, Spec};
use crate::config::{Checked, parent_ports, service_name};

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
    /// Of a `TLSRoute`.
    pub(super) hostnames: &'a [Placed<String>],
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
    /// What holds for all services.
    pub(super) mesh: Option<&'a Mesh>,
    /// The filters that routes name, by namespace and name.
    pub(super) filters: HashMap<(&'a str, &'a str), &'a RouteFilter>,
}

impl<'a> Index<'a> {
    pub(super) fn new(checked: &'a Checked) -> Self {
        let resources = checked.resources();
        let (layers, inbound) = (Layers::backend(resources), Layers::inbound(resources));
        let mut index = Self { layers, inbound, ..Self::default() };
        for resource in resources {
            if let (Spec::Service(service), Some(name)) = (resource.spec(), service_name(resource)) {
                index.services.insert(name, service);
            }
            match resource.spec() {
                Spec::RouteFilter(filter) => {
                    index.filters.insert((resource.namespace(), resource.name()), filter);
                }
                Spec::Mesh(mesh) => index.mesh = Some(mesh),
                _ => {}
            }
        }
        // The resources are sorted by namespace and name: so are the routes of each port, which is their order of precedence.
        for resource in resources {
            let Some(route) = resource.spec().route() else { continue };
            let (namespace, name) = (resource.namespace(), resource.name());
            let attached = Attached {
                namespace,
                name,
                grpc: matches!(route.carried, Carried::Grpc),
                rules: &route.rules,
                hostnames: &route.hostnames,
            };
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

    /// What the sidecars of a service ask of callers; `None`: nothing.
    pub(super) fn mtls(&self, service: &Service) -> Option<Mtls> {
        let mesh = self.mesh?;
        service.mtls.as_ref().map_or(mesh.mtls, |mtls| mtls.value)
    }

    /// The routes of a port as callers in `view` see them: their own namespace's, if it has any, in place of the service's.
    pub(super) fn attached(&self, view: Option<&str>, service: &ServiceName, port: u16) -> &[Attached<'a>] {
        let key = (service.clone(), port);
        let own = view.and_then(|namespace| self.consumers.get(namespace)?.get(&key));
        own.or_else(|| self.producers.get(&key)).map_or(&[], Vec::as_slice)
    }
}
