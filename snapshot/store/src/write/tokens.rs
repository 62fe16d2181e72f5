//! What the store knows of join tokens: that one was made, by which key it was used, that it was taken back. Each is one object that is
//! created once, so that of two replicas that are shown the same token at the same time one comes second. Whoever writes the store could
//! forge these; it is the control planes' alone, and no token can be made without the signing key.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::join_token::{JoinToken, TokenId};
use outrigger_snapshot::layout::{self, TokenMark};
use outrigger_snapshot::name::ServiceName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::WriteError;
use crate::store::{Created, Store, StoreError};

/// Largest of these objects that is read, in bytes.
const MARK_BYTES_MAX: usize = 4 << 10;
/// Tokens that one listing shows.
pub const TOKENS_LISTED_MAX: usize = 1_000;
/// Tokens that are read at a time: a bucket answers each question after a while, and many at once.
const READS_AT_ONCE: usize = 32;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokens {
    store: Store,
}

/// A token that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Whose identity it is good for.
    pub service: ServiceName,
    /// Until when, in seconds since 1970.
    pub expires_unix: u64,
    /// Whether it is good for any number of sidecars.
    pub reusable: bool,
    /// When it was made, in milliseconds since 1970.
    pub time_ms: u64,
}

/// How a token was used that is good for one sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// SHA-256 of the public key that it vouched for.
    pub key: Digest,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
}

/// Everything that is known of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// That it was made.
    pub issued: Option<Issued>,
    /// That it was used.
    pub used: Option<Used>,
    /// Whether it was taken back.
    pub revoked: bool,
}

#[derive(Serialize, Deserialize)]
struct Revoked {
    time_ms: u64,
}

impl Tokens {
    /// Of this store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Notes that a token was made.
    ///
    /// # Errors
    /// The store; then the token must not be handed over, since nobody could name it to take it back.
    pub async fn note(&self, token: &JoinToken, now_ms: u64) -> Result<(), WriteError> {
        let issued = Issued {
            service: token.service.clone(),
            expires_unix: token.expires_unix,
            reusable: token.reusable,
            time_ms: now_ms,
        };
        self.create(token.id, TokenMark::Issued, &issued).await.map(|_| ())
    }

    /// Uses a token for the public key of this digest. Whether that may be: it was not used before, or for the same key, by somebody who
    /// has missed the answer.
    pub async fn take(&self, id: TokenId, key: Digest, now_ms: u64) -> Result<bool, WriteError> {
        let used = Used { key, time_ms: now_ms };
        if self.create(id, TokenMark::Used, &used).await? == Created::New {
            return Ok(true);
        }
        let before: Option<Used> = self.read(id, TokenMark::Used).await?;
        Ok(before.is_some_and(|before| before.key == key))
    }

    /// Takes a token back. Nothing happens to certificates that it was used for.
    pub async fn revoke(&self, id: TokenId, now_ms: u64) -> Result<(), WriteError> {
        self.create(id, TokenMark::Revoked, &Revoked { time_ms: now_ms }).await.map(|_| ())
    }

    /// Whether it is known that a token was made. It is noted before a token is handed over, so a store that does not know one is not the
    /// store that it was.
    pub async fn is_issued(&self, id: TokenId) -> Result<bool, WriteError> {
        Ok(self.store.size(&layout::token(id, TokenMark::Issued)).await?.is_some())
    }

    /// Whether a token was taken back.
    pub async fn is_revoked(&self, id: TokenId) -> Result<bool, WriteError> {
        Ok(self.store.size(&layout::token(id, TokenMark::Revoked)).await?.is_some())
    }

    /// What is known of a token.
    pub async fn known(&self, id: TokenId) -> Result<Known, WriteError> {
        Ok(Known {
            issued: self.read(id, TokenMark::Issued).await?,
            used: self.read(id, TokenMark::Used).await?,
            revoked: self.is_revoked(id).await?,
        })
    }

    /// The tokens that are not forgotten yet, the youngest first, at most [`TOKENS_LISTED_MAX`]; and how many older ones there are.
    pub async fn list(&self) -> Result<(Vec<(TokenId, Known)>, usize), WriteError> {
        let mut found: BTreeMap<TokenId, (Option<u64>, Vec<TokenMark>)> = BTreeMap::new();
        for (path, meta) in self.store.list_meta(layout::TOKENS, None).await? {
            if let Some((id, mark)) = layout::token_mark(&path) {
                let (written, marks) = found.entry(id).or_default();
                written.get_or_insert(crate::store::modified_ms(&meta));
                marks.push(mark);
            }
        }
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_by_key(|(_, (written, _))| std::cmp::Reverse(*written));
        let older = found.len().saturating_sub(TOKENS_LISTED_MAX);
        found.truncate(TOKENS_LISTED_MAX);
        let reads =
            found.into_iter().map(async |(id, (_, marks))| Ok((id, self.known_by(id, &marks).await?)));
        let listed: Result<Vec<_>, WriteError> =
            stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await;
        Ok((listed?, older))
    }

    /// What is known of a token that has these marks.
    async fn known_by(&self, id: TokenId, marks: &[TokenMark]) -> Result<Known, WriteError> {
        let mut known = Known { revoked: marks.contains(&TokenMark::Revoked), ..Known::default() };
        if marks.contains(&TokenMark::Issued) {
            known.issued = self.read(id, TokenMark::Issued).await?;
        }
        if marks.contains(&TokenMark::Used) {
            known.used = self.read(id, TokenMark::Used).await?;
        }
        Ok(known)
    }

    async fn create(
        &self,
        id: TokenId,
        mark: TokenMark,
        content: &impl Serialize,
    ) -> Result<Created, WriteError> {
        let bytes = serde_json::to_vec(content).map_err(outrigger_snapshot::signed::SealError::Json)?;
        Ok(self.store.create(&layout::token(id, mark), Bytes::from(bytes)).await?)
    }

    /// What cannot be read counts as something that nobody knows: a token whose use is damaged was used.
    async fn read<T: DeserializeOwned>(&self, id: TokenId, mark: TokenMark) -> Result<Option<T>, StoreError> {
        let stored = self.store.read(&layout::token(id, mark), MARK_BYTES_MAX).await?;
        Ok(stored.and_then(|stored| serde_json::from_slice(&stored).ok()))
    }
}
