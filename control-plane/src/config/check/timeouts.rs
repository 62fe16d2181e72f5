//! The time limits of a rule and those of the clusters that it leads to.

use outrigger_snapshot::policy::Backend;

use super::super::layers::Layers;
use super::super::model::{BackendRef, Placed, Route, Rule};
use super::super::problem::Problems;
use super::super::resource::Resource;
use super::super::text::duration_text;
use super::Services;

pub(super) fn check(
    resource: &Resource,
    route: &Route,
    layers: &Layers<'_>,
    services: &Services<'_>,
    problems: &mut Problems,
) {
    for rule in &route.rules {
        for backend in &rule.backends {
            check_backend(resource, rule, backend, layers, services, problems);
        }
    }
}

/// A limit of the rule against the other one of the cluster; where the rule has both, they were compared when it was read.
fn check_backend(
    resource: &Resource,
    rule: &Rule,
    backend: &BackendRef,
    layers: &Layers<'_>,
    services: &Services<'_>,
    problems: &mut Problems,
) {
    let name = &backend.service.value;
    let port = services
        .by_name
        .get(name)
        .and_then(|(_, service)| service.ports.iter().find(|port| port.port == backend.port.value));
    let Some(port) = port else { return };
    let Backend { timeouts, .. } = layers.effective(name, &port.name, port.protocol);
    let (own, field, comparative, bound, other_ms, other) =
        match (&rule.request_timeout_ms, &rule.try_timeout_ms) {
            (None, Some(own)) if timeouts.request_ms != 0 && own.value > timeouts.request_ms => {
                (own, "backendRequest", "longer", "at most", timeouts.request_ms, "request")
            }
            (Some(own), None) if own.value != 0 && timeouts.try_ms > own.value => {
                (own, "request", "shorter", "at least", timeouts.try_ms, "try")
            }
            _ => return,
        };
    let Placed { at, .. } = own;
    let by = layers.origin(name, &port.name, &format!("timeouts.{other}"));
    let by = by.map_or_else(|| "default".to_owned(), |layer| layer.resource.key().to_string());
    problems.add(|| {
        let time = duration_text(other_ms);
        let message = format!(
            "is {comparative} than the limit of {} for {}, which is {time} by {by}",
            name.cluster(port.port),
            if other == "try" { "a try" } else { "the whole request" },
        );
        let field = format!("spec.rules[{}].timeouts.{field}", rule.position);
        resource.problem(*at, field, message).expected(format!("{bound} {time}, or both limits in the route"))
    });
}
