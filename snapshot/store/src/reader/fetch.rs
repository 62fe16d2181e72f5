//! A scope's content, as a release names it.

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::layout;
use outrigger_snapshot::record::{Entry, Index, ObjectRef, Release, Shard, lane_of, shard_of};

use super::{Held, Part, Poll, ReadError, Reader, Refusal, ReleaseInfo, ScopeSnapshot};

impl Reader {
    /// The subscriber's share of `release`, without what it holds already.
    pub(super) async fn fetch(&self, release: &Release, held: &Held) -> Result<Poll, ReadError> {
        let lane = lane_of(&self.subscriber.node, &release.lanes);
        let info = self.info(release, lane);
        let Some(entry) = self.entry(release).await? else {
            return Ok(Poll::ScopeMissing(Box::new(info)));
        };
        let policy = entry
            .policy(lane)
            .ok_or_else(|| Refusal::Shard { path: layout::release(release.serial), source: None })?;
        let policy = self.part(policy, held.policy).await?;
        let facts = self.part(&entry.facts, held.facts).await?;
        Ok(Poll::New(Box::new(ScopeSnapshot { release: info, policy, facts })))
    }

    async fn entry(&self, release: &Release) -> Result<Option<Entry>, ReadError> {
        let known = self.subscriber.schema;
        let index = release
            .contents
            .get(&known)
            .or_else(|| release.contents.get(&known.checked_sub(1)?))
            .ok_or_else(|| Refusal::ContentSchema {
                release: release.serial,
                found: release.contents.keys().copied().collect(),
                known,
            })?;
        let scope = &self.subscriber.scope;
        let shards = match index {
            Index::Inline(scopes) => return Ok(scopes.get(scope).cloned()),
            Index::Shards(shards) => shards,
        };
        // A checked release has at least one shard.
        let Some(object) = shards.get(shard_of(scope, shards.len())) else { return Ok(None) };
        let path = layout::object(object.object);
        let content = self.store.object(object).await?;
        let mut shard: Shard = serde_json::from_slice(&content)
            .map_err(|source| Refusal::Shard { path: path.clone(), source: Some(source) })?;
        match shard.scopes.remove(scope) {
            Some(entry) if !entry.covers(release.lanes.len()) => {
                Err(Refusal::Shard { path, source: None }.into())
            }
            entry => Ok(entry),
        }
    }

    async fn part(&self, object: &ObjectRef, held: Option<Digest>) -> Result<Part, ReadError> {
        let content =
            if held == Some(object.content) { None } else { Some(self.store.object(object).await?) };
        Ok(Part { digest: object.content, bytes: object.bytes, content })
    }

    fn info(&self, release: &Release, lane: usize) -> ReleaseInfo {
        // What a reader has not seen of this epoch starts after its position; of a new epoch, at the beginning.
        let seen = self
            .position
            .as_ref()
            .filter(|position| position.release.epoch == release.serial.epoch)
            .map_or(0, |position| position.release.n);
        ReleaseInfo {
            mesh: release.mesh,
            serial: release.serial,
            revision: release.revision,
            compiler: release.compiler,
            rejected: release.rejected,
            time_ms: release.time_ms,
            lane: release.lanes.get(lane).map(|lane| lane.name.clone()).unwrap_or_default(),
            allow_shrink: release.shrink_allowed_at.is_some_and(|at| at > seen),
        }
    }
}
