//! Puts snapshots into force: builds the plan, swaps it in, keeps its names resolved. Runs on the control thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use outrigger_snapshot::facts::{Discovery, Facts};
use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::policy::{OnEmpty, Policy};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::certificates::Certificates;
use crate::gateway::Ports;
use crate::identity::Keeper;
use crate::plan::{Local, Plan, Resolved, Version};
use crate::registry::Registry;
use crate::resolve::{Change, Query, Resolver, Target};
use crate::source::Update;
use crate::state_dir::{LastEndpoints, StateDir};
use crate::worker::CurrentPlan;

/// How often plans that are out of force are looked through, and changed endpoints written down.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

/// What looks after what a plan needs beside itself.
#[derive(Debug, Clone)]
pub struct Keepers {
    /// Who this proxy is to others.
    pub identity: Rc<Keeper>,
    /// What it shows to strangers.
    pub certificates: Rc<Certificates>,
    /// Where strangers come in, if this is a gateway.
    pub ports: Option<Rc<Ports>>,
}

/// See the module.
pub struct Applier {
    plan: CurrentPlan,
    local: Local,
    registry: Rc<RefCell<Registry>>,
    resolver: Resolver,
    resolved: Resolved,
    state: Arc<StateDir>,
    keepers: Keepers,
    /// Plans out of force that a worker may still hold: freeing one takes milliseconds, and must not be a worker's job.
    retired: Vec<Arc<Plan>>,
    /// Endpoints have changed since they were written down.
    unsaved: bool,
    /// Has the allocator return what is free.
    give_back: fn(),
    /// A snapshot was read since that was last done: what it was read into is free, and often more than the plan holds.
    spread: bool,
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Applier").field("local", &self.local).finish_non_exhaustive()
    }
}

impl Applier {
    /// An applier with nothing in force.
    pub fn new(
        plan: CurrentPlan,
        local: Local,
        registry: Rc<RefCell<Registry>>,
        resolver: Resolver,
        state: Arc<StateDir>,
        keepers: Keepers,
        give_back: fn(),
    ) -> Self {
        let (resolved, retired) = (Resolved::new(), Vec::new());
        let (unsaved, spread) = (false, false);
        Self {
            plan,
            local,
            registry,
            resolver,
            resolved,
            state,
            keepers,
            retired,
            unsaved,
            give_back,
            spread,
        }
    }

    /// Works until the source is gone.
    pub async fn run(mut self, mut updates: mpsc::Receiver<Update>) {
        let mut housekeeping = interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let quiet = self.retired.is_empty() && !self.unsaved && !self.spread;
            tokio::select! {
                update = updates.recv() => match update {
                    Some(Update { policy, facts, names, taken, answer }) => {
                        let version = Version {
                            epoch: taken.epoch,
                            n: taken.n,
                            revision: taken.revision,
                            policy: names.policy.to_string(),
                            facts: names.facts.to_string(),
                        };
                        // The source is gone only when the process ends.
                        let _ = answer.send(self.apply(&policy, &facts, version));
                        self.spread = true;
                    }
                    None => return,
                },
                change = self.resolver.next_change() => self.change(change),
                _ = housekeeping.tick(), if !quiet => self.keep_house(),
            }
        }
    }

    /// Builds and swaps; the error is a sentence, and leaves everything as it was.
    fn apply(&mut self, policy: &Policy, facts: &Facts, version: Version) -> Result<(), String> {
        // One has no ports for the other's calls.
        if self.keepers.ports.is_some() != policy.gateway.is_some() {
            let (flag, kind) =
                if policy.gateway.is_some() { ("--service", "Gateway") } else { ("--gateway", "Service") };
            return Err(format!(
                "{flag} names a {kind}: --gateway is for a Gateway, --service for a Service"
            ));
        }
        let mut resolved = self.resolved.clone();
        resolved.retain(|name, _| facts.clusters.contains_key(name));
        let mut registry = self.registry.borrow_mut();
        let built = Plan::build(policy, facts, &self.local, &resolved, &mut registry, version);
        let plan = Arc::new(built.map_err(|refusal| refusal.to_string())?);
        self.resolved = resolved;
        self.resolver.set_targets(&targets(policy, facts));
        // Names that were known before the restart come with their endpoints at once: in before the first request.
        while let Some(change) = self.resolver.next_change().now_or_never() {
            let addresses = addresses(&change);
            plan.resolve(&change.cluster, &addresses, &mut registry);
            self.resolved.insert(change.cluster, addresses);
        }
        // Before its endpoints are dialled.
        self.keepers.identity.believe(plan.trust.clone());
        self.keepers.certificates.serve(&plan);
        let ports = plan.gateway.keys().copied().collect();
        self.retired.extend(self.plan.swap(Some(plan)));
        if let Some(open) = &self.keepers.ports {
            open.want(ports);
        }
        Ok(())
    }

    fn change(&mut self, change: Change) {
        let addresses = addresses(&change);
        if let Some(plan) = &*self.plan.load() {
            plan.resolve(&change.cluster, &addresses, &mut self.registry.borrow_mut());
        }
        self.resolved.insert(change.cluster, addresses);
        self.unsaved = true;
    }

    fn keep_house(&mut self) {
        let before = self.retired.len();
        self.retired.retain(|plan| Arc::strong_count(plan) > 1);
        if self.retired.len() < before {
            self.registry.borrow_mut().sweep();
        }
        if self.retired.is_empty() && std::mem::take(&mut self.spread) {
            (self.give_back)();
        }
        if std::mem::take(&mut self.unsaved) {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let last = LastEndpoints::new(since.as_millis() as u64, self.resolver.remembered());
            if let Err(error) = self.state.write(&last) {
                tracing::warn!("the endpoints of names cannot be kept for a restart: {error}");
            }
        }
    }
}

fn addresses(change: &Change) -> Vec<(std::net::SocketAddr, u32)> {
    change.endpoints.iter().map(|endpoint| (endpoint.address, endpoint.weight)).collect()
}

fn targets(policy: &Policy, facts: &Facts) -> BTreeMap<ClusterName, Target> {
    let target = |(name, cluster): (&ClusterName, &outrigger_snapshot::facts::Cluster)| {
        let query = match &cluster.discovery {
            Discovery::Static(_) => return None,
            Discovery::Dns(dns) => Query::Addresses { name: dns.name.clone(), port: dns.port },
            Discovery::Srv(srv) => Query::Srv { name: srv.name.clone() },
        };
        let port = policy.services.get(&name.service)?.ports.iter().find(|port| port.port == name.port);
        let on_empty = port.map_or(OnEmpty::Keep, |port| port.backend.on_empty);
        Some((name.clone(), Target { query, on_empty }))
    };
    facts.clusters.iter().filter_map(target).collect()
}
