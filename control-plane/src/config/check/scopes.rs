//! Scopes that `uses` narrows are content of their own: together they are bounded.

use std::collections::{HashMap, HashSet};

use outrigger_snapshot::name::ServiceName;

use super::super::problem::Problems;
use super::super::resource::Resource;
use super::Services;

/// Services in all scopes that `uses` narrows, counted once for each scope. Each of them is compiled and published.
pub(super) const NARROWED_SERVICES_MAX: usize = 250_000;

pub(super) fn check(resources: &[Resource], services: &Services<'_>, problems: &mut Problems) {
    let leads_to = edges(resources);
    let mut total = 0;
    for (name, resource, service) in &services.in_order {
        let Some(uses) = &service.uses else { continue };
        let mut open: Vec<&ServiceName> = uses.iter().map(|used| &used.value).chain([name]).collect();
        let mut reached = HashSet::new();
        while let Some(name) = open.pop() {
            if !reached.insert(name) {
                continue;
            }
            if total + reached.len() > NARROWED_SERVICES_MAX {
                problems.add(|| {
                    let message = "narrows one scope too many: with what their routes lead to, such scopes are too large together";
                    resource
                        .problem(resource.parts().at, "spec.uses", message)
                        .expected(format!("at most {NARROWED_SERVICES_MAX} services in all scopes with uses"))
                });
                return;
            }
            open.extend(leads_to.get(name).into_iter().flatten());
        }
        total += reached.len();
    }
}

/// Where the routes of each service lead, whoever calls.
fn edges(resources: &[Resource]) -> HashMap<&ServiceName, HashSet<&ServiceName>> {
    let mut edges: HashMap<&ServiceName, HashSet<&ServiceName>> = HashMap::new();
    for resource in resources {
        let Some(route) = resource.spec().route() else { continue };
        let backends =
            || route.rules.iter().flat_map(|rule| &rule.backends).map(|backend| &backend.service.value);
        for parent in &route.parents {
            edges.entry(&parent.service.value).or_default().extend(backends());
        }
    }
    edges
}
