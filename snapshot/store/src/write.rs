//! The control plane's half of the protocol: make a mesh, push revisions, publish releases, recover, collect.
//!
//! There is no lock and no leader. Every step that matters is one create-if-absent of the next number; who loses discards
//! what it made, looks again and decides again. `now_ms` is milliseconds since 1970, passed in.

mod collect;
mod compiled;
mod error;
mod head;
pub mod high_water;
mod init;
pub mod keyfile;
mod peers;
mod probe;
mod publish;
mod push;
pub mod tokens;
mod verify;
pub mod whole_file;

use std::collections::HashMap;

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::facts::PeerCounts;
use outrigger_snapshot::join_token::{JoinToken, TokenError};
use outrigger_snapshot::keys::{SigningKey, TrustedKeys};
use outrigger_snapshot::record::{ObjectRef, Record, Serial};
use outrigger_snapshot::signed;

pub use collect::{Collected, Keep};
pub use compiled::{Compiled, CountedPeers, ScopeContent};
pub use error::{PushError, WriteError};
pub use head::{Head, Summary};
pub use high_water::{HighWater, HighWaterError, StateDir};
pub use publish::Published;
pub use push::Draft;
pub use tokens::Tokens;

use crate::store::Store;

/// How often a publication starts over before it reports that the store is contended.
pub const ATTEMPTS_MAX: usize = 8;
/// Objects that are remembered as stored lately.
const STORED_MAX: usize = 65_536;

/// Writes to one store. A control plane holds one; any number of them may work on the same store.
#[derive(Debug)]
pub struct Publisher {
    store: Store,
    keys: Vec<SigningKey>,
    trusted: TrustedKeys,
    state: Option<StateDir>,
    high_water: Option<HighWater>,
    head: Option<Head>,
    /// Objects that were seen young at some time, and when.
    stored: HashMap<Digest, u64>,
    /// The counts of callers that were read last.
    peers: Option<(ObjectRef, PeerCounts)>,
    /// The release whose objects were all found, and when that was.
    verified: Option<(Serial, u64)>,
}

impl Publisher {
    /// A publisher that signs with `keys` (the first is its own; more while they rotate) and believes those and `trusted`.
    /// What it must never fall behind is kept in `state`.
    ///
    /// # Errors
    /// No key, more keys than a record or a trust set can have, or an unreadable state.
    pub fn new(
        store: Store,
        keys: Vec<SigningKey>,
        trusted: impl IntoIterator<Item = outrigger_snapshot::keys::PublicKey>,
        state: Option<StateDir>,
    ) -> Result<Self, WriteError> {
        if keys.is_empty() {
            return Err(WriteError::NoKey);
        }
        let own = keys.iter().map(SigningKey::public);
        let trusted = TrustedKeys::new(own.chain(trusted)).map_err(WriteError::Key)?;
        let high_water = match &state {
            Some(state) => state.load()?,
            None => None,
        };
        Ok(Self {
            store,
            keys,
            trusted,
            state,
            high_water,
            head: None,
            stored: HashMap::new(),
            peers: None,
            verified: None,
        })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The keys that are believed.
    pub fn trusted(&self) -> &TrustedKeys {
        &self.trusted
    }

    /// The highest that was ever seen.
    pub fn high_water(&self) -> Option<&HighWater> {
        self.high_water.as_ref()
    }

    /// A join token as it is handed over, signed with the own key.
    ///
    /// # Errors
    /// The library.
    pub fn sign_token(&self, token: &JoinToken) -> Result<String, TokenError> {
        token.sign(&self.keys[0])
    }

    fn seal<R: Record>(&self, record: &R) -> Result<bytes::Bytes, WriteError> {
        let keys: Vec<_> = self.keys.iter().collect();
        Ok(signed::seal(record, &keys)?.into())
    }
}

#[cfg(test)]
pub(crate) mod tests;
