//! Pushing: creating the next revision, or learning who was first.

use std::sync::Arc;

use outrigger_snapshot::layout;
use outrigger_snapshot::record::{AttemptId, RECORD_SCHEMA, Revision, Serial};
use serde_json::Value;

use super::{Publisher, PushError, WriteError};
use crate::store::Created;

/// How often a push whose outcome is unknown is sent again. It is the same record under the same number.
const SENDS_MAX: usize = 3;

/// What someone wants to push.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draft {
    /// All resources of the mesh, not only the changed ones.
    pub resources: Vec<Value>,
    /// Who pushes.
    pub author: String,
    /// Why.
    pub message: String,
    /// Whether it may empty a scope or remove a large share of it.
    pub allow_shrink: bool,
}

impl Publisher {
    /// Makes `draft` the next revision, if `base` is the newest one (0 before the first).
    ///
    /// # Errors
    /// [`PushError::Conflict`] if someone else pushed since; nothing was written then.
    pub async fn push_revision(
        &mut self,
        base: u64,
        draft: Draft,
        now_ms: u64,
    ) -> Result<Revision, PushError> {
        let head = self.head().await?;
        if head.revision_number() != base {
            return Err(conflict(base, head.revision));
        }
        let revision = Revision {
            schema: RECORD_SCHEMA,
            mesh: head.epoch.mesh,
            serial: Serial { epoch: head.epoch.epoch, n: base.saturating_add(1) },
            base,
            resources: draft.resources,
            author: draft.author,
            message: draft.message,
            time_ms: now_ms,
            allow_shrink: draft.allow_shrink,
            attempt: AttemptId::random().map_err(WriteError::from)?,
        };
        let sealed = self.seal(&revision)?;
        let path = layout::revision(revision.serial);
        let mut sends = 0;
        loop {
            sends += 1;
            match self.store.create(&path, sealed.clone()).await {
                Ok(Created::New) => break,
                Ok(Created::Exists) if self.is_ours(&path, revision.attempt).await? => break,
                Ok(Created::Exists) => {
                    let newest = self.newest_revision().await?;
                    return Err(conflict(base, newest));
                }
                Err(_) if sends < SENDS_MAX => {}
                Err(source) => return Err(WriteError::Unsettled { path, source }.into()),
            }
        }
        // Remembered at once: a control plane that dies now knows the revision when it is back.
        if self.head().await?.epoch.epoch != revision.serial.epoch {
            // Another process was making the mesh at the same time and took this epoch back.
            return Err(WriteError::InitContended(self.store.place().to_owned()).into());
        }
        Ok(revision)
    }

    async fn is_ours(&self, path: &str, attempt: AttemptId) -> Result<bool, WriteError> {
        let found = self.store.record::<Revision>(path, &self.trusted).await?;
        Ok(found.is_some_and(|found| found.record.attempt == attempt))
    }
}

fn conflict(base: u64, newest: Option<Arc<Revision>>) -> PushError {
    PushError::Conflict {
        base,
        newest: newest.as_ref().map_or(0, |newest| newest.serial.n),
        author: newest.map(|newest| newest.author.clone()).unwrap_or_default(),
    }
}
