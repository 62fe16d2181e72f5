//! Keeps all names resolved.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use outrigger_snapshot::name::ClusterName;
use tokio::time::Instant;

use super::answer::Memory;
use super::lookup::Client;
use super::metrics::{Metrics, NameMetrics};
use super::state::{Answer, NameState, Terms};
use super::{Change, Query, Remembered, ResolveError, ResolverConfig, Target};

/// Names that are asked for at the same time. Further ones wait their turn, longest due first.
pub(super) const NAMES_AT_ONCE: usize = 64;

/// Resolves a changing set of names, for ever, by the rules of [`super::state`].
///
/// It owns no task: it works while [`Resolver::next_change`] is awaited, on the runtime of whoever does.
pub struct Resolver {
    client: Client,
    config: ResolverConfig,
    start: Instant,
    random: fastrand::Rng,
    names: BTreeMap<ClusterName, Name>,
    /// When which name is asked for next. A name is either here or being asked for.
    due: BTreeSet<(Duration, ClusterName)>,
    lookups: FuturesUnordered<Pin<Box<dyn Future<Output = Finished> + Send>>>,
    /// Tells the lookups of a name from those of another that had the same cluster before.
    lives: u64,
    remembered: BTreeMap<ClusterName, Remembered>,
    changes: VecDeque<Change>,
    metrics: Arc<Metrics>,
}

struct Name {
    life: u64,
    target: Target,
    state: NameState,
    memory: Memory,
    asked: bool,
    metrics: Arc<NameMetrics>,
}

struct Finished {
    cluster: ClusterName,
    life: u64,
    answer: Answer,
    memory: Memory,
}

impl Resolver {
    /// A resolver without names. `remembered` are the endpoints of an earlier run: a name that is added with the same query starts
    /// with them.
    pub fn new(config: ResolverConfig, remembered: Vec<Remembered>) -> Result<Self, ResolveError> {
        let metrics = Arc::new(Metrics::new());
        Ok(Self {
            client: Client::new(&config.nameservers, metrics.clone())?,
            config,
            start: Instant::now(),
            random: fastrand::Rng::new(),
            names: BTreeMap::new(),
            due: BTreeSet::new(),
            lookups: FuturesUnordered::new(),
            lives: 0,
            remembered: remembered.into_iter().map(|name| (name.cluster.clone(), name)).collect(),
            changes: VecDeque::new(),
            metrics,
        })
    }

    /// From now on these names are resolved, and no others. Names that stay are not disturbed; a name whose query is another now
    /// keeps its endpoints until the new query is answered; new ones are asked for at once. A name that goes makes no [`Change`].
    pub fn set_targets(&mut self, targets: &BTreeMap<ClusterName, Target>) {
        let mut before = std::mem::take(&mut self.names);
        for (cluster, target) in targets {
            let name = match before.remove(cluster) {
                Some(name) if name.target.query == target.query => Name { target: target.clone(), ..name },
                replaced => self.new_name(cluster, target, replaced),
            };
            self.names.insert(cluster.clone(), name);
        }
        let names = &self.names;
        self.due.retain(|(_, cluster)| names.contains_key(cluster));
        self.changes.retain(|change| names.contains_key(&change.cluster));
        self.metrics.set_names(names.values().map(|name| name.metrics.clone()).collect());
    }

    /// Waits until the endpoints of a name change, or names that were set come with endpoints from before. Resolving goes on only
    /// while this is awaited; dropping the future loses nothing.
    pub async fn next_change(&mut self) -> Change {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return change;
            }
            self.ask_due();
            let next_due = match self.due.first() {
                Some((due, _)) if self.lookups.len() < NAMES_AT_ONCE => Some(self.start + *due),
                _ => None,
            };
            let wait = async {
                match next_due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                Some(finished) = self.lookups.next() => self.finish(finished),
                () = wait => {}
            }
        }
    }

    /// Names of which no question has been answered or given up yet: 0 soon after the start, whether DNS works or not.
    pub fn unasked(&self) -> usize {
        self.names.values().filter(|name| !name.asked).count()
    }

    /// Every name that has endpoints, to be kept for the next start.
    pub fn remembered(&self) -> Vec<Remembered> {
        let with_endpoints = self.names.iter().filter(|(_, name)| !name.state.endpoints().is_empty());
        with_endpoints
            .map(|(cluster, name)| Remembered {
                cluster: cluster.clone(),
                query: name.target.query.clone(),
                endpoints: name.state.endpoints().to_vec(),
            })
            .collect()
    }

    /// Counters, and the state of each name, readable from any thread.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn new_name(&mut self, cluster: &ClusterName, target: &Target, replaced: Option<Name>) -> Name {
        let now = self.start.elapsed();
        let known = match replaced {
            Some(name) => {
                self.due.retain(|(_, due)| due != cluster);
                Some(name.state.endpoints().clone())
            }
            None => self.known_before(cluster, &target.query),
        };
        let state = known.map_or_else(NameState::new, |endpoints| NameState::remembered(endpoints, now));
        if !state.endpoints().is_empty() {
            self.changes.push_back(Change { cluster: cluster.clone(), endpoints: state.endpoints().clone() });
        }
        self.lives += 1;
        self.due.insert((now, cluster.clone()));
        let metrics = Arc::new(NameMetrics::new(cluster.clone(), target.query.clone(), self.start));
        metrics.show(&state);
        Name { life: self.lives, target: target.clone(), state, memory: Memory::new(), asked: false, metrics }
    }

    fn known_before(
        &mut self,
        cluster: &ClusterName,
        query: &Query,
    ) -> Option<Arc<[super::ResolvedEndpoint]>> {
        let remembered = self.remembered.remove(cluster)?;
        (remembered.query == *query).then(|| {
            let mut endpoints = remembered.endpoints;
            endpoints.sort_unstable();
            endpoints.dedup_by_key(|endpoint| endpoint.address);
            endpoints.truncate(super::answer::ENDPOINTS_MAX);
            endpoints.into()
        })
    }

    fn ask_due(&mut self) {
        let now = self.start.elapsed();
        while self.lookups.len() < NAMES_AT_ONCE && self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, cluster)) = self.due.pop_first() else { return };
            let Some(name) = self.names.get(&cluster) else { continue };
            let life = name.life;
            let lookup = self.client.clone().resolve(name.target.query.clone(), name.memory.clone());
            self.lookups.push(Box::pin(async move {
                let (answer, memory) = lookup.await;
                Finished { cluster, life, answer, memory }
            }));
        }
    }

    fn finish(&mut self, finished: Finished) {
        let Finished { cluster, life, answer, memory } = finished;
        let Some(name) = self.names.get_mut(&cluster).filter(|name| name.life == life) else { return };
        let now = self.start.elapsed();
        let terms = Terms {
            on_empty: name.target.on_empty,
            stale_ttl: self.config.stale_ttl,
            ttl_min: self.config.ttl_min,
        };
        let before = name.state.freshness();
        let step = name.state.answered(answer, terms, now, self.random.u64(..));
        let after = name.state.freshness();
        if before.name() != after.name() {
            tracing::info!(%cluster, before = before.name(), after = after.name(), "DNS name");
        }
        name.memory = memory;
        name.asked = true;
        name.metrics.show(&name.state);
        self.due.insert((now + step.wait, cluster.clone()));
        if step.changed {
            self.changes.push_back(Change { cluster, endpoints: name.state.endpoints().clone() });
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Resolver").field("names", &self.names.len()).finish_non_exhaustive()
    }
}
