//! One thing that an operator wants: a kind, a name, and what is wanted.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use outrigger_snapshot::record::Serial;

use super::model::Spec;
use super::problem::{Problem, Spot};
use super::shape::{
    Object, Shape, backend_policy, backend_tls_policy, config_map, connection_route, gateway, grpc_route,
    http_route, ignored, inbound_policy, mesh, required, resource, route_filter, service, telemetry_policy,
    traffic_policy,
};
use super::text::Text;

/// The kinds of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `outrigger.dev/v1alpha1`: ports and endpoints.
    Service,
    /// `gateway.networking.k8s.io/v1`: where requests go.
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
    /// `gateway.networking.k8s.io/v1`: where gRPC requests go.
    #[serde(rename = "GRPCRoute")]
    GrpcRoute,
    /// `gateway.networking.k8s.io/v1`: where connections go that are not looked into.
    #[serde(rename = "TCPRoute")]
    TcpRoute,
    /// `gateway.networking.k8s.io/v1`: where TLS connections go, by the host that they are for.
    #[serde(rename = "TLSRoute")]
    TlsRoute,
    /// `outrigger.dev/v1alpha1`: how a service is called.
    BackendPolicy,
    /// `gateway.networking.x-k8s.io/v1alpha1`: what retries may add to the load of a service.
    XBackendTrafficPolicy,
    /// `outrigger.dev/v1alpha1`: what is done about requests that come to a service.
    InboundPolicy,
    /// `outrigger.dev/v1alpha1`: what is told of requests to a service.
    TelemetryPolicy,
    /// `outrigger.dev/v1alpha1`: a filter that routes name.
    RouteFilter,
    /// `outrigger.dev/v1alpha1`: what holds for all services.
    Mesh,
    /// `gateway.networking.k8s.io/v1`: what strangers may call.
    Gateway,
    /// `gateway.networking.k8s.io/v1`: services that are called by TLS and are not of the mesh.
    #[serde(rename = "BackendTLSPolicy")]
    BackendTlsPolicy,
    /// `v1`: certificates of authorities.
    ConfigMap,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Service,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::TcpRoute,
        Self::TlsRoute,
        Self::BackendPolicy,
        Self::XBackendTrafficPolicy,
        Self::InboundPolicy,
        Self::TelemetryPolicy,
        Self::RouteFilter,
        Self::Mesh,
        Self::Gateway,
        Self::BackendTlsPolicy,
        Self::ConfigMap,
    ];

    /// The name in `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::TcpRoute => "TCPRoute",
            Self::TlsRoute => "TLSRoute",
            Self::BackendPolicy => "BackendPolicy",
            Self::XBackendTrafficPolicy => "XBackendTrafficPolicy",
            Self::InboundPolicy => "InboundPolicy",
            Self::TelemetryPolicy => "TelemetryPolicy",
            Self::RouteFilter => "RouteFilter",
            Self::Mesh => "Mesh",
            Self::Gateway => "Gateway",
            Self::BackendTlsPolicy => "BackendTLSPolicy",
            Self::ConfigMap => "ConfigMap",
        }
    }

    /// The text in `apiVersion`.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Service
            | Self::BackendPolicy
            | Self::InboundPolicy
            | Self::TelemetryPolicy
            | Self::RouteFilter
            | Self::Mesh => "outrigger.dev/v1alpha1",
            Self::HttpRoute
            | Self::GrpcRoute
            | Self::TcpRoute
            | Self::TlsRoute
            | Self::Gateway
            | Self::BackendTlsPolicy => "gateway.networking.k8s.io/v1",
            Self::ConfigMap => "v1",
            Self::XBackendTrafficPolicy => "gateway.networking.x-k8s.io/v1alpha1",
        }
    }

    /// The kind that a person means by `text`: any case, singular or plural.
    pub fn named(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        Self::ALL.into_iter().find(|kind| {
            let name = kind.name().to_ascii_lowercase();
            let plural = name.strip_suffix('y').map_or(format!("{name}s"), |stem| format!("{stem}ies"));
            text == name || text == plural || text == format!("{name}es")
        })
    }

    /// The shape of a whole resource.
    pub(crate) fn shape(self) -> &'static Object {
        macro_rules! whole {
            ($api_version:literal, $kind:literal, $spec:expr) => {{
                static WHOLE: Object = Object {
                    fields: &[
                        required(
                            "apiVersion",
                            Shape::Text(Text::Only($api_version)),
                            concat!("`", $api_version, "`"),
                        ),
                        required("kind", Shape::Text(Text::Only($kind)), concat!("`", $kind, "`")),
                        required("metadata", Shape::Object(&resource::METADATA), "name and namespace"),
                        required("spec", Shape::Object(&$spec), "the settings of the resource"),
                        ignored("status", "written by a server"),
                    ],
                };
                &WHOLE
            }};
        }
        match self {
            Self::Service => whole!("outrigger.dev/v1alpha1", "Service", service::SPEC),
            Self::HttpRoute => whole!("gateway.networking.k8s.io/v1", "HTTPRoute", http_route::SPEC),
            Self::GrpcRoute => whole!("gateway.networking.k8s.io/v1", "GRPCRoute", grpc_route::SPEC),
            Self::TcpRoute => whole!("gateway.networking.k8s.io/v1", "TCPRoute", connection_route::TCP_SPEC),
            Self::TlsRoute => whole!("gateway.networking.k8s.io/v1", "TLSRoute", connection_route::TLS_SPEC),
            Self::BackendPolicy => whole!("outrigger.dev/v1alpha1", "BackendPolicy", backend_policy::SPEC),
            Self::XBackendTrafficPolicy => {
                whole!("gateway.networking.x-k8s.io/v1alpha1", "XBackendTrafficPolicy", traffic_policy::SPEC)
            }
            Self::InboundPolicy => whole!("outrigger.dev/v1alpha1", "InboundPolicy", inbound_policy::SPEC),
            Self::TelemetryPolicy => {
                whole!("outrigger.dev/v1alpha1", "TelemetryPolicy", telemetry_policy::SPEC)
            }
            Self::RouteFilter => whole!("outrigger.dev/v1alpha1", "RouteFilter", route_filter::SPEC),
            Self::Mesh => whole!("outrigger.dev/v1alpha1", "Mesh", mesh::SPEC),
            Self::Gateway => whole!("gateway.networking.k8s.io/v1", "Gateway", gateway::SPEC),
            Self::BackendTlsPolicy => {
                whole!("gateway.networking.k8s.io/v1", "BackendTLSPolicy", backend_tls_policy::SPEC)
            }
            Self::ConfigMap => &config_map::WHOLE,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What identifies a resource. Written `KIND NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The kind.
    pub kind: Kind,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// The annotation in which `outrigger get` notes the revision that a resource was read at. It is never stored.
pub const REVISION_ANNOTATION: &str = "outrigger.dev/revision";

/// A resource that is well-formed in itself. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Resource(Arc<Parts>);

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) key: Key,
    pub(crate) value: Value,
    pub(crate) spec: Spec,
    /// The file it stands in.
    pub(crate) file: String,
    /// Where its name stands there.
    pub(crate) at: Spot,
    /// The revision that it was read at, if it says so.
    pub(crate) base: Option<Serial>,
}

impl Resource {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Kind, namespace and name.
    pub fn key(&self) -> Key {
        self.0.key.clone()
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.0.key.kind
    }

    /// The namespace; `default` where none was written.
    pub fn namespace(&self) -> &str {
        &self.0.key.namespace
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0.key.name
    }

    /// What was written, without fields that servers own, with the namespace. This is what is stored;
    /// [`Resource::from_value`] reads it.
    pub fn value(&self) -> &Value {
        &self.0.value
    }

    /// The revision that it was read at before it was edited, if it says so ([`REVISION_ANNOTATION`]).
    pub fn base(&self) -> Option<Serial> {
        self.0.base
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.0.spec
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    /// The problem that a resource to be removed is not there.
    pub(crate) fn absent(&self) -> Problem {
        self.problem(self.0.at, "metadata.name", format!("there is no {}", self.key()))
            .expected("a resource that is in the mesh")
    }

    pub(crate) fn problem(&self, at: Spot, field: impl fmt::Display, message: impl Into<String>) -> Problem {
        Problem::new(&self.0.file, at, field, message)
    }
}

impl PartialEq for Resource {
    /// Equal in content, wherever it was written.
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key && self.0.value == other.0.value
    }
}
