//! Which clusters this proxy has called lately. The control plane counts the callers of each, since each has a share of what belongs
//! to all of them.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use outrigger_snapshot::name::ClusterName;

use crate::cluster::Cluster;
use crate::worker::CurrentPlan;

/// Most clusters in one report: what a control plane takes.
pub const CALLS_MAX: usize = 256;
/// For how long a call counts.
pub const CALLED_FOR: Duration = Duration::from_secs(600);

/// What was called, and when.
#[derive(Debug)]
pub struct Calls {
    plan: CurrentPlan,
    /// Clusters of the plan that have ever been called.
    called: HashMap<ClusterName, Called>,
}

#[derive(Debug, Clone, Copy)]
struct Called {
    /// Sent to the endpoints that it has now, when last looked.
    requests: u64,
    /// When that was last seen to grow.
    at_ns: u64,
}

impl Calls {
    /// Of the clusters of `plan`.
    pub fn new(plan: CurrentPlan) -> Self {
        Self { plan, called: HashMap::new() }
    }

    /// The names of those called lately, the last called first, at most [`CALLS_MAX`].
    pub fn lately(&mut self, now_ns: u64) -> Vec<String> {
        let Some(plan) = self.plan.load_full() else { return Vec::new() };
        self.called.retain(|name, _| plan.clusters.contains_key(name));
        for (name, cluster) in &plan.clusters {
            let requests = sent(cluster);
            let before = self.called.get(name).copied();
            if requests > before.map_or(0, |called| called.requests) {
                self.called.insert(name.clone(), Called { requests, at_ns: now_ns });
            } else if let Some(called) = self.called.get_mut(name) {
                called.requests = requests; // less, where an endpoint has gone
            }
        }
        let called_for_ns = u64::try_from(CALLED_FOR.as_nanos()).unwrap_or(u64::MAX);
        let is_recent = |called: &Called| now_ns.saturating_sub(called.at_ns) <= called_for_ns;
        let lately = self.called.iter().filter(|(_, called)| is_recent(called));
        let mut lately: Vec<_> = lately.map(|(name, called)| (Reverse(called.at_ns), name)).collect();
        lately.sort_unstable();
        lately.into_iter().take(CALLS_MAX).map(|(_, name)| name.to_string()).collect()
    }
}

/// Requests that were sent to the endpoints of `cluster`.
fn sent(cluster: &Cluster) -> u64 {
    cluster.endpoints.load().entries().iter().map(|entry| entry.endpoint.requests()).sum()
}
