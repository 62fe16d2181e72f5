//! Finding the newest release: the heartbeat's hint, then one number after the other, and a listing only without both.

use outrigger_snapshot::keys::TrustedKeys;
use outrigger_snapshot::layout;
use outrigger_snapshot::record::{Epoch, Heartbeat, MeshId, Release, Serial};

use super::{PROBES_MAX, ReadError, Reader, Refusal};
use crate::records::{Found, open};
use crate::store::Store;

impl Reader {
    /// The newest release, if it is newer than the position.
    pub(super) async fn newest(
        &mut self,
        trusted: &TrustedKeys,
    ) -> Result<Option<Found<Release>>, ReadError> {
        let hint = self.hint(trusted).await?;
        let own = self.position.as_ref().map(|position| position.release);
        if hint.is_none() || hint < own {
            return self.newest_without_hint(trusted, own, hint).await;
        }
        let Some(hinted) = hint.filter(|hinted| Some(*hinted) != own) else {
            return match own {
                Some(own) => self.last_from(own, None, trusted).await,
                None => Ok(None),
            };
        };
        self.check_epoch(hinted.epoch, trusted).await?;
        match self.store.raw::<Release>(&layout::release(hinted)).await? {
            Some(stored) => self.last_from(hinted, Some(stored), trusted).await,
            // The hint is ahead of the store, or its release was collected. A hint is no authority.
            None => self.newest_without_hint(trusted, own, None).await,
        }
    }

    /// Where the heartbeat says that the newest release is. An unbelievable heartbeat of our own mesh is no hint; one of
    /// another mesh is a refusal.
    async fn hint(&mut self, trusted: &TrustedKeys) -> Result<Option<Serial>, ReadError> {
        let heartbeat = match self.store.record::<Heartbeat>(layout::HEARTBEAT, trusted).await {
            Ok(found) => found.map(|found| found.record),
            Err(ReadError::Refused(_)) => None,
            Err(error) => return Err(error),
        };
        let Some(heartbeat) = heartbeat else { return Ok(None) };
        self.check_mesh(heartbeat.mesh)?;
        let newest = heartbeat.newest;
        self.heartbeat = Some(heartbeat);
        Ok(Some(newest))
    }

    /// The newest release by listing, or by probing from the position when the hint is merely old.
    async fn newest_without_hint(
        &mut self,
        trusted: &TrustedKeys,
        own: Option<Serial>,
        hint: Option<Serial>,
    ) -> Result<Option<Found<Release>>, ReadError> {
        if let (Some(own), Some(_)) = (own, hint)
            && self.store.raw::<Release>(&layout::release(own)).await?.is_some()
        {
            return self.last_from(own, None, trusted).await;
        }
        let epochs = self.store.epochs().await?;
        let Some(newest_epoch) = epochs.last().copied() else {
            return Err(ReadError::Empty(self.store.place().to_owned()));
        };
        self.check_epoch(newest_epoch, trusted).await?;
        let listed = self.store.list(&layout::releases(newest_epoch), None).await?;
        let found = listed.iter().rev().find_map(|path| layout::serial(path));
        match (own, found) {
            (Some(own), found) if found < Some(own) && newest_epoch <= own.epoch => {
                Err(ReadError::Behind { place: self.store.place().to_owned(), seen: own, found })
            }
            (own, Some(found)) if Some(found) > own => {
                let Some(stored) = self.store.raw::<Release>(&layout::release(found)).await? else {
                    return Ok(None);
                };
                self.last_from(found, Some(stored), trusted).await
            }
            _ => Ok(None),
        }
    }

    /// The last release from `from` on, whose bytes are `stored`; `None` if that is where the reader is already.
    async fn last_from(
        &self,
        from: Serial,
        stored: Option<bytes::Bytes>,
        trusted: &TrustedKeys,
    ) -> Result<Option<Found<Release>>, ReadError> {
        let mut last = stored.map(|stored| (from, stored));
        let mut at = from;
        for _ in 0..PROBES_MAX {
            let Some(next) = at.next() else { break };
            let Some(stored) = self.store.raw::<Release>(&layout::release(next)).await? else { break };
            last = Some((next, stored));
            at = next;
        }
        let Some((serial, stored)) = last else { return Ok(None) };
        let path = layout::release(serial);
        let found = open::<Release>(&path, stored, trusted)?;
        if found.record.serial != serial {
            let found = format!("release {}", found.record.serial);
            return Err(Refusal::Misplaced { path, found }.into());
        }
        Ok(Some(found))
    }

    /// Whether `release` may follow what was taken before.
    pub(super) fn accept(&self, release: &Release) -> Result<(), Refusal> {
        self.check_mesh(release.mesh)?;
        if let Some((mesh, _)) = self.epoch_checked.filter(|(mesh, _)| *mesh != release.mesh) {
            return Err(Refusal::OtherMesh { own: mesh, found: release.mesh });
        }
        let Some(position) = &self.position else { return Ok(()) };
        if release.serial.epoch > position.release.epoch {
            return Ok(());
        }
        if release.revision < position.revision {
            return Err(Refusal::RevisionLower {
                release: release.serial,
                own: position.revision,
                found: release.revision,
            });
        }
        if Some(release.serial) == position.release.next() && release.previous != Some(position.digest) {
            return Err(Refusal::ChainBroken(release.serial));
        }
        Ok(())
    }

    fn check_mesh(&self, found: MeshId) -> Result<(), Refusal> {
        match &self.position {
            Some(position) if position.mesh != found => Err(Refusal::OtherMesh { own: position.mesh, found }),
            _ => Ok(()),
        }
    }

    /// Whether `epoch` was really made, and for our mesh.
    pub(super) async fn check_epoch(&mut self, epoch: u64, trusted: &TrustedKeys) -> Result<(), ReadError> {
        let taken = self.position.as_ref().is_some_and(|position| position.release.epoch == epoch);
        if taken || self.epoch_checked.is_some_and(|(_, checked)| checked == epoch) {
            return Ok(());
        }
        let path = layout::epoch(epoch);
        let Some(found) = self.store.record::<Epoch>(&path, trusted).await? else {
            return Err(ReadError::Empty(self.store.place().to_owned()));
        };
        if found.record.epoch != epoch {
            let found = format!("epoch {}", found.record.epoch);
            return Err(Refusal::Misplaced { path, found }.into());
        }
        self.check_mesh(found.record.mesh)?;
        self.epoch_checked = Some((found.record.mesh, epoch));
        Ok(())
    }
}

impl Store {
    /// The numbers of all epochs, in order.
    pub(crate) async fn epochs(&self) -> Result<Vec<u64>, ReadError> {
        let paths = self.list(layout::EPOCHS, None).await?;
        Ok(paths.iter().filter_map(|path| layout::number(path)).collect())
    }
}
