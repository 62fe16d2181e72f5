use outrigger_snapshot::canonical::EncodeError;
use outrigger_snapshot::keys::KeyError;
use outrigger_snapshot::record::{MeshId, NoRandomness, Serial};
use outrigger_snapshot::signed::SealError;

use super::high_water::HighWaterError;
use crate::reader::ReadError;
use crate::store::StoreError;

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The store did not answer.
    #[error("the store can't be used")]
    Store(#[from] StoreError),
    /// What is in the store can't be read or believed.
    #[error("the store's records can't be used")]
    Read(#[source] ReadError),
    /// The memory of the highest that was seen can't be read or kept.
    #[error("the state folder can't be used")]
    State(#[from] HighWaterError),
    /// A record can't be signed.
    #[error("the record can't be signed")]
    Seal(#[from] SealError),
    /// Content can't be encoded.
    #[error("the content can't be encoded")]
    Encode(#[from] EncodeError),
    /// A trust set that is empty or too large.
    #[error("the trusted keys can't be used")]
    Key(#[source] KeyError),
    /// Nothing to sign with.
    #[error("there is no signing key; make one with `outrigger keys new` and pass it with --signing-key")]
    NoKey,
    /// No randomness for an id.
    #[error("no new id can be made")]
    Randomness(#[from] NoRandomness),
    /// No mesh was ever made here.
    #[error("{0} holds no mesh yet; make one with `outrigger store init`")]
    NoMesh(String),
    /// There is a mesh already.
    #[error("{place} holds mesh {mesh} already")]
    MeshExists {
        /// The store.
        place: String,
        /// Its mesh.
        mesh: MeshId,
    },
    /// Several processes made a mesh at once, again and again.
    #[error("another process is making a mesh in {0} at the same time; try again")]
    InitContended(String),
    /// The store lost everything that was seen in it.
    #[error(
        "{place} is empty, and mesh {mesh} was at {seen} before: nothing is published. Mount the right store, or run \
         `outrigger store recover`"
    )]
    Emptied {
        /// The store.
        place: String,
        /// The mesh that it held.
        mesh: MeshId,
        /// The highest revision seen.
        seen: Serial,
    },
    /// The store lost the newest of what was seen in it.
    #[error(
        "{place} ends at {found:?}, and {seen} was seen before: nothing is published. Mount the right store, or run \
         `outrigger store recover`"
    )]
    Behind {
        /// The store.
        place: String,
        /// The highest seen.
        seen: Serial,
        /// Where it ends now.
        found: Option<Serial>,
    },
    /// Another mesh's store.
    #[error(
        "{place} holds mesh {found}, and this is mesh {own}; correct --store, or use another --state-dir"
    )]
    OtherMesh {
        /// The store.
        place: String,
        /// Ours.
        own: MeshId,
        /// The store's.
        found: MeshId,
    },
    /// Nothing to recover from.
    #[error(
        "there is nothing to recover from: the state folder of a control plane that saw the mesh is needed (--state-dir)"
    )]
    NothingRemembered,
    /// Nothing to recover.
    #[error("{0} holds everything that was seen in it; there is nothing to recover")]
    NothingLost(String),
    /// No such revision or release.
    #[error("{0} is not in the store")]
    Absent(String),
    /// There is no release to follow on.
    #[error("there is no release yet")]
    NoRelease,
    /// Others won the next number again and again.
    #[error("{0} is contended: others published first, {tries} times in a row; it is tried again at the next interval", tries = super::ATTEMPTS_MAX)]
    Contended(String),
    /// Nobody knows whether the record was written.
    #[error(
        "{path} may or may not have been written, and the store does not say; look at `outrigger history` before trying again"
    )]
    Unsettled {
        /// Where.
        path: String,
        /// What went wrong last.
        #[source]
        source: StoreError,
    },
    /// The store takes a second object where one is.
    #[error(
        "{0} ignores create-if-absent: two writers would overwrite each other. Use a store that honours If-None-Match, or \
         a single control plane"
    )]
    ConditionIgnored(String),
}

/// Why a push did not become a revision.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Someone else pushed since the base was read.
    #[error(
        "revision {base} is not the newest any more: {author:?} pushed revision {newest}. Look at it (`outrigger diff`), \
         and push again on top of it"
    )]
    Conflict {
        /// What the push was written on top of.
        base: u64,
        /// The newest there is.
        newest: u64,
        /// Who pushed that.
        author: String,
    },
    /// The revision could not be written.
    #[error("the revision was not pushed")]
    Write(#[from] WriteError),
}

impl From<ReadError> for WriteError {
    /// A store that does not answer is that, whoever asked.
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => Self::Store(error),
            error => Self::Read(error),
        }
    }
}

impl From<StoreError> for PushError {
    fn from(error: StoreError) -> Self {
        Self::Write(error.into())
    }
}

impl From<ReadError> for PushError {
    fn from(error: ReadError) -> Self {
        Self::Write(error.into())
    }
}
