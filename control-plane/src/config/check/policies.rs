//! Policies find their targets, and no two set the same.

use std::collections::HashMap;

use outrigger_snapshot::name::ServiceName;

use super::super::model::{Service, Target};
use super::super::nearest::nearest;
use super::super::problem::Problems;
use super::super::resource::{Kind, Resource};
use super::routes::{missing, names_of};
use super::{Services, written};

pub(super) fn check(resources: &[Resource], services: &Services<'_>, problems: &mut Problems) {
    let mut first: HashMap<(Kind, &ServiceName, Option<&str>), &Resource> = HashMap::new();
    for resource in resources {
        for target in resource.spec().targets() {
            if !target.is_gateway {
                check_target(resource, target, services, problems);
            }
            let section = target.section.as_ref().map(|section| section.value.as_str());
            let key = (resource.kind(), &target.service.value, section);
            let Some(other) = first.insert(key, resource) else { continue };
            problems.add(|| {
                let part = if target.is_gateway { "listener" } else { "port" };
                let what = section.map_or(String::new(), |section| format!("{part} \"{section}\" of "));
                let message = format!("{what}{} has a policy: {}", target.service.value, place(other));
                resource
                    .problem(target.service.at, field(target), message)
                    .expected("one policy for a target")
            });
        }
    }
    check_budgets(resources, problems);
}

/// The retry budget of a service is said in one place: `XBackendTrafficPolicy`, or `BackendPolicy`.
fn check_budgets(resources: &[Resource], problems: &mut Problems) {
    let mut first: HashMap<&ServiceName, &Resource> = HashMap::new();
    for resource in resources {
        let Some(policy) =
            resource.spec().backend_policy().filter(|policy| policy.settings.retry.has_budget())
        else {
            continue;
        };
        for target in &policy.targets {
            let other = *first.entry(&target.service.value).or_insert(resource);
            if other.kind() == resource.kind() {
                continue;
            }
            problems.add(|| {
                let message = format!("{} has a retry budget: {}", target.service.value, place(other));
                resource
                    .problem(target.service.at, field(target), message)
                    .expected("a budget in either a BackendPolicy or an XBackendTrafficPolicy")
            });
        }
    }
}

/// Which resource, and where.
fn place(resource: &Resource) -> String {
    let parts = resource.parts();
    format!("{} in {}", resource.key(), written(&parts.file, parts.at))
}

pub(super) fn field(target: &Target) -> String {
    format!("spec.targetRefs[{}]", target.service.position)
}

fn check_target(resource: &Resource, target: &Target, services: &Services<'_>, problems: &mut Problems) {
    let name = &target.service.value;
    let here = format!("{}.name", field(target));
    let Some((_, service)) = services.find(resource, name, target.service.at, &here, problems) else {
        return;
    };
    let Some(section) = &target.section else { return };
    if has_port(service, &section.value) {
        return;
    }
    missing(service, problems, || {
        let message = format!("{name} has no port named \"{}\"", section.value);
        let names = service.ports.iter().map(|port| port.name.as_str());
        resource
            .problem(section.at, format!("{}.sectionName", field(target)), message)
            .expected(names_of(service))
            .nearest(nearest(&section.value, names).or_else(|| numbered(service, &section.value)))
    });
}

/// The name of the port that has this number, which is what else a port may be called by.
fn numbered(service: &Service, text: &str) -> Option<String> {
    let number: u16 = text.parse().ok()?;
    service.ports.iter().find(|port| port.port == number).map(|port| port.name.clone())
}

fn has_port(service: &Service, name: &str) -> bool {
    service.ports.iter().any(|port| port.name == name)
}
