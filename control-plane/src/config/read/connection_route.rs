//! `TCPRoute` and `TLSRoute`.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::super::model::{BackendRef, Carried, Placed, Route, Rule};
use super::super::node::{Node, Path};
use super::super::shape::Report;
use super::route::parents;

pub(super) fn read(
    spec: &Node,
    carried: Carried,
    path: &Path<'_>,
    namespace: &str,
    report: &mut Report<'_>,
) -> Route {
    let rule = |(position, item): (usize, &Node)| Rule {
        position,
        name: item.text_of("name").map_or_else(|| position.to_string(), str::to_owned),
        matches: Vec::new(),
        filters: Vec::new(),
        request_timeout_ms: None,
        try_timeout_ms: None,
        retry: None,
        backends: backends(item, namespace),
    };
    let (parents, gateways) = parents(spec, path, namespace, report);
    Route {
        carried,
        parents,
        gateways,
        hostnames: hostnames(spec, path, report),
        rules: spec.list("rules").iter().enumerate().map(rule).collect(),
    }
}

fn backends(rule: &Node, namespace: &str) -> Vec<BackendRef> {
    let backend = |(position, item): (usize, &Node)| {
        let service = super::service_ref(item, namespace, position)?;
        let port = super::placed_port(item, "port")?;
        Some(BackendRef { service, port, weight: super::weight(item), filters: Vec::new() })
    };
    rule.list("backendRefs").iter().enumerate().filter_map(backend).collect()
}

pub(super) fn hostnames(spec: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Vec<Placed<String>> {
    let path = path.field("hostnames");
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut hostnames = Vec::new();
    for (position, item) in spec.list("hostnames").iter().enumerate() {
        let Some(text) = item.text() else { continue };
        let here = path.item(position);
        if text.parse::<Ipv4Addr>().is_ok() {
            report.unexpected(item.at, &here, "is an address, and clients ask for names", "a host name");
        }
        if let Some(other) = first.insert(text, position) {
            report.unexpected(item.at, &here, format!("is hostnames[{other}] too"), "each host once");
        }
        hostnames.push(Placed { value: text.to_owned(), at: item.at, position });
    }
    hostnames
}
