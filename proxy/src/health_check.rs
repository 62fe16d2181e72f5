//! Asking endpoints whether they are well, and what else is done about their health without a request: on the control thread, once for
//! all workers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use outrigger_snapshot::policy::HealthCheck;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clock;
use crate::cluster::Cluster;
use crate::cluster::endpoint::{Endpoint, EndpointKey};
use crate::identity::Identity;
use crate::worker::CurrentPlan;

use self::probe::{Unwell, probe};
use self::turns::Turns;
use self::verdict::Verdict;

pub use self::turns::{CLUSTER_PROBES_MAX, PROBES_MAX};

pub mod asked;
mod grpc;
mod probe;
mod turns;
pub mod verdict;

#[cfg(test)]
mod tests;

/// How often endpoints are looked through, and new ones found.
pub const TICK: Duration = Duration::from_secs(1);

/// Endpoints that are asked; those beyond are taken to be well.
pub const TARGETS_MAX: usize = 10_000;

/// What has come of probes, for pages and scrapes.
#[derive(Debug, Default)]
pub struct Results {
    succeeded: Cell<u64>,
    failed: Cell<u64>,
    late: Cell<u64>,
    /// Those that began late.
    delayed: Cell<u64>,
    /// Why the last probe of an endpoint failed.
    reasons: RefCell<HashMap<EndpointKey, String>>,
}

impl Results {
    /// Probes by result, as labels spell them.
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        [("ok", self.succeeded.get()), ("failed", self.failed.get()), ("timeout", self.late.get())]
    }

    /// Probes that began late, because there was no place for them.
    pub fn delayed(&self) -> u64 {
        self.delayed.get()
    }

    /// Why the last probe of an endpoint failed, if it did.
    pub fn reason(&self, key: &EndpointKey) -> Option<String> {
        self.reasons.borrow().get(key).cloned()
    }

    fn take(&self, key: &EndpointKey, result: Result<(), Unwell>) -> bool {
        let count = match &result {
            Ok(()) => &self.succeeded,
            Err(Unwell::Late(_)) => &self.late,
            Err(_) => &self.failed,
        };
        count.set(count.get() + 1);
        let succeeded = result.is_ok();
        match result {
            Ok(()) => self.reasons.borrow_mut().remove(key),
            Err(unwell) => self.reasons.borrow_mut().insert(key.clone(), unwell.to_string()),
        };
        succeeded
    }
}

/// Who is asked what.
#[derive(Debug, Clone)]
struct Target {
    endpoint: Arc<Endpoint>,
    check: HealthCheck,
    http2: bool,
    /// Nothing is known of what is spoken.
    opaque: bool,
    /// The service's name, for a check that names no host.
    host: String,
}

impl Target {
    fn same(&self, other: &Self) -> bool {
        let spoken = |target: &Self| (target.http2, target.opaque);
        Arc::ptr_eq(&self.endpoint, &other.endpoint)
            && self.check == other.check
            && spoken(self) == spoken(other)
    }
}

/// A target that is asked until this is dropped.
#[derive(Debug)]
struct Watched {
    target: Target,
    task: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Follows the plans until the process ends.
pub async fn run(plan: CurrentPlan, identity: Arc<Identity>, results: Rc<Results>) {
    let mut rounds = Rounds { watched: HashMap::new(), identity, results, turns: Rc::default() };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Some(plan) = plan.load_full() {
            rounds.make(plan.clusters.values());
        }
    }
}

struct Rounds {
    watched: HashMap<EndpointKey, Watched>,
    identity: Arc<Identity>,
    results: Rc<Results>,
    turns: Rc<Turns>,
}

impl Rounds {
    /// Looks through the endpoints of all clusters.
    fn make<'a>(&mut self, clusters: impl Iterator<Item = &'a Arc<Cluster>>) {
        let mut targets = HashMap::new();
        for cluster in clusters {
            let endpoints = cluster.endpoints.load();
            let health = &cluster.load.health;
            if health.is_troubled() || cluster.rules.ejection.deviation_permille > 0 {
                let all: Vec<_> = endpoints.open().iter().map(|entry| entry.endpoint.health()).collect();
                health.sweep(&all, clock::now_ns(), &mut || fastrand::u64(..));
            }
            endpoints.weigh(clock::now_ns());
            cluster.resize(clock::now_ns());
            let Some(check) = &cluster.health_check else { continue };
            for entry in endpoints.open().iter().take(TARGETS_MAX - targets.len().min(TARGETS_MAX)) {
                let service = &entry.endpoint.key().cluster.service;
                let target = Target {
                    endpoint: entry.endpoint.clone(),
                    check: check.clone(),
                    http2: cluster.is_http2(),
                    opaque: !cluster.protocol.is_http(),
                    host: format!("{}.{}", service.name(), service.namespace()),
                };
                targets.insert(entry.endpoint.key().clone(), target);
            }
        }
        self.watch(targets);
    }

    fn watch(&mut self, targets: HashMap<EndpointKey, Target>) {
        self.watched.retain(|key, watched| {
            let kept = targets.get(key).is_some_and(|target| target.same(&watched.target));
            if !targets.contains_key(key) {
                // Nobody asks any more, so nothing is held against it.
                watched.target.endpoint.checked(true, clock::now_ns());
                self.results.reasons.borrow_mut().remove(key);
            }
            kept
        });
        for (key, target) in targets {
            self.watched.entry(key).or_insert_with(|| {
                let task =
                    ask(target.clone(), self.identity.clone(), self.results.clone(), self.turns.clone());
                Watched { target, task: tokio::task::spawn_local(task).abort_handle() }
            });
        }
    }
}

/// Asks one endpoint again and again.
async fn ask(target: Target, identity: Arc<Identity>, results: Rc<Results>, turns: Rc<Turns>) {
    // As much as it is never exact by.
    let late_ns = target.check.fast_interval_ms.saturating_mul(1_000_000) / 5;
    let mut verdict = Verdict::default();
    if !target.check.wait_for_first {
        sleep(Duration::from_millis(fastrand::u64(0..=target.check.fast_interval_ms))).await;
    }
    loop {
        let due_ns = clock::now_ns();
        let place = turns.place(&target.endpoint.key().cluster).await;
        let delayed = clock::now_ns().saturating_sub(due_ns) > late_ns;
        results.delayed.set(results.delayed.get() + u64::from(delayed));
        let result = probe(&target, &identity).await;
        drop(place);
        let success = results.take(target.endpoint.key(), result);
        let before = verdict.well();
        verdict.take(success, &target.check);
        if verdict.well() != before {
            target.endpoint.cluster_health().check_changed(success);
            let (address, cluster) = (target.endpoint.address(), &target.endpoint.key().cluster);
            tracing::info!(%address, %cluster, well = success, "a health check has changed its mind");
        }
        match verdict.well() {
            // Also if that is not new: the endpoint may have been ejected, or have left and come back.
            Some(true) if success => target.endpoint.checked(true, clock::now_ns()),
            Some(false) => target.endpoint.checked(false, clock::now_ns()),
            Some(true) | None => {}
        }
        sleep(Duration::from_millis(verdict.wait_ms(&target.check, fastrand::u64(..)))).await;
    }
}
