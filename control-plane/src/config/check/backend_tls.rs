//! What is called by TLS is said once, and is no sidecar.

use outrigger_snapshot::name::ServiceName;

use super::super::model::{Mesh, Spec};
use super::super::problem::Problems;
use super::super::resource::Resource;
use super::Services;
use super::policies::field;

/// Sidecars speak mutual TLS of their own: a service is called by one or the other.
pub(super) fn check(resources: &[Resource], services: &Services<'_>, problems: &mut Problems) {
    let mesh = resources.iter().find_map(|resource| match resource.spec() {
        Spec::Mesh(mesh) => Some(mesh),
        _ => None,
    });
    for resource in resources {
        let Spec::BackendTlsPolicy(policy) = resource.spec() else { continue };
        for target in &policy.targets {
            let name = &target.service.value;
            if !is_of_mesh(name, mesh, services) {
                continue;
            }
            problems.add(|| {
                let message = format!("the sidecars of {name} are called by mutual TLS of the mesh");
                resource
                    .problem(target.service.at, field(target), message)
                    .expected("a Service with mtls: Disabled")
            });
        }
    }
}

fn is_of_mesh(name: &ServiceName, mesh: Option<&Mesh>, services: &Services<'_>) -> bool {
    let Some((_, service)) = services.by_name.get(name) else { return false };
    mesh.is_some_and(|mesh| service.mtls.as_ref().map_or(mesh.mtls, |mtls| mtls.value).is_some())
}
