//! Limits of rate, by the generic cell rate algorithm (ITU-T I.371, annex A): one timestamp per bucket says when it would be full again.
//!
//! Buckets are bounded in number. One is forgotten only when it is full again, which is when forgetting it changes nothing; so nobody gets
//! rid of their own limit by flooding it with keys. While there is no room, all new keys share one bucket.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use http::header::HeaderName;
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy;

use crate::chain::FilterError;
use crate::context::{Context, Exceeded};

/// Buckets of one limit.
pub const KEYS_MAX: usize = 65_536;
/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 16;
/// Between two searches of a full part for buckets that can be forgotten.
const SEARCH_NS: u64 = 100_000_000;

/// The law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    /// Between two requests at the sustained rate.
    interval_ns: u64,
    /// By how much a bucket may be ahead of the time.
    tolerance_ns: u64,
}

impl Gcra {
    /// `requests` per `period_ms` sustained, of which `burst` at once.
    pub fn new(requests: u32, period_ms: u64, burst: u32) -> Self {
        // Rounded up: never more than is allowed.
        let interval_ns = period_ms.saturating_mul(1_000_000).div_ceil(u64::from(requests.max(1))).max(1);
        Self { interval_ns, tolerance_ns: interval_ns.saturating_mul(u64::from(burst.max(1) - 1)) }
    }

    /// Lets a request through at `now_ns` if a bucket that is full again at `full_ns` has room: when it is full again after that. Else how
    /// long it takes until there is room, in nanoseconds.
    pub fn decide(&self, full_ns: u64, now_ns: u64) -> Result<u64, u64> {
        let full_ns = full_ns.max(now_ns);
        match (full_ns - now_ns).checked_sub(self.tolerance_ns) {
            None | Some(0) => Ok(full_ns.saturating_add(self.interval_ns)),
            Some(wait_ns) => Err(wait_ns),
        }
    }
}

/// A limit and its buckets, shared by all workers.
#[derive(Debug)]
pub struct Limiter {
    scope: Box<str>,
    name: Arc<str>,
    requests: u32,
    period_ms: u64,
    law: Gcra,
    key: Box<[KeyPart]>,
    /// The one bucket of a limit without a key.
    single: AtomicU64,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    admitted: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug)]
enum KeyPart {
    Header(HeaderName),
    Source,
    PathElement(usize),
}

#[derive(Debug, Default)]
struct Shard {
    full_ns: HashMap<u64, u64>,
    overflow_full_ns: u64,
    searched_ns: u64,
}

impl Limiter {
    fn build(scope: &str, limit: &policy::RateLimit) -> Result<Self, FilterError> {
        let part = |part: &policy::RateKey| {
            Ok(match part {
                policy::RateKey::Header(name) => KeyPart::Header(
                    HeaderName::from_bytes(name.as_bytes())
                        .map_err(|_| FilterError::HeaderName(name.clone()))?,
                ),
                policy::RateKey::Source => KeyPart::Source,
                policy::RateKey::PathElement(index) => KeyPart::PathElement(*index as usize),
            })
        };
        Ok(Self {
            scope: scope.into(),
            name: limit.name.as_str().into(),
            requests: limit.requests,
            period_ms: limit.period_ms,
            law: Gcra::new(limit.requests, limit.period_ms, limit.burst),
            key: limit.key.iter().map(part).collect::<Result<_, _>>()?,
            single: AtomicU64::new(0),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            admitted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// What it belongs to.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Requests let through.
    pub fn admitted(&self) -> u64 {
        self.admitted.load(Relaxed)
    }

    /// Requests refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Buckets that are kept.
    pub fn keys(&self) -> usize {
        let lock = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).full_ns.len();
        self.shards.iter().map(lock).sum()
    }

    fn decide(&self, head: &RequestHead, context: &Context) -> Result<(), u64> {
        if self.key.is_empty() {
            self.decide_single(context.now_ns)
        } else {
            self.decide_keyed(head, context)
        }
    }

    fn decide_single(&self, now_ns: u64) -> Result<(), u64> {
        let mut full_ns = self.single.load(Relaxed);
        loop {
            let next_ns = self.law.decide(full_ns, now_ns)?;
            match self.single.compare_exchange_weak(full_ns, next_ns, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => full_ns = changed,
            }
        }
    }

    fn decide_keyed(&self, head: &RequestHead, context: &Context) -> Result<(), u64> {
        let now_ns = context.now_ns;
        let key = self.hash(head, context);
        let shard = &self.shards[(key % SHARDS as u64) as usize];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_ns) = shard.full_ns.get_mut(&key) {
            *full_ns = self.law.decide(*full_ns, now_ns)?;
            return Ok(());
        }
        if shard.full_ns.len() >= KEYS_MAX / SHARDS && now_ns.saturating_sub(shard.searched_ns) >= SEARCH_NS {
            shard.searched_ns = now_ns;
            shard.full_ns.retain(|_, full_ns| *full_ns > now_ns);
        }
        if shard.full_ns.len() >= KEYS_MAX / SHARDS {
            shard.overflow_full_ns = self.law.decide(shard.overflow_full_ns, now_ns)?;
        } else {
            let full_ns = self.law.decide(0, now_ns)?;
            shard.full_ns.insert(key, full_ns);
        }
        Ok(())
    }

    /// Salted, so that nobody can make keys that meet.
    fn hash(&self, head: &RequestHead, context: &Context) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for part in &self.key {
            let value = match part {
                KeyPart::Header(name) => head.header(name).map(|value| value.as_bytes()),
                KeyPart::Source => context.source.as_ref().map(|value| value.as_bytes()),
                KeyPart::PathElement(index) => head.path().split('/').nth(index + 1).map(str::as_bytes),
            };
            value.hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Refuses what comes too fast.
#[derive(Debug, Clone)]
pub struct RateLimit(pub(crate) Arc<Limiter>);

impl PartialEq for RateLimit {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for RateLimit {}

impl RateLimit {
    pub(crate) fn on_request(&self, head: &RequestHead, context: &Context) -> Result<(), Exceeded> {
        let Limiter { name, requests, period_ms, admitted, refused, .. } = &*self.0;
        match self.0.decide(head, context) {
            Ok(()) => {
                admitted.fetch_add(1, Relaxed);
                Ok(())
            }
            Err(retry_after_ns) => {
                refused.fetch_add(1, Relaxed);
                let (requests, period_ms) = (*requests, *period_ms);
                Err(Exceeded { limit: name.clone(), requests, period_ms, retry_after_ns })
            }
        }
    }
}

/// What a limit belongs to, and its name.
type Key = (Box<str>, Box<str>);

/// Limits that outlive plans, by what they belong to and their name. One whose settings change begins anew.
#[derive(Debug, Default)]
pub struct RateLimits {
    known: HashMap<Key, (policy::RateLimit, Arc<Limiter>)>,
}

impl RateLimits {
    pub(crate) fn limiter(
        &mut self,
        scope: &str,
        limit: &policy::RateLimit,
    ) -> Result<Arc<Limiter>, FilterError> {
        let key = (Box::from(scope), Box::from(limit.name.as_str()));
        if let Some((settings, limiter)) = self.known.get(&key)
            && settings == limit
        {
            return Ok(limiter.clone());
        }
        let limiter = Arc::new(Limiter::build(scope, limit)?);
        self.known.insert(key, (limit.clone(), limiter.clone()));
        Ok(limiter)
    }

    /// Every limit.
    pub fn all(&self) -> Vec<Arc<Limiter>> {
        self.known.values().map(|(_, limiter)| limiter.clone()).collect()
    }

    /// Forgets those that nobody else holds.
    pub fn sweep(&mut self) {
        self.known.retain(|_, (_, limiter)| Arc::strong_count(limiter) > 1);
    }
}

#[cfg(test)]
mod tests;
