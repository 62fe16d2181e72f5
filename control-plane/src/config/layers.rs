//! Which policies hold for a port, and which of them says what.

use std::collections::HashMap;

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{Backend, Protocol};

use super::model::{BackendPolicy, Settings};
use super::problem::Spot;
use super::resource::Resource;

/// A policy that holds for a port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) policy: &'a BackendPolicy,
}

impl Layer<'_> {
    /// Where it says something about a field, named by its path below `spec` of a `BackendPolicy`.
    pub(crate) fn spot(&self, field: &str) -> Option<Spot> {
        self.policy.written.get(field).copied()
    }
}

/// The policies by their targets.
#[derive(Debug, Default)]
pub(crate) struct Layers<'a> {
    /// Of each service, for all ports or one of them. Of two for the same target the first is kept.
    by_service: HashMap<ServiceName, Vec<(Option<&'a str>, Layer<'a>)>>,
}

impl<'a> Layers<'a> {
    pub(crate) fn new(resources: &'a [Resource]) -> Self {
        let mut layers = Self::default();
        for resource in resources {
            let Some(policy) = resource.spec().policy() else { continue };
            for target in &policy.targets {
                let section = target.section.as_ref().map(|section| section.value.as_str());
                let known = layers.by_service.entry(target.service.value.clone()).or_default();
                let taken = known
                    .iter()
                    .any(|(other, layer)| *other == section && layer.resource.kind() == resource.kind());
                if !taken {
                    known.push((section, Layer { resource, policy }));
                }
            }
        }
        layers
    }

    /// Those that hold for a port, the wider first.
    pub(crate) fn of(&self, service: &ServiceName, port_name: &str) -> Vec<Layer<'a>> {
        let known = self.by_service.get(service).map_or(&[][..], Vec::as_slice);
        let which = |wanted: Option<&str>| -> Vec<Layer<'a>> {
            known.iter().filter(|(section, _)| *section == wanted).map(|(_, layer)| *layer).collect()
        };
        let mut layers = which(None);
        layers.extend(which(Some(port_name)));
        layers
    }

    /// How a port is used.
    pub(crate) fn effective(&self, service: &ServiceName, port_name: &str, protocol: Protocol) -> Backend {
        effective(&self.of(service, port_name), protocol)
    }

    /// The policy that decides a field of a port; `None`: the default holds.
    pub(crate) fn origin(&self, service: &ServiceName, port_name: &str, field: &str) -> Option<Layer<'a>> {
        self.of(service, port_name).into_iter().rfind(|layer| layer.spot(field).is_some())
    }
}

/// How a port is used where these hold, the wider first.
pub(crate) fn effective(layers: &[Layer<'_>], protocol: Protocol) -> Backend {
    Settings::effective(layers.iter().map(|layer| &layer.policy.settings), protocol)
}
