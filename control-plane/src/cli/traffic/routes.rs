//! Where one version sends requests.

use std::collections::{BTreeMap, HashSet};

use http::HeaderName;
use outrigger_snapshot::hosts::Hosts;
use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::policy::{Backend, Filter, Policy, Rule};
use outrigger_snapshot::router::{GatewayRoutes, Miss, Router, RouterError, RuleSpec};

use super::line::Asked;
use crate::cli::explain::source::Explained;
use crate::cli::output::Failed;

/// Where requests go, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// To the destination of this number.
    Rule(usize),
    /// Nowhere: the proxy answers 404.
    Nowhere(Nowhere),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Nowhere {
    Host,
    Port,
    Rule,
}

impl From<Miss> for Nowhere {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::Host => Self::Host,
            Miss::Port => Self::Port,
            Miss::Rule => Self::Rule,
        }
    }
}

/// What becomes of the requests that meet a rule.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Destination {
    /// The rule's name; of a port without rules, its cluster's.
    pub(super) rule: String,
    /// Each with its weight; those without a share are left out.
    pub(super) backends: BTreeMap<ClusterName, u64>,
    /// How each is used: timeouts, retries, and what else policies say.
    uses: Vec<Option<Backend>>,
    whole: Option<Rule>,
}

pub(super) struct Routes {
    /// In words, whose they are.
    pub(super) origin: String,
    destinations: Vec<Destination>,
    table: Table,
    headers: HashSet<HeaderName>,
}

enum Table {
    Sidecar(Router<usize>),
    /// By port.
    Gateway(BTreeMap<u16, Hosts<GatewayRoutes<usize>>>),
}

impl Routes {
    pub(super) fn new(version: &Explained) -> Result<Self, Failed> {
        let (policy, namespace) = (&version.content.policy, version.scope.namespace());
        let mut destinations = Vec::new();
        let table = build(policy, namespace, &mut destinations)
            .map_err(|error| Failed::problem("the policy can't be used", &error))?;
        let rules = destinations.iter().filter_map(|destination: &Destination| destination.whole.as_ref());
        let matches = rules.flat_map(|rule| &rule.matches);
        let names = matches.flat_map(|route_match| &route_match.headers);
        let headers = names.filter_map(|asked| HeaderName::from_bytes(asked.name.as_bytes()).ok()).collect();
        Ok(Self { origin: version.origin.clone(), destinations, table, headers })
    }

    /// Headers that rules ask for.
    pub(super) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter()
    }

    pub(super) fn find(&self, asked: &Asked) -> Outcome {
        let found = match &self.table {
            Table::Sidecar(router) => router.find(&asked.head).map(|found| *found.rule),
            Table::Gateway(ports) => {
                let hosts = ports.get(&asked.port).ok_or(Miss::Port);
                let host = asked.head.authority().host();
                let routes = hosts.and_then(|hosts| hosts.find(Some(host)).ok_or(Miss::Host));
                routes.and_then(|routes| routes.find(&asked.head)).map(|(rule, _)| *rule)
            }
        };
        found.map_or_else(|miss| Outcome::Nowhere(miss.into()), Outcome::Rule)
    }

    pub(super) fn destination(&self, number: usize) -> Option<&Destination> {
        self.destinations.get(number)
    }
}

fn build(
    policy: &Policy,
    namespace: &str,
    destinations: &mut Vec<Destination>,
) -> Result<Table, RouterError> {
    let mut add = |destination| {
        destinations.push(destination);
        destinations.len() - 1
    };
    let Some(gateway) = &policy.gateway else {
        let payload = |spec: RuleSpec<'_>| match spec.rule {
            Some(rule) => add(Destination::of(rule, policy)),
            None => add(Destination::all(spec.own_cluster(), policy)),
        };
        return Router::build(policy, namespace, payload).map(Table::Sidecar);
    };
    let mut ports: BTreeMap<u16, Hosts<GatewayRoutes<usize>>> = BTreeMap::new();
    for listener in gateway.listeners.iter().filter(|listener| listener.protocol.is_http()) {
        let routes = GatewayRoutes::build(&listener.routes, |rule| add(Destination::of(rule, policy)))?;
        ports.entry(listener.port).or_default().insert(listener.hostname.as_deref(), routes);
    }
    Ok(Table::Gateway(ports))
}

impl Destination {
    fn of(rule: &Rule, policy: &Policy) -> Self {
        let mut backends = BTreeMap::new();
        for backend in rule.backends.iter().filter(|backend| backend.weight > 0) {
            *backends.entry(backend.service.cluster(backend.port)).or_default() += u64::from(backend.weight);
        }
        let uses = uses(&backends, policy);
        Self { rule: rule.name.clone(), backends, uses, whole: Some(rule.clone()) }
    }

    fn all(cluster: ClusterName, policy: &Policy) -> Self {
        let (rule, backends) = (cluster.to_string(), BTreeMap::from([(cluster, 1)]));
        let uses = uses(&backends, policy);
        Self { rule, backends, uses, whole: None }
    }

    fn total(&self) -> u64 {
        self.backends.values().sum()
    }

    /// Whether both send the same share to each cluster, whatever the weights are that say so.
    pub(super) fn shares_equal(&self, other: &Self) -> bool {
        let (own, others) = (u128::from(self.total()), u128::from(other.total()));
        let redirects = |of: &Self| {
            let filters = of.whole.iter().flat_map(|rule| &rule.filters);
            filters.filter(|filter| matches!(filter, Filter::Redirect(_))).cloned().collect::<Vec<_>>()
        };
        self.backends.len() == other.backends.len()
            && self.backends.iter().zip(&other.backends).all(|((cluster, weight), (same, theirs))| {
                cluster == same && u128::from(*weight) * others == u128::from(*theirs) * own
            })
            && redirects(self) == redirects(other)
    }

    /// Whether everything else is the same that rules say: matches aside, which do not matter to who has met one.
    pub(super) fn settings_equal(&self, other: &Self) -> bool {
        let bare = |rule: &Rule| Rule {
            name: String::new(),
            matches: Vec::new(),
            backends: rule.backends.iter().map(|backend| bare_backend(backend.clone())).collect(),
            ..rule.clone()
        };
        self.uses == other.uses && self.whole.as_ref().map(bare) == other.whole.as_ref().map(bare)
    }

    /// Where it sends requests, in words.
    pub(super) fn text(&self) -> String {
        let total = self.total();
        let share = |(cluster, weight): (&ClusterName, &u64)| match *weight == total {
            true => cluster.to_string(),
            false => format!("{cluster} {:.1} %", *weight as f64 * 100.0 / total as f64),
        };
        let shares: Vec<String> = self.backends.iter().map(share).collect();
        let redirects = self
            .whole
            .iter()
            .any(|rule| rule.filters.iter().any(|filter| matches!(filter, Filter::Redirect(_))));
        let to = match (shares.is_empty(), redirects) {
            (_, true) => "a redirect".to_owned(),
            (true, false) => "no backend".to_owned(),
            (false, false) => shares.join(", "),
        };
        format!("{} to {to}", self.rule)
    }
}

fn uses(backends: &BTreeMap<ClusterName, u64>, policy: &Policy) -> Vec<Option<Backend>> {
    let of = |cluster: &ClusterName| {
        let service = policy.services.get(&cluster.service)?;
        service.ports.iter().find(|port| port.port == cluster.port).map(|port| port.backend.clone())
    };
    backends.keys().map(of).collect()
}

/// What weights say is compared as shares.
fn bare_backend(
    backend: outrigger_snapshot::policy::WeightedBackend,
) -> outrigger_snapshot::policy::WeightedBackend {
    outrigger_snapshot::policy::WeightedBackend { weight: 0, ..backend }
}

impl Nowhere {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Host => "nowhere: no service is called by this host",
            Self::Port => "nowhere: there is no such HTTP port",
            Self::Rule => "nowhere: no rule matches",
        }
    }
}
