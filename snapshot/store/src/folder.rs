//! What a folder needs beyond what the object-store crate does for it: to be told from a missing one, and (for writers) to
//! be durable all the way up.

#[cfg(feature = "write")]
mod durable;

use std::path::{Path, PathBuf};

#[cfg(feature = "write")]
pub(crate) use durable::remove_staged;

/// A local folder that holds a store.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
    #[cfg(feature = "write")]
    synced: durable::Synced,
}

impl Folder {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            #[cfg(feature = "write")]
            synced: durable::Synced::default(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn exists(&self) -> bool {
        self.root.is_dir()
    }

    /// Whether there is something that is no folder.
    pub(crate) fn is_something_else(&self) -> bool {
        self.root.exists() && !self.root.is_dir()
    }
}
