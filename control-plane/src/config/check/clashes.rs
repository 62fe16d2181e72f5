//! A port has routes of one kind: rules of `HTTPRoute` and `GRPCRoute` are never merged (Gateway API v1, `GRPCRouteSpec.hostnames`).

use std::collections::HashMap;

use outrigger_snapshot::name::ServiceName;

use super::super::problem::Problems;
use super::super::resource::Resource;
use super::routes::parent_ports;
use super::{Services, written};

pub(super) fn check(resources: &[Resource], services: &Services<'_>, problems: &mut Problems) {
    // By service and port, for the callers in the namespace of a consumer route, or for all.
    let mut first: HashMap<(&ServiceName, u16, Option<&str>), &Resource> = HashMap::new();
    for resource in resources {
        let Some(route) = resource.spec().route() else { continue };
        for parent in &route.parents {
            let name = &parent.service.value;
            let Some((_, service)) = services.by_name.get(name) else { continue };
            let callers = Some(resource.namespace()).filter(|namespace| *namespace != name.namespace());
            for port in parent_ports(route, parent, service) {
                let other = *first.entry((name, port.port, callers)).or_insert(resource);
                if other.kind() == resource.kind() {
                    continue;
                }
                problems.add(|| {
                    let parts = other.parts();
                    let message = format!(
                        "port {} of {name} has routes of another kind: {} in {}",
                        port.port,
                        other.key(),
                        written(&parts.file, parts.at)
                    );
                    let field = format!("spec.parentRefs[{}]", parent.service.position);
                    resource
                        .problem(parent.service.at, field, message)
                        .expected("either HTTPRoutes or GRPCRoutes on a port")
                });
            }
        }
    }
}
