//! What the source tells others: admin endpoints, metrics and reports read it, nobody else writes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::offer::{Content, Pair};
use super::refusal::{Cause, Trouble};
use crate::quarantine::Entry;
use crate::state_dir::Taken;

/// Shared by reference; locked only for moments.
#[derive(Debug, Default)]
pub struct Status(Mutex<View>);

/// All of it at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// What messages call the store.
    pub store: String,
    /// Looks at the store that succeeded.
    pub polls: u64,
    /// Looks that failed, by what was wrong.
    pub failures: BTreeMap<&'static str, u64>,
    /// Whether the last look succeeded; none before the first.
    pub reachable: Option<bool>,
    /// What was wrong at the last look.
    pub trouble: Option<String>,
    /// The newest heartbeat, in milliseconds since 1970, by its writer's clock.
    pub heartbeat_ms: Option<u64>,
    /// What runs.
    pub running: Option<Running>,
    /// Pairs that were put to use since the start.
    pub applies: u64,
    /// Offers that were refused since the start, by cause.
    pub refusals: BTreeMap<Cause, u64>,
    /// The last refusal, if nothing newer was put to use since.
    pub last_refusal: Option<String>,
    /// The newest release does not know the scope.
    pub scope_missing: bool,
    /// Digests that are not run.
    pub quarantined: Vec<Entry>,
    /// A file of the state folder could not be written, so the next start may go back.
    pub state_unwritable: Option<String>,
}

/// What runs.
#[derive(Debug, Clone)]
pub struct Running {
    /// The release that offered the policy.
    pub taken: Taken,
    /// The policy.
    pub policy: Content,
    /// The facts.
    pub facts: Content,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Whether it was read from the state folder, and the store has not confirmed it yet.
    pub from_state: bool,
}

impl Status {
    /// Before anything has happened.
    pub fn new(store: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(View { store: store.to_owned(), ..View::default() })))
    }

    /// A copy of everything.
    pub fn view(&self) -> View {
        self.lock().clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, View> {
        // Each change is whole even if its thread panicked right after it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    /// How old what runs is, in milliseconds: the time since the control plane's last sign of life that reached this proxy.
    /// None before the first.
    pub fn age_ms(&self, now_ms: u64) -> Option<u64> {
        let release_ms = self.running.as_ref().map(|running| running.taken.time_ms);
        let newest_ms = self.heartbeat_ms.max(release_ms)?;
        Some(now_ms.saturating_sub(newest_ms))
    }

    pub(super) fn fail(&mut self, trouble: Trouble, why: &str) {
        *self.failures.entry(trouble.as_str()).or_default() += 1;
        self.reachable = Some(!matches!(trouble, Trouble::Unreachable));
        self.trouble = Some(why.to_owned());
    }

    /// Counts a refusal, unless it is the one that was counted last: what stays in the store is met at every look.
    pub(super) fn refuse(&mut self, cause: Cause, why: &str) -> bool {
        let is_new = self.last_refusal.as_deref() != Some(why);
        if is_new {
            *self.refusals.entry(cause).or_default() += 1;
            self.last_refusal = Some(why.to_owned());
        }
        is_new
    }

    pub(super) fn run(&mut self, pair: &Pair, now_ms: u64, from_state: bool) {
        self.applies += 1;
        self.running = Some(Running {
            taken: pair.taken.clone(),
            policy: pair.policy.clone(),
            facts: pair.facts.clone(),
            since_ms: now_ms,
            from_state,
        });
    }
}
