//! Resources as types. What refers to something else knows where it was written, so that a problem found later can say so.

use std::net::IpAddr;

use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{Balance, Filter, OnEmpty, Protocol, RouteMatch};

use super::problem::Spot;

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
    HttpRoute(HttpRoute),
    BackendPolicy(BackendPolicy),
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
}

#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) target_port: u16,
    pub(crate) protocol: Protocol,
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

#[derive(Debug)]
pub(crate) struct HttpRoute {
    pub(crate) parents: Vec<Parent>,
    pub(crate) rules: Vec<Rule>,
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
    pub(crate) filters: Vec<Filter>,
    pub(crate) request_timeout_ms: Option<u64>,
    pub(crate) try_timeout_ms: Option<u64>,
    pub(crate) backends: Vec<BackendRef>,
}

#[derive(Debug)]
pub(crate) struct BackendRef {
    pub(crate) service: Placed<ServiceName>,
    pub(crate) port: Placed<u16>,
    pub(crate) weight: u32,
    pub(crate) filters: Vec<Filter>,
}

#[derive(Debug)]
pub(crate) struct BackendPolicy {
    pub(crate) targets: Vec<Target>,
    pub(crate) settings: Settings,
}

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) service: Placed<ServiceName>,
    pub(crate) section: Option<Placed<String>>,
}

/// What a policy sets; `None` is left to the wider policy or the default.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) balance: Option<Balance>,
    pub(crate) connect_ms: Option<u64>,
    pub(crate) request_ms: Option<u64>,
    pub(crate) try_ms: Option<u64>,
    pub(crate) first_byte_ms: Option<u64>,
    pub(crate) idle_ms: Option<u64>,
    pub(crate) body_stall_ms: Option<u64>,
    pub(crate) connections: Option<u32>,
    pub(crate) pending: Option<u32>,
    pub(crate) requests: Option<u32>,
    pub(crate) on_empty: Option<OnEmpty>,
}
