//! `Service`.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{Protocol, ProxyProtocol, ProxyVersion, ProxyWriter};

use super::super::model::{Endpoints, Placed, Port, Service, StaticEndpoint};
use super::super::node::{Node, Path};
use super::super::shape::Report;
use super::address;

pub(super) fn read(spec: &Node, path: &Path<'_>, namespace: &str, report: &mut Report<'_>) -> Service {
    let ports = ports(spec, path, report);
    Service {
        hosts: hosts(spec, path, report),
        uses: spec.field("uses").map(|uses| used(uses, namespace)),
        ports_whole: !ports.is_empty() && ports.len() == spec.list("ports").len(),
        ports,
        endpoints: spec
            .field("endpoints")
            .and_then(|endpoints| self::endpoints(endpoints, &path.field("endpoints"), spec, report)),
        mtls: spec.field("mtls").and_then(|mode| {
            Some(Placed { value: super::mesh::mode(mode.text()?), at: mode.at, position: 0 })
        }),
    }
}

fn hosts(spec: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Vec<Placed<String>> {
    let path = path.field("hosts");
    let mut seen = HashSet::new();
    let mut hosts = Vec::new();
    for (position, item) in spec.list("hosts").iter().enumerate() {
        let Some(host) = item.text() else { continue };
        if seen.insert(host) {
            hosts.push(Placed { value: host.to_owned(), at: item.at, position });
        } else {
            report.unexpected(
                item.at,
                &path.item(position),
                format!("\"{host}\" stands twice"),
                "each host once",
            );
        }
    }
    hosts
}

fn used(uses: &Node, namespace: &str) -> Vec<Placed<ServiceName>> {
    let service = |text: &str| match text.split_once('/') {
        None => ServiceName::new(namespace, text).ok(),
        Some(_) => text.parse().ok(),
    };
    let placed = |(position, item): (usize, &Node)| {
        Some(Placed { value: service(item.text()?)?, at: item.at, position })
    };
    uses.items().iter().enumerate().filter_map(placed).collect()
}

fn ports(spec: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Vec<Port> {
    let path = path.field("ports");
    let items = spec.list("ports");
    let mut numbers: HashMap<u16, usize> = HashMap::new();
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut ports = Vec::new();
    for (position, item) in items.iter().enumerate() {
        let here = path.item(position);
        let Some(number) = item.field("port").and_then(super::port) else { continue };
        if let Some(first) = numbers.insert(number, position) {
            let at = item.field("port").map_or(item.at, |port| port.at);
            let message = format!("port {number} is that of ports[{first}] too");
            report.unexpected(at, &here.field("port"), message, "each port once");
        }
        let protocol = protocol(item, &here, report);
        let name = match item.field("name") {
            Some(name) => name.text().map(str::to_owned),
            None if items.len() > 1 => {
                report.unexpected(
                    item.at,
                    &here.field("name"),
                    "is missing",
                    "a name, since there are several ports",
                );
                None
            }
            None => protocol.map(|protocol| default_name(protocol).to_owned()),
        };
        let (Some(name), Some(protocol)) = (name, protocol) else { continue };
        if let Some(first) = names.insert(name.clone(), position) {
            let at = item.field("name").map_or(item.at, |name| name.at);
            let message = format!("\"{name}\" is the name of ports[{first}] too");
            report.unexpected(at, &here.field("name"), message, "each name once");
        }
        let target_port = item.field("targetPort").and_then(super::port).unwrap_or(number);
        let proxy_protocol = proxy_protocol(item, protocol, &here, report);
        ports.push(Port { name, port: number, target_port, protocol, proxy_protocol });
    }
    ports
}

/// Requests of several clients share a connection, which a header before its first byte could not say.
fn proxy_protocol(
    port: &Node,
    protocol: Protocol,
    path: &Path<'_>,
    report: &mut Report<'_>,
) -> Option<ProxyProtocol> {
    let written = port.field("proxyProtocol")?;
    if protocol.is_http() {
        let message = format!("has no meaning on a port of protocol {}", protocol.name());
        let expected = "no proxyProtocol; requests have x-forwarded-for";
        report.unexpected(written.at, &path.field("proxyProtocol"), message, expected);
    }
    let version = match written.text_of("version")? {
        "V1" => ProxyVersion::V1,
        _ => ProxyVersion::V2,
    };
    let written_by = match written.text_of("writtenBy") {
        Some("Callers") => ProxyWriter::Callers,
        _ => ProxyWriter::Sidecar,
    };
    Some(ProxyProtocol { version, written_by })
}

fn default_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Http2 => "http2",
        Protocol::Grpc => "grpc",
        Protocol::Tcp => "tcp",
        Protocol::Tls => "tls",
    }
}

/// What is spoken: `protocol`, refined by `appProtocol` where that is TCP or absent, as a Kubernetes Service has it.
fn protocol(port: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Protocol> {
    let written = port.text_of("protocol").and_then(|text| match text {
        "HTTP" => Some(Protocol::Http),
        "HTTP2" => Some(Protocol::Http2),
        "GRPC" => Some(Protocol::Grpc),
        "TCP" => Some(Protocol::Tcp),
        "TLS" => Some(Protocol::Tls),
        _ => None,
    });
    let refined = port.text_of("appProtocol").and_then(|text| match text {
        "http" | "kubernetes.io/ws" => Some(Protocol::Http),
        "http2" | "kubernetes.io/h2c" => Some(Protocol::Http2),
        "grpc" => Some(Protocol::Grpc),
        "tcp" => Some(Protocol::Tcp),
        "tls" => Some(Protocol::Tls),
        _ => None,
    });
    match (written, refined, port.field("appProtocol")) {
        (Some(written), Some(refined), Some(app)) if written != refined && written != Protocol::Tcp => {
            let expected = "an appProtocol that says the same as protocol, or protocol TCP";
            report.unexpected(app.at, &path.field("appProtocol"), "contradicts protocol", expected);
            None
        }
        (_, Some(refined), _) => Some(refined),
        (Some(written), None, _) => Some(written),
        (None, None, app) => {
            if port.field("protocol").is_none() && app.is_none() {
                let expected = "one of HTTP, HTTP2, GRPC, TCP, TLS";
                report.unexpected(port.at, &path.field("protocol"), "is missing", expected);
            }
            None
        }
    }
}

fn endpoints(node: &Node, path: &Path<'_>, spec: &Node, report: &mut Report<'_>) -> Option<Endpoints> {
    let given: Vec<(&str, &Node)> =
        ["static", "dns", "srv"].into_iter().filter_map(|name| Some((name, node.field(name)?))).collect();
    if given.len() != 1 {
        let written: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        let message = if written.is_empty() {
            "names no source".to_owned()
        } else {
            format!("has {}", written.join(" and "))
        };
        report.unexpected(node.at, path, message, "exactly one of static, dns, srv");
    }
    let mut read = None;
    for (form, given) in given {
        let path = path.field(form);
        read = match form {
            "static" => Some(Endpoints::Static(static_endpoints(given, &path, spec, report))),
            "dns" => dns(given, &path, spec, report),
            _ => srv(given, &path, spec, report),
        };
    }
    read
}

fn has_several_ports(spec: &Node) -> bool {
    spec.list("ports").len() > 1
}

fn dns(node: &Node, path: &Path<'_>, spec: &Node, report: &mut Report<'_>) -> Option<Endpoints> {
    let port = node.field("port");
    if let (true, Some(port)) = (has_several_ports(spec), port) {
        let expected = "no port: each port's targetPort is dialled";
        report.unexpected(
            port.at,
            &path.field("port"),
            "would stand for every port of this service",
            expected,
        );
    }
    if let Some(name) = node.field("name")
        && name.text().is_some_and(|text| text.parse::<Ipv4Addr>().is_ok())
    {
        let expected = "a name, or `static: [{address: …}]` in place of `dns`";
        report.unexpected(name.at, &path.field("name"), "is an address, and `dns` takes a name", expected);
    }
    Some(Endpoints::Dns { name: without_dot(node.text_of("name")?), port: port.and_then(super::port) })
}

fn srv(node: &Node, path: &Path<'_>, spec: &Node, report: &mut Report<'_>) -> Option<Endpoints> {
    if has_several_ports(spec) {
        let message = "its records would stand for every port of this service";
        report.unexpected(node.at, path, message, "a Service for each port");
    }
    Some(Endpoints::Srv { name: without_dot(node.text_of("name")?) })
}

fn without_dot(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn static_endpoints(
    list: &Node,
    path: &Path<'_>,
    spec: &Node,
    report: &mut Report<'_>,
) -> Vec<StaticEndpoint> {
    let ports = spec.list("ports");
    let target = |port: &Node| port.field("targetPort").or(port.field("port")).and_then(super::port);
    let only_target = if let [only] = ports { target(only) } else { None };
    let mut seen = HashMap::new();
    let mut endpoints = Vec::new();
    for (position, item) in list.items().iter().enumerate() {
        let Some(written) = item.field("address") else { continue };
        let here = path.item(position);
        let here = here.field("address");
        let (address, port) = match written.text().map(address::parse) {
            None => continue,
            Some(Ok(parsed)) => parsed,
            Some(Err((message, expected))) => {
                report.unexpected(written.at, &here, message, expected);
                continue;
            }
        };
        if port.is_some() && ports.len() > 1 {
            report.unexpected(
                written.at,
                &here,
                "its port would stand for every port of this service",
                "an address without a port: each port's targetPort is dialled",
            );
        }
        if let Some(first) = seen.insert((address, port.or(only_target)), position) {
            let message = format!("is the address of static[{first}] too");
            report.unexpected(written.at, &here, message, "each endpoint once, with a weight");
        }
        let zone = item.text_of("zone").map(str::to_owned);
        endpoints.push(StaticEndpoint { address, port, weight: super::weight(item), zone });
    }
    endpoints
}
