//! Requests by which a port is asked whether it is well.

use http::Method;
use http::uri::PathAndQuery;
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy::{HealthCheck, Probe, Protocol};

use super::grpc;

/// Which requests those are, for one port; by default none.
#[derive(Debug, Default)]
pub struct Asked {
    /// What the port's health check fetches.
    page: Option<PathAndQuery>,
    /// Whether the port may serve gRPC's health service.
    grpc: bool,
}

impl Asked {
    /// Those of a port of this protocol, which is checked like this.
    pub fn of(protocol: Protocol, check: Option<&HealthCheck>) -> Self {
        let page = check.and_then(|check| match &check.probe {
            Probe::Http { path, .. } => path.parse().ok(),
            Probe::Grpc { .. } | Probe::Tcp => None,
        });
        Self { page, grpc: matches!(protocol, Protocol::Grpc | Protocol::Http2) }
    }

    /// Whether a request is for the path of the port's health check, or gRPC's health service, whatever else it says.
    pub fn is_path_of(&self, head: &RequestHead) -> bool {
        head.path().starts_with(grpc::SERVICE)
            || self.page.as_ref().is_some_and(|page| page.path() == head.path())
    }

    /// Whether a request is one that a health check sends: its method, path and query are the same.
    pub fn is_by(&self, head: &RequestHead) -> bool {
        match *head.method() {
            Method::GET => self.page.as_ref() == Some(head.path_and_query()),
            Method::POST => self.grpc && head.path() == grpc::PATH,
            _ => false,
        }
    }
}
