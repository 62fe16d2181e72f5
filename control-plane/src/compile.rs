//! Checked resources to the content of every scope. Pure and deterministic: the same resources give the same content, in
//! whatever order they were written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use outrigger_snapshot::facts::{Authorities, Facts, PeerCounts};
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{Policy, SCHEMA};
use outrigger_snapshot::validate::SEATS;

use crate::config::Checked;

pub use shrink::{EXCHANGED_MAX, Loss, SHRINK_PERCENT_MAX, Shrink, shrink};

mod backend;
mod cluster;
mod features;
mod gateway;
mod index;
mod shrink;
#[cfg(test)]
mod tests;

use index::Index;

/// The version of this compiler: raised whenever the same resources give other content.
pub const COMPILER_VERSION: u32 = 5;

/// The content of every scope. Scopes with equal content share it.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// Each different policy once.
    pub policies: Vec<Policy>,
    /// Each different set of facts once.
    pub facts: Vec<Facts>,
    /// What each scope has.
    pub scopes: BTreeMap<ServiceName, Scope>,
}

/// The content of a scope, as indexes into [`Compiled`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Into [`Compiled::policies`].
    pub policy: usize,
    /// Into [`Compiled::facts`].
    pub facts: usize,
}

impl Compiled {
    /// The policy of a scope.
    pub fn policy(&self, scope: &ServiceName) -> Option<&Policy> {
        self.policies.get(self.scopes.get(scope)?.policy)
    }

    /// The facts of a scope.
    pub fn facts(&self, scope: &ServiceName) -> Option<&Facts> {
        self.facts.get(self.scopes.get(scope)?.facts)
    }

    /// Has the facts say how many proxies call each cluster, and which sits where.
    pub fn count_peers(&mut self, counts: &PeerCounts) {
        for facts in &mut self.facts {
            for (name, cluster) in &mut facts.clusters {
                cluster.peers = counts.of(name);
                cluster.seats = counts.seats_of(name);
            }
            if facts.clusters.values().any(|cluster| !cluster.seats.is_empty()) {
                facts.features.insert(SEATS.to_owned());
            }
        }
    }
}

/// Which services a scope can call; `None`: all.
type Selection = Option<BTreeSet<ServiceName>>;

/// Compiles what has been checked. There is a scope for each service; it holds all services unless `uses` narrows it, and
/// then those, itself, and whatever their routes lead to.
pub fn compile(checked: &Checked) -> Compiled {
    let index = Index::new(checked);
    let mut compiled = Compiled { policies: Vec::new(), facts: Vec::new(), scopes: BTreeMap::new() };
    let mut policies: HashMap<(Option<&str>, Selection), usize> = HashMap::new();
    let mut facts: HashMap<Selection, usize> = HashMap::new();
    for (name, service) in &index.services {
        // Only a namespace with routes of its own to others' services sees anything else than the rest.
        let view = Some(name.namespace()).filter(|namespace| index.consumer_namespaces.contains(namespace));
        let uses = service.uses.as_ref();
        let selection = uses.map(|uses| {
            let named = uses.iter().map(|used| used.value.clone());
            closure(&index, view, named.chain([name.clone()]))
        });
        let facts = *facts.entry(selection.clone()).or_insert_with_key(|selection| {
            compiled.facts.push(compile_facts(&index, selection));
            compiled.facts.len() - 1
        });
        let policy = *policies.entry((view, selection)).or_insert_with_key(|(view, selection)| {
            compiled.policies.push(compile_policy(&index, *view, selection));
            compiled.policies.len() - 1
        });
        compiled.scopes.insert(name.clone(), Scope { policy, facts });
    }
    for (name, gateway) in &index.gateways {
        let policy = gateway::policy(&index, checked, name, gateway);
        let mut facts = compile_facts(&index, &Some(policy.services.keys().cloned().collect()));
        facts.authorities.extend(gateway::authorities(&index, gateway));
        let scope = Scope { policy: compiled.policies.len(), facts: compiled.facts.len() };
        compiled.policies.push(policy);
        compiled.facts.push(facts);
        compiled.scopes.insert(name.clone(), scope);
    }
    compiled
}

/// Some services and all that can be reached from them by routes.
fn closure(
    index: &Index<'_>,
    view: Option<&str>,
    start: impl Iterator<Item = ServiceName>,
) -> BTreeSet<ServiceName> {
    let mut open: Vec<ServiceName> = start.collect();
    let mut reached = BTreeSet::new();
    while let Some(name) = open.pop() {
        if !reached.insert(name.clone()) {
            continue;
        }
        let ports = index.services.get(&name).map_or(&[][..], |service| &service.ports);
        for attached in ports.iter().flat_map(|port| index.attached(view, &name, port.port)) {
            let backends = attached.rules.iter().flat_map(|rule| &rule.backends);
            open.extend(backends.map(|backend| backend.service.value.clone()));
        }
    }
    reached
}

fn selected(selection: &Selection, name: &ServiceName) -> bool {
    selection.as_ref().is_none_or(|selection| selection.contains(name))
}

fn compile_policy(index: &Index<'_>, view: Option<&str>, selection: &Selection) -> Policy {
    let services = index.services.iter().filter(|(name, _)| selected(selection, name));
    let services = services
        .map(|(name, service)| (name.clone(), backend::service(index, view, name, service)))
        .collect();
    Policy { schema: SCHEMA, features: features::of_policy(&services, None), services, gateway: None }
}

fn compile_facts(index: &Index<'_>, selection: &Selection) -> Facts {
    let services = || index.services.iter().filter(|(name, _)| selected(selection, name));
    let clusters: BTreeMap<_, _> =
        services().flat_map(|(name, service)| cluster::clusters(index, name, service)).collect();
    let trust = index.mesh.and_then(|mesh| mesh.trust.clone());
    let named = clusters.values().filter_map(|cluster| match &cluster.tls.as_ref()?.authorities {
        Authorities::Listed(names) => Some(names),
        Authorities::System => None,
    });
    let asked = services().flat_map(|(name, service)| index.asked_of_clients(name, service));
    let authorities = named.flatten().chain(asked).filter_map(|name| index.authority(name)).collect();
    let by_mesh =
        services().filter(|(_, service)| index.mtls(service).is_some()).map(|(_, service)| *service);
    let by_tls = clusters.values().any(|cluster| cluster.tls.is_some());
    let features = features::of_facts(trust.is_some(), by_mesh, by_tls);
    Facts { schema: SCHEMA, features, clusters, trust, authorities }
}
