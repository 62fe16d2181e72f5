//! Where a control plane remembers what it has seen of a store, for itself alone.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use outrigger_snapshot::digest::Digest;
use outrigger_store::write::{HighWaterError, StateDir};

/// Control planes of one store on one machine that may use the default place.
const DEFAULTS_MAX: usize = 16;

/// Hexadecimal digits of the store's digest in the name of its default folder.
const NAME_DIGITS: usize = 16;

/// A state folder that no other process uses while this lives.
#[derive(Debug)]
pub struct Memory {
    /// What is in it.
    pub dir: StateDir,
    /// Held, not used: the lock goes with it, also when the process is killed.
    _lock: File,
}

/// Why a state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// It can't be made or written.
    #[error(transparent)]
    Dir(#[from] HighWaterError),
    /// Its lock can't be taken for another reason than that someone has it.
    #[error("the state folder {} (--state-dir) can't be locked", path.display())]
    Lock {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("another control plane uses the state folder {} (--state-dir); give each its own", .0.display())]
    Taken(PathBuf),
}

impl Memory {
    /// The folder at `path`, made if it is absent.
    pub fn open(path: &Path) -> Result<Self, MemoryError> {
        let dir = StateDir::open(path)?;
        let failed = |source| MemoryError::Lock { path: path.to_owned(), source };
        let options = File::options().create(true).truncate(false).write(true).open(path.join("lock"));
        let lock = options.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir, _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => Err(MemoryError::Taken(path.to_owned())),
            Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The default folder for `place`, below a folder that systemd, the desktop conventions or the home folder give;
    /// `None` where there is no such folder that can be written.
    pub fn default_for(place: &str, variable: impl Fn(&str) -> Option<PathBuf>) -> Option<Self> {
        let base = variable("STATE_DIRECTORY")
            .or_else(|| variable("XDG_STATE_HOME").map(|home| home.join("outrigger")))
            .or_else(|| variable("HOME").map(|home| home.join(".local/state/outrigger")))?;
        let digest = Digest::of(place.as_bytes()).to_string();
        let name = digest.get(..NAME_DIGITS)?;
        for number in 1..=DEFAULTS_MAX {
            match Self::open(&base.join(format!("control-plane-{name}-{number}"))) {
                Ok(memory) => return Some(memory),
                Err(MemoryError::Taken(_)) => {}
                Err(_) => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_user_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Memory::open(folder.path()).unwrap();
        assert!(matches!(Memory::open(folder.path()), Err(MemoryError::Taken(_))));
        drop(first);
        Memory::open(folder.path()).unwrap();
    }

    #[test]
    fn the_default_is_one_of_the_store_and_of_the_process() {
        let home = tempfile::tempdir().unwrap();
        let variable = |name: &str| (name == "HOME").then(|| home.path().to_owned());
        let folders = || std::fs::read_dir(home.path().join(".local/state/outrigger")).unwrap().count();
        let _first = Memory::default_for("one", variable).unwrap();
        let _second = Memory::default_for("one", variable).unwrap();
        assert_eq!(folders(), 2);
        let _other = Memory::default_for("other", variable).unwrap();
        assert_eq!(folders(), 3);
        assert!(Memory::default_for("one", |_| None).is_none());
    }
}
