//! Gateways, what routes say of them, and what is asked of servers outside the mesh.

use outrigger_snapshot::facts::AltName;
use outrigger_snapshot::hosts::intersection;
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{CertificateName, ListenerProtocol, Termination};

use super::{Carried, Placed, Route, Target};

#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) listeners: Vec<Listener>,
    /// Whether `listeners` are all that were written; those that could not be read are left out.
    pub(crate) whole: bool,
    pub(crate) authorities: AuthorityRefs,
}

/// Every reference to authorities, and the field that it stands in.
pub(crate) type AuthorityRefs = Vec<(String, Placed<CertificateName>)>;

#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protocol: ListenerProtocol,
    pub(crate) hostname: Option<String>,
    /// Of HTTPS.
    pub(crate) tls: Option<Termination>,
    /// Whether routes of other namespaces may attach.
    pub(crate) all_namespaces: bool,
    /// `None`: all that the protocol takes.
    pub(crate) kinds: Option<Vec<Carried>>,
}

impl Listener {
    /// Whether a route of this kind may attach.
    pub(crate) fn takes(&self, carried: Carried) -> bool {
        let protocol = match carried {
            Carried::Http | Carried::Grpc => self.protocol.is_http(),
            Carried::Tcp => self.protocol == ListenerProtocol::Tcp,
            Carried::Tls => self.protocol == ListenerProtocol::Tls,
        };
        protocol && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&carried))
    }

    /// The hosts for which a route of `namespace` takes what comes to this listener of a gateway in `home`; empty: all. `None`: it takes
    /// nothing of it.
    pub(crate) fn attach(&self, route: &Route, namespace: &str, home: &str) -> Option<Vec<String>> {
        if !self.takes(route.carried) || namespace != home && !self.all_namespaces {
            return None;
        }
        let own = self.hostname.as_deref();
        if route.hostnames.is_empty() || route.carried == Carried::Tcp {
            return Some(own.map(str::to_owned).into_iter().collect());
        }
        let both = |host: &Placed<String>| intersection(own, Some(&host.value)).flatten().map(str::to_owned);
        let mut hosts: Vec<String> = route.hostnames.iter().filter_map(both).collect();
        hosts.sort();
        hosts.dedup();
        (!hosts.is_empty()).then_some(hosts)
    }
}

/// A gateway that a route attaches to.
#[derive(Debug)]
pub(crate) struct GatewayRef {
    pub(crate) gateway: Placed<ServiceName>,
    pub(crate) section: Option<Placed<String>>,
    pub(crate) port: Option<Placed<u16>>,
}

impl GatewayRef {
    /// Whether a listener is meant.
    pub(crate) fn means(&self, listener: &Listener) -> bool {
        self.section.as_ref().is_none_or(|section| section.value == listener.name)
            && self.port.as_ref().is_none_or(|port| port.value == listener.port)
    }
}

/// Certificates of authorities.
#[derive(Debug)]
pub(crate) struct ConfigMap {
    /// `None`: there is nothing of the kind in it.
    pub(crate) authorities: Option<String>,
}

/// How services outside the mesh are called.
#[derive(Debug)]
pub(crate) struct BackendTlsPolicy {
    pub(crate) targets: Vec<Target>,
    pub(crate) hostname: String,
    pub(crate) names: Vec<AltName>,
    /// Empty: whom the proxy's system believes.
    pub(crate) authorities: Vec<Placed<CertificateName>>,
}
