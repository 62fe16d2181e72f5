//! What a folder needs beyond what the object-store crate does for it: to be told from a missing one, and to be durable
//! all the way up.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Directories that are remembered as synced. A store has a handful; beyond that they are just synced again.
const SYNCED_MAX: usize = 64;

/// A local folder that holds a store.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Directories whose entries in their parents are known to be durable.
    synced: Arc<Mutex<Vec<PathBuf>>>,
}

impl Folder {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, synced: Arc::default() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn exists(&self) -> bool {
        self.root.is_dir()
    }

    /// Makes the entry of the file at `relative` durable, and that of every directory above it, up to the one that holds
    /// the root. A directory may have been made by a process that died before it synced the parent.
    pub(crate) fn settle(&self, relative: &str) -> io::Result<()> {
        let path = self.root.join(relative);
        let Some(directory) = path.parent() else { return Ok(()) };
        sync_directory(directory)?;
        self.settle_directory(directory)
    }

    /// As [`settle`](Self::settle), for a file whose own entry was synced by whoever wrote it.
    pub(crate) fn settle_above(&self, relative: &str) -> io::Result<()> {
        let path = self.root.join(relative);
        path.parent().map_or(Ok(()), |directory| self.settle_directory(directory))
    }

    /// Creates the folder, durably.
    #[cfg(feature = "write")]
    pub(crate) fn create(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.root)?;
        for directory in self.root.ancestors() {
            // Ancestors that are not ours to open were there before us.
            match sync_directory(directory) {
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn settle_directory(&self, directory: &Path) -> io::Result<()> {
        let known = |synced: &Vec<PathBuf>| synced.iter().any(|known| known == directory);
        if known(&self.synced.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        for below in directory.ancestors().take_while(|ancestor| ancestor.starts_with(&self.root)) {
            match below.parent().map(sync_directory) {
                // The root's own parent may not be ours to open; then it was made by someone else, long before.
                Some(Err(error)) if below != self.root || error.kind() != io::ErrorKind::PermissionDenied => {
                    return Err(error);
                }
                _ => {}
            }
        }
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if synced.len() >= SYNCED_MAX {
            synced.clear();
        }
        synced.push(directory.to_owned());
        Ok(())
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes files that a writer staged in `folder` and left behind when it died. They are named `<record>#<number>`.
#[cfg(feature = "write")]
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
