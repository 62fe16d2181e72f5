//! Making directory entries durable. The object-store crate syncs a file, its directory, and directories that it made
//! itself; not those that another process made and died before it synced them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Folder;

/// Directories that are remembered as synced. A store has a handful; beyond that they are just synced again.
const SYNCED_MAX: usize = 64;

/// Directories whose entries in their parents are known to be durable.
#[derive(Debug, Clone, Default)]
pub(super) struct Synced(Arc<Mutex<Vec<PathBuf>>>);

impl Folder {
    /// Creates the folder, durably.
    pub(crate) fn create(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.root)?;
        for directory in self.root.ancestors() {
            sync_if_ours(directory)?;
        }
        Ok(())
    }

    /// Makes the entry of the file at `relative` durable, and that of every directory above it, up to the one that holds
    /// the root.
    pub(crate) fn settle(&self, relative: &str) -> io::Result<()> {
        let path = self.root.join(relative);
        let Some(directory) = path.parent() else { return Ok(()) };
        sync(directory)?;
        self.settle_directory(directory)
    }

    /// As [`settle`](Self::settle), for a file whose own entry was synced by whoever wrote it.
    pub(crate) fn settle_above(&self, relative: &str) -> io::Result<()> {
        let path = self.root.join(relative);
        path.parent().map_or(Ok(()), |directory| self.settle_directory(directory))
    }

    fn settle_directory(&self, directory: &Path) -> io::Result<()> {
        if self.synced.holds(directory) {
            return Ok(());
        }
        for below in directory.ancestors().take_while(|ancestor| *ancestor != self.root) {
            below.parent().map_or(Ok(()), sync)?;
        }
        self.root.parent().map_or(Ok(()), sync_if_ours)?;
        self.synced.add(directory);
        Ok(())
    }
}

impl Synced {
    fn holds(&self, directory: &Path) -> bool {
        let synced = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        synced.iter().any(|known| known == directory)
    }

    fn add(&self, directory: &Path) {
        let mut synced = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if synced.len() >= SYNCED_MAX {
            synced.clear();
        }
        synced.push(directory.to_owned());
    }
}

/// Removes files that a writer staged in `folder` and left behind when it died. They are named `<record>#<number>`.
pub(crate) fn remove_staged(folder: &Path, age_ms: u64, now_ms: u64) -> io::Result<usize> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let staged = name.to_str().and_then(|name| name.rsplit_once('#')).is_some_and(|(_, number)| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        if !staged {
            continue;
        }
        let modified = entry.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH);
        let modified_ms = modified.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        if now_ms.saturating_sub(modified_ms) > age_ms {
            std::fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// A directory above the store that is not ours to open was made by someone else, long before.
fn sync_if_ours(directory: &Path) -> io::Result<()> {
    match sync(directory) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}
