//! Records and objects, as bytes that were checked.

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::keys::TrustedKeys;
use outrigger_snapshot::record::{ObjectRef, Record};
use outrigger_snapshot::{canonical, layout, signed};

use crate::reader::{ReadError, Refusal};
use crate::store::{Store, StoreError};

/// Largest compressed object that is read, in bytes.
pub(crate) const OBJECT_STORED_BYTES_MAX: usize = 16 << 20;
/// Largest object after decompression, in bytes.
pub(crate) const OBJECT_BYTES_MAX: usize = 64 << 20;

/// A record and the digest of its stored bytes.
#[derive(Debug, Clone)]
pub(crate) struct Found<R> {
    pub(crate) record: R,
    pub(crate) digest: Digest,
    #[cfg_attr(not(feature = "write"), expect(dead_code, reason = "only writers remember stored bytes"))]
    pub(crate) stored: bytes::Bytes,
}

impl Store {
    /// The stored bytes of the record at `path`, not believed yet.
    pub(crate) async fn raw<R: Record>(&self, path: &str) -> Result<Option<bytes::Bytes>, ReadError> {
        match self.read(path, R::KIND.stored_bytes_max()).await {
            Err(StoreError::TooLarge { path, bytes, max, .. }) => {
                Err(Refusal::TooLarge { path, bytes, max }.into())
            }
            other => other.map_err(ReadError::Store),
        }
    }

    /// The record at `path`, if there is one and a trusted key signed it.
    pub(crate) async fn record<R: Record>(
        &self,
        path: &str,
        trusted: &TrustedKeys,
    ) -> Result<Option<Found<R>>, ReadError> {
        let Some(stored) = self.raw::<R>(path).await? else { return Ok(None) };
        open(path, stored, trusted).map(Some)
    }

    /// The content of an object. Its digests are checked before anything of it is used.
    pub(crate) async fn object(&self, object: &ObjectRef) -> Result<Vec<u8>, ReadError> {
        let path = layout::object(object.object);
        let declared = usize::try_from(object.bytes).unwrap_or(usize::MAX);
        if declared > OBJECT_BYTES_MAX {
            return Err(Refusal::TooLarge { path, bytes: object.bytes, max: OBJECT_BYTES_MAX }.into());
        }
        let stored = match self.read(&path, OBJECT_STORED_BYTES_MAX).await {
            Ok(stored) => stored.ok_or(ReadError::ObjectMissing(object.object))?,
            Err(StoreError::TooLarge { path, bytes, max, .. }) => {
                return Err(Refusal::TooLarge { path, bytes, max }.into());
            }
            Err(error) => return Err(error.into()),
        };
        let altered = || Refusal::Altered { path: path.clone() };
        if Digest::of(&stored) != object.object {
            return Err(altered().into());
        }
        let content = canonical::decompress(&stored, declared)
            .map_err(|source| Refusal::Content { path: path.clone(), source })?;
        if content.len() != declared || Digest::of(&content) != object.content {
            return Err(altered().into());
        }
        Ok(content)
    }
}

/// Believes `stored`, if a trusted key signed it.
pub(crate) fn open<R: Record>(
    path: &str,
    stored: bytes::Bytes,
    trusted: &TrustedKeys,
) -> Result<Found<R>, ReadError> {
    let record = signed::open(&stored, trusted)
        .map_err(|source| Refusal::Record { path: path.to_owned(), source: Box::new(source) })?;
    Ok(Found { record, digest: Digest::of(&stored), stored })
}
