//! Which policies hold for a port, and which of them says what.

use std::collections::HashMap;

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{Backend, Inbound, Protocol, Telemetry};

use super::model::{InboundSettings, Policy, Settings, Spec, TelemetrySettings};
use super::problem::Spot;
use super::resource::Resource;

/// A policy that holds for a port.
#[derive(Debug)]
pub(crate) struct Layer<'a, S = Settings> {
    pub(crate) resource: &'a Resource,
    pub(crate) policy: &'a Policy<S>,
}

impl<S> Clone for Layer<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Layer<'_, S> {}

impl<S> Layer<'_, S> {
    /// Where it says something about a field, named by its path below `spec` of a policy.
    pub(crate) fn spot(&self, field: &str) -> Option<Spot> {
        self.policy.written.get(field).copied()
    }
}

/// Policies for all ports of a service, or by name for one of them.
type Attached<'a, S> = Vec<(Option<&'a str>, Layer<'a, S>)>;

/// The policies by their targets.
#[derive(Debug, Default)]
pub(crate) struct Layers<'a, S = Settings> {
    /// Of each service. Of two for the same target the first is kept.
    by_service: HashMap<ServiceName, Attached<'a, S>>,
}

impl<'a> Layers<'a> {
    /// Those of how services are called.
    pub(crate) fn backend(resources: &'a [Resource]) -> Self {
        Self::new(resources, Spec::backend_policy)
    }

    /// How a port is used.
    pub(crate) fn effective(&self, service: &ServiceName, port_name: &str, protocol: Protocol) -> Backend {
        effective(&self.of(service, port_name), protocol)
    }
}

impl<'a> Layers<'a, InboundSettings> {
    /// Those of requests that come to services.
    pub(crate) fn inbound(resources: &'a [Resource]) -> Self {
        Self::new(resources, Spec::inbound_policy)
    }

    /// What is done about requests that come to a port; `None`: no policy says anything.
    pub(crate) fn effective(&self, service: &ServiceName, port_name: &str) -> Option<Inbound> {
        let layers = self.of(service, port_name);
        let settings = layers.iter().map(|layer| &layer.policy.settings);
        (!layers.is_empty()).then(|| InboundSettings::effective(settings))
    }
}

impl<'a> Layers<'a, TelemetrySettings> {
    /// Those of what is told of requests.
    pub(crate) fn telemetry(resources: &'a [Resource]) -> Self {
        Self::new(resources, Spec::telemetry_policy)
    }

    /// What is told of requests to a port; `None`: no policy says anything.
    pub(crate) fn effective(&self, service: &ServiceName, port_name: &str) -> Option<Telemetry> {
        let layers = self.of(service, port_name);
        let settings = layers.iter().map(|layer| &layer.policy.settings);
        (!layers.is_empty()).then(|| TelemetrySettings::effective(settings))
    }
}

impl<'a, S> Layers<'a, S> {
    fn new(resources: &'a [Resource], read: fn(&'a Spec) -> Option<&'a Policy<S>>) -> Self {
        let mut by_service: HashMap<ServiceName, Attached<'a, S>> = HashMap::new();
        for resource in resources {
            let Some(policy) = read(resource.spec()) else { continue };
            for target in &policy.targets {
                let section = target.section.as_ref().map(|section| section.value.as_str());
                let known = by_service.entry(target.service.value.clone()).or_default();
                let taken = known
                    .iter()
                    .any(|(other, layer)| *other == section && layer.resource.kind() == resource.kind());
                if !taken {
                    known.push((section, Layer { resource, policy }));
                }
            }
        }
        Self { by_service }
    }

    /// Those that hold for a port, the wider first.
    pub(crate) fn of(&self, service: &ServiceName, port_name: &str) -> Vec<Layer<'a, S>> {
        let known = self.by_service.get(service).map_or(&[][..], Vec::as_slice);
        let which = |wanted: Option<&str>| -> Vec<Layer<'a, S>> {
            known.iter().filter(|(section, _)| *section == wanted).map(|(_, layer)| *layer).collect()
        };
        let mut layers = which(None);
        layers.extend(which(Some(port_name)));
        layers
    }

    /// The policy that decides a field of a port; `None`: the default holds.
    pub(crate) fn origin(&self, service: &ServiceName, port_name: &str, field: &str) -> Option<Layer<'a, S>> {
        self.of(service, port_name).into_iter().rfind(|layer| layer.spot(field).is_some())
    }
}

/// How a port is used where these hold, the wider first.
pub(crate) fn effective(layers: &[Layer<'_>], protocol: Protocol) -> Backend {
    Settings::effective(layers.iter().map(|layer| &layer.policy.settings), protocol)
}
