use outrigger_snapshot::canonical::DecodeError;
use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::keys::KeyError;
use outrigger_snapshot::record::{MeshId, Serial};
use outrigger_snapshot::signed;

use crate::store::StoreError;

/// Why nothing new was taken. None of these touches what is running.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store did not answer.
    #[error("the store can't be read")]
    Store(#[from] StoreError),
    /// The store answers, and holds no mesh.
    #[error(
        "{0} holds no mesh: the wrong folder or bucket, or nothing was pushed to it yet (`outrigger publish` or a control \
         plane makes one)"
    )]
    Empty(String),
    /// The store holds this mesh, as it was before what the reader has seen: restored from a backup, or replaced.
    #[error(
        "{place} is behind: it ends at {found:?}, and {seen} was seen before; run `outrigger store recover`"
    )]
    Behind {
        /// The store.
        place: String,
        /// What was seen.
        seen: Serial,
        /// The newest there, if there is any.
        found: Option<Serial>,
    },
    /// An object that a release names is not there, also after looking again.
    #[error("object {0} is missing from the store though the newest release names it")]
    ObjectMissing(Digest),
    /// Something was there, and not to be believed.
    #[error("refused what the store holds")]
    Refused(#[from] Refusal),
}

/// Why something in the store is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A record is malformed, unsigned, of a future schema or invalid.
    #[error("{path} is no acceptable record")]
    Record {
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: Box<signed::OpenError>,
    },
    /// Larger than anything honest.
    #[error("{path} is {bytes} bytes, at most {max} are read")]
    TooLarge {
        /// Where.
        path: String,
        /// Its size.
        bytes: u64,
        /// The bound.
        max: usize,
    },
    /// A record that belongs elsewhere, copied here.
    #[error("{path} says that it is {found}: it was copied from elsewhere")]
    Misplaced {
        /// Where.
        path: String,
        /// What it says.
        found: String,
    },
    /// Another mesh's store.
    #[error("the store belongs to mesh {found}, this is mesh {own}; correct --store or clear --state-dir")]
    OtherMesh {
        /// Ours.
        own: MeshId,
        /// The store's.
        found: MeshId,
    },
    /// A newer release of an older revision.
    #[error("release {release} goes back from revision {own} to {found}; a rollback is a new revision")]
    RevisionLower {
        /// The release.
        release: Serial,
        /// What is running.
        own: u64,
        /// What it names.
        found: u64,
    },
    /// The release does not follow the one that was taken.
    #[error("release {0} does not follow the release that was taken before it: history was rewritten")]
    ChainBroken(Serial),
    /// No content in a schema that the reader knows.
    #[error(
        "release {release} has content in schemas {found:?}, this version reads {known} and the one before; upgrade it"
    )]
    ContentSchema {
        /// The release.
        release: Serial,
        /// Its schemas.
        found: Vec<u32>,
        /// The reader's.
        known: u32,
    },
    /// Content that is not what its digest says.
    #[error("{path} does not match its digest: it was altered or truncated")]
    Altered {
        /// Where.
        path: String,
    },
    /// Content that can't be decompressed.
    #[error("{path} can't be decompressed")]
    Content {
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// A shard of the index is unreadable, or has no policy for a lane.
    #[error("shard {path} is not an index of scopes")]
    Shard {
        /// Where.
        path: String,
        /// Why, if it is not JSON of the right form.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// A public key is unreadable.
    #[error("{path} is no public key")]
    Key {
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: KeyError,
    },
}
