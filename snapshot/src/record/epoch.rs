use serde::{Deserialize, Serialize};

use super::{Kind, MeshId, Record, Serial, check_schema};

/// Who we are, since when. Made once per mesh, and again by each recovery; a larger one supersedes all before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// Schema of this record.
    pub schema: u32,
    /// The mesh. Every epoch of a mesh names the same.
    pub mesh: MeshId,
    /// Its number and the time it was made, in milliseconds since 1970.
    pub epoch: u64,
    /// How it came to be.
    pub origin: Origin,
}

/// How an epoch came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A new mesh.
    New,
    /// An old mesh on a store that had lost records; seeded from this revision.
    Recovered(Serial),
}

impl Record for Epoch {
    const KIND: Kind = Kind::Epoch;

    fn check(&self) -> Result<(), &'static str> {
        check_schema(self.schema)?;
        match self.origin {
            Origin::Recovered(from) if from.epoch >= self.epoch => {
                Err("an epoch is recovered from an earlier one")
            }
            Origin::New | Origin::Recovered(_) => Ok(()),
        }
    }
}
