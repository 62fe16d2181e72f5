//! Trees to resources. Each resource is looked at alone; problems do not stop it.

use serde_json::{Map, Value};

use outrigger_snapshot::name::{DEFAULT_NAMESPACE, ServiceName, check_label};
use outrigger_snapshot::record::Serial;

use super::RESOURCES_MAX;
use super::model::{Carried, Placed, Spec};
use super::nearest::nearest;
use super::node::{Content, Node, Path, shortened};
use super::problem::Problem;
use super::resource::{Key, Kind, Parts, REVISION_ANNOTATION, Resource};
use super::shape::{Object, Presence, Report, Shape};

mod address;
mod amount;
mod authorization;
mod backend_policy;
mod backend_tls_policy;
mod connection_route;
mod filter;
mod gateway;
mod inbound_policy;
mod mesh;
mod method_match;
mod rate_limit;
mod route;
mod route_filter;
mod route_match;
mod service;
mod telemetry_policy;
mod traffic_policy;

/// Kinds of the Gateway API that people will try.
const UNSUPPORTED_KINDS: [&str; 4] = ["GatewayClass", "ListenerSet", "ReferenceGrant", "UDPRoute"];

/// The annotation in which kubectl keeps a copy of the whole resource.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Reads a document: a resource, or a `List` of them.
pub(crate) fn document(node: &Node, report: &mut Report<'_>, resources: &mut Vec<Resource>) {
    let is_list = node.text_of("kind") == Some("List") && node.text_of("apiVersion") == Some("v1");
    let items = if is_list { node.list("items") } else { std::slice::from_ref(node) };
    for item in items {
        if resources.len() >= RESOURCES_MAX {
            report.add(item.at, &Path::ROOT, format!("more than {RESOURCES_MAX} resources in one push"));
            return;
        }
        resources.extend(resource(item, report));
    }
}

/// Reads one resource. `None` if it has no kind or no name; with other problems, what could be read.
pub(crate) fn resource(node: &Node, report: &mut Report<'_>) -> Option<Resource> {
    let before = report.problems.len();
    if !matches!(node.content, Content::Map(_)) {
        let message = format!("a resource is an object, this is {}", node.described());
        report.unexpected(node.at, &Path::ROOT, message, "apiVersion, kind, metadata and spec");
        return None;
    }
    let kind = kind(node, report)?;
    kind.shape().check_node(node, &Path::ROOT, report);
    let metadata = node.field("metadata")?;
    let label = |node: &Node| node.text().filter(|text| check_label(text).is_ok()).map(str::to_owned);
    let namespace = metadata.field("namespace").map_or(Some(DEFAULT_NAMESPACE.to_owned()), label);
    let spec = read_spec(node, kind, namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE), report);
    let name = metadata.field("name")?;
    let key = Key { kind, namespace: namespace?, name: label(name)? };
    let base = base(metadata, report);
    let damaged = report.problems.len() > before;
    let value = if damaged { Value::Null } else { canonical(node, kind, &key.namespace) };
    Some(Resource::new(Parts { key, value, spec, file: report.file.to_owned(), at: name.at, base }))
}

/// The revision that the resource was read at. Kubernetes has `resourceVersion` for that, and files from there still carry it,
/// in numbers of another server.
fn base(metadata: &Node, report: &mut Report<'_>) -> Option<Serial> {
    let node = metadata.field("annotations")?.field(REVISION_ANNOTATION)?;
    let text = node.text()?;
    let serial = text.split_once('/').and_then(|(epoch, n)| {
        let (epoch, n) = (epoch.parse().ok()?, n.parse().ok()?);
        Some(Serial { epoch, n })
    });
    if serial.is_none() {
        let path = Path::ROOT.field("metadata");
        let path = path.field("annotations");
        let message = format!("\"{}\" is no revision", shortened(text));
        let expected = "EPOCH/NUMBER as `outrigger get` writes it, or no such annotation";
        report.unexpected(node.at, &path.field(REVISION_ANNOTATION), message, expected);
    }
    serial
}

fn read_spec(node: &Node, kind: Kind, namespace: &str, report: &mut Report<'_>) -> Spec {
    let path = Path::ROOT.field("spec");
    let absent = Node { at: node.at, content: Content::Null };
    let spec = node.field("spec").unwrap_or(&absent);
    match kind {
        Kind::Service => Spec::Service(service::read(spec, &path, namespace, report)),
        Kind::HttpRoute => Spec::HttpRoute(route::read(spec, kind, &path, namespace, report)),
        Kind::GrpcRoute => Spec::GrpcRoute(route::read(spec, kind, &path, namespace, report)),
        Kind::TcpRoute => {
            Spec::TcpRoute(connection_route::read(spec, Carried::Tcp, &path, namespace, report))
        }
        Kind::TlsRoute => {
            Spec::TlsRoute(connection_route::read(spec, Carried::Tls, &path, namespace, report))
        }
        Kind::BackendPolicy => Spec::BackendPolicy(backend_policy::read(spec, &path, namespace, report)),
        Kind::XBackendTrafficPolicy => {
            Spec::XBackendTrafficPolicy(traffic_policy::read(spec, &path, namespace, report))
        }
        Kind::InboundPolicy => Spec::InboundPolicy(inbound_policy::read(spec, &path, namespace, report)),
        Kind::TelemetryPolicy => {
            Spec::TelemetryPolicy(telemetry_policy::read(spec, &path, namespace, report))
        }
        Kind::Mesh => Spec::Mesh(mesh::read(spec, &path, report)),
        Kind::RouteFilter => Spec::RouteFilter(route_filter::read(spec, &path, report)),
        Kind::Gateway => Spec::Gateway(gateway::read(spec, &path, namespace, report)),
        Kind::BackendTlsPolicy => {
            Spec::BackendTlsPolicy(backend_tls_policy::read(spec, &path, namespace, report))
        }
        Kind::ConfigMap => Spec::ConfigMap(gateway::config_map(node, report)),
    }
}

fn kind(node: &Node, report: &mut Report<'_>) -> Option<Kind> {
    let path = Path::ROOT;
    let (api_version, kind) = (node.field("apiVersion"), node.field("kind"));
    for (name, field) in [("apiVersion", api_version), ("kind", kind)] {
        let path = path.field(name);
        match field {
            None => report.unexpected(node.at, &path, "is missing", all_kinds()),
            Some(field) if field.text().is_none() => {
                report.unexpected(field.at, &path, format!("is {}", field.described()), "a text");
            }
            Some(_) => {}
        }
    }
    let (api_version, kind) = (api_version?, kind?);
    let (version_text, kind_text) = (api_version.text()?, kind.text()?);
    if let Some(known) = Kind::ALL.into_iter().find(|kind| kind.name() == kind_text) {
        if known.api_version() == version_text {
            return Some(known);
        }
        report.problems.add(|| {
            let message = format!("\"{}\" is not the version of {known} here", shortened(version_text));
            Problem::new(report.file, api_version.at, path.field("apiVersion"), message)
                .expected(known.api_version())
        });
        return None;
    }
    let unsupported =
        version_text.starts_with("gateway.networking.") && UNSUPPORTED_KINDS.contains(&kind_text);
    report.problems.add(|| {
        let at = path.field("kind");
        if unsupported {
            let message = format!("{kind_text} is not supported by Outrigger yet");
            return Problem::new(report.file, kind.at, at, message).expected(all_kinds());
        }
        Problem::new(report.file, kind.at, at, format!("\"{}\" is not a known kind", shortened(kind_text)))
            .expected(all_kinds())
            .nearest(nearest(kind_text, Kind::ALL.map(Kind::name)))
    });
    None
}

fn all_kinds() -> String {
    let names = Kind::ALL.map(|kind| format!("{} ({kind})", kind.api_version()));
    format!("one of {}", names.join(", "))
}

/// What is stored: as written, but for fields that servers own and fields that hold nothing, and with the namespace.
fn canonical(node: &Node, kind: Kind, namespace: &str) -> Value {
    let mut value = object_value(node, kind.shape());
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("namespace".to_owned(), namespace.into());
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
            // Or each revision would differ from the one before in it.
            annotations.remove(REVISION_ANNOTATION);
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    value
}

fn object_value(node: &Node, object: &Object) -> Value {
    let mut fields = Map::new();
    for entry in node.entries().iter().filter(|entry| !entry.value.is_null()) {
        let shape = object.field(&entry.key).map(|field| &field.presence);
        if let Some(Presence::Required(shape) | Presence::Optional(shape) | Presence::Inert(shape)) = shape {
            fields.insert(entry.key.clone(), shape_value(&entry.value, shape));
        }
    }
    Value::Object(fields)
}

fn shape_value(node: &Node, shape: &Shape) -> Value {
    match (shape, &node.content) {
        (Shape::Object(object), _) => object_value(node, object),
        (Shape::List { of, .. }, Content::List(items)) => {
            items.iter().map(|item| shape_value(item, of)).collect()
        }
        (_, Content::Map(entries)) => {
            let texts =
                entries.iter().filter_map(|entry| Some((entry.key.clone(), entry.value.text()?.into())));
            Value::Object(texts.collect())
        }
        (_, Content::Text(text)) => text.as_str().into(),
        (_, Content::Integer(value)) => (*value).into(),
        (_, Content::Boolean(value)) => (*value).into(),
        (_, Content::Null | Content::Number(_) | Content::List(_)) => Value::Null,
    }
}

/// The service that a reference names: by `name`, and `namespace` or else that of the referring resource. `None` if the
/// names are no names or something else than a service is meant, which has been reported.
fn service_ref(node: &Node, namespace: &str, position: usize) -> Option<Placed<ServiceName>> {
    let is_service = node.field("kind").is_none_or(|kind| kind.text() == Some("Service"));
    let group_known =
        node.field("group").is_none_or(|group| matches!(group.text(), Some("" | "outrigger.dev")));
    if is_service && group_known { named_ref(node, namespace, position) } else { None }
}

/// The gateway that a reference of that kind names.
fn gateway_ref(node: &Node, namespace: &str, position: usize) -> Option<Placed<ServiceName>> {
    let known = node.field("group").is_none_or(|group| group.text() == Some(route::GATEWAY_GROUP));
    if known { named_ref(node, namespace, position) } else { None }
}

/// The resource that a reference names: by `name`, and `namespace` or else that of the referring resource.
fn named_ref(node: &Node, namespace: &str, position: usize) -> Option<Placed<ServiceName>> {
    let name = node.field("name")?;
    let namespace = match node.field("namespace") {
        Some(other) => other.text()?,
        None => namespace,
    };
    let service = ServiceName::new(namespace, name.text()?).ok()?;
    Some(Placed { value: service, at: name.at, position })
}

/// The text in a field, and its place.
fn placed_text(node: &Node, name: &str) -> Option<Placed<String>> {
    let field = node.field(name)?;
    Some(Placed { value: field.text()?.to_owned(), at: field.at, position: 0 })
}

/// The value read from a field, and its place.
fn placed<T>(node: &Node, name: &str, value: T) -> Placed<T> {
    Placed { value, at: node.field(name).map_or(node.at, |field| field.at), position: 0 }
}

/// The port in a field, and its place.
fn placed_port(node: &Node, name: &str) -> Option<Placed<u16>> {
    let field = node.field(name)?;
    Some(Placed { value: port(field)?, at: field.at, position: 0 })
}

fn port(node: &Node) -> Option<u16> {
    node.integer().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

fn weight(node: &Node) -> u32 {
    node.field("weight").and_then(Node::integer).and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1)
}
