//! Changes: read what is newest, decide what would come next, and create it unless someone was faster.

use std::sync::Arc;

use outrigger_snapshot::record::{AUTHOR_BYTES_MAX, MESSAGE_BYTES_MAX};
use outrigger_store::write::{self, PushError, WriteError};

use super::base::pinned;
use super::draft::{self, Draft};
use super::open::is_missing_folder;
use super::{ControlPlane, MeshError, Revision, computed, now_ms};
use crate::api::wire::{Difference, Push, Pushed, Rollback, Verb};
use crate::config::{Problems, Source};

/// How often a push without a base starts over because others were faster.
const TRIES_MAX: usize = 64;

/// Who makes a change, why, and what it may do.
struct Reason {
    base: Option<u64>,
    author: String,
    message: String,
    allow_shrink: bool,
}

/// What is wanted.
#[derive(Clone)]
pub(super) enum Wish {
    Edit(Verb, Arc<Vec<Source>>),
    /// The content of a revision; of the one before the newest if none is named.
    Restore(Option<u64>),
}

impl ControlPlane {
    /// Makes a change, whole, or nothing.
    ///
    /// # Errors
    /// [`MeshError`].
    pub async fn push(&self, push: Push) -> Result<Pushed, MeshError> {
        let wish = Wish::Edit(push.verb, sources(push.sources));
        let Push { base, author, message, allow_shrink, .. } = push;
        self.change(wish, Reason { base, author, message, allow_shrink }).await
    }

    /// Makes a revision with the content of an older one.
    ///
    /// # Errors
    /// [`MeshError`].
    pub async fn rollback(&self, rollback: Rollback) -> Result<Pushed, MeshError> {
        let Rollback { to, base, author, message, allow_shrink } = rollback;
        self.change(Wish::Restore(to), Reason { base, author, message, allow_shrink }).await
    }

    /// What a push would change.
    ///
    /// # Errors
    /// [`MeshError`].
    pub async fn difference(&self, push: Push) -> Result<Difference, MeshError> {
        let newest = self.newest().await?;
        check_base(push.base, newest.as_ref())?;
        let drafted = self.drafted(&Wish::Edit(push.verb, sources(push.sources)), newest.clone()).await?;
        self.check_based(&drafted, newest.as_ref()).await?;
        Ok(Difference {
            revision: number(newest.as_ref()),
            changes: drafted.changes,
            shrinks: drafted.shrinks,
        })
    }

    async fn change(&self, wish: Wish, reason: Reason) -> Result<Pushed, MeshError> {
        let outcome = self.try_change(&wish, reason).await;
        match &outcome {
            Ok(pushed) if pushed.changes.is_empty() => {}
            Ok(_) => self.metrics.pushes.increment(),
            Err(MeshError::Stale { .. } | MeshError::Changed { .. } | MeshError::Busy) => {
                self.metrics.conflicts.increment()
            }
            Err(_) => self.metrics.refusals.increment(),
        }
        outcome
    }

    async fn try_change(&self, wish: &Wish, reason: Reason) -> Result<Pushed, MeshError> {
        check_length("author", &reason.author, AUTHOR_BYTES_MAX)?;
        check_length("message", &reason.message, MESSAGE_BYTES_MAX)?;
        let mut notes = Vec::new();
        let (wish, base) = pinned(wish, reason.base, self.newest().await?.as_ref())?;
        for _ in 0..TRIES_MAX {
            let newest = self.newest().await?;
            check_base(base, newest.as_ref())?;
            let drafted = self.drafted(&wish, newest.clone()).await?;
            if let (true, Some(newest)) = (drafted.changes.is_empty(), &newest) {
                let (epoch, revision) = (newest.serial.epoch, newest.serial.n);
                return Ok(Pushed { revision, epoch, changes: Vec::new(), notes });
            }
            self.check_based(&drafted, newest.as_ref()).await?;
            if !drafted.shrinks.is_empty() && !reason.allow_shrink {
                return Err(MeshError::Shrinks(drafted.shrinks));
            }
            let changes = drafted.changes;
            let next = write::Draft {
                resources: drafted.resources,
                author: if reason.author.is_empty() { "unknown".to_owned() } else { reason.author.clone() },
                message: message(&wish, &reason),
                allow_shrink: reason.allow_shrink,
            };
            match self.create(number(newest.as_ref()), next, &mut notes).await {
                Ok((epoch, revision)) => return Ok(Pushed { revision, epoch, changes, notes }),
                Err(MeshError::Stale { .. }) if base.is_none() => self.metrics.conflicts.increment(),
                Err(error) => return Err(error),
            }
        }
        Err(MeshError::Busy)
    }

    /// Creates the revision after `base`, in a mesh that is made if there is none.
    async fn create(
        &self,
        base: u64,
        next: write::Draft,
        notes: &mut Vec<String>,
    ) -> Result<(u64, u64), MeshError> {
        let mut place = self.publisher.lock().await;
        let publisher = self.founded(&mut place, notes).await?;
        match publisher.push_revision(base, next, now_ms()).await {
            Ok(revision) => {
                if let Ok(head) = publisher.head().await {
                    self.learn(&head);
                }
                self.wake.notify_one();
                Ok((revision.serial.epoch, revision.serial.n))
            }
            Err(PushError::Conflict { base, newest, author }) => {
                Err(MeshError::Stale { base, newest, author })
            }
            Err(PushError::Write(error)) => Err(error.into()),
        }
    }

    /// The newest revision; `None` before the first.
    pub(super) async fn newest(&self) -> Result<Option<Revision>, MeshError> {
        let mut place = self.publisher.lock().await;
        let Some(publisher) = self.find_publisher(&mut place)? else { return Ok(None) };
        match publisher.head().await {
            Ok(head) => Ok(head.revision),
            Err(WriteError::NoMesh(_)) if self.store.folder().is_some() => Ok(None),
            Err(error) if is_missing_folder(&error) && publisher.high_water().is_none() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// An older revision.
    pub(super) async fn older(&self, n: u64) -> Result<outrigger_snapshot::record::Revision, MeshError> {
        let mut place = self.publisher.lock().await;
        let publisher = self.find_publisher(&mut place)?.ok_or(MeshError::NoRevision(n))?;
        match publisher.revision(n).await {
            Err(WriteError::Absent(_) | WriteError::NoMesh(_)) => Err(MeshError::NoRevision(n)),
            other => Ok(other?),
        }
    }

    async fn drafted(&self, wish: &Wish, newest: Option<Revision>) -> Result<Draft, MeshError> {
        let made: Result<Draft, Problems> = match wish.clone() {
            Wish::Edit(verb, sources) => {
                computed(move || draft::draft(verb, &sources, current(newest.as_ref()))).await?
            }
            Wish::Restore(to) => {
                let n = wanted(to, newest.as_ref())?;
                let old = self.older(n).await?;
                computed(move || draft::restore(&old.resources, current(newest.as_ref()))).await?
            }
        };
        made.map_err(MeshError::Refused)
    }
}

/// The message of the history: a rollback without one says what it is.
fn message(wish: &Wish, reason: &Reason) -> String {
    match wish {
        Wish::Restore(Some(n)) if reason.message.is_empty() => format!("rollback to revision {n}"),
        _ => reason.message.clone(),
    }
}

pub(super) fn wanted(to: Option<u64>, newest: Option<&Revision>) -> Result<u64, MeshError> {
    match to {
        Some(0) => Err(MeshError::NoRevision(0)),
        Some(n) => Ok(n),
        None => number(newest).checked_sub(1).filter(|n| *n > 0).ok_or(MeshError::NothingBefore),
    }
}

fn check_base(base: Option<u64>, newest: Option<&Revision>) -> Result<(), MeshError> {
    match base {
        Some(base) if base != number(newest) => {
            let author = newest.map(|newest| newest.author.clone()).unwrap_or_default();
            Err(MeshError::Stale { base, newest: number(newest), author })
        }
        _ => Ok(()),
    }
}

fn check_length(field: &'static str, text: &str, max: usize) -> Result<(), MeshError> {
    if text.len() > max { Err(MeshError::TooLong { field, bytes: text.len(), max }) } else { Ok(()) }
}

pub(super) fn number(newest: Option<&Revision>) -> u64 {
    newest.map_or(0, |newest| newest.serial.n)
}

fn current(newest: Option<&Revision>) -> &[serde_json::Value] {
    newest.map_or(&[], |newest| &newest.resources)
}

fn sources(texts: Vec<crate::api::wire::SourceText>) -> Arc<Vec<Source>> {
    Arc::new(texts.into_iter().map(|source| Source { name: source.name, text: source.text }).collect())
}
