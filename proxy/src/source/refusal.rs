//! Why a snapshot, or a look at the store, came to nothing, and what that is called in metrics.

use std::error::Error;
use std::fmt::Write;

use outrigger_snapshot::signed::OpenError;
use outrigger_snapshot::validate::Invalid;
use outrigger_store::reader::{ReadError, Refusal as Unbelievable};

/// Links of a chain of causes that are printed.
const CHAIN_LINKS_MAX: usize = 16;

/// What something is refused for. Each is a value of the label `cause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// No trusted key signed it.
    Untrusted,
    /// It is not of the form that it should have.
    Malformed,
    /// It is larger than anything honest.
    TooLarge,
    /// It does not match its digest.
    Altered,
    /// It was copied from elsewhere in the store.
    Misplaced,
    /// It belongs to another mesh.
    OtherMesh,
    /// It goes back behind what was seen.
    Replayed,
    /// It was made for later versions of the proxy.
    FutureSchema,
    /// Its values contradict each other or exceed a bound.
    Invalid,
    /// It would empty the scope, and nobody said that this is meant.
    Emptied,
    /// No plan can be built from it.
    Plan,
}

/// What a look at the store came to, where it came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// The store does not answer, or denies access.
    Unreachable,
    /// The store answers and holds no mesh.
    Empty,
    /// The store holds less than was seen before.
    Behind,
    /// An object is missing that the newest release names.
    ObjectMissing,
    /// Something was refused; this cause is counted, too.
    Refused(Cause),
}

impl Cause {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::Untrusted,
        Self::Malformed,
        Self::TooLarge,
        Self::Altered,
        Self::Misplaced,
        Self::OtherMesh,
        Self::Replayed,
        Self::FutureSchema,
        Self::Invalid,
        Self::Emptied,
        Self::Plan,
    ];

    /// As metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Altered => "altered",
            Self::Misplaced => "misplaced",
            Self::OtherMesh => "other_mesh",
            Self::Replayed => "replayed",
            Self::FutureSchema => "future_schema",
            Self::Invalid => "invalid",
            Self::Emptied => "emptied",
            Self::Plan => "plan",
        }
    }
}

impl Trouble {
    /// As metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Empty => "empty",
            Self::Behind => "behind",
            Self::ObjectMissing => "object_missing",
            Self::Refused(_) => "refused",
        }
    }
}

impl From<&ReadError> for Trouble {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::Store(_) => Self::Unreachable,
            ReadError::Empty(_) => Self::Empty,
            ReadError::Behind { .. } => Self::Behind,
            ReadError::ObjectMissing(_) => Self::ObjectMissing,
            ReadError::Refused(refusal) => Self::Refused(refusal.into()),
        }
    }
}

impl From<&Unbelievable> for Cause {
    fn from(refusal: &Unbelievable) -> Self {
        match refusal {
            Unbelievable::Record { source, .. } => source.as_ref().into(),
            Unbelievable::TooLarge { .. } => Self::TooLarge,
            Unbelievable::Misplaced { .. } => Self::Misplaced,
            Unbelievable::OtherMesh { .. } => Self::OtherMesh,
            Unbelievable::RevisionLower { .. } | Unbelievable::ChainBroken(_) => Self::Replayed,
            Unbelievable::ContentSchema { .. } => Self::FutureSchema,
            Unbelievable::Altered { .. } => Self::Altered,
            Unbelievable::Content { .. } | Unbelievable::Shard { .. } | Unbelievable::Key { .. } => {
                Self::Malformed
            }
        }
    }
}

impl From<&OpenError> for Cause {
    fn from(error: &OpenError) -> Self {
        match error {
            OpenError::TooLarge { .. } => Self::TooLarge,
            OpenError::Untrusted { .. } => Self::Untrusted,
            OpenError::FutureSchema { .. } => Self::FutureSchema,
            OpenError::Invalid { .. } => Self::Invalid,
            OpenError::Decompress { .. } | OpenError::Envelope { .. } | OpenError::Payload { .. } => {
                Self::Malformed
            }
        }
    }
}

impl From<&Invalid> for Cause {
    fn from(error: &Invalid) -> Self {
        match error {
            Invalid::Shape { .. } => Self::Malformed,
            Invalid::Schema { .. } | Invalid::Feature(_) => Self::FutureSchema,
            Invalid::Value { .. } => Self::Invalid,
        }
    }
}

/// An error and all its causes in one line. A cause that the error before it already prints is left out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..CHAIN_LINKS_MAX {
        let Some(error) = cause else { break };
        let link = error.to_string();
        if !text.ends_with(&link) {
            // A String takes every write.
            let _ = write!(text, ": {link}");
        }
        cause = error.source();
    }
    text
}
