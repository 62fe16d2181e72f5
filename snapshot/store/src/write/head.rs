//! What is newest in the store, and whether it is what it was.

use std::sync::Arc;

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::layout;
use outrigger_snapshot::record::{Epoch, MeshId, Record, Release, Revision, Serial};

use super::{HighWater, Publisher, WriteError};
use crate::reader::{ReadError, Refusal};
use crate::records::Found;

/// The newest of everything.
#[derive(Debug, Clone)]
pub struct Head {
    /// Who the mesh is.
    pub epoch: Epoch,
    /// The newest revision.
    pub revision: Option<Arc<Revision>>,
    /// The newest release.
    pub release: Option<Arc<Release>>,
    pub(super) release_digest: Option<Digest>,
    pub(super) revision_stored: Option<bytes::Bytes>,
}

/// A revision without its resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its place.
    pub serial: Serial,
    /// Who pushed it.
    pub author: String,
    /// Why.
    pub message: String,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// Whether it was allowed to shrink.
    pub allow_shrink: bool,
    /// How many resources it has.
    pub resources: usize,
}

impl Head {
    /// Number of the newest revision; 0 before there is one.
    pub fn revision_number(&self) -> u64 {
        self.revision.as_ref().map_or(0, |revision| revision.serial.n)
    }

    /// Number of the newest release; 0 before there is one.
    pub fn release_number(&self) -> u64 {
        self.release.as_ref().map_or(0, |release| release.serial.n)
    }
}

impl Publisher {
    /// Reads what is newest and remembers it.
    ///
    /// # Errors
    /// [`WriteError::NoMesh`] where none was made; [`WriteError::Emptied`], [`WriteError::Behind`] or
    /// [`WriteError::OtherMesh`] if the store is not what it was.
    pub async fn head(&mut self) -> Result<Head, WriteError> {
        let Some(epoch) = self.newest_epoch().await? else {
            return Err(match &self.high_water {
                Some(seen) => WriteError::Emptied {
                    place: self.store.place().to_owned(),
                    mesh: seen.mesh,
                    seen: seen.revision,
                },
                None => WriteError::NoMesh(self.store.place().to_owned()),
            });
        };
        self.check_mesh(epoch.mesh)?;
        let known = self.head.take().filter(|known| known.epoch == epoch);
        let mut head = known.unwrap_or(Head {
            epoch,
            revision: None,
            release: None,
            release_digest: None,
            revision_stored: None,
        });
        if let Some(found) = self.newest(head.epoch.epoch, head.revision_number(), revision_place()).await? {
            head.revision_stored = Some(found.stored);
            head.revision = Some(Arc::new(found.record));
        }
        if let Some(found) = self.newest(head.epoch.epoch, head.release_number(), release_place()).await? {
            head.release_digest = Some(found.digest);
            head.release = Some(Arc::new(found.record));
        }
        self.remember(&head).await?;
        self.head = Some(head.clone());
        Ok(head)
    }

    /// The newest revision; `None` before the first.
    ///
    /// # Errors
    /// As [`head`](Self::head).
    pub async fn newest_revision(&mut self) -> Result<Option<Arc<Revision>>, WriteError> {
        Ok(self.head().await?.revision)
    }

    /// Revision `n` of the current epoch.
    ///
    /// # Errors
    /// As [`head`](Self::head); [`WriteError::Absent`] if there is none.
    pub async fn revision(&mut self, n: u64) -> Result<Revision, WriteError> {
        let epoch = self.head().await?.epoch.epoch;
        let path = layout::revision(Serial { epoch, n });
        let found = self.store.record::<Revision>(&path, &self.trusted).await?;
        found.map(|found| found.record).ok_or(WriteError::Absent(path))
    }

    /// The last `limit` revisions of the current epoch, newest first.
    ///
    /// # Errors
    /// As [`head`](Self::head).
    pub async fn history(&mut self, limit: usize) -> Result<Vec<Summary>, WriteError> {
        let head = self.head().await?;
        let mut history = Vec::new();
        for n in (1..=head.revision_number()).rev().take(limit) {
            let path = layout::revision(Serial { epoch: head.epoch.epoch, n });
            let Some(found) = self.store.record::<Revision>(&path, &self.trusted).await? else { break };
            let revision = found.record;
            history.push(Summary {
                serial: revision.serial,
                author: revision.author,
                message: revision.message,
                time_ms: revision.time_ms,
                allow_shrink: revision.allow_shrink,
                resources: revision.resources.len(),
            });
        }
        Ok(history)
    }

    pub(super) async fn newest_epoch(&self) -> Result<Option<Epoch>, WriteError> {
        let Some(number) = self.store.epochs().await?.last().copied() else { return Ok(None) };
        let path = layout::epoch(number);
        let found = self.store.record::<Epoch>(&path, &self.trusted).await?;
        Ok(found.map(|found| found.record).filter(|epoch| epoch.epoch == number))
    }

    /// The newest record after number `known`, if there is one. By listing, if none is known.
    async fn newest<R: Record>(
        &self,
        epoch: u64,
        known: u64,
        place: Place<R>,
    ) -> Result<Option<Found<R>>, WriteError> {
        let mut at = if known == 0 {
            let listed = self.store.list(&(place.folder)(epoch), None).await?;
            listed.iter().rev().find_map(|path| layout::number(path)).unwrap_or(1)
        } else {
            // That what was seen is still there is how a lost store is noticed.
            let seen = Serial { epoch, n: known };
            if self.store.written_ms(&(place.path)(seen)).await?.is_none() {
                return Err(self.behind(seen, None));
            }
            known.saturating_add(1)
        };
        let mut last = None;
        while let Some(stored) = self.store.raw::<R>(&(place.path)(Serial { epoch, n: at })).await? {
            last = Some((at, stored));
            let Some(next) = at.checked_add(1) else { break };
            at = next;
        }
        let Some((n, stored)) = last else { return Ok(None) };
        let serial = Serial { epoch, n };
        let path = (place.path)(serial);
        let found = crate::records::open::<R>(&path, stored, &self.trusted)?;
        let says = (place.serial)(&found.record);
        if says != serial {
            let found = format!("{} {says}", R::KIND);
            return Err(ReadError::from(Refusal::Misplaced { path, found }).into());
        }
        Ok(Some(found))
    }

    pub(super) fn check_mesh(&self, found: MeshId) -> Result<(), WriteError> {
        match &self.high_water {
            Some(seen) if seen.mesh != found => {
                Err(WriteError::OtherMesh { place: self.store.place().to_owned(), own: seen.mesh, found })
            }
            _ => Ok(()),
        }
    }

    fn behind(&self, seen: Serial, found: Option<Serial>) -> WriteError {
        WriteError::Behind { place: self.store.place().to_owned(), seen, found }
    }

    /// Keeps the highest; a store that is lower is behind.
    async fn remember(&mut self, head: &Head) -> Result<(), WriteError> {
        let epoch = head.epoch.epoch;
        let revision = Serial { epoch, n: head.revision_number() };
        let release = head.release_number();
        if revision.n == 0 && self.high_water.is_none() {
            // Nothing is lost with a mesh in which nothing was ever pushed.
            return Ok(());
        }
        if let Some(seen) = &self.high_water {
            if revision < seen.revision {
                return Err(self.behind(seen.revision, Some(revision)));
            }
            if seen.revision.epoch == epoch && release < seen.release {
                return Err(
                    self.behind(Serial { epoch, n: seen.release }, Some(Serial { epoch, n: release }))
                );
            }
            if seen.revision == revision && seen.release == release {
                return Ok(());
            }
        }
        let stored = head.revision_stored.as_ref().map(|stored| stored.to_vec()).unwrap_or_default();
        let seen = HighWater { mesh: head.epoch.mesh, revision, release, revision_stored: stored };
        if let Some(state) = self.state.clone() {
            let keep = seen.clone();
            let saved = tokio::task::spawn_blocking(move || state.save(&keep)).await;
            // A save that was cancelled is tried again with the next change.
            if let Ok(saved) = saved {
                saved?;
            }
        }
        self.high_water = Some(seen);
        Ok(())
    }
}

/// Where records of a kind are, and what they say about it.
struct Place<R> {
    folder: fn(u64) -> String,
    path: fn(Serial) -> String,
    serial: fn(&R) -> Serial,
}

fn revision_place() -> Place<Revision> {
    Place { folder: layout::revisions, path: layout::revision, serial: |revision| revision.serial }
}

fn release_place() -> Place<Release> {
    Place { folder: layout::releases, path: layout::release, serial: |release| release.serial }
}
