//! Limits of rate. One that a proxy counts alone follows the generic cell rate algorithm ([`gcra`]); one that all proxies count together
//! is a sliding window over what a store says ([`link`], [`round`]).
//!
//! Buckets are bounded in number. One is forgotten only when that changes nothing; so nobody gets rid of their own limit by flooding it
//! with keys. While there is no room, all new keys share one bucket.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::policy;

use crate::chain::FilterError;
use crate::context::{Context, Exceeded};

mod cell;
pub mod gcra;
mod global;
mod key;
pub mod link;
mod local;
pub mod round;

pub use cell::Answer;
pub use gcra::Gcra;
pub use link::Link;
pub use round::Round;

use cell::Quota;
use global::Counters;
use key::Key;
use local::Buckets;

/// Buckets of one limit.
pub const KEYS_MAX: usize = 65_536;
/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 16;
/// Between two searches of a full part for buckets that can be forgotten.
const SEARCH_NS: u64 = 100_000_000;

/// A limit and its buckets, shared by all workers.
#[derive(Debug)]
pub struct Limiter {
    scope: Box<str>,
    name: Arc<str>,
    requests: u32,
    period_ms: u64,
    global: bool,
    key: Key,
    hasher: RandomState,
    counting: Counting,
    admitted: AtomicU64,
    refused: AtomicU64,
}

/// Who counts.
#[derive(Debug)]
enum Counting {
    Alone(Buckets),
    Together(Counters),
}

impl Limiter {
    fn build(scope: &str, limit: &policy::RateLimit, link: Option<&Arc<Link>>) -> Result<Self, FilterError> {
        let &policy::RateLimit { requests, period_ms, burst, global, .. } = limit;
        let counting = match link.filter(|_| global) {
            Some(link) => {
                Counting::Together(Counters::new(Quota::new(requests, period_ms, burst), link.clone()))
            }
            None => Counting::Alone(Buckets::new(Gcra::new(requests, period_ms, burst))),
        };
        Ok(Self {
            scope: scope.into(),
            name: limit.name.as_str().into(),
            requests,
            period_ms,
            global,
            key: Key::build(&limit.key)?,
            hasher: RandomState::new(),
            counting,
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

    /// Whether all proxies are to count it together.
    pub fn is_global(&self) -> bool {
        self.global
    }

    /// Whether there is a store to count it with, whatever the store's state.
    pub fn has_store(&self) -> bool {
        self.counters().is_some()
    }

    /// Requests let through.
    pub fn admitted(&self) -> u64 {
        self.admitted.load(Relaxed)
    }

    /// Requests refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Requests that were decided without the store although it is to be asked.
    pub fn alone(&self) -> u64 {
        self.counters().map_or(0, Counters::alone)
    }

    /// The share of the limit that the last of these was held to; 0: there was none.
    pub fn share(&self) -> f64 {
        f64::from(self.counters().map_or(0, Counters::share_ppm)) / 1e6
    }

    /// Buckets that are kept.
    pub fn keys(&self) -> usize {
        match &self.counting {
            Counting::Alone(buckets) => buckets.keys(),
            Counting::Together(counters) => counters.keys(),
        }
    }

    /// Requests that met a bucket that others share because there was no room for one of their own.
    pub fn overflow(&self) -> u64 {
        match &self.counting {
            Counting::Alone(buckets) => buckets.overflow(),
            Counting::Together(counters) => counters.overflow(),
        }
    }

    fn counters(&self) -> Option<&Counters> {
        match &self.counting {
            Counting::Alone(_) => None,
            Counting::Together(counters) => Some(counters),
        }
    }

    fn decide(&self, head: &RequestHead, context: &Context) -> Result<(), u64> {
        let (now_ns, single) = (context.now_ns, self.key.is_empty());
        let hash = || if single { 0 } else { self.key.hash(&self.hasher, head, context) };
        match &self.counting {
            Counting::Alone(buckets) if single => buckets.decide_single(now_ns),
            Counting::Alone(buckets) => buckets.decide(hash(), now_ns),
            Counting::Together(counters) => {
                counters.decide(hash(), || self.key.digest(head, context), now_ns)
            }
        }
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
type Name = (Box<str>, Box<str>);

/// Limits that outlive plans, by what they belong to and their name. One whose settings change begins anew.
#[derive(Debug, Default)]
pub struct RateLimits {
    known: HashMap<Name, (policy::RateLimit, Arc<Limiter>)>,
    link: Option<Arc<Link>>,
    /// New ones that are global and have no store.
    unstored: Vec<Arc<Limiter>>,
}

impl RateLimits {
    /// None yet, of which the global ones will be counted with the store of `link`; `None`: by each proxy alone.
    pub fn new(link: Option<Arc<Link>>) -> Self {
        Self { known: HashMap::new(), link, unstored: Vec::new() }
    }

    /// The limit of that name. `peers` proxies count it.
    pub(crate) fn limiter(
        &mut self,
        scope: &str,
        peers: u32,
        limit: &policy::RateLimit,
    ) -> Result<Arc<Limiter>, FilterError> {
        let key = (Box::from(scope), Box::from(limit.name.as_str()));
        if let Some((settings, limiter)) = self.known.get(&key)
            && settings == limit
        {
            limiter.counters().into_iter().for_each(|counters| counters.set_peers(peers));
            return Ok(limiter.clone());
        }
        let limiter = Arc::new(Limiter::build(scope, limit, self.link.as_ref())?);
        limiter.counters().into_iter().for_each(|counters| counters.set_peers(peers));
        if limiter.is_global() && !limiter.has_store() {
            self.unstored.push(limiter.clone());
        }
        self.known.insert(key, (limit.clone(), limiter.clone()));
        Ok(limiter)
    }

    /// The global limits that were made since the last call and are counted alone, for want of a store.
    pub fn take_unstored(&mut self) -> Vec<Arc<Limiter>> {
        std::mem::take(&mut self.unstored)
    }

    /// Those that are counted with a store.
    pub fn stored(&self) -> Vec<Arc<Limiter>> {
        let limiters = self.known.values().map(|(_, limiter)| limiter);
        limiters.filter(|limiter| limiter.has_store()).cloned().collect()
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
