//! One exchange with the store: what the buckets of all global limits have to tell, in one go, and what they learn.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::Limiter;
use super::cell::{Answer, Told};
use super::global::Place;

/// See the module. One at a time; whoever collects one settles it.
#[derive(Debug, Default)]
#[must_use = "what was collected waits until it is settled"]
pub struct Round {
    entries: Vec<Entry>,
}

/// What one bucket tells.
#[derive(Debug)]
pub struct Entry {
    limiter: Arc<Limiter>,
    place: Place,
    digest: u128,
    told: Told,
}

impl Round {
    /// Whether any bucket has something to tell.
    pub fn is_due(limiters: &[Arc<Limiter>]) -> bool {
        limiters
            .iter()
            .any(|limiter| limiter.counters().is_some_and(|counters| counters.oldest_ns().is_some()))
    }

    /// What up to `max` buckets have to tell, those first that have waited longest.
    pub fn collect(limiters: &[Arc<Limiter>], max: usize) -> Self {
        let oldest = |index: usize| {
            let oldest_ns = limiters[index].counters()?.oldest_ns()?;
            Some(Reverse((oldest_ns, index)))
        };
        let mut heads: BinaryHeap<_> = (0..limiters.len()).filter_map(oldest).collect();
        let mut entries = Vec::new();
        while entries.len() < max
            && let Some(Reverse((_, index))) = heads.pop()
        {
            let limiter = &limiters[index];
            if let Some((place, digest, told)) = limiter.counters().and_then(|counters| counters.take()) {
                entries.push(Entry { limiter: limiter.clone(), place, digest, told });
            }
            heads.extend(oldest(index));
        }
        Self { entries }
    }

    /// What is to be sent.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Hands out the answers, in the order of the entries. Of those that are missing nobody knows.
    pub fn settle(self, answers: impl IntoIterator<Item = Answer>, now_ns: u64) {
        let mut answers = answers.into_iter();
        for entry in self.entries {
            let answer = answers.next().unwrap_or(Answer::Unknown);
            if let Some(counters) = entry.limiter.counters() {
                counters.settle(entry.place, answer, now_ns);
            }
        }
    }
}

impl Entry {
    /// Where the store counts the window.
    pub fn key(&self) -> String {
        self.key_of(self.told.window)
    }

    /// Where it counts the window before.
    pub fn previous_key(&self) -> String {
        self.key_of(self.told.window.saturating_sub(1))
    }

    /// What to add to the window.
    pub fn count(&self) -> u64 {
        self.told.count
    }

    /// What to add to the window before.
    pub fn late(&self) -> u64 {
        self.told.late
    }

    /// For how long the store is to keep what it counts.
    pub fn kept_ms(&self) -> u64 {
        self.limiter.counters().map_or(0, |counters| counters.kept_ms())
    }

    fn key_of(&self, window: u64) -> String {
        let (scope, name) = (self.limiter.scope(), self.limiter.name());
        format!("outrigger:{scope}/{name}:{:032x}:{window}", self.digest)
    }
}
