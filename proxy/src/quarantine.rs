//! Which digest a proxy no longer runs because it died of it, decided from what the process before left behind.
//!
//! Before a pair of policy and facts is put to use, [`Trial::begin`] is written to `applying.json`; after
//! [`SETTLE_AFTER`] of life, or at an orderly end, it is cleared. At the next start [`judge`] reads what is left: a trial that was
//! never cleared is a death. Two deaths of one digest, or one by a panic ([`mark_panics`]), put it into `quarantine.json`, which
//! `outrigger unquarantine` edits and [`crate::source`] reads at every poll.
//!
//! All of it is plain data: time comes in, files go through [`crate::state_dir`].

use std::path::Path;
use std::time::Duration;

use outrigger_snapshot::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::state_dir::{PairNames, StateDir, StateFile};

/// A process that lives this long after applying a digest did not die of it.
pub const SETTLE_AFTER: Duration = Duration::from_secs(30);
/// Deaths of one digest that put it into quarantine.
pub const DEATHS_MAX: u32 = 2;
/// Digests in quarantine, and digests under suspicion, that are remembered; beyond it the oldest are forgotten.
pub const ENTRIES_MAX: usize = 64;

const PANIC_MARK: &str = "panicked";

/// Which of a scope's two objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Routes and policies.
    Policy,
    /// Endpoints and other facts.
    Facts,
}

/// A digest that is not run any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Of the uncompressed form.
    pub digest: Digest,
    /// What it is.
    pub kind: Kind,
    /// How often the proxy died of it.
    pub deaths: u32,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// All digests that are not run any more. People may edit the file: a missing version is the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// See [`StateFile::VERSION`].
    #[serde(default = "first_version")]
    pub version: u32,
    /// At most [`ENTRIES_MAX`], the oldest first.
    pub entries: Vec<Entry>,
}

/// What the running process is trying out, and what processes before it died of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// See [`StateFile::VERSION`].
    pub version: u32,
    /// What was applied and has not settled.
    pub current: Option<PairNames>,
    /// When it was applied, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Digests that processes have died of, not often enough for quarantine.
    pub suspects: Vec<Suspect>,
}

/// A digest that a process has died of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspect {
    /// Of the uncompressed form.
    pub digest: Digest,
    /// What it is.
    pub kind: Kind,
    /// How often.
    pub deaths: u32,
}

/// What is known at a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The suspects, for the trials to come.
    pub trial: Trial,
    /// All that is in quarantine.
    pub quarantine: Quarantine,
    /// What the process before died of, if it died of anything.
    pub death: Option<Suspect>,
}

impl Quarantine {
    /// Whether `digest` is not to be run.
    pub fn holds(&self, digest: Digest) -> bool {
        self.entries.iter().any(|entry| entry.digest == digest)
    }
}

impl Trial {
    /// `pair` is about to be applied. What has `settled` is beyond suspicion: a pair of nothing else is no trial at all.
    #[must_use]
    pub fn begin(self, pair: PairNames, settled: Option<PairNames>, now_ms: u64) -> Self {
        let current = (Some(pair) != settled).then_some(pair);
        Self { current, since_unix_ms: now_ms, ..self }
    }

    /// The process has lived on for long enough with `pair`, or ends in order.
    #[must_use]
    pub fn settle(mut self, pair: PairNames) -> Self {
        self.suspects.retain(|suspect| suspect.digest != pair.policy && suspect.digest != pair.facts);
        Self { current: None, ..self }
    }

    /// The process ends in order before that: neither guilty nor innocent.
    #[must_use]
    pub fn end(self) -> Self {
        Self { current: None, ..self }
    }
}

/// What follows from what the process before left behind. The policy is suspected before the facts, for it can be had in an
/// older version at no loss; facts are suspected if the policy has proved itself.
pub fn judge(
    trial: Trial,
    mut quarantine: Quarantine,
    settled: Option<PairNames>,
    panicked: bool,
    now_ms: u64,
) -> Verdict {
    let Some(suspect) = trial.current.and_then(|pair| suspect(pair, settled)) else {
        return Verdict { trial: trial.end(), quarantine, death: None };
    };
    let mut trial = trial.end();
    let known = trial.suspects.iter().position(|known| known.digest == suspect.0);
    let before = known.map_or(0, |index| trial.suspects.remove(index).deaths);
    let death = Suspect { digest: suspect.0, kind: suspect.1, deaths: before.saturating_add(1) };
    if panicked || death.deaths >= DEATHS_MAX {
        quarantine.entries.retain(|entry| entry.digest != death.digest);
        quarantine.entries.push(Entry {
            digest: death.digest,
            kind: death.kind,
            deaths: death.deaths,
            since_unix_ms: now_ms,
        });
        forget_oldest(&mut quarantine.entries);
    } else {
        trial.suspects.push(death);
        forget_oldest(&mut trial.suspects);
    }
    Verdict { trial, quarantine, death: Some(death) }
}

/// Judges what lies in `state`, writes down what follows, and takes the panic mark away.
pub fn judge_state(state: &StateDir, settled: Option<PairNames>, now_ms: u64) -> Verdict {
    let mark = state.path().join(PANIC_MARK);
    let panicked = mark.exists();
    let trial = state.read_or_warn().unwrap_or_default();
    let quarantine = state.read_or_warn().unwrap_or_default();
    let verdict = judge(trial, quarantine, settled, panicked, now_ms);
    let written = if verdict.death.is_some() { state.write(&verdict.quarantine) } else { Ok(()) };
    // The mark goes last: if this process dies in between, the next one judges again.
    let cleared =
        written.and_then(|()| state.write(&verdict.trial)).and_then(|()| match std::fs::remove_file(&mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        });
    if let Err(error) = cleared {
        tracing::warn!("the state folder can't be written, so a fatal snapshot may be tried again: {error}");
    }
    verdict
}

/// A trial begins: what panicked before, in a task that was given up, is not its doing.
pub fn forget_panics(state: &StateDir) {
    match std::fs::remove_file(state.path().join(PANIC_MARK)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(
                "an old mark of a panic can't be removed, so the next crash counts as one: {error}"
            );
        }
        _ => {}
    }
}

/// From now on a panic leaves a mark in the state folder before anything else happens.
pub fn mark_panics(folder: &Path) {
    let mark = folder.join(PANIC_MARK);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Nobody could be told of a failure here.
        let _ = std::fs::File::create(&mark);
        before(panic);
    }));
}

fn suspect(pair: PairNames, settled: Option<PairNames>) -> Option<(Digest, Kind)> {
    if settled.is_none_or(|settled| settled.policy != pair.policy) {
        Some((pair.policy, Kind::Policy))
    } else if settled.is_none_or(|settled| settled.facts != pair.facts) {
        Some((pair.facts, Kind::Facts))
    } else {
        None
    }
}

fn forget_oldest<T>(entries: &mut Vec<T>) {
    let beyond = entries.len().saturating_sub(ENTRIES_MAX);
    entries.drain(..beyond);
}

fn first_version() -> u32 {
    Quarantine::VERSION
}

impl Default for Quarantine {
    fn default() -> Self {
        Self { version: Self::VERSION, entries: Vec::new() }
    }
}

impl Default for Trial {
    fn default() -> Self {
        Self { version: Self::VERSION, current: None, since_unix_ms: 0, suspects: Vec::new() }
    }
}

impl StateFile for Quarantine {
    const NAME: &'static str = "quarantine.json";
    const VERSION: u32 = 1;
    const BYTES_MAX: usize = 64 << 10;

    fn version(&self) -> u32 {
        self.version
    }

    fn is_bounded(&self) -> bool {
        self.entries.len() <= ENTRIES_MAX
    }
}

impl StateFile for Trial {
    const NAME: &'static str = "applying.json";
    const VERSION: u32 = 1;
    const BYTES_MAX: usize = 64 << 10;

    fn version(&self) -> u32 {
        self.version
    }

    fn is_bounded(&self) -> bool {
        self.suspects.len() <= ENTRIES_MAX
    }
}

#[cfg(test)]
mod tests;
