//! Where a value comes from: a policy, a route, or the defaults.

use outrigger_snapshot::name::ServiceName;

use crate::config::layers::Layers;
use crate::config::{Resource, parent_ports};

/// What people wrote, if that is at hand.
#[derive(Debug)]
pub(super) struct Origins<'a>(Option<(&'a [Resource], Layers<'a>)>);

/// A port whose values are explained.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) service: &'a ServiceName,
    pub(super) port_name: &'a str,
}

impl<'a> Origins<'a> {
    pub(super) fn new(resources: Option<&'a [Resource]>) -> Self {
        Self(resources.map(|resources| (resources, Layers::new(resources))))
    }

    /// Who decides a field of a port, named by its path below `spec` of a `BackendPolicy`.
    pub(super) fn field(&self, place: Place<'_>, field: &str, is_default: bool) -> String {
        let Some((_, layers)) = &self.0 else {
            return if is_default { "default" } else { "a policy" }.to_owned();
        };
        let layer = layers.origin(place.service, place.port_name, field);
        layer.map_or_else(|| "default".to_owned(), |layer| layer.resource.key().to_string())
    }

    /// The route that a rule of a port is of.
    pub(super) fn route(&self, place: Place<'_>, rule_name: &str) -> String {
        let name = rule_name.split_once('#').map_or(rule_name, |(name, _)| name);
        let resources = self.0.as_ref().map_or(&[][..], |(resources, _)| resources);
        let attached = |resource: &&Resource| {
            let Some(route) = resource.spec().route() else { return false };
            let meant = format!("{}/{}", resource.namespace(), resource.name()) == name;
            meant
                && resources.iter().filter_map(|other| service_of(other, place)).any(|service| {
                    let parents =
                        route.parents.iter().filter(|parent| parent.service.value == *place.service);
                    parents
                        .flat_map(|parent| parent_ports(route, parent, service))
                        .any(|port| port.name == place.port_name)
                })
        };
        resources
            .iter()
            .find(attached)
            .map_or_else(|| format!("route {name}"), |resource| resource.key().to_string())
    }
}

fn service_of<'a>(resource: &'a Resource, place: Place<'_>) -> Option<&'a crate::config::model::Service> {
    let named = resource.namespace() == place.service.namespace() && resource.name() == place.service.name();
    match resource.spec() {
        crate::config::model::Spec::Service(service) if named => Some(service),
        _ => None,
    }
}

/// Texts and where each comes from; those that follow each other and come from the same place share its name.
#[derive(Debug, Default)]
pub(super) struct Parts(Vec<(String, String)>);

impl Parts {
    pub(super) fn add(&mut self, text: impl Into<String>, origin: String) {
        self.0.push((text.into(), origin));
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (index, (part, origin)) in self.0.iter().enumerate() {
            let before = index.checked_sub(1).and_then(|before| self.0.get(before));
            match before {
                None => {}
                Some((_, other)) if other == origin => text.push_str(", "),
                Some(_) => text.push_str("; "),
            }
            text.push_str(part);
            if self.0.get(index + 1).is_none_or(|(_, next)| next != origin) {
                text.push_str(&format!(" ({origin})"));
            }
        }
        text
    }
}
