//! Making a mesh, and making it again from memory.

use std::time::Duration;

use outrigger_snapshot::layout;
use outrigger_snapshot::record::{AttemptId, Epoch, MeshId, Origin, RECORD_SCHEMA, Revision, Serial};

use super::{Publisher, WriteError};
use crate::store::Created;

/// How often making a mesh is tried while others make one too.
const INIT_TRIES_MAX: usize = 40;
/// Longest pause between two such tries.
const INIT_PAUSE_MAX: Duration = Duration::from_millis(100);

impl Publisher {
    /// Makes a new mesh: its folder if it is one, the public keys, and the first epoch.
    ///
    /// # Errors
    /// [`WriteError::MeshExists`] if there is one; [`WriteError::Emptied`] if there was one and only the memory of it is
    /// left, which asks for [`recover`](Self::recover) instead.
    pub async fn init(&mut self, now_ms: u64) -> Result<Epoch, WriteError> {
        self.store.create_folder().await?;
        if let Some(existing) = self.newest_epoch().await? {
            return Err(self.exists(existing.mesh));
        }
        if let Some(seen) = &self.high_water {
            let place = self.store.place().to_owned();
            return Err(WriteError::Emptied { place, mesh: seen.mesh, seen: seen.revision });
        }
        self.offer_keys().await?;
        let epoch =
            Epoch { schema: RECORD_SCHEMA, mesh: MeshId::random()?, epoch: now_ms, origin: Origin::New };
        self.win(&epoch).await?;
        Ok(epoch)
    }

    /// Re-seeds a store that was emptied or is behind: a new epoch of the same mesh, whose first revision is the last one
    /// that was seen.
    ///
    /// # Errors
    /// [`WriteError::NothingRemembered`] without a state folder that saw the mesh, [`WriteError::NothingLost`] if the
    /// store is whole.
    pub async fn recover(&mut self, now_ms: u64) -> Result<Revision, WriteError> {
        let seen = self.high_water.clone().filter(|seen| !seen.revision_stored.is_empty());
        let seen = seen.ok_or(WriteError::NothingRemembered)?;
        self.store.create_folder().await?;
        match self.head().await {
            Ok(_) => return Err(WriteError::NothingLost(self.store.place().to_owned())),
            Err(WriteError::Emptied { .. } | WriteError::Behind { .. }) => {}
            Err(error) => return Err(error),
        }
        let place = layout::revision(seen.revision);
        let last =
            crate::records::open::<Revision>(&place, seen.revision_stored.into(), &self.trusted)?.record;
        let newest = self.store.epochs().await?.last().copied().unwrap_or(0).max(seen.revision.epoch);
        let origin = Origin::Recovered(seen.revision);
        let number = now_ms.max(newest.saturating_add(1));
        let epoch = Epoch { schema: RECORD_SCHEMA, mesh: seen.mesh, epoch: number, origin };
        let message = format!("recovered from revision {} of epoch {}", seen.revision.n, seen.revision.epoch);
        let revision = Revision {
            serial: Serial { epoch: number, n: 1 },
            base: 0,
            message,
            time_ms: now_ms,
            attempt: AttemptId::random()?,
            ..last
        };
        self.offer_keys().await?;
        // The revision first: an epoch without one would hide what is left of the old epochs from a reader.
        let sealed = self.seal(&revision)?;
        let path = layout::revision(revision.serial);
        if self.store.create(&path, sealed).await? == Created::Exists || !self.create_epoch(&epoch).await? {
            return Err(WriteError::Contended(self.store.place().to_owned()));
        }
        self.head = None;
        self.head().await?;
        Ok(revision)
    }

    /// Puts the public keys where a reader that trusts on first use finds them.
    pub(super) async fn offer_keys(&self) -> Result<(), WriteError> {
        for key in &self.keys {
            let public = key.public();
            self.store.create(&layout::key(public.id()), format!("{public}\n").into()).await?;
        }
        Ok(())
    }

    /// Makes `epoch` the only one, or backs off. Names are times, so create-if-absent alone does not decide.
    ///
    /// Whoever sees only its own has won: anyone later sees it, and it never goes away again. Of several, all but the lowest
    /// withdraw, and the lowest looks again.
    async fn win(&self, epoch: &Epoch) -> Result<(), WriteError> {
        let mut created = false;
        for _ in 0..INIT_TRIES_MAX {
            if !created {
                if let Some(existing) = self.store.epochs().await?.last().copied() {
                    let path = layout::epoch(existing);
                    // Gone again: whoever made it has withdrawn.
                    let Some(found) = self.store.record::<Epoch>(&path, &self.trusted).await? else {
                        continue;
                    };
                    return Err(self.exists(found.record.mesh));
                }
                created = self.create_epoch(epoch).await?;
                if !created {
                    continue;
                }
            }
            let epochs = self.store.epochs().await?;
            if epochs == [epoch.epoch] {
                return Ok(());
            }
            if epochs.first() != Some(&epoch.epoch) {
                self.withdraw(epoch).await?;
                created = false;
            }
            tokio::time::sleep(INIT_PAUSE_MAX.mul_f64(fastrand::f64())).await;
        }
        self.withdraw(epoch).await?;
        Err(WriteError::InitContended(self.store.place().to_owned()))
    }

    async fn create_epoch(&self, epoch: &Epoch) -> Result<bool, WriteError> {
        let sealed = self.seal(epoch)?;
        Ok(self.store.create(&layout::epoch(epoch.epoch), sealed).await? == Created::New)
    }

    /// Removes the epoch if it is ours: at the same millisecond another one may have made its own.
    async fn withdraw(&self, epoch: &Epoch) -> Result<(), WriteError> {
        let path = layout::epoch(epoch.epoch);
        let found = self.store.record::<Epoch>(&path, &self.trusted).await;
        if found.is_ok_and(|found| found.is_some_and(|found| found.record == *epoch)) {
            self.store.delete(&path).await?;
        }
        Ok(())
    }

    fn exists(&self, mesh: MeshId) -> WriteError {
        WriteError::MeshExists { place: self.store.place().to_owned(), mesh }
    }
}
