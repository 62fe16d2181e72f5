//! Publishing: content first, then the one small record that names it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::keys::TrustedKeys;
use outrigger_snapshot::layout;
use outrigger_snapshot::record::{
    AttemptId, Heartbeat, Index, Lane, Peers, RECORD_SCHEMA, Release, Revision, Serial,
};

use outrigger_snapshot::signed::SealError;

use super::compiled::Digested;
use super::verify::Verified;
use super::{ATTEMPTS_MAX, Compiled, Head, Publisher, STORED_MAX, WriteError};
use crate::store::Created;

/// Largest release that holds its index in place, in stored bytes. Beyond it, the release names shards.
pub(super) const INLINE_BYTES_MAX: usize = 16 << 10;
/// Age from which an object is written again before a release names it: well below the age at which it is collected.
const REWRITE_AGE_MS: u64 = 24 * 60 * 60 * 1000;
/// For how long an object that was seen young is not looked at again.
const STORED_AGE_MS: u64 = REWRITE_AGE_MS / 2;
/// Objects that are written at once.
pub(super) const WRITES_AT_ONCE: usize = 16;
/// Revisions whose shrink permission is looked up when several are published in one step.
const SHRINK_LOOKBACK_MAX: u64 = 256;

/// What became of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// A new release.
    Released(Arc<Release>),
    /// The newest release says the same already.
    Identical(Arc<Release>),
    /// So does it here, but the store had lost so many of the objects that it names. They are there again.
    Restored(Arc<Release>, usize),
    /// The newest release is of a higher revision, or of the same one by a compiler that is not older and with counts of callers
    /// that are not older either.
    Superseded(Arc<Release>),
    /// The revision was rejected, and stays so.
    Rejected(Arc<Release>),
    /// The store went on: the revision is of an epoch that was superseded.
    EpochOver(u64),
}

impl Publisher {
    /// Publishes what `compiler` made of `revision`, if that is newer than what is published.
    ///
    /// # Errors
    /// [`WriteError`]; whatever it is, calling again at the next interval is safe.
    pub async fn publish(
        &mut self,
        compiled: &Compiled,
        revision: Serial,
        compiler: u32,
        now_ms: u64,
    ) -> Result<Published, WriteError> {
        let mut digested = Digested::of(compiled)?;
        let lanes = vec![Lane { name: "stable".to_owned(), percent: 100 }];
        let meaning = digested.meaning(&lanes)?;
        for _ in 0..ATTEMPTS_MAX {
            let head = self.head().await?;
            match decide(&head, revision, compiler, &digested, meaning)? {
                None => {}
                Some(Published::Identical(release)) => {
                    match self.verify(&release, &mut digested, now_ms).await? {
                        Verified::Whole => return Ok(Published::Identical(release)),
                        Verified::Restored(objects) => return Ok(Published::Restored(release, objects)),
                        // The same content as new objects, under a release that names those.
                        Verified::Lost => {}
                    }
                }
                Some(outcome) => return Ok(outcome),
            }
            let before = head.release.as_ref();
            let shrink = self.shrink_allowed_between(before.map_or(0, |release| release.revision), revision);
            let shrink = shrink.await?;
            let mut release = self.follow(&head, now_ms)?;
            release.revision = revision.n;
            release.compiler = compiler;
            release.peers = digested.peers;
            release.rejected = false;
            release.lanes.clone_from(&lanes);
            release.meaning = meaning;
            if shrink {
                release.shrink_allowed_at = Some(release.serial.n);
            }
            let sealed = self.seal_release(&mut release, &mut digested)?;
            // What the release rests on is durable before it is.
            self.store.settle(&layout::revision(revision)).await?;
            self.store_objects(&digested, now_ms).await?;
            if self.create_release(&release, sealed).await? {
                return Ok(Published::Released(Arc::new(release)));
            }
        }
        Err(WriteError::Contended(self.store.place().to_owned()))
    }

    /// Announces `trust` as the keys to believe from the next release on. The content stays as it is.
    ///
    /// Rotation is three steps: announce the old and the new key together; sign with both; announce the new one alone.
    ///
    /// # Errors
    /// [`WriteError::NoRelease`] before the first release.
    pub async fn announce(&mut self, trust: TrustedKeys, now_ms: u64) -> Result<Arc<Release>, WriteError> {
        self.offer_keys().await?;
        // A reader that starts after the old key was dropped still has to believe the epoch.
        let epoch = self.head().await?.epoch;
        let sealed = self.seal(&epoch)?;
        self.store.overwrite(&layout::epoch(epoch.epoch), sealed).await?;
        self.amend(now_ms, |release| release.trust = Some(trust.clone())).await
    }

    /// Takes the newest revision back: its place is given to what `older` released, and no replica publishes it again.
    ///
    /// # Errors
    /// [`WriteError::Absent`] if release `older` is not there.
    pub async fn reject(&mut self, older: u64, now_ms: u64) -> Result<Arc<Release>, WriteError> {
        let epoch = self.head().await?.epoch.epoch;
        let path = layout::release(Serial { epoch, n: older });
        let found = self.store.record::<Release>(&path, &self.trusted).await?;
        let good = found.ok_or(WriteError::Absent(path))?.record;
        self.amend(now_ms, |release| {
            release.rejected = true;
            release.lanes.clone_from(&good.lanes);
            release.contents.clone_from(&good.contents);
            release.peers = good.peers;
            release.meaning = good.meaning;
        })
        .await
    }

    /// Writes the pulse, with the newest release as a hint. Nothing before the first release.
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn heartbeat(&mut self, now_ms: u64) -> Result<(), WriteError> {
        let head = match self.head.clone() {
            Some(head) => head,
            None => self.head().await?,
        };
        let Some(release) = head.release else { return Ok(()) };
        let heartbeat = Heartbeat {
            schema: RECORD_SCHEMA,
            mesh: head.epoch.mesh,
            newest: release.serial,
            time_ms: now_ms,
        };
        let sealed = self.seal(&heartbeat)?;
        Ok(self.store.pulse(layout::HEARTBEAT, sealed).await?)
    }

    /// Whether any revision after `after`, up to and including `last`, was allowed to shrink.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn shrink_allowed_between(&self, after: u64, last: Serial) -> Result<bool, WriteError> {
        let first = after.saturating_add(1).max(last.n.saturating_sub(SHRINK_LOOKBACK_MAX));
        for n in (first..=last.n).rev() {
            let path = layout::revision(Serial { epoch: last.epoch, n });
            let found = self.store.record::<Revision>(&path, &self.trusted).await?;
            if found.is_some_and(|found| found.record.allow_shrink) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A release with the content of the newest one, but for what `change` does.
    pub(super) async fn amend(
        &mut self,
        now_ms: u64,
        change: impl Fn(&mut Release),
    ) -> Result<Arc<Release>, WriteError> {
        for _ in 0..ATTEMPTS_MAX {
            let head = self.head().await?;
            if head.release.is_none() {
                return Err(WriteError::NoRelease);
            }
            let mut release = self.follow(&head, now_ms)?;
            change(&mut release);
            let sealed = self.seal(&release)?;
            if self.create_release(&release, sealed).await? {
                return Ok(Arc::new(release));
            }
        }
        Err(WriteError::Contended(self.store.place().to_owned()))
    }

    /// The release after the newest one, with its content.
    fn follow(&self, head: &Head, now_ms: u64) -> Result<Release, WriteError> {
        let serial = Serial { epoch: head.epoch.epoch, n: head.release_number().saturating_add(1) };
        let attempt = AttemptId::random()?;
        let previous = head.release_digest;
        if let Some(newest) = &head.release {
            return Ok(Release { serial, attempt, previous, time_ms: now_ms, ..Release::clone(newest) });
        }
        Ok(Release {
            schema: RECORD_SCHEMA,
            mesh: head.epoch.mesh,
            serial,
            previous,
            revision: 0,
            compiler: 0,
            shrink_allowed_at: None,
            rejected: false,
            time_ms: now_ms,
            attempt,
            trust: None,
            peers: None,
            lanes: Vec::new(),
            meaning: Digest::of(b""),
            contents: std::collections::BTreeMap::new(),
        })
    }

    /// Seals `release` with its index in place if that stays small, else with shards.
    fn seal_release(&self, release: &mut Release, digested: &mut Digested) -> Result<Bytes, WriteError> {
        release.contents = digested.inline();
        match self.seal(release) {
            Ok(sealed) if sealed.len() <= INLINE_BYTES_MAX => return Ok(sealed),
            Ok(_) | Err(WriteError::Seal(SealError::TooLarge { .. })) => {}
            Err(error) => return Err(error),
        }
        release.contents = digested.sharded()?;
        self.seal(release)
    }

    /// Whether `release` became the next one. If not, or if nobody knows, the caller looks again and decides again.
    async fn create_release(&mut self, release: &Release, sealed: Bytes) -> Result<bool, WriteError> {
        let path = layout::release(release.serial);
        let outcome = self.store.create(&path, sealed).await;
        let ours = match outcome {
            Ok(Created::New) => true,
            // Lost, or won by a request whose answer was lost: the attempt id tells.
            Ok(Created::Exists) | Err(_) => {
                let found = self.store.record::<Release>(&path, &self.trusted).await?;
                found.is_some_and(|found| found.record.attempt == release.attempt)
            }
        };
        if ours {
            self.store.settle(&path).await?;
            self.head().await?;
        }
        Ok(ours)
    }

    /// Stores every object, and writes those again that a collection could take away.
    async fn store_objects(&mut self, digested: &Digested, now_ms: u64) -> Result<(), WriteError> {
        self.stored.retain(|_, at| now_ms.saturating_sub(*at) < STORED_AGE_MS);
        let missing: Vec<_> = digested
            .objects
            .iter()
            .filter(|(digest, _)| !self.stored.contains_key(*digest))
            .map(|(digest, stored)| (*digest, stored.clone()))
            .collect();
        let store = &self.store;
        let write = |(digest, stored): (Digest, Bytes)| async move {
            let path = layout::object(digest);
            if store.create(&path, stored.clone()).await? == Created::New {
                return Ok(digest);
            }
            let written = store.written_ms(&path).await?;
            if written.is_none_or(|written| now_ms.saturating_sub(written) >= REWRITE_AGE_MS) {
                store.overwrite(&path, stored).await?;
            }
            Ok::<_, WriteError>(digest)
        };
        let stored: Vec<_> =
            stream::iter(missing).map(write).buffer_unordered(WRITES_AT_ONCE).try_collect().await?;
        if self.stored.len() + stored.len() > STORED_MAX {
            self.stored.clear();
        }
        self.stored.extend(stored.into_iter().take(STORED_MAX).map(|digest| (digest, now_ms)));
        Ok(())
    }
}

/// The rules of publishing. `None` means: go on.
fn decide(
    head: &Head,
    revision: Serial,
    compiler: u32,
    digested: &Digested,
    meaning: Digest,
) -> Result<Option<Published>, WriteError> {
    if revision.epoch != head.epoch.epoch {
        return Ok(Some(Published::EpochOver(head.epoch.epoch)));
    }
    if revision.n == 0 || head.revision_number() < revision.n {
        return Err(WriteError::Absent(layout::revision(revision)));
    }
    let Some(newest) = &head.release else { return Ok(None) };
    let counted_ms = |peers: Option<Peers>| peers.map_or(0, |peers| peers.time_ms);
    let (known_ms, counted_ms) = (counted_ms(newest.peers), counted_ms(digested.peers));
    // Revision, then compiler, then counts: whoever is ahead in the first that differs is ahead.
    let order = (revision.n, compiler, counted_ms).cmp(&(newest.revision, newest.compiler, known_ms));
    let same = newest.revision == revision.n;
    Ok(if same && newest.rejected {
        Some(Published::Rejected(Arc::clone(newest)))
    } else if newest.revision <= revision.n && newest.meaning == meaning {
        Some(Published::Identical(Arc::clone(newest)))
    } else if order.is_le() || counted_ms < known_ms {
        Some(Published::Superseded(Arc::clone(newest)))
    } else {
        None
    })
}

/// Every object that `release` names directly.
pub(super) fn named(release: &Release) -> (Vec<Digest>, Vec<outrigger_snapshot::record::ObjectRef>) {
    let mut objects = Vec::new();
    let mut shards = Vec::new();
    for index in release.contents.values() {
        match index {
            Index::Inline(scopes) => {
                for entry in scopes.values() {
                    objects.extend(entry.policies.iter().chain([&entry.facts]).map(|object| object.object));
                }
            }
            Index::Shards(named) => {
                objects.extend(named.iter().map(|object| object.object));
                shards.extend(named);
            }
        }
    }
    objects.extend(release.peers.map(|peers| peers.counts.object));
    (objects, shards)
}
