//! The router: request head → rule. The proxy, `explain` and `diff` run this very code.
//!
//! Finding a host is one hash look-up; within a host come exact paths (a hash), regular expressions (in order) and prefixes
//! (a hash per path element), so that the cost grows neither with the number of hosts nor with that of plain routes.

use std::collections::HashMap;

use crate::head::{Authority, RequestHead};
use crate::name::{ClusterName, ServiceName};
use crate::policy::{Policy, Port, Rule, Service};

pub use conditions::{ConditionError, check_regex};
pub use gateway::GatewayRoutes;
use table::Table;
pub use trial::{Trial, Unmet, gateway_trials, trials};

mod conditions;
mod gateway;
mod table;
#[cfg(test)]
mod tests;
mod trial;

/// Routes of a scope, each carrying an `R`: what the owner of the router wants to know of a rule.
#[derive(Debug)]
pub struct Router<R> {
    /// By bare name; then by namespace.
    names: HashMap<Box<str>, Vec<Host<R>>>,
    /// By further host name; index into `names`.
    hosts: HashMap<Box<str>, (Box<str>, usize)>,
    /// The namespace in which a bare name is looked up.
    namespace: Box<str>,
}

#[derive(Debug)]
struct Host<R> {
    service: ServiceName,
    /// Ports that carry HTTP, the one for requests that name no port first.
    ports: Vec<(u16, Table<R>)>,
}

/// A rule as the router hands it to its owner while it is built.
#[derive(Debug, Clone, Copy)]
pub struct RuleSpec<'a> {
    /// The service that was called.
    pub service: &'a ServiceName,
    /// The port that was called.
    pub port: &'a Port,
    /// The rule; `None`: the port has no routes, everything goes to its own cluster.
    pub rule: Option<&'a Rule>,
}

impl RuleSpec<'_> {
    /// The cluster of the port that was called.
    pub fn own_cluster(&self) -> ClusterName {
        self.service.cluster(self.port.port)
    }
}

/// What was found.
#[derive(Debug)]
pub struct Found<'a, R> {
    /// The service that was called.
    pub service: &'a ServiceName,
    /// The rule's payload.
    pub rule: &'a R,
    /// The path prefix that matched, without a trailing slash; `None` unless the match was on a prefix.
    pub prefix: Option<&'a str>,
}

/// Why nothing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Miss {
    /// No service is called by this host.
    #[error("no service is called by this host")]
    Host,
    /// The service has no such HTTP port.
    #[error("the service has no HTTP port of this number")]
    Port,
    /// The service has routes and none of their rules matches.
    #[error("no rule matches the request")]
    Rule,
}

/// Why a policy makes no router.
#[derive(Debug, thiserror::Error)]
#[error("rule {rule}: {error}")]
pub struct RouterError {
    /// The rule's name.
    pub rule: String,
    /// What is wrong with it.
    pub error: ConditionError,
}

impl<R> Router<R> {
    /// Builds the router of a scope in `namespace`; `payload` is called once for each rule.
    pub fn build(
        policy: &Policy,
        namespace: &str,
        mut payload: impl FnMut(RuleSpec<'_>) -> R,
    ) -> Result<Self, RouterError> {
        let mut names: HashMap<Box<str>, Vec<Host<R>>> = HashMap::with_capacity(policy.services.len());
        let mut hosts = HashMap::new();
        for (service, spec) in &policy.services {
            let host = build_host(service, spec, &mut payload)?;
            let bucket = names.entry(service.name().into()).or_default();
            for further in &spec.hosts {
                hosts.insert(further.as_str().into(), (service.name().into(), bucket.len()));
            }
            bucket.push(host);
        }
        Ok(Self { names, hosts, namespace: namespace.into() })
    }

    /// The rule for a request.
    pub fn find(&self, head: &RequestHead) -> Result<Found<'_, R>, Miss> {
        let authority = head.authority();
        self.host(authority.host()).ok_or(Miss::Host)?.find(authority.port(), head)
    }

    /// The rule for a request that is for this port of a service, whatever host it names.
    pub fn find_at(
        &self,
        service: &ServiceName,
        port: u16,
        head: &RequestHead,
    ) -> Result<Found<'_, R>, Miss> {
        let mut hosts = self.names.get(service.name()).into_iter().flatten();
        hosts.find(|host| host.service == *service).ok_or(Miss::Host)?.find(Some(port), head)
    }

    /// Whether a service is called by this host, and has this HTTP port.
    pub fn knows(&self, authority: &Authority) -> bool {
        self.host(authority.host()).is_some_and(|host| host.port(authority.port()).is_some())
    }

    /// The service that is called by this host.
    pub fn service(&self, host: &str) -> Option<&ServiceName> {
        self.host(host).map(|host| &host.service)
    }

    /// A service by host: one of its further names, `n`, `n.ns` or `n.ns.svc`.
    fn host(&self, host: &str) -> Option<&Host<R>> {
        if let Some((name, index)) = self.hosts.get(host) {
            return self.names.get(name)?.get(*index);
        }
        let (name, namespace) = match host.split_once('.') {
            None => (host, &*self.namespace),
            Some((name, rest)) => (name, rest.strip_suffix(".svc").unwrap_or(rest)),
        };
        self.names.get(name)?.iter().find(|host| host.service.namespace() == namespace)
    }
}

impl<R> Host<R> {
    /// The routes of a port; of the first, if none is named.
    fn port(&self, port: Option<u16>) -> Option<&Table<R>> {
        let named = |port| self.ports.iter().find(|(number, _)| *number == port);
        port.map_or(self.ports.first(), named).map(|(_, table)| table)
    }

    fn find(&self, port: Option<u16>, head: &RequestHead) -> Result<Found<'_, R>, Miss> {
        let (rule, prefix) = self.port(port).ok_or(Miss::Port)?.find(head).ok_or(Miss::Rule)?;
        Ok(Found { service: &self.service, rule, prefix })
    }
}

fn build_host<R>(
    name: &ServiceName,
    service: &Service,
    payload: &mut impl FnMut(RuleSpec<'_>) -> R,
) -> Result<Host<R>, RouterError> {
    let mut ports = Vec::new();
    for port in service.ports.iter().filter(|port| port.protocol.is_http()) {
        let spec = |rule| RuleSpec { service: name, port, rule };
        let table = match &port.rules[..] {
            [] => Table::everything(payload(spec(None))),
            rules => Table::build(rules.iter().map(|rule| (payload(spec(Some(rule))), rule)))?,
        };
        ports.push((port.port, table));
    }
    // A request without a port means port 80 where there is one, else the first.
    if let Some(index) = ports.iter().position(|(number, _)| *number == 80) {
        ports.swap(0, index);
    }
    Ok(Host { service: name.clone(), ports })
}
