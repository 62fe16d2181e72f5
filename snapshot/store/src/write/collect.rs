//! Collecting what no reader needs any more.

use std::collections::BTreeSet;
use std::time::Duration;

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::join_token::TOKEN_LIFETIME_MAX_S;
use outrigger_snapshot::layout;
use outrigger_snapshot::record::{Release, Shard};

use super::publish::named;
use super::{Publisher, WriteError};
use crate::reader::{ReadError, Refusal};
use crate::store::modified_ms;

/// What a collection keeps, whatever its age or number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The newest releases, by number.
    pub releases: usize,
    /// Everything younger than this.
    pub age: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        Self { releases: 50, age: Duration::from_secs(7 * 24 * 60 * 60) }
    }
}

/// What a collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Releases.
    pub releases: usize,
    /// Objects.
    pub objects: usize,
    /// What was known of join tokens whose time is long over, and leftovers of writers that died: half-written files and try-outs.
    pub leftovers: usize,
}

impl Publisher {
    /// Removes old releases, and old objects that no kept release names. Revisions and epochs are kept for ever.
    ///
    /// # Errors
    /// Any kept release that can't be read stops the collection before an object is removed.
    pub async fn collect(&mut self, keep: Keep, now_ms: u64) -> Result<Collected, WriteError> {
        let epoch = self.head().await?.epoch.epoch;
        let age_ms = u64::try_from(keep.age.as_millis()).unwrap_or(u64::MAX);
        let is_old = |written: u64| now_ms.saturating_sub(written) > age_ms;
        // Objects are listed before releases are read: what a publisher names in between is seen in the releases.
        let objects = self.store.list_meta(layout::OBJECTS, None).await?;
        let mut releases = self.store.list_meta(layout::RELEASES, None).await?;
        releases.retain(|(path, _)| layout::serial(path).is_some());
        let spared = releases.len().saturating_sub(keep.releases);
        let mut kept = releases.split_off(spared);
        let (old, young): (Vec<_>, Vec<_>) =
            releases.into_iter().partition(|(_, meta)| is_old(modified_ms(meta)));
        kept.extend(young);

        let mut needed = BTreeSet::new();
        for (path, _) in &kept {
            needed.extend(self.named_by(path).await?);
        }
        let mut collected = Collected::default();
        for (path, _) in &old {
            self.store.delete(path).await?;
            collected.releases += 1;
        }
        for (path, meta) in &objects {
            let Some(digest) = layout::digest(path) else { continue };
            if needed.contains(&digest) || !is_old(modified_ms(meta)) {
                continue;
            }
            // A publisher writes an old object again before it names it, so a young one is about to be named.
            if self.store.written_ms(path).await?.is_some_and(is_old) {
                self.store.delete(path).await?;
                self.stored.remove(&digest);
                collected.objects += 1;
            }
        }
        collected.leftovers = self.collect_leftovers(epoch, age_ms, now_ms).await?;
        Ok(collected)
    }

    async fn named_by(&self, path: &str) -> Result<Vec<Digest>, WriteError> {
        // Collected by another replica meanwhile: then it names nothing.
        let Some(found) = self.store.record::<Release>(path, &self.trusted).await? else {
            return Ok(Vec::new());
        };
        self.objects_of(&found.record).await
    }

    /// Every object that `release` names, itself or in its shards.
    pub(super) async fn objects_of(&self, release: &Release) -> Result<Vec<Digest>, WriteError> {
        let (mut objects, shards) = named(release);
        for object in shards {
            let content = match self.store.object(&object).await {
                Ok(content) => content,
                // Nobody can run a release without it, and nothing that it named can be told.
                Err(ReadError::ObjectMissing(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            let shard: Shard = serde_json::from_slice(&content).map_err(|source| {
                ReadError::from(Refusal::Shard { path: layout::object(object.object), source: Some(source) })
            })?;
            for entry in shard.scopes.values() {
                objects.extend(entry.policies.iter().chain([&entry.facts]).map(|object| object.object));
            }
        }
        Ok(objects)
    }

    async fn collect_leftovers(&self, epoch: u64, age_ms: u64, now_ms: u64) -> Result<usize, WriteError> {
        let mut leftovers = 0;
        for (path, meta) in self.store.list_meta(layout::PROBES, None).await? {
            if now_ms.saturating_sub(modified_ms(&meta)) > age_ms {
                self.store.delete(&path).await?;
                leftovers += 1;
            }
        }
        // Whatever is known of a token was written before its end.
        let forgotten_ms = age_ms.saturating_add(TOKEN_LIFETIME_MAX_S * 1_000);
        for (path, meta) in self.store.list_meta(layout::TOKENS, None).await? {
            if now_ms.saturating_sub(modified_ms(&meta)) > forgotten_ms {
                self.store.delete(&path).await?;
                leftovers += 1;
            }
        }
        let folders = [
            String::new(),
            layout::EPOCHS.to_owned(),
            layout::OBJECTS.to_owned(),
            layout::KEYS.to_owned(),
            layout::revisions(epoch),
            layout::releases(epoch),
        ];
        Ok(leftovers + self.store.remove_staged(folders.to_vec(), age_ms, now_ms).await?)
    }
}
