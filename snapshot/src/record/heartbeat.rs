use serde::{Deserialize, Serialize};

use super::{Kind, MeshId, Record, Serial, check_schema};

/// A pulse, and a hint where the newest release is. Never an authority: it is the one record that is overwritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Schema of this record.
    pub schema: u32,
    /// The mesh.
    pub mesh: MeshId,
    /// The newest release that its writer knew.
    pub newest: Serial,
    /// When it was written, in milliseconds since 1970, by its writer's clock.
    pub time_ms: u64,
}

impl Record for Heartbeat {
    const KIND: Kind = Kind::Heartbeat;

    fn check(&self) -> Result<(), &'static str> {
        check_schema(self.schema)
    }
}
