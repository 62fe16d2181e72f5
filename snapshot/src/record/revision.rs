use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AttemptId, Kind, MeshId, Record, Serial, check_schema};

/// Resources of one revision.
pub const RESOURCES_MAX: usize = 100_000;
/// Bytes of a revision's author.
pub const AUTHOR_BYTES_MAX: usize = 256;
/// Bytes of a revision's message.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// The source of truth: everything that people have written, whole. Pushing is creating the next one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// Schema of this record.
    pub schema: u32,
    /// The mesh.
    pub mesh: MeshId,
    /// Its place.
    pub serial: Serial,
    /// The number it was written on top of: always the one before, and 0 for the first.
    pub base: u64,
    /// All resources, as people wrote them.
    pub resources: Vec<Value>,
    /// Who pushed.
    pub author: String,
    /// Why.
    pub message: String,
    /// When, in milliseconds since 1970, by the writer's clock.
    pub time_ms: u64,
    /// Whether it may empty a scope or remove a large share of it.
    pub allow_shrink: bool,
    /// Which try to create it this was.
    pub attempt: AttemptId,
}

impl Record for Revision {
    const KIND: Kind = Kind::Revision;

    fn check(&self) -> Result<(), &'static str> {
        check_schema(self.schema)?;
        if self.serial.n == 0 || self.base != self.serial.n - 1 {
            return Err("a revision's base is the one before it");
        }
        if self.resources.len() > RESOURCES_MAX {
            return Err("a revision holds at most 100,000 resources");
        }
        if self.author.len() > AUTHOR_BYTES_MAX {
            return Err("an author is at most 256 bytes");
        }
        if self.message.len() > MESSAGE_BYTES_MAX {
            return Err("a message is at most 4,096 bytes");
        }
        Ok(())
    }
}
