//! What can go wrong with a mesh, as seen by those who change it or ask about it.

use outrigger_snapshot::canonical::EncodeError;
use outrigger_store::write::WriteError;
use outrigger_store::write::keyfile::KeyFileError;

use crate::config::{Problems, REVISION_ANNOTATION};

/// Why a change was not made, or a question not answered. After any of these the mesh is as it was, but for
/// [`WriteError::Unsettled`].
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// The push is wrong in itself, or doesn't fit what is there.
    #[error("the push was refused:\n{0}")]
    Refused(Problems),
    /// It would remove more than it may.
    #[error("{}; nothing was applied. If this is meant, allow it (--allow-shrink)", .0.join("; "))]
    Shrinks(Vec<String>),
    /// Someone else has pushed since.
    #[error(
        "the newest revision is {newest}{}, not revision {base} that this was made against; nothing was applied. Look at \
         what has changed (`outrigger diff`) and push again", by(.author)
    )]
    Stale {
        /// What the push names.
        base: u64,
        /// The newest there is.
        newest: u64,
        /// Who pushed that.
        author: String,
    },
    /// Someone else has changed since what is to be replaced.
    #[error(
        "changed since: {}; the newest revision is {newest}{}; nothing was applied. Get it again (`outrigger get -o yaml`) and \
         make your change there, or drop its annotation {REVISION_ANNOTATION} to replace whatever is there", .resources.join(", "), by(.author)
    )]
    Changed {
        /// Each with the revision that it was read at.
        resources: Vec<String>,
        /// The newest there is.
        newest: u64,
        /// Who pushed that.
        author: String,
    },
    /// Others were faster each time.
    #[error("others pushed at the same time, again and again; nothing was applied. Try again")]
    Busy,
    /// Author or message.
    #[error("the {field} has {bytes} bytes, at most {max} are kept; nothing was applied")]
    TooLong {
        /// Which.
        field: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// No such revision in this epoch.
    #[error("there is no revision {0}; `outrigger history` lists those there are")]
    NoRevision(u64),
    /// Nothing to go back to.
    #[error("there is nothing to go back to: no revision came before the newest")]
    NothingBefore,
    /// What is stored is no longer accepted.
    #[error(
        "revision {revision} was accepted by another version and has problems in this one; what is published stays:\n{problems}"
    )]
    Outdated {
        /// Which revision.
        revision: u64,
        /// Its problems.
        problems: Problems,
    },
    /// The newest revision was rejected.
    #[error("revision {0} was rejected, and older content is published in its place; push another one")]
    Rejected(u64),
    /// The store.
    #[error(transparent)]
    Store(#[from] Box<WriteError>),
    /// The signing key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// Compiled content.
    #[error("what was compiled can't be stored")]
    Encode(#[from] EncodeError),
    /// The process is ending.
    #[error("the control plane is stopping; try again")]
    Stopped,
}

impl From<WriteError> for MeshError {
    fn from(error: WriteError) -> Self {
        Self::Store(Box::new(error))
    }
}

fn by(author: &str) -> String {
    if author.is_empty() { String::new() } else { format!(" (by {author})") }
}
