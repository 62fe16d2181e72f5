//! A plan: the executable form of a snapshot. Workers read the current one; a request resolves once and then holds its rule and its
//! endpoint, never the plan, so that a stream of three days pins nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use outrigger_certs::trust::TrustBundle;
use outrigger_certs::web::Shown;
use outrigger_filters::FilterChain;
use outrigger_filters::layer::Filters;
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::name::{ClusterName, ServiceName};
use outrigger_snapshot::policy::CertificateName;
use outrigger_snapshot::router::Router;

use self::connection::{ConnectionPorts, InboundPort};
use self::interception::Interception;
use crate::cluster::Cluster;
use crate::gate::Gate;
use crate::gateway::GatewayPorts;
use crate::health_check::asked::Asked;
use crate::overload::guard::Guard;
use crate::retry::RetryPolicy;
use crate::telemetry::detail::Detail;
use crate::telemetry::metrics::RequestStats;
use crate::termination::TlsListener;
use crate::trust::Trusted;
use crate::upstream_tls::Tls;

pub use build::{Refusal, Resolved};
pub use local::{App, Local};

pub mod addresses;
pub mod build;
pub mod connection;
pub mod interception;
mod local;

/// Which snapshot a plan was built from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// The epoch of the release.
    pub epoch: u64,
    /// Its number.
    pub n: u64,
    /// The revision that it carries.
    pub revision: u64,
    /// Digest of the policy object.
    pub policy: String,
    /// Digest of the facts object.
    pub facts: String,
}

/// Everything the request path knows. Immutable, but for the endpoints of clusters that DNS names.
#[derive(Debug)]
pub struct Plan {
    /// Where it comes from.
    pub version: Version,
    /// The service beside which the proxy stands.
    pub service: ServiceName,
    /// Rules for the workload's own calls.
    pub outbound: Router<Arc<Rule>>,
    /// Rules for calls to the workload: by port of its service, the default first.
    pub inbound: Vec<(u16, Arc<Rule>)>,
    /// The same for connections to the workload that are not looked into.
    pub inbound_connections: Vec<Arc<InboundPort>>,
    /// Who is believed about identities.
    pub trust: Option<Arc<TrustBundle>>,
    /// Rules for the workload's own connections that are not looked into.
    pub connections: ConnectionPorts,
    /// What strangers may call, where this is a gateway.
    pub gateway: GatewayPorts,
    /// What there is to know of intercepted connections, where there are such.
    pub interception: Option<Box<Interception>>,
    /// Every cluster, by name.
    pub clusters: HashMap<ClusterName, Arc<Cluster>>,
    /// How finely metrics are told apart.
    pub detail: Detail,
}

impl Plan {
    /// The listeners that end TLS.
    pub fn tls_listeners(&self) -> impl Iterator<Item = &Arc<TlsListener>> {
        let own = self.endings().map(|(_, listener)| listener);
        self.gateway.values().flat_map(|port| port.tls_listeners()).chain(own)
    }

    /// How the TLS is ended of clients outside the mesh that come for `port` of the own service, if it is; where nothing says which port, on the
    /// terms of the first that has any.
    pub fn ending(&self, port: Option<u16>) -> Option<(u16, &Arc<TlsListener>)> {
        self.endings().find(|(number, _)| port.is_none_or(|port| port == *number))
    }

    fn endings(&self) -> impl Iterator<Item = (u16, &Arc<TlsListener>)> {
        self.inbound
            .iter()
            .filter_map(|(port, rule)| Some((*port, &rule.gate.as_ref()?.tls.as_ref()?.listener)))
    }

    /// What is shown to servers outside the mesh, and where what is in force is put.
    pub fn upstreams(&self) -> impl Iterator<Item = (&CertificateName, &Arc<Shown>)> {
        self.clusters.values().filter_map(|cluster| match &cluster.tls {
            Tls::Server(upstream) => upstream.shown(),
            Tls::None | Tls::Mesh => None,
        })
    }

    /// Every certificate that is shown to anyone outside the mesh.
    pub fn certificates(&self) -> BTreeSet<CertificateName> {
        let listeners = self.tls_listeners().flat_map(|listener| listener.certificates());
        listeners.chain(self.upstreams().map(|(name, _)| name)).cloned().collect()
    }
}

/// A rule, ready to run.
#[derive(Debug)]
pub struct Rule {
    /// What people see.
    pub name: Arc<str>,
    /// Run on every request of the rule.
    pub filters: FilterChain,
    /// For the whole request, in milliseconds, if the rule says so.
    pub request_timeout_ms: Option<u64>,
    /// For one try, in milliseconds, if the rule says so.
    pub try_timeout_ms: Option<u64>,
    /// Where it goes.
    pub destinations: Vec<Destination>,
    /// Sum of the destinations' weights.
    pub weight_total: u32,
    /// What protects the workload from overload, on a rule that leads to it.
    pub guard: Option<Guard>,
    /// Whose `outrigger-*` fields are believed, on a rule that leads to the workload.
    pub trusted: Trusted,
    /// Who may call, and what matters how much, on a rule that leads to the workload of a service that asks.
    pub gate: Option<Box<Gate>>,
    /// The requests that ask the workload for its health, on a rule that leads to it.
    pub health: Asked,
    /// Counts what no destination answered.
    pub undirected: Arc<RequestStats>,
}

/// One backend of a rule.
#[derive(Debug)]
pub struct Destination {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Run after the rule's own filters.
    pub filters: FilterChain,
    /// When its requests are sent again.
    pub retry: RetryPolicy,
    /// Its share of the rule's total.
    pub weight: u32,
    /// Counts its requests.
    pub stats: Arc<RequestStats>,
}

impl Rule {
    /// Whether a request is never shed.
    pub fn is_exempt(&self, head: &RequestHead) -> bool {
        self.health.is_path_of(head) || self.guard.as_ref().is_some_and(|guard| guard.lists(head))
    }

    /// Draws a destination by weight; `None` if none has any.
    pub fn draw(&self, random: u64) -> Option<u32> {
        let weights = self.destinations.iter().map(|destination| destination.weight);
        draw(weights, self.weight_total, random).map(|index| index as u32)
    }
}

/// The index of the weight that `random` falls on, of `total` in all; `None` if that is 0.
fn draw(mut weights: impl Iterator<Item = u32>, total: u32, random: u64) -> Option<usize> {
    let mut point = random.checked_rem(u64::from(total))? as u32;
    weights.position(|weight| {
        let hit = point < weight;
        point = point.saturating_sub(weight);
        hit
    })
}

/// A rule and which of its destinations was drawn: what a request holds on to.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Index into its destinations; `None` if none takes traffic.
    pub destination: Option<u32>,
}

impl Resolution {
    /// The destination.
    pub fn destination(&self) -> Option<&Destination> {
        self.destination.map(|index| &self.rule.destinations[index as usize])
    }

    /// Where the request is counted.
    pub fn stats(&self) -> &Arc<RequestStats> {
        self.destination().map_or(&self.rule.undirected, |destination| &destination.stats)
    }

    /// Whether any filter applies.
    pub fn has_filters(&self) -> bool {
        !self.rule.filters.is_empty()
            || self.destination().is_some_and(|destination| !destination.filters.is_empty())
    }
}

impl Filters for Resolution {
    fn chains(&self) -> impl DoubleEndedIterator<Item = &FilterChain> {
        std::iter::once(&self.rule.filters).chain(self.destination().map(|destination| &destination.filters))
    }
}
