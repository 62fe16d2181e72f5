//! What a mesh has once, and what needs it.

use outrigger_snapshot::identity::TrustDomain;
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::Mtls;

use super::super::model::{Mesh, Spec};
use super::super::problem::Problems;
use super::super::resource::Resource;
use super::{Services, written};

pub(super) fn check(resources: &[Resource], services: &Services<'_>, problems: &mut Problems) {
    let mut meshes = resources.iter().filter_map(|resource| match resource.spec() {
        Spec::Mesh(mesh) => Some((resource, mesh)),
        _ => None,
    });
    let first = meshes.next();
    for (resource, _) in meshes {
        problems.add(|| {
            let other = first.map_or(resource, |(other, _)| other).parts();
            let message = format!("there is a Mesh before, in {}", written(&other.file, other.at));
            resource.problem(resource.parts().at, "metadata.name", message).expected("one Mesh")
        });
    }
    if let Some((_, mesh)) = first {
        if let Some(trust) = &mesh.trust {
            check_patterns(resources, &trust.domain, problems);
        }
        return;
    }
    for (_, resource, service) in &services.in_order {
        if let Some(mtls) = service.mtls.as_ref().filter(|mtls| mtls.value.is_some()) {
            problems.add(|| {
                let message = "needs authorities that are believed, and there is no Mesh that names them";
                resource.problem(mtls.at, "spec.mtls", message).expected("a Mesh, or Disabled")
            });
        }
    }
}

/// The mesh, if there is one.
pub(super) fn of(resources: &[Resource]) -> Option<&Mesh> {
    resources.iter().find_map(|resource| match resource.spec() {
        Spec::Mesh(mesh) => Some(mesh),
        _ => None,
    })
}

/// What the sidecars of a service ask of callers; `None`: nothing.
pub(super) fn asked_by(name: &ServiceName, mesh: Option<&Mesh>, services: &Services<'_>) -> Option<Mtls> {
    let (_, service) = services.by_name.get(name)?;
    service.mtls.as_ref().map_or(mesh?.mtls, |mtls| mtls.value)
}

/// A rule about identities of another trust domain is about nobody: a slip of the pen that would go unnoticed.
fn check_patterns(resources: &[Resource], domain: &TrustDomain, problems: &mut Problems) {
    for resource in resources {
        let Some(policy) = resource.spec().inbound_policy() else { continue };
        let rules = policy.settings.authorization.iter().flat_map(|authorization| &authorization.rules);
        for (index, rule) in rules.enumerate() {
            let Some(stranger) =
                rule.about.identities.iter().find(|pattern| pattern.domain() != domain.as_str())
            else {
                continue;
            };
            problems.add(|| {
                let field = format!("spec.authorization.rules[{index}].identities");
                let at = policy.written.get("authorization").copied().unwrap_or(resource.parts().at);
                let message =
                    format!("{stranger} is of another trust domain than the mesh, so nobody has it");
                resource.problem(at, field, message).expected(format!("spiffe://{domain}/…"))
            });
        }
    }
}
