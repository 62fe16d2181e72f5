//! Where plans come from: the store while it can be read, the state folder until then.
//!
//! `app` makes a [`Source`] on the control thread, with the [`StateDir`] and the sending half of a channel. The receiving half
//! belongs to whoever builds plans: it answers every [`Update`], and what it takes becomes the last good snapshot.
//! [`Source::start`] returns as soon as the first plan runs or it is clear that none will for now; [`Source::run`] then goes on
//! for ever. [`Status`] is read by admin endpoints, metrics and reports. At an orderly end `app` calls [`end_in_order`].
//!
//! Whatever is wrong with a snapshot or the store, what runs stays as it is.

mod apply;
mod boot;
pub mod metrics;
mod offer;
mod refusal;
mod status;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outrigger_snapshot::facts::Facts;
use outrigger_snapshot::keys::{KeyError, PublicKey, TrustedKeys};
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{Policy, SCHEMA};
use outrigger_store::Store;
use outrigger_store::reader::{Held, Poll, Reader, Subscriber, Trust};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

pub use boot::{StartError, Started};
pub use offer::{Content, Pair};
pub use refusal::{Cause, Trouble, chain};
pub use status::{Running, Status, View};

use crate::config::Config;
use crate::quarantine::{Quarantine, Trial};
use crate::state_dir::{PairNames, Settled, StateDir, Taken};

/// Updates that wait for whoever builds plans: the source goes on only when the one before was answered.
pub const UPDATES_MAX: usize = 1;
/// Longest look at the store, whatever its client thinks.
const POLL_DEADLINE: Duration = Duration::from_secs(60);
/// Share of the period by which a look comes earlier or later, so that proxies don't move in step.
const JITTER: f64 = 0.2;

/// A pair to build a plan from and to run.
#[derive(Debug)]
pub struct Update {
    /// Routes and policies, checked.
    pub policy: Arc<Policy>,
    /// Endpoints and other facts, checked.
    pub facts: Arc<Facts>,
    /// Their digests.
    pub names: PairNames,
    /// The release that offered the policy.
    pub taken: Taken,
    /// To be answered when it runs, or with the reason why it does not.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// What a source needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The scope.
    pub service: ServiceName,
    /// Decides the lane.
    pub node: String,
    /// The average time between two looks.
    pub poll: Duration,
    /// Keys to trust; empty: those that the store holds at the first look.
    pub trust_keys: Vec<PublicKey>,
}

/// Follows a store. See the module.
#[derive(Debug)]
pub struct Source {
    settings: Settings,
    trust: Trust,
    store: Store,
    reader: Reader,
    state: Arc<StateDir>,
    status: Arc<Status>,
    updates: mpsc::Sender<Update>,
    poll_now: Arc<Notify>,
    /// What the store offered last, whatever became of it.
    offered: Option<Offered>,
    running: Option<Pair>,
    /// What to go back to.
    settled: Option<Pair>,
    /// What runs and has not settled, and when it will have.
    settling: Option<(Pair, Instant)>,
    trial: Trial,
    quarantine: Quarantine,
}

/// An offer and what it allows.
#[derive(Debug, Clone)]
struct Offered {
    pair: Pair,
    allow_shrink: bool,
}

impl Settings {
    /// Those of `config`.
    pub fn of(config: &Config) -> Self {
        Self {
            service: config.service.clone(),
            node: config.node.clone(),
            poll: config.poll,
            trust_keys: config.trust_keys.clone(),
        }
    }
}

impl Source {
    /// A source that has not looked anywhere yet. A notification of `poll_now` makes it look at once.
    pub fn new(
        store: Store,
        settings: Settings,
        state: Arc<StateDir>,
        updates: mpsc::Sender<Update>,
        poll_now: Arc<Notify>,
    ) -> Result<Self, KeyError> {
        let trust = if settings.trust_keys.is_empty() {
            Trust::FirstUse
        } else {
            Trust::Keys(TrustedKeys::new(settings.trust_keys.iter().copied())?)
        };
        let subscriber =
            Subscriber { scope: settings.service.clone(), node: settings.node.clone(), schema: SCHEMA };
        Ok(Self {
            reader: Reader::new(store.clone(), trust.clone(), subscriber, None),
            status: Status::new(store.place()),
            settings,
            trust,
            store,
            state,
            updates,
            poll_now,
            offered: None,
            running: None,
            settled: None,
            settling: None,
            trial: Trial::default(),
            quarantine: Quarantine::default(),
        })
    }

    /// What others may know.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Looks at the store for ever, every period give or take a fifth, after errors as well. After [`Source::start`].
    pub async fn run(mut self, started: Started) {
        let mut next = match started {
            // Many proxies may have started together: they spread over the whole period.
            Started::FromState => Instant::now() + self.settings.poll.mul_f64(fastrand::f64()),
            Started::FromStore | Started::Waiting => self.next_poll(),
        };
        let poll_now = Arc::clone(&self.poll_now);
        loop {
            let settles = self.settling.as_ref().map(|(_, at)| *at);
            tokio::select! {
                () = sleep_until(next) => {}
                () = poll_now.notified() => {}
                () = sleep_until(settles.unwrap_or(next)), if settles.is_some() => {
                    self.settle();
                    continue;
                }
            }
            self.look().await;
            next = self.next_poll();
        }
    }

    fn next_poll(&self) -> Instant {
        Instant::now() + self.settings.poll.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))
    }

    /// Looks once and does what follows.
    async fn look(&mut self) {
        let released = self.reread_quarantine();
        match self.poll().await {
            Ok(true) => self.consider().await,
            Ok(false) if released => self.consider().await,
            Ok(false) => {}
            Err((trouble, why)) => {
                self.note_trouble(trouble, &why);
                if released {
                    self.consider().await;
                }
            }
        }
    }

    /// Whether there is a new offer.
    async fn poll(&mut self) -> Result<bool, (Trouble, String)> {
        let held = self.offered.as_ref().map_or_else(Held::default, |offered| Held {
            policy: Some(offered.pair.policy.digest),
            facts: Some(offered.pair.facts.digest),
        });
        let polled = tokio::time::timeout(POLL_DEADLINE, self.reader.poll(&held)).await;
        let heartbeat_ms = self.reader.heartbeat().map(|heartbeat| heartbeat.time_ms);
        let poll = match polled {
            Err(_) => return Err((Trouble::Unreachable, "the store did not answer in time".to_owned())),
            Ok(Err(error)) => return Err((Trouble::from(&error), chain(&error))),
            Ok(Ok(poll)) => poll,
        };
        let mut view = self.status.lock();
        if view.trouble.take().is_some() {
            tracing::info!("the store can be read again");
        }
        view.polls += 1;
        view.reachable = Some(true);
        view.heartbeat_ms = heartbeat_ms.max(view.heartbeat_ms);
        match poll {
            Poll::Unchanged => Ok(false),
            Poll::ScopeMissing(release) => {
                view.scope_missing = true;
                let (service, serial) = (&self.settings.service, release.serial);
                tracing::warn!(
                    "release {serial} has nothing for {service} (--service); going on with what runs. Is a Service of that name \
                     pushed?"
                );
                Ok(false)
            }
            Poll::New(snapshot) => {
                view.scope_missing = false;
                drop(view);
                Ok(self.take_offer(*snapshot))
            }
        }
    }

    fn note_trouble(&self, trouble: Trouble, why: &str) {
        let mut view = self.status.lock();
        let is_new = view.trouble.as_deref() != Some(why);
        view.fail(trouble, why);
        if let Trouble::Refused(cause) = trouble {
            view.refuse(cause, why);
        }
        if is_new {
            tracing::warn!(trouble = trouble.as_str(), "going on with what runs: {why}");
        }
    }

    /// Whether someone has edited the quarantine since the last look.
    fn reread_quarantine(&mut self) -> bool {
        let Ok(found) = self.state.read::<Quarantine>() else { return false };
        let found = found.unwrap_or_default();
        let changed = found != self.quarantine;
        if changed {
            self.quarantine = found;
            self.status.lock().quarantined.clone_from(&self.quarantine.entries);
        }
        changed
    }

    fn settled_names(&self) -> Option<PairNames> {
        self.settled.as_ref().map(Pair::names)
    }

    fn settled_record(&self) -> Option<Settled> {
        self.settled.as_ref().map(|pair| Settled { pair: pair.names(), taken: pair.taken.clone() })
    }
}

/// Notes in `state` that this process ends in order, so that its end is not blamed on what it ran.
pub fn end_in_order(state: &StateDir) {
    let Some(trial) = state.read_or_warn::<Trial>().filter(|trial| trial.current.is_some()) else { return };
    if let Err(error) = state.write(&trial.end()) {
        tracing::warn!("the state folder can't be written, so this end will count as a death: {error}");
    }
}

fn now_ms() -> u64 {
    // A clock before 1970 is wrong anyway; ages then read as zero.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
