use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AttemptId, Kind, MeshId, Record, Serial, check_schema};
use crate::digest::Digest;
use crate::keys::TrustedKeys;
use crate::name::ServiceName;

/// Lanes of a release: the stable one and a few canaries.
pub const LANES_MAX: usize = 8;
/// Content schemas of a release: the current one, the one before, and room to change our minds.
pub const CONTENT_SCHEMAS_MAX: usize = 4;
/// Shards of one content schema.
pub const SHARDS_MAX: usize = 64;

/// What to run: scopes and the digests of their content. Small; the content is in objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Schema of this record.
    pub schema: u32,
    /// The mesh.
    pub mesh: MeshId,
    /// Its place.
    pub serial: Serial,
    /// Digest of the stored bytes of the release before it in this epoch; none for the first.
    pub previous: Option<Digest>,
    /// Number of the revision it was compiled from, in the same epoch.
    pub revision: u64,
    /// Version of the compiler.
    pub compiler: u32,
    /// Number of the newest release, up to this one, that was allowed to shrink. A reader that skips releases learns
    /// from it that shrinking was meant.
    pub shrink_allowed_at: Option<u64>,
    /// The revision is bad: this release holds older content in its place, and no replica publishes the revision again.
    pub rejected: bool,
    /// When, in milliseconds since 1970, by the writer's clock.
    pub time_ms: u64,
    /// Which try to create it this was.
    pub attempt: AttemptId,
    /// The keys to trust from here on, while they rotate. Repeated in every release until they change again.
    pub trust: Option<TrustedKeys>,
    /// Which share of proxies takes which policy, in order.
    pub lanes: Vec<Lane>,
    /// How many proxies call each cluster, once someone has counted them. The facts say the same to proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Peers>,
    /// Digest over lanes, scopes and the digests of their uncompressed content: two releases that mean the same have the same.
    pub meaning: Digest,
    /// By content schema: where each scope's content is.
    pub contents: BTreeMap<u32, Index>,
}

/// Where the counts of callers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// When they were counted, in milliseconds since 1970, by the counter's clock.
    pub time_ms: u64,
    /// The object: [`PeerCounts`](crate::facts::PeerCounts).
    pub counts: ObjectRef,
}

/// A share of the proxies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    /// What people call it.
    pub name: String,
    /// Its share. All lanes add up to 100.
    pub percent: u8,
}

/// Scopes and their content: in place while that is small, else in shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Index {
    /// Every scope.
    Inline(BTreeMap<ServiceName, Entry>),
    /// Objects that each hold a [`Shard`], by [`shard_of`]. Their count is a power of two.
    Shards(Vec<ObjectRef>),
}

/// Part of an index, as an object of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// The scopes that hash to it.
    pub scopes: BTreeMap<ServiceName, Entry>,
}

/// One scope's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The policy of each lane, in the order of the release's lanes; a single one is every lane's.
    pub policies: Vec<ObjectRef>,
    /// The facts, the same for every lane.
    pub facts: ObjectRef,
}

/// An object and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectRef {
    /// Digest of the stored bytes, which is also its path.
    pub object: Digest,
    /// Digest of the canonical, uncompressed form: what "changed" compares.
    pub content: Digest,
    /// Bytes of the uncompressed form.
    pub bytes: u64,
}

/// The lane of a node, as an index into `lanes`: a stable hash of its id, so that a node stays in the first lane while
/// that grows.
pub fn lane_of(node: &str, lanes: &[Lane]) -> usize {
    let share = (u64::from(Digest::of(node.as_bytes()).prefix()) * 100) >> 32;
    let mut upper = 0;
    for (position, lane) in lanes.iter().enumerate() {
        upper += u64::from(lane.percent);
        if share < upper {
            return position;
        }
    }
    lanes.len().saturating_sub(1)
}

/// The shard of a scope, as an index: the leading bits of its name's digest. `count` is a power of two.
pub fn shard_of(scope: &ServiceName, count: usize) -> usize {
    let prefix = u64::from(Digest::of(scope.to_string().as_bytes()).prefix());
    usize::try_from((prefix * count as u64) >> 32).unwrap_or(0)
}

impl Entry {
    /// The policy of the lane at `position`.
    pub fn policy(&self, position: usize) -> Option<&ObjectRef> {
        match self.policies.as_slice() {
            [only] => Some(only),
            several => several.get(position),
        }
    }

    /// Whether there is a policy for each of `lanes` lanes.
    pub fn covers(&self, lanes: usize) -> bool {
        self.policies.len() == 1 || self.policies.len() == lanes
    }
}

impl Record for Release {
    const KIND: Kind = Kind::Release;

    fn check(&self) -> Result<(), &'static str> {
        check_schema(self.schema)?;
        if self.serial.n == 0 || self.revision == 0 {
            return Err("releases and revisions count from 1");
        }
        if self.previous.is_some() != (self.serial.n > 1) {
            return Err("every release but the first names the one before it");
        }
        if self.lanes.is_empty() || self.lanes.len() > LANES_MAX {
            return Err("a release has 1 to 8 lanes");
        }
        if self.lanes.iter().map(|lane| u32::from(lane.percent)).sum::<u32>() != 100 {
            return Err("the lanes of a release add up to 100 percent");
        }
        if self.contents.is_empty() || self.contents.len() > CONTENT_SCHEMAS_MAX {
            return Err("a release has content in 1 to 4 schemas");
        }
        self.contents.values().try_for_each(|index| match index {
            Index::Inline(scopes) if !scopes.values().all(|entry| entry.covers(self.lanes.len())) => {
                Err("a scope has one policy, or one for each lane")
            }
            Index::Shards(shards) if !shards.len().is_power_of_two() || shards.len() > SHARDS_MAX => {
                Err("the shards of a release are a power of two, at most 64")
            }
            Index::Inline(_) | Index::Shards(_) => Ok(()),
        })
    }
}
