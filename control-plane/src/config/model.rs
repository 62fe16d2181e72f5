//! Resources as types. What refers to something else knows where it was written, so that a problem found later can say so.

use std::collections::BTreeMap;
use std::net::IpAddr;

use outrigger_snapshot::facts::Trust;
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{Filter, Mtls, Protocol, ProxyProtocol, RouteMatch, RuleRetry};

use super::problem::Spot;

pub(crate) use gateway::{AuthorityRefs, BackendTlsPolicy, ConfigMap, Gateway, GatewayRef, Listener};
pub(crate) use inbound::InboundSettings;
pub(crate) use settings::{
    BreakerSettings, EjectionSettings, HealthCheckSettings, HedgeSettings, RetrySettings, Settings, Switch,
};
pub(crate) use telemetry::TelemetrySettings;

mod gateway;
mod inbound;
mod settings;
mod telemetry;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) at: Spot,
    /// Its index in its list.
    pub(crate) position: usize,
}

/// What is wanted, by kind.
#[derive(Debug)]
pub(crate) enum Spec {
    Service(Service),
    HttpRoute(Route),
    GrpcRoute(Route),
    TcpRoute(Route),
    TlsRoute(Route),
    BackendPolicy(BackendPolicy),
    XBackendTrafficPolicy(BackendPolicy),
    InboundPolicy(InboundPolicy),
    TelemetryPolicy(TelemetryPolicy),
    RouteFilter(RouteFilter),
    Mesh(Mesh),
    Gateway(Gateway),
    BackendTlsPolicy(BackendTlsPolicy),
    ConfigMap(ConfigMap),
}

impl Spec {
    /// What it says of how services are called, if it is a policy about that.
    pub(crate) fn backend_policy(&self) -> Option<&BackendPolicy> {
        match self {
            Self::BackendPolicy(policy) | Self::XBackendTrafficPolicy(policy) => Some(policy),
            _ => None,
        }
    }

    /// What it says of requests that come to services, if it is a policy about that.
    pub(crate) fn inbound_policy(&self) -> Option<&InboundPolicy> {
        match self {
            Self::InboundPolicy(policy) => Some(policy),
            _ => None,
        }
    }

    /// What it says is told of requests to services, if it is a policy about that.
    pub(crate) fn telemetry_policy(&self) -> Option<&TelemetryPolicy> {
        match self {
            Self::TelemetryPolicy(policy) => Some(policy),
            _ => None,
        }
    }

    /// What it is attached to, if it is a policy.
    pub(crate) fn targets(&self) -> &[Target] {
        match self {
            Self::BackendPolicy(policy) | Self::XBackendTrafficPolicy(policy) => &policy.targets,
            Self::InboundPolicy(policy) => &policy.targets,
            Self::TelemetryPolicy(policy) => &policy.targets,
            Self::BackendTlsPolicy(policy) => &policy.targets,
            Self::Service(_)
            | Self::HttpRoute(_)
            | Self::GrpcRoute(_)
            | Self::TcpRoute(_)
            | Self::TlsRoute(_)
            | Self::RouteFilter(_)
            | Self::Gateway(_)
            | Self::ConfigMap(_)
            | Self::Mesh(_) => &[],
        }
    }

    /// What it says as a route, if it is one.
    pub(crate) fn route(&self) -> Option<&Route> {
        match self {
            Self::HttpRoute(route)
            | Self::GrpcRoute(route)
            | Self::TcpRoute(route)
            | Self::TlsRoute(route) => Some(route),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) hosts: Vec<Placed<String>>,
    /// `None`: it may call every service.
    pub(crate) uses: Option<Vec<Placed<ServiceName>>>,
    pub(crate) ports: Vec<Port>,
    /// Whether `ports` are all that were written; those that could not be read are left out.
    pub(crate) ports_whole: bool,
    pub(crate) endpoints: Option<Endpoints>,
    /// What its sidecars ask of callers, `None` for nothing; absent, as the mesh says.
    pub(crate) mtls: Option<Placed<Option<Mtls>>>,
}

/// What holds for all services.
#[derive(Debug)]
pub(crate) struct Mesh {
    /// `None`: what was written cannot be used, which has been reported.
    pub(crate) trust: Option<Trust>,
    /// What sidecars ask of callers where their service says nothing; `None`: nothing.
    pub(crate) mtls: Option<Mtls>,
}

#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) target_port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
}

#[derive(Debug)]
pub(crate) enum Endpoints {
    Static(Vec<StaticEndpoint>),
    Dns { name: String, port: Option<u16> },
    Srv { name: String },
}

#[derive(Debug)]
pub(crate) struct StaticEndpoint {
    pub(crate) address: IpAddr,
    /// `None`: the port's target port.
    pub(crate) port: Option<u16>,
    pub(crate) weight: u32,
    pub(crate) zone: Option<String>,
}

/// An `HTTPRoute`, a `GRPCRoute`, a `TCPRoute` or a `TLSRoute`.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) carried: Carried,
    pub(crate) parents: Vec<Parent>,
    pub(crate) gateways: Vec<GatewayRef>,
    /// Without effect where the parent is a service, but for a `TLSRoute`.
    pub(crate) hostnames: Vec<Placed<String>>,
    pub(crate) rules: Vec<Rule>,
}

/// What a route is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    Http,
    Grpc,
    Tcp,
    Tls,
}

impl Carried {
    /// For a sentence.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Grpc => "gRPC",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }
}

impl Route {
    /// Whether ports of this protocol can be its parents.
    pub(crate) fn takes(&self, protocol: Protocol) -> bool {
        match self.carried {
            Carried::Http => protocol.is_http(),
            Carried::Grpc => matches!(protocol, Protocol::Http2 | Protocol::Grpc),
            Carried::Tcp => protocol == Protocol::Tcp,
            Carried::Tls => protocol == Protocol::Tls,
        }
    }

    /// What it takes, for a sentence.
    pub(crate) fn protocols(&self) -> &'static str {
        match self.carried {
            Carried::Http => "a port of protocol HTTP, HTTP2 or GRPC",
            Carried::Grpc => "a port of protocol GRPC or HTTP2",
            Carried::Tcp => "a port of protocol TCP",
            Carried::Tls => "a port of protocol TLS",
        }
    }

    /// Whether ports of this protocol can be its backends. Bytes that are not looked into may be TLS.
    pub(crate) fn leads_to(&self, protocol: Protocol) -> bool {
        match self.carried {
            Carried::Http | Carried::Grpc => self.takes(protocol),
            Carried::Tcp | Carried::Tls => matches!(protocol, Protocol::Tcp | Protocol::Tls),
        }
    }

    /// What it leads to, for a sentence.
    pub(crate) fn backend_protocols(&self) -> &'static str {
        match self.carried {
            Carried::Http | Carried::Grpc => self.protocols(),
            Carried::Tcp | Carried::Tls => "a port of protocol TCP or TLS",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Parent {
    pub(crate) service: Placed<ServiceName>,
    pub(crate) section: Option<Placed<String>>,
    pub(crate) port: Option<Placed<u16>>,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) position: usize,
    /// The name that was written, or else the position.
    pub(crate) name: String,
    pub(crate) matches: Vec<RouteMatch>,
    pub(crate) filters: Vec<RuleFilter>,
    pub(crate) request_timeout_ms: Option<Placed<u64>>,
    pub(crate) try_timeout_ms: Option<Placed<u64>>,
    pub(crate) retry: Option<RuleRetry>,
    pub(crate) backends: Vec<BackendRef>,
}

#[derive(Debug)]
pub(crate) struct BackendRef {
    pub(crate) service: Placed<ServiceName>,
    pub(crate) port: Placed<u16>,
    pub(crate) weight: u32,
    pub(crate) filters: Vec<RuleFilter>,
}

/// A filter of a rule or a backend.
#[derive(Debug)]
pub(crate) enum RuleFilter {
    /// One that the route says itself.
    Own(Filter),
    /// A `RouteFilter` in the namespace of the route, by name.
    Extension(Placed<String>),
}

/// A filter that routes name.
#[derive(Debug)]
pub(crate) struct RouteFilter {
    /// `None` if it could not be read.
    pub(crate) filter: Option<Filter>,
}

/// How services are called.
pub(crate) type BackendPolicy = Policy<Settings>;
/// What is done about requests that come to services.
pub(crate) type InboundPolicy = Policy<InboundSettings>;
/// What is told of requests to services.
pub(crate) type TelemetryPolicy = Policy<TelemetrySettings>;

#[derive(Debug)]
pub(crate) struct Policy<S> {
    pub(crate) targets: Vec<Target>,
    pub(crate) settings: S,
    /// Where each field below `spec` was written, by its path there, like `retry.backoff.base`.
    pub(crate) written: BTreeMap<String, Spot>,
}

#[derive(Debug)]
pub(crate) struct Target {
    /// Or the gateway, which has a name that no service has.
    pub(crate) service: Placed<ServiceName>,
    /// The port, or the listener, by name.
    pub(crate) section: Option<Placed<String>>,
    pub(crate) is_gateway: bool,
}
