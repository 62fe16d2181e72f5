//! Where a value comes from: a policy, a route, or the defaults.

use outrigger_snapshot::name::ServiceName;

use crate::config::layers::Layers;
use crate::config::model::{InboundSettings, Rule, RuleFilter, TelemetrySettings};
use crate::config::{Key, Kind, Resource, parent_ports};

/// What people wrote, if that is at hand.
#[derive(Debug)]
pub(super) struct Origins<'a>(Option<Written<'a>>);

#[derive(Debug)]
struct Written<'a> {
    resources: &'a [Resource],
    layers: Layers<'a>,
    inbound: Layers<'a, InboundSettings>,
    telemetry: Layers<'a, TelemetrySettings>,
}

/// A port whose values are explained.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) service: &'a ServiceName,
    pub(super) port_name: &'a str,
}

impl<'a> Origins<'a> {
    pub(super) fn new(resources: Option<&'a [Resource]>) -> Self {
        Self(resources.map(|resources| Written {
            resources,
            layers: Layers::backend(resources),
            inbound: Layers::inbound(resources),
            telemetry: Layers::telemetry(resources),
        }))
    }

    /// Who decides a field of a port, named by its path below `spec` of a `BackendPolicy`.
    pub(super) fn field(&self, place: Place<'_>, field: &str, is_default: bool) -> String {
        let Some(written) = &self.0 else { return unknown(is_default) };
        let layer = written.layers.origin(place.service, place.port_name, field);
        layer.map_or_else(|| "default".to_owned(), |layer| layer.resource.key().to_string())
    }

    /// The same, for a field of an `InboundPolicy`.
    pub(super) fn inbound_field(&self, place: Place<'_>, field: &str, is_default: bool) -> String {
        let Some(written) = &self.0 else { return unknown(is_default) };
        let layer = written.inbound.origin(place.service, place.port_name, field);
        layer.map_or_else(|| "default".to_owned(), |layer| layer.resource.key().to_string())
    }

    /// The same, for a field of a `TelemetryPolicy`.
    pub(super) fn telemetry_field(&self, place: Place<'_>, field: &str, is_default: bool) -> String {
        let Some(written) = &self.0 else { return unknown(is_default) };
        let layer = written.telemetry.origin(place.service, place.port_name, field);
        layer.map_or_else(|| "default".to_owned(), |layer| layer.resource.key().to_string())
    }

    /// The route that a rule of a port is of.
    pub(super) fn route(&self, place: Place<'_>, rule_name: &str) -> String {
        let name = rule_name.split_once('#').map_or(rule_name, |(name, _)| name);
        self.route_of(place, name)
            .map_or_else(|| format!("route {name}"), |resource| resource.key().to_string())
    }

    /// Where each filter of a rule comes from, or of one of its backends: nothing of those that are not at hand.
    pub(super) fn filters(&self, place: Place<'_>, rule_name: &str, backend: Option<usize>) -> Vec<String> {
        let (name, rule_name) = rule_name.split_once('#').unwrap_or((rule_name, ""));
        let Some(resource) = self.route_of(place, name) else { return Vec::new() };
        let named = |rule: &&Rule| rule.name == rule_name;
        let rule = resource.spec().route().and_then(|route| route.rules.iter().find(named));
        let filters = rule.and_then(|rule| match backend {
            Some(index) => rule.backends.get(index).map(|backend| &backend.filters),
            None => Some(&rule.filters),
        });
        let origin = |filter: &RuleFilter| match filter {
            RuleFilter::Own(_) => resource.key().to_string(),
            RuleFilter::Extension(name) => {
                let (kind, namespace) = (Kind::RouteFilter, resource.namespace().to_owned());
                Key { kind, namespace, name: name.value.clone() }.to_string()
            }
        };
        filters.into_iter().flatten().map(origin).collect()
    }

    fn route_of(&self, place: Place<'_>, name: &str) -> Option<&'a Resource> {
        let resources = self.0.as_ref().map_or(&[][..], |written| written.resources);
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
        resources.iter().find(attached)
    }
}

fn unknown(is_default: bool) -> String {
    if is_default { "default" } else { "a policy" }.to_owned()
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
