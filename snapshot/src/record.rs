//! The signed records of a store: epochs, revisions, releases and heartbeats.

mod epoch;
mod heartbeat;
mod release;
mod revision;

use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use epoch::{Epoch, Origin};
pub use heartbeat::Heartbeat;
pub use release::{
    CONTENT_SCHEMAS_MAX, Entry, Index, LANES_MAX, Lane, ObjectRef, Peers, Release, SHARDS_MAX, Shard,
    lane_of, shard_of,
};
pub use revision::{AUTHOR_BYTES_MAX, MESSAGE_BYTES_MAX, RESOURCES_MAX, Revision};

use crate::digest::hex;
use crate::text_form::text_form;

/// The schema of records that this build writes and reads.
pub const RECORD_SCHEMA: u32 = 1;

/// Bytes of a mesh id and of an attempt id.
const ID_BYTES: usize = 16;

/// What a record is. The name is part of what is signed, so that one kind never passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Who the mesh is.
    Epoch,
    /// The source of truth.
    Revision,
    /// What to run.
    Release,
    /// Pulse and hint.
    Heartbeat,
}

impl Kind {
    /// The word in the signed context and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Revision => "revision",
            Self::Release => "release",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// Largest stored record that is read at all, in bytes.
    pub fn stored_bytes_max(self) -> usize {
        match self {
            Self::Epoch => 16 << 10,
            Self::Revision => 16 << 20,
            Self::Release => 64 << 10,
            Self::Heartbeat => 4 << 10,
        }
    }

    /// Largest record after decompression, in bytes.
    pub fn bytes_max(self) -> usize {
        match self {
            Self::Revision => 64 << 20,
            Self::Epoch | Self::Release | Self::Heartbeat => self.stored_bytes_max(),
        }
    }

    /// Revisions hold whole configurations and are compressed; the others are small and stay readable with `cat`.
    pub fn compressed(self) -> bool {
        self == Self::Revision
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A record that can be signed.
pub trait Record: Serialize + DeserializeOwned {
    /// What it is.
    const KIND: Kind;

    /// What the types alone can't say. The error names the rule that is broken.
    fn check(&self) -> Result<(), &'static str>;
}

/// Where a record stands in the order of its mesh: first by epoch, then by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serial {
    /// When the epoch was made, in milliseconds since 1970.
    pub epoch: u64,
    /// Counts from 1 within the epoch.
    pub n: u64,
}

impl Serial {
    /// The one after this in the same epoch, unless the numbers are used up.
    pub fn next(self) -> Option<Self> {
        Some(Self { n: self.n.checked_add(1)?, ..self })
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.epoch, self.n)
    }
}

/// A text is not 32 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 lower-case hex digits")]
pub struct IdError;

/// The operating system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no randomness for a new id")]
pub struct NoRandomness;

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_BYTES]);

        impl $name {
            /// A new one that nobody else has.
            pub fn random() -> Result<Self, NoRandomness> {
                let mut bytes = [0; ID_BYTES];
                aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                hex(text).map(Self).ok_or(IdError)
            }
        }

        text_form!($name);
    };
}

random_id! {
    /// Which mesh a record belongs to. A store that is swapped for another mesh's is noticed by it.
    MeshId
}
random_id! {
    /// Which try to create a record this was. After an unknown outcome the writer knows its own by it.
    AttemptId
}

/// The rule that every record shares.
fn check_schema(schema: u32) -> Result<(), &'static str> {
    if schema == RECORD_SCHEMA { Ok(()) } else { Err("the record's schema is not the one it was read as") }
}

#[cfg(test)]
mod tests;
