//! What the newest release names has to be there, or no proxy could start on it: it is looked for now and then, and stored
//! again where it is gone.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::layout;
use outrigger_snapshot::record::{Index, Release};

use super::compiled::Digested;
use super::publish::WRITES_AT_ONCE;
use super::{Publisher, WriteError};

/// How often the objects of one release are looked for, in milliseconds. At a publisher's first turn they always are.
pub(super) const VERIFY_EVERY_MS: u64 = 60_000;
/// Objects that are looked for at once.
const LOOKS_AT_ONCE: usize = 16;

/// How the objects of a release were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verified {
    /// All there, or looked for a short while ago.
    Whole,
    /// So many were gone, or cut short, and are stored again.
    Restored(usize),
    /// Something is gone that the same content does not give back: it was compressed by another version.
    Lost,
}

impl Publisher {
    /// Looks for the objects of `release`, which means the same as `digested`, and stores those again that are gone.
    pub(super) async fn verify(
        &mut self,
        release: &Release,
        digested: &mut Digested,
        now_ms: u64,
    ) -> Result<Verified, WriteError> {
        let lately = |at: u64| now_ms.abs_diff(at) < VERIFY_EVERY_MS;
        if self.verified.is_some_and(|(serial, at)| serial == release.serial && lately(at)) {
            return Ok(Verified::Whole);
        }
        let sharded = release.contents.values().any(|index| matches!(index, Index::Shards(_)));
        let own = if sharded { digested.sharded()? } else { digested.inline() };
        let damaged = if own == release.contents {
            let sizes = digested.objects.iter().map(|(digest, stored)| (*digest, Some(stored.len() as u64)));
            self.damaged(sizes.collect()).await?
        } else {
            let named = self.objects_of(release).await?;
            self.damaged(named.into_iter().map(|digest| (digest, None)).collect()).await?
        };
        if !damaged.is_empty() {
            self.stored.clear();
            let stored = |digest: &Digest| Some((*digest, digested.objects.get(digest)?.clone()));
            let Some(again) = damaged.iter().map(stored).collect() else { return Ok(Verified::Lost) };
            self.restore(again).await?;
        }
        self.verified = Some((release.serial, now_ms));
        Ok(if damaged.is_empty() { Verified::Whole } else { Verified::Restored(damaged.len()) })
    }

    /// Those of `objects` that are not there, or not of the size that they should have, where that is known.
    async fn damaged(&self, objects: BTreeMap<Digest, Option<u64>>) -> Result<Vec<Digest>, WriteError> {
        let look = |(digest, expected): (Digest, Option<u64>)| async move {
            let size = self.store.size(&layout::object(digest)).await?;
            let whole = size.is_some_and(|size| expected.is_none_or(|expected| size == expected));
            Ok::<_, WriteError>((!whole).then_some(digest))
        };
        let found: Vec<Option<Digest>> =
            stream::iter(objects).map(look).buffer_unordered(LOOKS_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn restore(&self, objects: Vec<(Digest, Bytes)>) -> Result<(), WriteError> {
        let write = |(digest, stored): (Digest, Bytes)| async move {
            Ok::<_, WriteError>(self.store.overwrite(&layout::object(digest), stored).await?)
        };
        stream::iter(objects).map(write).buffer_unordered(WRITES_AT_ONCE).try_collect().await
    }
}
