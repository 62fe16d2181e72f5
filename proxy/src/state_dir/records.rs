//! The records of the state folder.

use outrigger_snapshot::digest::Digest;
use outrigger_store::reader::{Position, ReleaseInfo};
use serde::{Deserialize, Serialize};

use super::StateFile;
use crate::resolve::Remembered;

/// Names whose last endpoints are kept.
pub const NAMES_MAX: usize = 100_000;
/// Endpoints that are kept of one name.
pub const ENDPOINTS_MAX: usize = 20_000;

/// The last good snapshot: its digests, and where it stands in the store. The content is kept beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastSnapshot {
    /// See [`StateFile::VERSION`].
    pub version: u32,
    /// What the store offered last and this proxy ran, wholly or in the part that was not in quarantine.
    pub offered: PairNames,
    /// What this proxy ran for long enough to trust it: what to go back to.
    pub settled: Option<Settled>,
    /// The release that offered it.
    pub taken: Taken,
    /// Where to go on reading.
    pub position: Position,
}

/// A pair that was run for long enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// The pair.
    pub pair: PairNames,
    /// The release that offered its policy.
    pub taken: Taken,
}

/// A policy and facts, by their digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairNames {
    /// Digest of the policy's uncompressed form.
    pub policy: Digest,
    /// Digest of the facts' uncompressed form.
    pub facts: Digest,
}

/// What is remembered of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// Its mesh, as text.
    pub mesh: String,
    /// Its epoch.
    pub epoch: u64,
    /// Its number.
    pub n: u64,
    /// The revision that it was compiled from.
    pub revision: u64,
    /// The version of the compiler.
    pub compiler: u32,
    /// When it was made, in milliseconds since 1970, by its writer's clock.
    pub time_ms: u64,
    /// The lane that this proxy is in.
    pub lane: String,
}

/// The last endpoints of every name that DNS resolves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastEndpoints {
    /// See [`StateFile::VERSION`].
    pub version: u32,
    /// When they were written, in milliseconds since 1970.
    pub time_ms: u64,
    /// At most [`NAMES_MAX`], each with at most [`ENDPOINTS_MAX`].
    pub names: Vec<Remembered>,
}

impl From<&ReleaseInfo> for Taken {
    fn from(release: &ReleaseInfo) -> Self {
        Self {
            mesh: release.mesh.to_string(),
            epoch: release.serial.epoch,
            n: release.serial.n,
            revision: release.revision,
            compiler: release.compiler,
            time_ms: release.time_ms,
            lane: release.lane.clone(),
        }
    }
}

impl StateFile for LastSnapshot {
    const NAME: &'static str = "snapshot.json";
    const VERSION: u32 = 1;
    const BYTES_MAX: usize = 64 << 10;

    fn version(&self) -> u32 {
        self.version
    }

    fn is_bounded(&self) -> bool {
        true
    }
}

impl LastEndpoints {
    /// A record of `names` as of now.
    pub fn new(time_ms: u64, names: Vec<Remembered>) -> Self {
        Self { version: Self::VERSION, time_ms, names }
    }
}

impl StateFile for LastEndpoints {
    const NAME: &'static str = "endpoints.json";
    const VERSION: u32 = 1;
    const BYTES_MAX: usize = 64 << 20;

    fn version(&self) -> u32 {
        self.version
    }

    fn is_bounded(&self) -> bool {
        let sound = |name: &Remembered| {
            name.endpoints.len() <= ENDPOINTS_MAX
                && name.endpoints.iter().all(|endpoint| endpoint.weight > 0 && endpoint.address.port() > 0)
        };
        self.names.len() <= NAMES_MAX && self.names.iter().all(sound)
    }
}
