//! Releases that are not the newest any more, for people who ask what was in force.

use outrigger_snapshot::keys::TrustedKeys;
use outrigger_snapshot::layout;
use outrigger_snapshot::record::{Release, Serial};

use super::{Held, Poll, ReadError, Reader, Refusal};
use crate::records::Found;

/// Which release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The one of this number; of several epochs that have it, the youngest.
    Number(u64),
    /// The last that was made by this time, in milliseconds since 1970, as the clocks of its writers had it.
    At(u64),
}

/// What was found.
#[derive(Debug)]
pub enum Older {
    /// The subscriber's share of it; never [`Poll::Unchanged`].
    Found(Poll),
    /// It was never made, or is not kept; the first and the last that are.
    Missing(Option<(Serial, Serial)>),
}

impl Reader {
    /// Reads a release, whatever its age, and stays there.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn older(&mut self, wanted: Wanted) -> Result<Older, ReadError> {
        let trusted = self.trusted().await?;
        let mut kept = Vec::new();
        for epoch in self.store.epochs().await? {
            let listed = self.store.list(&layout::releases(epoch), None).await?;
            kept.extend(listed.iter().filter_map(|path| layout::serial(path)));
        }
        kept.sort_unstable();
        let found = match wanted {
            Wanted::Number(n) => kept.iter().rev().find(|serial| serial.n == n).copied(),
            Wanted::At(time_ms) => self.in_force(&kept, time_ms, &trusted).await?,
        };
        let ends = || kept.first().copied().zip(kept.last().copied());
        let Some(serial) = found else { return Ok(Older::Missing(ends())) };
        self.check_epoch(serial.epoch, &trusted).await?;
        let Some(found) = self.release(serial, &trusted).await? else { return Ok(Older::Missing(ends())) };
        let poll = self.fetch(&found.record, &Held::default()).await?;
        self.advance(&found.record, found.digest, trusted);
        Ok(Older::Found(poll))
    }

    /// The last of these, in their order, that was made by `time_ms`.
    async fn in_force(
        &self,
        kept: &[Serial],
        time_ms: u64,
        trusted: &TrustedKeys,
    ) -> Result<Option<Serial>, ReadError> {
        let (mut made, mut later) = (0, kept.len());
        while made < later {
            let middle = made + (later - made) / 2;
            // One that is collected meanwhile is older than what is kept.
            let release = self.release(kept[middle], trusted).await?;
            if release.is_none_or(|release| release.record.time_ms <= time_ms) {
                made = middle + 1;
            } else {
                later = middle;
            }
        }
        Ok(made.checked_sub(1).map(|last| kept[last]))
    }

    async fn release(
        &self,
        serial: Serial,
        trusted: &TrustedKeys,
    ) -> Result<Option<Found<Release>>, ReadError> {
        let path = layout::release(serial);
        let Some(found) = self.store.record::<Release>(&path, trusted).await? else { return Ok(None) };
        if found.record.serial != serial {
            let found = format!("release {}", found.record.serial);
            return Err(Refusal::Misplaced { path, found }.into());
        }
        Ok(Some(found))
    }
}
