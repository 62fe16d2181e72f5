//! From an offer to what runs, and what is kept of it.

use std::collections::BTreeSet;

use outrigger_store::reader::{Part, ScopeSnapshot};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::offer::{Candidate, Choice, Content, Pair};
use super::refusal::Cause;
use super::{Offered, Source, Update, now_ms};
use crate::quarantine::{SETTLE_AFTER, forget_panics};
use crate::state_dir::{LastSnapshot, StateFile};

impl Source {
    /// Makes `snapshot` the offer; false if a part of it can't be had.
    pub(super) fn take_offer(&mut self, snapshot: ScopeSnapshot) -> bool {
        let before = self.offered.as_ref().map(|offered| &offered.pair);
        let policy = content(snapshot.policy, before.map(|pair| &pair.policy));
        let facts = content(snapshot.facts, before.map(|pair| &pair.facts));
        let (Some(policy), Some(facts)) = (policy, facts) else { return false };
        let allow_shrink = snapshot.release.allow_shrink;
        self.offered =
            Some(Offered { pair: Pair { policy, facts, taken: (&snapshot.release).into() }, allow_shrink });
        true
    }

    /// Runs what may run of the offer.
    pub(super) async fn consider(&mut self) {
        let Some(offered) = self.offered.clone() else { return };
        let chosen = self.choice(&offered).choose();
        for refused in &chosen.refused {
            self.refuse(refused.cause, &refused.why);
        }
        if chosen.held_back {
            tracing::warn!(
                "a part of the snapshot in the store is in quarantine; running the one before instead"
            );
        }
        let Some(candidate) = chosen.candidate else { return };
        match self.apply(candidate, false).await {
            Ok(()) if chosen.refused.is_empty() => {
                self.status.lock().last_refusal = None;
                self.remember(&offered.pair);
            }
            Ok(()) => self.remember_running(),
            Err(why) => {
                self.refuse(Cause::Plan, &why);
                if let Some(candidate) = self.choice(&offered).without_policy()
                    && self.apply(candidate, false).await.is_ok()
                {
                    self.remember_running();
                }
            }
        }
    }

    fn choice<'a>(&'a self, offered: &'a Offered) -> Choice<'a> {
        Choice {
            offered: &offered.pair,
            allow_shrink: offered.allow_shrink,
            running: self.running.as_ref(),
            settled: self.settled.as_ref(),
            quarantine: &self.quarantine,
        }
    }

    /// Puts a pair to use, unless it is what runs already.
    pub(super) async fn apply(&mut self, candidate: Candidate, from_state: bool) -> Result<(), String> {
        let Candidate { pair, policy, facts } = candidate;
        let names = pair.names();
        if self.running.as_ref().map(Pair::names) == Some(names) {
            self.confirm(pair);
            return Ok(());
        }
        self.begin_trial(&pair);
        let (answer, answered) = oneshot::channel();
        let sent =
            self.updates.send(Update { policy, facts, names, taken: pair.taken.clone(), answer }).await;
        let built = match sent {
            Ok(()) => answered.await.unwrap_or_else(|_| Err("nobody builds plans any more".to_owned())),
            Err(_) => Err("nobody builds plans any more".to_owned()),
        };
        if let Err(why) = built {
            self.end_trial();
            return Err(why);
        }
        tracing::info!(
            epoch = pair.taken.epoch,
            release = pair.taken.n,
            revision = pair.taken.revision,
            policy = %names.policy,
            facts = %names.facts,
            "running a new snapshot"
        );
        self.status.lock().run(&pair, now_ms(), from_state);
        if self.settled_names() == Some(names) {
            // What was on trial did not stay.
            self.settling = None;
        } else if self.settling.is_none() {
            self.settling = Some((pair.clone(), Instant::now() + SETTLE_AFTER));
        }
        self.running = Some(pair);
        Ok(())
    }

    /// This process has lived for long enough with a pair.
    pub(super) fn settle(&mut self) {
        let Some((pair, _)) = self.settling.take() else { return };
        let names = pair.names();
        self.trial = std::mem::take(&mut self.trial).settle(names);
        self.settled = Some(pair);
        if let Some(running) = self.running.clone().filter(|running| running.names() != names) {
            self.begin_trial(&running);
            self.settling = Some((running, Instant::now() + SETTLE_AFTER));
        } else {
            let trial = self.trial.clone();
            self.keep(&trial);
        }
        if let Some(mut record) = self.state.read_or_warn::<LastSnapshot>() {
            self.keep_content(&[&record.offered.policy, &record.offered.facts]);
            record.settled = self.settled_record();
            self.keep(&record);
        }
    }

    pub(super) fn refuse(&self, cause: Cause, why: &str) {
        if self.status.lock().refuse(cause, why) {
            tracing::warn!(cause = cause.as_str(), "refused a snapshot, going on with what runs: {why}");
        }
    }

    /// Keeps the running pair as the one to start with. The place in the store stays where it was: what was refused is to be
    /// met again after a restart, perhaps by a version that understands it.
    fn remember_running(&self) {
        let Some(running) = self.running.clone() else { return };
        if let Some(record) = self.state.read_or_warn::<LastSnapshot>() {
            self.write_record(
                LastSnapshot { offered: running.names(), taken: running.taken.clone(), ..record },
                &running,
            );
        }
    }

    /// Keeps the offer as the one to start with. What is in quarantine of it stays so by its own record.
    fn remember(&self, offered: &Pair) {
        let Some(position) = self.reader.position().cloned() else { return };
        let record = LastSnapshot {
            version: LastSnapshot::VERSION,
            offered: offered.names(),
            settled: self.settled_record(),
            taken: offered.taken.clone(),
            position,
        };
        self.write_record(record, offered);
    }

    fn write_record(&self, record: LastSnapshot, pair: &Pair) {
        let kept = [&pair.policy, &pair.facts]
            .into_iter()
            .try_for_each(|content| self.state.keep(content.digest, &content.bytes));
        match kept {
            Ok(()) => self.keep(&record),
            Err(error) => self.note_unwritable(&error),
        }
        self.keep_content(&[&pair.policy.digest, &pair.facts.digest]);
    }

    /// The same content in a newer release: nothing to build, but it is where to go on reading.
    fn confirm(&mut self, pair: Pair) {
        if let Some(running) = &mut self.status.lock().running {
            running.from_state = false;
            running.taken = pair.taken.clone();
        }
        self.running = Some(pair);
    }

    fn begin_trial(&mut self, pair: &Pair) {
        forget_panics(&self.state);
        let settled = self.settled_names();
        self.trial = std::mem::take(&mut self.trial).begin(pair.names(), settled, now_ms());
        let trial = self.trial.clone();
        self.keep(&trial);
    }

    /// Nothing came of a trial: what ran before still runs.
    fn end_trial(&mut self) {
        let settling = self.settling.as_ref().map(|_| self.running.clone());
        match settling.flatten() {
            Some(running) => self.begin_trial(&running),
            None => {
                self.trial = std::mem::take(&mut self.trial).end();
                let trial = self.trial.clone();
                self.keep(&trial);
            }
        }
    }

    fn keep<T: StateFile>(&self, record: &T) {
        match self.state.write(record) {
            Ok(()) => self.status.lock().state_unwritable = None,
            Err(error) => self.note_unwritable(&error),
        }
    }

    fn note_unwritable(&self, error: &std::io::Error) {
        let why = format!("{}: {error}", self.state.path().display());
        let mut view = self.status.lock();
        if view.state_unwritable.as_ref() != Some(&why) {
            tracing::warn!("the state folder can't be written, so a restart would go back: {why}");
            view.state_unwritable = Some(why);
        }
    }

    /// Removes content that neither runs, nor is offered, nor is what to go back to.
    fn keep_content(&self, also: &[&outrigger_snapshot::digest::Digest]) {
        let offered = self.offered.as_ref().map(|offered| &offered.pair);
        let settling = self.settling.as_ref().map(|(pair, _)| pair);
        let pairs = [offered, self.running.as_ref(), self.settled.as_ref(), settling];
        let mut kept: BTreeSet<_> = also.iter().map(|digest| **digest).collect();
        for pair in pairs.into_iter().flatten() {
            kept.extend([pair.policy.digest, pair.facts.digest]);
        }
        self.state.collect(&kept);
    }
}

fn content(part: Part, before: Option<&Content>) -> Option<Content> {
    match part.content {
        Some(bytes) => Some(Content { digest: part.digest, bytes: bytes.into() }),
        None => before.filter(|before| before.digest == part.digest).cloned(),
    }
}
