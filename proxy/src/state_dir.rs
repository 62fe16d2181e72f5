//! What survives a restart, in a folder of this proxy's own: the last good snapshot, the last endpoints of each name, and what
//! is in quarantine.
//!
//! `app` opens it once ([`StateDir::open`]) and shares it by `Arc` with [`crate::source`] and with whoever resolves names. Each
//! file is replaced as a whole and durably, so a crash leaves the old one or the new one. Nothing that is read back is
//! believed: sizes are bounded, content is checked against its digest, and a damaged file is left out with a warning while the
//! others still count.

mod file;
mod identity;
mod objects;
mod records;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

pub use file::{Damage, StateFile};
pub use identity::{LastIdentity, Pair, Secret};
pub use objects::CONTENT_BYTES_MAX;
pub use records::{ENDPOINTS_MAX, LastEndpoints, LastSnapshot, NAMES_MAX, PairNames, Settled, Taken};

use crate::config::StateFolder;

/// Largest note in the lock file, in bytes.
const LOCK_NOTE_BYTES_MAX: u64 = 256;

/// An open state folder. While it is, no other proxy can open the same.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Locked until it is dropped or the process ends, however it ends.
    _lock: File,
}

/// Why a folder can't hold this proxy's state.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// It can't be made.
    #[error("can't make the state folder {} (--state-dir)", path.display())]
    Create {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its lock can't be taken, because of the file system.
    #[error("can't use {} (--state-dir): its lock can't be taken", path.display())]
    Lock {
        /// Which folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another proxy uses it.
    #[error(
        "the state folder {} is in use by {holder}; give each proxy its own --state-dir, or its own --node",
        path.display()
    )]
    Taken {
        /// Which.
        path: PathBuf,
        /// Who.
        holder: String,
    },
    /// Someone else could have put a snapshot there.
    #[error(
        "{} lies in a shared place and does not belong to this user alone; give --state-dir a folder that does",
        path.display()
    )]
    Exposed {
        /// Which.
        path: PathBuf,
    },
}

impl StateDir {
    /// Opens `folder`, and makes it if need be; `who` is what another proxy reads that finds it taken.
    pub fn open(folder: &StateFolder, who: &str) -> Result<Self, StateDirError> {
        let path = folder.path.clone();
        let create = |source| StateDirError::Create { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(create)?;
        if !folder.persistent {
            check_owner(&path)?;
        } else if path.metadata().is_ok_and(|folder| folder.mode() & 0o002 != 0) {
            // A volume may be like that by design: whoever has named the folder may know who else is there.
            let path = path.display();
            tracing::warn!(
                "everybody may write in {path} (--state-dir), and so decide what this proxy starts with: chmod o-w {path}"
            );
        }
        let lock = lock(&path, who)?;
        objects::create(&path).map_err(create)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The newest `T`, if one was kept.
    pub fn read<T: StateFile>(&self) -> Result<Option<T>, Damage> {
        file::read(&self.path)
    }

    /// The same, after a warning if it is damaged.
    pub fn read_or_warn<T: StateFile>(&self) -> Option<T> {
        self.read().unwrap_or_else(|damage| {
            let path = self.path.join(T::NAME);
            tracing::warn!(path = %path.display(), "going on without a damaged state file: {}", crate::source::chain(&damage));
            None
        })
    }

    /// Keeps `record` in the place of the one before. When this returns, it is durable.
    pub fn write<T: StateFile>(&self, record: &T) -> std::io::Result<()> {
        file::write(&self.path, record)
    }

    /// Forgets the record of that kind.
    pub fn remove<T: StateFile>(&self) -> std::io::Result<()> {
        file::remove(&self.path.join(T::NAME))
    }
}

/// A folder below a place where everybody may write has to be ours, or it could have been prepared.
fn check_owner(path: &Path) -> Result<(), StateDirError> {
    let own = rustix::process::getuid().as_raw();
    let exposed = || StateDirError::Exposed { path: path.to_owned() };
    for part in path.ancestors() {
        let metadata = part.symlink_metadata().map_err(|_| exposed())?;
        let sticky_or_private = metadata.mode() & 0o022 == 0 || metadata.mode() & 0o1000 != 0;
        if metadata.uid() != own && metadata.uid() != 0 || !sticky_or_private {
            return Err(exposed());
        }
    }
    match path.symlink_metadata() {
        Ok(metadata) if metadata.uid() == own && metadata.mode() & 0o022 == 0 => Ok(()),
        _ => Err(exposed()),
    }
}

fn lock(folder: &Path, who: &str) -> Result<File, StateDirError> {
    let failed = |source| StateDirError::Lock { path: folder.to_owned(), source };
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(folder.join("lock"))
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut note = Vec::new();
            let read = file.take(LOCK_NOTE_BYTES_MAX).read_to_end(&mut note);
            let known = read.is_ok() && !note.is_empty();
            let holder = if known {
                String::from_utf8_lossy(&note).trim().to_owned()
            } else {
                "another process".into()
            };
            return Err(StateDirError::Taken { path: folder.to_owned(), holder });
        }
        Err(error) => return Err(failed(error.into())),
    }
    let note = format!("{who} (process {})\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(note.as_bytes()))
        .map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests;
