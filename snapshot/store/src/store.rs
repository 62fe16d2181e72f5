//! The few operations that every kind of store has: read, create if absent, overwrite, list, delete.

#[cfg(feature = "write")]
mod writing;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{Error, GetOptions, ObjectMeta, ObjectStore};

#[cfg(feature = "write")]
pub(crate) use writing::{Created, modified_ms};

use crate::folder::Folder;

/// Names that one listing may hold.
pub(crate) const LISTED_MAX: usize = 1_000_000;

/// A place where a mesh keeps its records. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    place: Arc<str>,
    root: ObjectPath,
    backend: Arc<dyn ObjectStore>,
    /// For the one record that is only a pulse: written without waiting for the disk.
    #[cfg_attr(not(feature = "write"), expect(dead_code, reason = "only writers write"))]
    volatile: Arc<dyn ObjectStore>,
    folder: Option<Folder>,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder is not there: not mounted, mistyped, or never made.
    #[error(
        "the folder {0:?} does not exist; mount it, correct --store, make a mesh in it with `outrigger store init`, or bring one \
         back with `outrigger store recover`"
    )]
    FolderMissing(PathBuf),
    /// Something else than a folder is there.
    #[error("{0:?} is not a folder; correct --store")]
    NotAFolder(PathBuf),
    /// Something larger than anything honest. It was not read.
    #[error("{path} in {place} is {bytes} bytes, at most {max} are read")]
    TooLarge {
        /// The store.
        place: Arc<str>,
        /// Which object.
        path: String,
        /// Its size.
        bytes: u64,
        /// The bound.
        max: usize,
    },
    /// More names than a mesh can have.
    #[error(
        "{path} in {place} holds more than {LISTED_MAX} objects; is the store shared with something else?"
    )]
    TooMany {
        /// The store.
        place: Arc<str>,
        /// Which folder.
        path: String,
    },
    /// The store is there and does not let us in.
    #[error("access to {path} in {place} is denied; check the credentials and their permissions")]
    Denied {
        /// The store.
        place: Arc<str>,
        /// Which object.
        path: String,
        /// What it answered.
        #[source]
        source: Box<Error>,
    },
    /// The store can't be reached, or failed.
    #[error("{place} did not answer for {path}; check that it can be reached")]
    Unreachable {
        /// The store.
        place: Arc<str>,
        /// Which object.
        path: String,
        /// What went wrong.
        #[source]
        source: Box<Error>,
    },
    /// The disk below a folder failed.
    #[error("the disk failed for {path:?} in {place}; what was written there may not be durable")]
    Disk {
        /// The store.
        place: Arc<str>,
        /// Which object.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Store {
    /// A store on any client that can create if absent, below `root`; `place` is what messages call it.
    pub fn on_bucket(place: String, root: ObjectPath, client: Arc<dyn ObjectStore>) -> Self {
        Self { place: place.into(), root, volatile: Arc::clone(&client), backend: client, folder: None }
    }

    pub(crate) fn on_folder(
        folder: Folder,
        root: ObjectPath,
        durable: Arc<dyn ObjectStore>,
        volatile: Arc<dyn ObjectStore>,
    ) -> Self {
        let place = folder.root().display().to_string().into();
        Self { place, root, backend: durable, volatile, folder: Some(folder) }
    }

    /// What messages call this store: its folder or URL.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The folder, if it is one.
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.folder.as_ref().map(Folder::root)
    }

    /// The bytes at `path`, unless there are more than `bytes_max` of them; `None` if nothing is there.
    pub(crate) async fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Bytes>, StoreError> {
        let found = match self.backend.get_opts(&self.at(path), GetOptions::default()).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return self.absent().map(|()| None),
            Err(source) => return Err(self.failed(path, source)),
        };
        let too_large = |bytes: u64| StoreError::TooLarge {
            place: Arc::clone(&self.place),
            path: path.to_owned(),
            bytes,
            max: bytes_max,
        };
        let size = found.meta.size;
        if size > bytes_max as u64 {
            return Err(too_large(size));
        }
        // The announced size is not believed: the file may grow, and a server may send what it likes.
        let mut body = BytesMut::new();
        let mut chunks = found.into_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|source| self.failed(path, source))?;
            if body.len() + chunk.len() > bytes_max {
                return Err(too_large((body.len() + chunk.len()) as u64));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body.freeze()))
    }

    /// The relative paths in `folder`, in order; those after `after` if it is given. Empty if the folder is absent.
    pub(crate) async fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<String>, StoreError> {
        let listed = self.list_meta(folder, after).await?;
        Ok(listed.into_iter().map(|(path, _)| path).collect())
    }

    pub(crate) async fn list_meta(
        &self,
        folder: &str,
        after: Option<&str>,
    ) -> Result<Vec<(String, ObjectMeta)>, StoreError> {
        let prefix = self.at(folder);
        let mut listing = match after {
            Some(after) => self.backend.list_with_offset(Some(&prefix), &self.at(after)),
            None => self.backend.list(Some(&prefix)),
        };
        let mut listed = Vec::new();
        while let Some(meta) = listing.try_next().await.map_err(|source| self.failed(folder, source))? {
            if listed.len() == LISTED_MAX {
                return Err(StoreError::TooMany { place: Arc::clone(&self.place), path: folder.to_owned() });
            }
            if let Some(path) = self.relative(&meta.location) {
                listed.push((path, meta));
            }
        }
        drop(listing);
        if listed.is_empty() {
            self.absent()?;
        }
        listed.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(listed)
    }

    /// Nothing was found: because there is nothing, or because the whole folder is missing?
    fn absent(&self) -> Result<(), StoreError> {
        match &self.folder {
            Some(folder) if !folder.exists() => Err(StoreError::FolderMissing(folder.root().to_owned())),
            _ => Ok(()),
        }
    }

    fn at(&self, relative: &str) -> ObjectPath {
        relative.split('/').fold(self.root.clone(), |path, part| path.join(part))
    }

    fn relative(&self, path: &ObjectPath) -> Option<String> {
        let parts: Vec<_> = path.prefix_match(&self.root)?.collect();
        Some(parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join("/"))
    }

    fn failed(&self, path: &str, source: Error) -> StoreError {
        let (place, path) = (Arc::clone(&self.place), path.to_owned());
        let source = Box::new(source);
        match *source {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                StoreError::Denied { place, path, source }
            }
            _ => match &self.folder {
                Some(folder) if folder.is_something_else() => {
                    StoreError::NotAFolder(folder.root().to_owned())
                }
                _ => StoreError::Unreachable { place, path, source },
            },
        }
    }
}
