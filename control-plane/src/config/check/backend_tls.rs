//! What is called by TLS is said once, and is no sidecar.

use std::collections::HashSet;

use outrigger_snapshot::name::ServiceName;

use super::super::model::{Spec, Target};
use super::super::problem::Problems;
use super::super::resource::Resource;
use super::policies::field;
use super::{Services, mesh};

/// In a `BackendPolicy`, below `spec`.
const SHOWN: &str = "tls.clientCertificateRef";

/// Sidecars speak mutual TLS of their own: a service is called by one or the other.
pub(super) fn check(resources: &[Resource], services: &Services<'_>, problems: &mut Problems) {
    let mesh = mesh::of(resources);
    check_shown(resources, services, problems);
    for resource in resources {
        let Spec::BackendTlsPolicy(policy) = resource.spec() else { continue };
        for target in &policy.targets {
            let name = &target.service.value;
            if mesh::asked_by(name, mesh, services).is_none() {
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

/// The certificate that is shown to a service that nobody calls by TLS is shown to nobody.
fn check_shown(resources: &[Resource], services: &Services<'_>, problems: &mut Problems) {
    let policies = resources.iter().filter_map(|resource| match resource.spec() {
        Spec::BackendTlsPolicy(policy) => Some(&policy.targets),
        _ => None,
    });
    let by_tls: HashSet<(&ServiceName, Option<&str>)> = policies.flatten().map(key).collect();
    let is_by_tls = |name, port| by_tls.contains(&(name, Some(port))) || by_tls.contains(&(name, None));
    for resource in resources {
        let Some(policy) = resource.spec().backend_policy() else { continue };
        let Some(at) = policy.written.get(SHOWN) else { continue };
        for target in &policy.targets {
            let name = &target.service.value;
            let mut ports = services.ports_of(target).peekable();
            if ports.peek().is_none() || ports.any(|port| is_by_tls(name, &port.name)) {
                continue;
            }
            problems.add(|| {
                let (_, section) = key(target);
                let what = section.map_or(String::new(), |section| format!("port {section} of "));
                let message = format!("is shown to nobody: no BackendTLSPolicy has {what}{name} called by TLS");
                resource
                    .problem(*at, format!("spec.{SHOWN}"), message)
                    .expected("a BackendTLSPolicy for that Service, or no clientCertificateRef; sidecars of the mesh are shown the caller's identity")
            });
        }
    }
}

fn key(target: &Target) -> (&ServiceName, Option<&str>) {
    (&target.service.value, target.section.as_ref().map(|section| section.value.as_str()))
}
