//! Each host stands for one service.

use std::collections::{BTreeMap, HashMap};

use outrigger_snapshot::name::ServiceName;

use super::super::problem::Problems;
use super::Services;

pub(super) fn check(services: &Services<'_>, problems: &mut Problems) {
    let mut bare: BTreeMap<&str, &ServiceName> = BTreeMap::new();
    for name in services.by_name.keys() {
        bare.entry(name.name()).or_insert(name);
    }
    let mut owners: HashMap<&str, &ServiceName> = HashMap::new();
    for (name, resource, service) in &services.in_order {
        for host in &service.hosts {
            let field = || format!("spec.hosts[{}]", host.position);
            let text = host.value.as_str();
            if let Some(owner) = owners.insert(text, name).filter(|owner| *owner != name) {
                problems.add(|| {
                    let message = format!("\"{text}\" is a host of {owner} too");
                    resource.problem(host.at, field(), message).expected("a host that is unique in the mesh")
                });
            }
            if let Some(owner) = made_from_name(text, &bare, services) {
                problems.add(|| {
                    let message = format!("\"{text}\" is made from the name of Service {owner}");
                    resource.problem(host.at, field(), message).expected(
                        "a host beside those made from names: NAME, NAME.NAMESPACE, NAME.NAMESPACE.svc",
                    )
                });
            }
        }
    }
}

/// The service among whose own hosts `host` is.
fn made_from_name(
    host: &str,
    bare: &BTreeMap<&str, &ServiceName>,
    services: &Services<'_>,
) -> Option<ServiceName> {
    let mut labels = host.split('.');
    let (name, namespace, svc, rest) = (labels.next()?, labels.next(), labels.next(), labels.next());
    let Some(namespace) = namespace else {
        return bare.get(name).map(|service| (*service).clone());
    };
    if rest.is_some() || svc.is_some_and(|svc| svc != "svc") {
        return None;
    }
    let service = ServiceName::new(namespace, name).ok()?;
    services.by_name.contains_key(&service).then_some(service)
}
