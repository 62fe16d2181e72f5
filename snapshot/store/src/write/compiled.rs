//! Compiled content, and the index that names it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use outrigger_snapshot::canonical;
use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::facts::PeerCounts;
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::record::{Entry, Index, Lane, ObjectRef, Peers, SHARDS_MAX, Shard, shard_of};

use super::WriteError;

/// Scopes of one shard, on average.
const SHARD_SCOPES: usize = 64;

/// A scope's content, as canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeContent {
    /// Routes and policies.
    pub policy: Vec<u8>,
    /// Endpoints and other facts.
    pub facts: Vec<u8>,
}

/// What a compiler made of one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiled {
    /// By content schema, by scope. Scopes with equal content share it: without that, a mesh of many services would take the
    /// product of services and content.
    pub contents: BTreeMap<u32, BTreeMap<ServiceName, Arc<ScopeContent>>>,
    /// The counts of callers that went into it.
    pub peers: Option<CountedPeers>,
}

/// How many proxies call each cluster, and when they were counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountedPeers {
    /// In milliseconds since 1970.
    pub time_ms: u64,
    /// By cluster.
    pub counts: PeerCounts,
}

impl Compiled {
    /// Content in one schema.
    pub fn new(schema: u32, scopes: BTreeMap<ServiceName, ScopeContent>) -> Self {
        Self::shared(schema, scopes.into_iter().map(|(scope, content)| (scope, Arc::new(content))).collect())
    }

    /// Content in one schema that scopes share.
    pub fn shared(schema: u32, scopes: BTreeMap<ServiceName, Arc<ScopeContent>>) -> Self {
        Self { contents: BTreeMap::from([(schema, scopes)]), peers: None }
    }
}

/// Content with its digests: the scopes of each schema, and the objects to store.
#[derive(Debug, Default)]
pub(super) struct Digested {
    pub(super) contents: BTreeMap<u32, BTreeMap<ServiceName, Entry>>,
    pub(super) objects: BTreeMap<Digest, Bytes>,
    pub(super) peers: Option<Peers>,
}

impl Digested {
    /// Compresses and digests all content. Equal content becomes one object.
    pub(super) fn of(compiled: &Compiled) -> Result<Self, WriteError> {
        let mut known = BTreeMap::new();
        let mut own = Self::default();
        for (schema, scopes) in &compiled.contents {
            let mut entries = BTreeMap::new();
            // Shared content is digested once, not once for each scope.
            let mut shared: HashMap<*const ScopeContent, Entry> = HashMap::new();
            for (scope, content) in scopes {
                let entry = match shared.get(&Arc::as_ptr(content)) {
                    Some(entry) => entry.clone(),
                    None => {
                        let policies = vec![own.add(&content.policy, &mut known)?];
                        let facts = own.add(&content.facts, &mut known)?;
                        let entry = Entry { policies, facts };
                        shared.insert(Arc::as_ptr(content), entry.clone());
                        entry
                    }
                };
                entries.insert(scope.clone(), entry);
            }
            own.contents.insert(*schema, entries);
        }
        if let Some(peers) = &compiled.peers {
            let counts = own.add(&canonical::encode(&peers.counts)?, &mut known)?;
            own.peers = Some(Peers { time_ms: peers.time_ms, counts });
        }
        Ok(own)
    }

    /// Indexes that hold every entry in place.
    pub(super) fn inline(&self) -> BTreeMap<u32, Index> {
        self.contents.iter().map(|(schema, scopes)| (*schema, Index::Inline(scopes.clone()))).collect()
    }

    /// Indexes that name shards; the shards are added to the objects.
    pub(super) fn sharded(&mut self) -> Result<BTreeMap<u32, Index>, WriteError> {
        let schemas = self.contents.len().max(1).next_power_of_two();
        let contents = self.contents.clone();
        let mut known = BTreeMap::new();
        let mut indexes = BTreeMap::new();
        for (schema, scopes) in contents {
            let count = scopes.len().div_ceil(SHARD_SCOPES).next_power_of_two();
            let count = count.min(SHARDS_MAX / schemas).max(1);
            let mut shards = vec![Shard { scopes: BTreeMap::new() }; count];
            for (scope, entry) in scopes {
                if let Some(shard) = shards.get_mut(shard_of(&scope, count)) {
                    shard.scopes.insert(scope, entry);
                }
            }
            let mut named = Vec::with_capacity(count);
            for shard in shards {
                named.push(self.add(&canonical::encode(&shard)?, &mut known)?);
            }
            indexes.insert(schema, Index::Shards(named));
        }
        Ok(indexes)
    }

    /// What a release with these lanes means, whatever its objects are compressed with.
    pub(super) fn meaning(&self, lanes: &[Lane]) -> Result<Digest, WriteError> {
        let contents: Vec<_> = self
            .contents
            .iter()
            .map(|(schema, scopes)| {
                let digests = |entry: &Entry| {
                    let policies: Vec<_> = entry.policies.iter().map(|policy| policy.content).collect();
                    (policies, entry.facts.content)
                };
                let scopes: Vec<_> = scopes.iter().map(|(scope, entry)| (scope, digests(entry))).collect();
                (schema, scopes)
            })
            .collect();
        Ok(Digest::of(&canonical::encode(&(lanes, contents))?))
    }

    fn add(
        &mut self,
        content: &[u8],
        known: &mut BTreeMap<Digest, ObjectRef>,
    ) -> Result<ObjectRef, WriteError> {
        let digest = Digest::of(content);
        if let Some(object) = known.get(&digest) {
            return Ok(*object);
        }
        let stored = canonical::compress(content)?;
        let object = ObjectRef { object: Digest::of(&stored), content: digest, bytes: content.len() as u64 };
        self.objects.insert(object.object, stored.into());
        known.insert(digest, object);
        Ok(object)
    }
}
