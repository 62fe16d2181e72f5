//! `Gateway`, and the `ConfigMap`s and pairs that it names.

use std::collections::HashMap;

use outrigger_certs::pem;
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{CertificateName, ClientCertificates, ListenerProtocol, Termination};

use super::super::model::{AuthorityRefs, Carried, ConfigMap, Gateway, Listener, Placed};
use super::super::node::{Node, Path, shortened};
use super::super::shape::Report;
use crate::causes::with_causes;

const MIN_VERSION: &str = "outrigger.dev/min-version";

pub(super) fn read(spec: &Node, path: &Path<'_>, namespace: &str, report: &mut Report<'_>) -> Gateway {
    let mut authorities = Vec::new();
    let frontend = Frontend::read(spec, path, namespace, &mut authorities, report);
    let path = path.field("listeners");
    let items = spec.list("listeners");
    let mut listeners = Vec::new();
    for (position, item) in items.iter().enumerate() {
        listeners.extend(listener(item, &path.item(position), namespace, &frontend, report));
    }
    check_together(items, &path, report);
    let whole = listeners.len() == items.len();
    for (port, at, field) in &frontend.named {
        if whole && !listeners.iter().any(|listener| listener.port == *port && listener.tls.is_some()) {
            report.problems.add(|| {
                super::super::problem::Problem::new(
                    report.file,
                    at.at,
                    field,
                    format!("no listener of HTTPS has port {port}"),
                )
                .expected("a port of listeners of HTTPS")
            });
        }
    }
    Gateway { listeners, whole, authorities }
}

/// What is asked of clients, by port.
struct Frontend<'n> {
    default: Option<ClientCertificates>,
    ports: HashMap<u16, Option<ClientCertificates>>,
    /// Each port that was written, and where.
    named: Vec<(u16, &'n Node, String)>,
}

impl<'n> Frontend<'n> {
    fn read(
        spec: &'n Node,
        path: &Path<'_>,
        namespace: &str,
        authorities: &mut AuthorityRefs,
        report: &mut Report<'_>,
    ) -> Self {
        let mut frontend = Self { default: None, ports: HashMap::new(), named: Vec::new() };
        let Some(node) = spec.field("tls").and_then(|tls| tls.field("frontend")) else { return frontend };
        let path = path.field("tls");
        let path = path.field("frontend");
        if let Some(default) = node.field("default") {
            frontend.default = clients(default, &path.field("default"), namespace, authorities, report);
        }
        let path = path.field("perPort");
        for (position, item) in node.list("perPort").iter().enumerate() {
            let here = path.item(position);
            let (Some(port), Some(tls)) = (item.field("port"), item.field("tls")) else { continue };
            let Some(number) = super::port(port) else { continue };
            let asked = clients(tls, &here.field("tls"), namespace, authorities, report);
            if frontend.ports.insert(number, asked).is_some() {
                report.unexpected(
                    port.at,
                    &here.field("port"),
                    format!("{number} stands twice"),
                    "each port once",
                );
            }
            frontend.named.push((number, port, here.field("port").to_string()));
        }
        frontend
    }

    fn of(&self, port: u16) -> Option<ClientCertificates> {
        self.ports.get(&port).unwrap_or(&self.default).clone()
    }
}

/// What is asked of clients, by `validation`.
pub(super) fn clients(
    tls: &Node,
    path: &Path<'_>,
    namespace: &str,
    authorities: &mut AuthorityRefs,
    report: &mut Report<'_>,
) -> Option<ClientCertificates> {
    let validation = tls.field("validation")?;
    let path = path.field("validation");
    let named = references(validation, "caCertificateRefs", &path, namespace, report);
    let names = named.iter().map(|(_, name)| name.value.clone()).collect();
    authorities.extend(named);
    Some(ClientCertificates {
        authorities: names,
        required: validation.text_of("mode") != Some("AllowInsecureFallback"),
    })
}

/// The names in a list of references, and the field of each.
pub(super) fn references(
    node: &Node,
    list: &str,
    path: &Path<'_>,
    namespace: &str,
    report: &mut Report<'_>,
) -> AuthorityRefs {
    let path = path.field(list);
    let mut names = Vec::new();
    for (position, item) in node.list(list).iter().enumerate() {
        let here = path.item(position);
        if let Some(value) = reference(item, &here, namespace, report) {
            let at = item.field("name").map_or(item.at, |name| name.at);
            names.push((here.field("name").to_string(), Placed { value, at, position }));
        }
    }
    names
}

/// The name in a reference, which is of the resource's own namespace.
pub(super) fn reference(
    node: &Node,
    path: &Path<'_>,
    namespace: &str,
    report: &mut Report<'_>,
) -> Option<CertificateName> {
    if let Some(other) = node.field("namespace").filter(|other| other.text() != Some(namespace)) {
        let message = "is another namespace, for which a ReferenceGrant is needed, and those are not supported by Outrigger yet";
        report.unexpected(other.at, &path.field("namespace"), message, namespace);
        return None;
    }
    ServiceName::new(namespace, node.text_of("name")?).ok()
}

fn listener(
    node: &Node,
    path: &Path<'_>,
    namespace: &str,
    frontend: &Frontend<'_>,
    report: &mut Report<'_>,
) -> Option<Listener> {
    let protocol = match node.text_of("protocol")? {
        "HTTP" => ListenerProtocol::Http,
        "HTTPS" => ListenerProtocol::Https,
        "TLS" => ListenerProtocol::Tls,
        "TCP" => ListenerProtocol::Tcp,
        _ => return None,
    };
    let port = node.field("port").and_then(super::port)?;
    if let Some(hostname) = node.field("hostname").filter(|_| protocol == ListenerProtocol::Tcp) {
        let message = "has no effect on TCP, which names no host";
        report.unexpected(hostname.at, &path.field("hostname"), message, "no hostname");
    }
    let tls = tls(node, path, protocol, namespace, report);
    let allowed = node.field("allowedRoutes");
    let from = allowed.and_then(|allowed| allowed.field("namespaces")?.text_of("from"));
    let kinds = allowed.and_then(|allowed| kinds(allowed, &path.field("allowedRoutes"), protocol, report));
    Some(Listener {
        name: node.text_of("name")?.to_owned(),
        port,
        protocol,
        hostname: node.text_of("hostname").map(str::to_owned),
        tls: tls.map(|tls| Termination { clients: frontend.of(port), ..tls }),
        all_namespaces: from == Some("All"),
        kinds,
    })
}

/// What HTTPS needs, and whether others have what they may.
fn tls(
    node: &Node,
    path: &Path<'_>,
    protocol: ListenerProtocol,
    namespace: &str,
    report: &mut Report<'_>,
) -> Option<Termination> {
    let written = node.field("tls");
    let path = path.field("tls");
    let Some(tls) = written else {
        if matches!(protocol, ListenerProtocol::Https | ListenerProtocol::Tls) {
            let expected = format!("tls, for protocol {}", protocol.name());
            report.unexpected(node.at, &path, "is missing", expected);
        }
        return None;
    };
    let mode = tls.text_of("mode").unwrap_or("Terminate");
    let at = tls.field("mode").map_or(tls.at, |mode| mode.at);
    match (protocol, mode) {
        (ListenerProtocol::Http | ListenerProtocol::Tcp, _) => {
            let message = format!("has no effect on {}", protocol.name());
            report.unexpected(tls.at, &path, message, "protocol HTTPS or TLS, or no tls");
            return None;
        }
        (ListenerProtocol::Https, "Passthrough") => {
            let message = "cannot be Passthrough where requests are looked at";
            report.unexpected(at, &path.field("mode"), message, "Terminate, or protocol TLS");
        }
        (ListenerProtocol::Tls, "Terminate") => {
            let message =
                "Terminate is not supported by Outrigger yet for connections that are not looked into";
            report.unexpected(at, &path.field("mode"), message, "Passthrough, or protocol HTTPS");
        }
        _ => {}
    }
    let certificates = references(tls, "certificateRefs", &path, namespace, report);
    let only_tls13 = min_version(tls, &path, report);
    if protocol == ListenerProtocol::Tls {
        for name in ["certificateRefs", "options"] {
            if let Some(field) = tls.field(name) {
                report.unexpected(
                    field.at,
                    &path.field(name),
                    "has no effect on TLS that does not end here",
                    format!("no {name}"),
                );
            }
        }
        return None;
    }
    if tls.field("certificateRefs").is_none() {
        report.unexpected(
            tls.at,
            &path.field("certificateRefs"),
            "is missing",
            "the certificates that are shown",
        );
    }
    let certificates = certificates.into_iter().map(|(_, name)| name.value).collect();
    Some(Termination { certificates, only_tls13, clients: None })
}

/// Whether TLS 1.2 is refused.
fn min_version(tls: &Node, path: &Path<'_>, report: &mut Report<'_>) -> bool {
    let Some(options) = tls.field("options") else { return false };
    let path = path.field("options");
    let mut only_tls13 = false;
    for entry in options.entries() {
        match (entry.key.as_str(), entry.value.text()) {
            (MIN_VERSION, Some("1.2")) | (_, None) => {}
            (MIN_VERSION, Some("1.3")) => only_tls13 = true,
            (MIN_VERSION, Some(text)) => {
                let message = format!("\"{}\" is no version that is spoken", shortened(text));
                report.unexpected(entry.value.at, &path.field(MIN_VERSION), message, "\"1.2\" or \"1.3\"");
            }
            (key, Some(_)) => report.unexpected(entry.at, &path.field(key), "is not known", MIN_VERSION),
        }
    }
    only_tls13
}

fn kinds(
    allowed: &Node,
    path: &Path<'_>,
    protocol: ListenerProtocol,
    report: &mut Report<'_>,
) -> Option<Vec<Carried>> {
    let path = path.field("kinds");
    let mut kinds = Vec::new();
    for (position, item) in allowed.list("kinds").iter().enumerate() {
        let carried = match item.text_of("kind") {
            Some("HTTPRoute") => Carried::Http,
            Some("GRPCRoute") => Carried::Grpc,
            Some("TCPRoute") => Carried::Tcp,
            Some("TLSRoute") => Carried::Tls,
            _ => continue,
        };
        let fits = match carried {
            Carried::Http | Carried::Grpc => protocol.is_http(),
            Carried::Tcp => protocol == ListenerProtocol::Tcp,
            Carried::Tls => protocol == ListenerProtocol::Tls,
        };
        if !fits {
            let message = format!("is of routes that cannot attach to {}", protocol.name());
            report.unexpected(
                item.at,
                &path.item(position).field("kind"),
                message,
                "a kind that the protocol takes",
            );
        }
        kinds.push(carried);
    }
    (!kinds.is_empty()).then_some(kinds)
}

/// Listeners have names of their own, and those of one port one protocol and different hosts.
fn check_together(items: &[Node], path: &Path<'_>, report: &mut Report<'_>) {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut protocols: HashMap<u16, (&str, usize)> = HashMap::new();
    let mut hosts: HashMap<(u16, Option<&str>), usize> = HashMap::new();
    for (position, item) in items.iter().enumerate() {
        let here = path.item(position);
        if let Some((field, name)) = item.field("name").and_then(|field| Some((field, field.text()?)))
            && let Some(other) = names.insert(name, position)
        {
            let message = format!("\"{name}\" is the name of listeners[{other}] too");
            report.unexpected(field.at, &here.field("name"), message, "each name once");
        }
        let Some(port) = item.field("port").and_then(super::port) else { continue };
        let Some((field, protocol)) = item.field("protocol").and_then(|field| Some((field, field.text()?)))
        else {
            continue;
        };
        let (first, other) = *protocols.entry(port).or_insert((protocol, position));
        if first != protocol {
            let message = format!("port {port} is {first} in listeners[{other}]");
            report.unexpected(field.at, &here.field("protocol"), message, "one protocol on a port");
            continue;
        }
        if let Some(other) = hosts.insert((port, item.text_of("hostname")), position) {
            let message = format!("has port and hostname of listeners[{other}]");
            report.unexpected(item.at, &here, message, "each hostname once on a port");
        }
    }
}

/// `ConfigMap`: read as proxies read it.
pub(super) fn config_map(node: &Node, report: &mut Report<'_>) -> ConfigMap {
    let path = Path::ROOT.field("data");
    let data = node.field("data");
    let Some((field, text)) =
        data.and_then(|data| data.field("ca.crt")).and_then(|field| Some((field, field.text()?)))
    else {
        return ConfigMap { authorities: None };
    };
    let here = path.field("ca.crt");
    let only = pem::check_only(text, &[pem::CERTIFICATE], "it", "certificates");
    let roots = only.and_then(|()| pem::roots(text.as_bytes(), "it"));
    let roots = roots.map_err(|error| with_causes("", &error));
    let roots =
        roots.and_then(|roots| outrigger_certs::web::roots(&roots).map_err(|problem| problem.to_string()));
    if let Err(message) = roots {
        report.unexpected(field.at, &here, message, "PEM, whole, from BEGIN to END lines");
    }
    ConfigMap { authorities: Some(text.to_owned()) }
}
