//! Routes find the filters that they name, and no two limits of a rule have one name.

use std::collections::HashMap;

use outrigger_snapshot::policy::Filter;

use super::super::model::{Placed, RouteFilter, RuleFilter, Spec};
use super::super::nearest::nearest;
use super::super::problem::{Problem, Problems};
use super::super::resource::Resource;

/// Every `RouteFilter`, by namespace and name, and which limit has which name where.
#[derive(Default)]
struct Known<'a> {
    filters: HashMap<(&'a str, &'a str), &'a RouteFilter>,
    /// By what it is counted for, and its name: the `RouteFilter` that it is of.
    limits: HashMap<(String, &'a str), &'a str>,
}

/// A list of filters.
struct List<'a> {
    resource: &'a Resource,
    filters: &'a [RuleFilter],
    field: String,
    /// What its limits are counted for.
    scope: String,
}

pub(super) fn check(resources: &[Resource], problems: &mut Problems) {
    let mut known = Known::default();
    for resource in resources {
        if let Spec::RouteFilter(filter) = resource.spec() {
            known.filters.entry((resource.namespace(), resource.name())).or_insert(filter);
        }
    }
    for resource in resources {
        let Some(route) = resource.spec().route() else { continue };
        for rule in &route.rules {
            let field = format!("spec.rules[{}]", rule.position);
            let scope = format!("{}#{}", resource.key(), rule.name);
            for backend in &rule.backends {
                let list = List {
                    resource,
                    filters: &backend.filters,
                    field: format!("{field}.backendRefs[{}].filters", backend.service.position),
                    scope: format!("{scope} {}", backend.service.value.cluster(backend.port.value)),
                };
                known.check(&list, problems);
            }
            let field = format!("{field}.filters");
            known.check(&List { resource, filters: &rule.filters, field, scope }, problems);
        }
    }
}

impl<'a> Known<'a> {
    fn check(&mut self, list: &List<'a>, problems: &mut Problems) {
        let mut first: HashMap<&str, usize> = HashMap::new();
        for filter in list.filters {
            let RuleFilter::Extension(reference) = filter else { continue };
            let name = reference.value.as_str();
            if let Some(other) = first.insert(name, reference.position) {
                problems.add(|| {
                    let message = format!("\"{name}\" stands in filters[{other}] too");
                    list.problem(reference, message).expected("each RouteFilter once")
                });
                continue;
            }
            match self.filters.get(&(list.resource.namespace(), name)) {
                None => problems.add(|| self.dangling(list, reference)),
                Some(RouteFilter { filter: Some(Filter::RateLimit(limit)) }) => {
                    let other = *self.limits.entry((list.scope.clone(), &limit.name)).or_insert(name);
                    if other != name {
                        problems.add(|| {
                            let message = format!(
                                "its rate limit is named \"{}\", as that of RouteFilter {other} is",
                                limit.name
                            );
                            list.problem(reference, message).expected("each name once for a rule")
                        });
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn dangling(&self, list: &List<'_>, reference: &Placed<String>) -> Problem {
        let (namespace, name) = (list.resource.namespace(), reference.value.as_str());
        let here = self.filters.keys().filter(|(other, _)| *other == namespace);
        let near = nearest(name, here.map(|(_, name)| *name));
        list.problem(reference, format!("there is no RouteFilter {namespace}/{name}"))
            .expected("a RouteFilter of this push or of the mesh, in the namespace of the route")
            .nearest(near)
    }
}

impl List<'_> {
    fn problem(&self, reference: &Placed<String>, message: String) -> Problem {
        let field = format!("{}[{}].extensionRef.name", self.field, reference.position);
        self.resource.problem(reference.at, field, message)
    }
}
