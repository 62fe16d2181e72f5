//! How a proxy follows a store: heartbeat, then the next numbers until one is absent, then the content that changed.
//!
//! The reader holds no clock and sleeps nowhere: who polls decides when. Nothing is handed out that was not signed by a
//! trusted key or bound by a digest from a record that was.

mod error;
mod fetch;
mod newest;
mod older;

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::keys::{KeyError, TRUSTED_KEYS_MAX, TrustedKeys};
use outrigger_snapshot::layout;
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::record::{Heartbeat, MeshId, Release, Revision, Serial};
use serde::{Deserialize, Serialize};

pub use error::{ReadError, Refusal};
pub use older::{Older, Wanted};

use crate::store::Store;

/// Numbers that one poll probes. A reader that is further behind catches up over several polls.
pub const PROBES_MAX: usize = 64;
/// How often one poll starts over because an object was collected under it.
const REREADS_MAX: usize = 3;
/// Largest stored public key, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// Whom to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// These keys, and those that they announce.
    Keys(TrustedKeys),
    /// Whatever keys the store holds when it is first read; from then on those. Only for a folder, and only where the
    /// [`Position`] is kept across restarts.
    FirstUse,
}

/// Who reads: what of a release is theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// The service that the proxy stands beside.
    pub scope: ServiceName,
    /// The proxy's id. It decides the lane.
    pub node: String,
    /// The newest content schema that it understands; it also understands the one before.
    pub schema: u32,
}

/// What a reader remembers of the last release that it took. Keep it across restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The mesh.
    pub mesh: MeshId,
    /// The release.
    pub release: Serial,
    /// The revision that it was compiled from.
    pub revision: u64,
    /// Digest of its stored bytes.
    pub digest: Digest,
    /// Whom the reader believed after it.
    pub trusted: TrustedKeys,
    /// The keys that it was started with, if it was started with keys.
    pub pinned: Option<TrustedKeys>,
}

/// The content that the caller has already, by the digests of the uncompressed form. It is not fetched again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Its policy.
    pub policy: Option<Digest>,
    /// Its facts.
    pub facts: Option<Digest>,
}

/// What a poll found.
#[derive(Debug)]
pub enum Poll {
    /// No newer release.
    Unchanged,
    /// A newer release.
    New(Box<ScopeSnapshot>),
    /// A newer release that does not know the scope. Keep what you have.
    ScopeMissing(Box<ReleaseInfo>),
}

/// A scope's share of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeSnapshot {
    /// The release.
    pub release: ReleaseInfo,
    /// Routes and policies.
    pub policy: Part,
    /// Endpoints and other facts.
    pub facts: Part,
}

/// One object of a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Digest of the uncompressed form.
    pub digest: Digest,
    /// Size of the uncompressed form.
    pub bytes: u64,
    /// The uncompressed form; `None` if the caller holds it already.
    pub content: Option<Vec<u8>>,
}

/// What a release says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseInfo {
    /// The mesh.
    pub mesh: MeshId,
    /// Its place.
    pub serial: Serial,
    /// The revision that it was compiled from.
    pub revision: u64,
    /// The version of the compiler.
    pub compiler: u32,
    /// The revision was rejected; this is older content in its place.
    pub rejected: bool,
    /// When it was made, in milliseconds since 1970, by its writer's clock.
    pub time_ms: u64,
    /// The lane that the reader is in.
    pub lane: String,
    /// Whether emptying the scope was meant, in this release or in one that the reader skipped.
    pub allow_shrink: bool,
}

/// Follows one store for one proxy.
#[derive(Debug)]
pub struct Reader {
    store: Store,
    trust: Trust,
    subscriber: Subscriber,
    position: Option<Position>,
    trusted: Option<TrustedKeys>,
    heartbeat: Option<Heartbeat>,
    /// The epoch whose record was checked last.
    epoch_checked: Option<(MeshId, u64)>,
}

impl Reader {
    /// A reader that goes on from `position`.
    ///
    /// Keys that were announced since are remembered in the position and win over the same `trust`; a different `trust`
    /// is the operator's new word and wins over the position.
    pub fn new(store: Store, trust: Trust, subscriber: Subscriber, position: Option<Position>) -> Self {
        let remembered = position.as_ref().filter(|position| match &trust {
            Trust::Keys(keys) => position.pinned.as_ref() == Some(keys),
            Trust::FirstUse => position.pinned.is_none(),
        });
        let trusted = match (&trust, remembered) {
            (_, Some(position)) => Some(position.trusted.clone()),
            (Trust::Keys(keys), None) => Some(keys.clone()),
            (Trust::FirstUse, None) => None,
        };
        Self { store, trust, subscriber, position, trusted, heartbeat: None, epoch_checked: None }
    }

    /// Looks once. `held` is what the caller runs or has refused; equal content is not fetched again.
    ///
    /// # Errors
    /// [`ReadError`]; none of them changes the position, and after each the right thing is to keep what one has and poll
    /// again after the usual period.
    pub async fn poll(&mut self, held: &Held) -> Result<Poll, ReadError> {
        let trusted = self.trusted().await?;
        let mut collected = None;
        for _ in 0..REREADS_MAX {
            let Some(newest) = self.newest(&trusted).await? else {
                // What named the missing object is gone as well, so there is nothing newer after all.
                return collected.map_or(Ok(Poll::Unchanged), Err);
            };
            let release = &newest.record;
            self.accept(release)?;
            match self.fetch(release, held).await {
                // Collected between reading the release and reading the object: there is a newer release by now.
                Err(error @ ReadError::ObjectMissing(_)) => collected = Some(error),
                Err(error) => return Err(error),
                Ok(poll) => {
                    self.advance(release, newest.digest, trusted);
                    return Ok(poll);
                }
            }
        }
        collected.map_or(Ok(Poll::Unchanged), Err)
    }

    /// Where the reader is; `None` before it took a release.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// The last heartbeat that was read and believed. Its age is the age of the control plane's last sign of life.
    pub fn heartbeat(&self) -> Option<&Heartbeat> {
        self.heartbeat.as_ref()
    }

    /// The store that is read.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What people had written when the last release was compiled, if the store still has it. Proxies never need it; it says
    /// where a value of the release comes from.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn revision(&self) -> Result<Option<Revision>, ReadError> {
        let Some(position) = &self.position else { return Ok(None) };
        let place = Serial { epoch: position.release.epoch, n: position.revision };
        let found = self.store.record(&layout::revision(place), &position.trusted).await?;
        Ok(found.map(|found| found.record))
    }

    fn advance(&mut self, release: &Release, digest: Digest, trusted: TrustedKeys) {
        let trusted = release.trust.clone().unwrap_or(trusted);
        let pinned = match &self.trust {
            Trust::Keys(keys) => Some(keys.clone()),
            Trust::FirstUse => None,
        };
        self.position = Some(Position {
            mesh: release.mesh,
            release: release.serial,
            revision: release.revision,
            digest,
            trusted: trusted.clone(),
            pinned,
        });
        self.trusted = Some(trusted);
    }

    async fn trusted(&mut self) -> Result<TrustedKeys, ReadError> {
        if let Some(trusted) = &self.trusted {
            return Ok(trusted.clone());
        }
        // Not kept until a release was taken: a folder that is filled only later must not be believed half-made.
        self.store.public_keys().await
    }
}

impl Store {
    /// The public keys that the store itself offers. Believing them is trust on first use.
    pub async fn public_keys(&self) -> Result<TrustedKeys, ReadError> {
        let paths = self.list(layout::KEYS, None).await?;
        let mut keys = Vec::new();
        for path in paths.iter().take(TRUSTED_KEYS_MAX) {
            let Some(bytes) = self.read(path, KEY_BYTES_MAX).await? else { continue };
            let key = std::str::from_utf8(&bytes)
                .map_err(|_| KeyError::Public)
                .and_then(str::parse)
                .map_err(|source| Refusal::Key { path: path.clone(), source })?;
            keys.push(key);
        }
        TrustedKeys::new(keys).map_err(|_| ReadError::Empty(self.place().to_owned()))
    }
}

#[cfg(test)]
#[cfg(feature = "write")]
mod tests;
