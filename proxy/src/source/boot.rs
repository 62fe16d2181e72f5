//! How a proxy starts: from its state folder at once, else from the store, else not at all.

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::policy::SCHEMA;
use outrigger_store::reader::{Reader, Subscriber};

use super::offer::{Choice, Content, Pair};
use super::refusal::{Cause, Trouble, chain};
use super::{Offered, Source, now_ms};
use crate::quarantine::{self, Quarantine};
use crate::state_dir::{LastSnapshot, PairNames, Taken};

/// How it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// With the last good snapshot; the store has not been looked at.
    FromState,
    /// With what the store offered.
    FromStore,
    /// The store can be read, but there is nothing to run yet: [`super::View`] says why. It goes on looking.
    Waiting,
}

/// Why it can't.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing to start with, here or there.
    #[error(
        "there is nothing to start with: {state} holds no snapshot (--state-dir), and --store {store} gives none: {why}{}",
        hint(.trouble)
    )]
    NoSnapshot {
        /// The state folder.
        state: String,
        /// The store.
        store: String,
        /// What is wrong with it.
        trouble: Trouble,
        /// In a sentence.
        why: String,
    },
}

fn hint(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Refused(Cause::Untrusted) => {
            ". The keys of this mesh are in the store's folder keys and in `outrigger status`; compare them with --trust-key"
        }
        Trouble::Unreachable
        | Trouble::Empty
        | Trouble::Behind
        | Trouble::ObjectMissing
        | Trouble::Refused(_) => "",
    }
}

impl Source {
    /// Starts with the last good snapshot if there is one, else with what the store offers right now.
    ///
    /// # Errors
    /// If neither has anything: a supervisor that starts the process again is the better loop.
    pub async fn start(&mut self) -> Result<Started, StartError> {
        let last = self.state.read_or_warn::<LastSnapshot>();
        let settled = last.as_ref().and_then(|last| last.settled.clone());
        let verdict =
            quarantine::judge_state(&self.state, settled.as_ref().map(|settled| settled.pair), now_ms());
        if let Some(death) = verdict.death {
            let quarantined = if verdict.quarantine.holds(death.digest) {
                "; it is in quarantine from now on (`outrigger unquarantine` lets it out)"
            } else {
                ""
            };
            tracing::warn!(
                deaths = death.deaths,
                "the process before died soon after applying {} {}{quarantined}",
                match death.kind {
                    quarantine::Kind::Policy => "policy",
                    quarantine::Kind::Facts => "facts",
                },
                death.digest
            );
        }
        self.trial = verdict.trial;
        self.quarantine = verdict.quarantine;
        self.status.lock().quarantined.clone_from(&self.quarantine.entries);
        self.settled = settled.and_then(|settled| self.kept(settled.pair, settled.taken));
        if let Some(last) = last {
            self.take_up(last);
        }
        if self.start_from_state().await {
            return Ok(Started::FromState);
        }
        self.start_from_store().await
    }

    /// Goes on where the process before was, as far as its content is still there.
    fn take_up(&mut self, last: LastSnapshot) {
        let pair = self.kept(last.offered, last.taken).or_else(|| self.settled.clone());
        let Some(pair) = pair else { return };
        let is_whole = pair.names() == last.offered;
        // Without the content of the release at that place, the store has to offer it again.
        if is_whole {
            let scope = self.settings.service.clone();
            let subscriber = Subscriber { scope, node: self.settings.node.clone(), schema: SCHEMA };
            self.reader =
                Reader::new(self.store.clone(), self.trust.clone(), subscriber, Some(last.position));
        }
        self.offered = Some(Offered { pair, allow_shrink: true });
    }

    async fn start_from_state(&mut self) -> bool {
        let Some(offered) = self.offered.clone() else { return false };
        let choice = Choice {
            offered: &offered.pair,
            allow_shrink: true,
            running: None,
            settled: self.settled.as_ref(),
            quarantine: &self.quarantine,
        };
        let chosen = choice.choose();
        for refused in &chosen.refused {
            self.refuse(refused.cause, &refused.why);
        }
        let Some(candidate) = chosen.candidate else { return false };
        match self.apply(candidate, true).await {
            Ok(()) => {
                let taken = &offered.pair.taken;
                let (folder, age_ms) = (self.state.path().display(), now_ms().saturating_sub(taken.time_ms));
                tracing::info!(
                    "started from {folder} (--state-dir) with release {}/{}, made {} s ago; the store is asked next",
                    taken.epoch,
                    taken.n,
                    age_ms / 1_000
                );
                true
            }
            Err(why) => {
                self.refuse(Cause::Plan, &why);
                false
            }
        }
    }

    async fn start_from_store(&mut self) -> Result<Started, StartError> {
        let polled = self.poll().await;
        match &polled {
            Ok(true) => self.consider().await,
            Ok(false) => {}
            Err((trouble, why)) => self.note_trouble(*trouble, why),
        }
        if self.running.is_none() {
            self.run_last_resort().await;
        }
        match polled {
            _ if self.running.is_some() => Ok(Started::FromStore),
            Ok(_) => Ok(Started::Waiting),
            Err((trouble, why)) => Err(StartError::NoSnapshot {
                state: self.state.path().display().to_string(),
                store: self.store.place().to_owned(),
                trouble,
                why,
            }),
        }
    }

    /// What is in quarantine still beats nothing, now that the store was asked for something better.
    async fn run_last_resort(&mut self) {
        let Some(offered) = self.offered.clone() else { return };
        if self.quarantine.entries.is_empty() {
            return;
        }
        let none = Quarantine::default();
        let choice = Choice {
            offered: &offered.pair,
            allow_shrink: true,
            running: None,
            settled: None,
            quarantine: &none,
        };
        if let Some(candidate) = choice.choose().candidate {
            tracing::warn!(
                "running what is in quarantine: there was nothing before it, and the store has nothing after it"
            );
            if let Err(why) = self.apply(candidate, true).await {
                self.refuse(Cause::Plan, &why);
            }
        }
    }

    /// A pair from the state folder, if both its parts are there and whole.
    fn kept(&self, names: PairNames, taken: Taken) -> Option<Pair> {
        let content = |digest: Digest| match self.state.content(digest) {
            Ok(Some(bytes)) => Some(Content { digest, bytes: bytes.into() }),
            Ok(None) => {
                tracing::warn!("the state folder lacks the content {digest}; going on without it");
                None
            }
            Err(damage) => {
                tracing::warn!("the state folder's content {digest} does not count: {}", chain(&damage));
                None
            }
        };
        Some(Pair { policy: content(names.policy)?, facts: content(names.facts)?, taken })
    }
}
