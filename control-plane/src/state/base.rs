//! What a change was made against: nobody's edit is undone by someone who hasn't seen it.

use std::collections::BTreeMap;

use outrigger_snapshot::record::Serial;
use serde_json::Value;

use super::change::{Wish, number, wanted};
use super::draft::Draft;
use super::{ControlPlane, MeshError, Revision};
use crate::config::Key;

/// Revisions that the resources of one push may have been read at.
const BASES_MAX: usize = 64;

impl ControlPlane {
    /// Refuses a draft with a resource that someone else changed after the revision that it was read at.
    pub(super) async fn check_based(
        &self,
        drafted: &Draft,
        newest: Option<&Revision>,
    ) -> Result<(), MeshError> {
        let mut stale = Vec::new();
        let mut read: BTreeMap<Serial, Option<Vec<Value>>> = BTreeMap::new();
        for (key, base) in &drafted.based {
            if newest.is_some_and(|newest| newest.serial == *base) {
                continue;
            }
            if !read.contains_key(base) && read.len() < BASES_MAX {
                read.insert(*base, self.content_of(*base, newest).await?);
            }
            let now = newest.and_then(|newest| stored(&newest.resources, key));
            match read.get(base) {
                Some(Some(then)) if stored(then, key) == now => {}
                Some(Some(_)) => stale.push(format!("{key} (read at revision {})", base.n)),
                Some(None) => {
                    stale.push(format!("{key} (read at {base}, which is no revision of this mesh)"))
                }
                None => stale.push(format!("{key} (read at one revision too many)")),
            }
        }
        if stale.is_empty() {
            return Ok(());
        }
        let author = newest.map(|newest| newest.author.clone()).unwrap_or_default();
        Err(MeshError::Changed { resources: stale, newest: number(newest), author })
    }

    /// The resources of revision `base`; `None` if there is none, or not any more.
    async fn content_of(
        &self,
        base: Serial,
        newest: Option<&Revision>,
    ) -> Result<Option<Vec<Value>>, MeshError> {
        if newest.is_none_or(|newest| base.epoch != newest.serial.epoch || base.n > newest.serial.n) {
            return Ok(None);
        }
        match self.older(base.n).await {
            Ok(older) if older.serial == base => Ok(Some(older.resources)),
            Ok(_) | Err(MeshError::NoRevision(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn stored<'a>(resources: &'a [Value], key: &Key) -> Option<&'a Value> {
    let is = |resource: &&Value, pointer: &str, text: &str| {
        resource.pointer(pointer).and_then(Value::as_str) == Some(text)
    };
    resources.iter().find(|resource| {
        is(resource, "/metadata/name", &key.name)
            && is(resource, "/metadata/namespace", &key.namespace)
            && is(resource, "/kind", key.kind.name())
    })
}

/// A wish and its base, as they stay however often the change starts over. To go back is to undo what is newest: if someone
/// pushes meanwhile, going back again would undo that instead.
pub(super) fn pinned(
    wish: &Wish,
    base: Option<u64>,
    newest: Option<&Revision>,
) -> Result<(Wish, Option<u64>), MeshError> {
    match wish {
        Wish::Edit(..) => Ok((wish.clone(), base)),
        Wish::Restore(to) => Ok((Wish::Restore(Some(wanted(*to, newest)?)), base.or(Some(number(newest))))),
    }
}

#[cfg(test)]
mod tests;
