//! Connections know at most the host that they are for: a port has one `TCPRoute`, and no host is in two `TLSRoute`s of a port.

use std::collections::HashMap;

use outrigger_snapshot::name::ServiceName;

use super::super::model::{Carried, Route};
use super::super::problem::{Problems, Spot};
use super::super::resource::Resource;
use super::routes::parent_ports;
use super::{Services, written};

/// A port, for the callers in the namespace of a consumer route or for all, and a host if it has any.
type Taken<'a> = (&'a ServiceName, u16, Option<&'a str>, Option<&'a str>);

pub(super) fn check(resources: &[Resource], services: &Services<'_>, problems: &mut Problems) {
    let mut first: HashMap<Taken<'_>, &Resource> = HashMap::new();
    for resource in resources {
        let route = resource.spec().route();
        let Some(route) = route.filter(|route| matches!(route.carried, Carried::Tcp | Carried::Tls)) else {
            continue;
        };
        for parent in &route.parents {
            let name = &parent.service.value;
            let Some((_, service)) = services.by_name.get(name) else { continue };
            let callers = Some(resource.namespace()).filter(|namespace| *namespace != name.namespace());
            for port in parent_ports(route, parent, service) {
                for (field, at, host) in claims(route, parent.service.position, parent.service.at) {
                    let other = *first.entry((name, port.port, callers, host)).or_insert(resource);
                    if other == resource {
                        continue;
                    }
                    problems.add(|| {
                        let what = host.map_or(String::new(), |host| format!("\"{host}\" of "));
                        let parts = other.parts();
                        let place = format!("{} in {}", other.key(), written(&parts.file, parts.at));
                        let message = format!("{what}port {} of {name} has a route: {place}", port.port);
                        let expected = if host.is_some() {
                            "each host once on a port"
                        } else {
                            "one TCPRoute on a port"
                        };
                        resource.problem(at, field, message).expected(expected)
                    });
                }
            }
        }
    }
}

/// What a route claims of each of its ports, and where it says so.
fn claims(route: &Route, parent: usize, at: Spot) -> impl Iterator<Item = (String, Spot, Option<&str>)> {
    let whole = (route.carried == Carried::Tcp).then(|| (format!("spec.parentRefs[{parent}]"), at, None));
    let hosts = route
        .hostnames
        .iter()
        .map(|host| (format!("spec.hostnames[{}]", host.position), host.at, Some(host.value.as_str())));
    whole.into_iter().chain(hosts)
}
