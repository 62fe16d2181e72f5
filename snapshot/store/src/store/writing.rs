//! The operations of writers.

use bytes::Bytes;
use object_store::{Error, ObjectMeta, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::{Store, StoreError};
use crate::folder::{Folder, remove_staged};

/// What became of a conditional create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    /// It is ours.
    New,
    /// Something is there already.
    Exists,
}

impl Store {
    /// Creates `path` unless something is there. When this returns, what is there is durable, whoever wrote it.
    pub(crate) async fn create(&self, path: &str, bytes: Bytes) -> Result<Created, StoreError> {
        self.absent()?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.backend.put_opts(&self.at(path), PutPayload::from_bytes(bytes), options).await {
            Ok(_) => {
                self.synced(path, Folder::settle_above).await?;
                Ok(Created::New)
            }
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                self.settle(path).await?;
                Ok(Created::Exists)
            }
            Err(source) => Err(self.failed(path, source)),
        }
    }

    /// Writes `path` again, durably.
    pub(crate) async fn overwrite(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.absent()?;
        let written = self.backend.put(&self.at(path), PutPayload::from_bytes(bytes)).await;
        written.map_err(|source| self.failed(path, source))?;
        self.synced(path, Folder::settle_above).await
    }

    /// Writes `path` again without waiting for a disk.
    pub(crate) async fn pulse(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.absent()?;
        let written = self.volatile.put(&self.at(path), PutPayload::from_bytes(bytes)).await;
        written.map(|_| ()).map_err(|source| self.failed(path, source))
    }

    /// Makes what another process wrote at `path` durable, before anything is built on it.
    pub(crate) async fn settle(&self, path: &str) -> Result<(), StoreError> {
        self.synced(path, Folder::settle).await
    }

    /// When `path` was last written, in milliseconds since 1970; `None` if it is absent.
    pub(crate) async fn written_ms(&self, path: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.meta(path).await?.as_ref().map(modified_ms))
    }

    /// The bytes that `path` has; `None` if it is absent.
    pub(crate) async fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.meta(path).await?.map(|meta| meta.size))
    }

    async fn meta(&self, path: &str) -> Result<Option<ObjectMeta>, StoreError> {
        match self.backend.head(&self.at(path)).await {
            Ok(meta) => Ok(Some(meta)),
            Err(Error::NotFound { .. }) => self.absent().map(|()| None),
            Err(source) => Err(self.failed(path, source)),
        }
    }

    /// Removes `path`; that it is gone already is no error.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), StoreError> {
        match self.backend.delete(&self.at(path)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(self.failed(path, source)),
        }
    }

    /// Makes the folder of a folder store; a bucket has to exist.
    pub(crate) async fn create_folder(&self) -> Result<(), StoreError> {
        self.synced("", |folder, _| folder.create()).await
    }

    /// Removes what writers staged in `folders` and left behind. Buckets have no such thing.
    pub(crate) async fn remove_staged(
        &self,
        folders: Vec<String>,
        age_ms: u64,
        now_ms: u64,
    ) -> Result<usize, StoreError> {
        let Some(folder) = self.folder.clone() else { return Ok(0) };
        let removed = tokio::task::spawn_blocking(move || {
            folders.iter().try_fold(0, |removed, relative| {
                let path = folder.root().join(relative);
                Ok(removed + remove_staged(&path, age_ms, now_ms)?)
            })
        })
        .await;
        removed.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(|source| StoreError::Disk {
            place: self.place.clone(),
            path: String::new(),
            source,
        })
    }

    async fn synced(
        &self,
        path: &str,
        sync: impl FnOnce(&Folder, &str) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let owned = path.to_owned();
        let done = tokio::task::spawn_blocking(move || sync(&folder, &owned)).await;
        done.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(|source| StoreError::Disk {
            place: self.place.clone(),
            path: path.to_owned(),
            source,
        })
    }
}

/// When an object was last written, in milliseconds since 1970.
pub(crate) fn modified_ms(meta: &ObjectMeta) -> u64 {
    u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0)
}
