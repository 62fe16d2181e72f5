//! What a store offers, and which part of it may run. Pure.

use std::sync::Arc;

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::facts::{Discovery, Facts};
use outrigger_snapshot::policy::Policy;

use super::refusal::{Cause, chain};
use crate::quarantine::Quarantine;
use crate::state_dir::{PairNames, Taken};

/// One object, as it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Of the bytes.
    pub digest: Digest,
    /// Canonical JSON.
    pub bytes: Arc<[u8]>,
}

/// Policy and facts that belong together, or are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Routes and policies.
    pub policy: Content,
    /// Endpoints and other facts.
    pub facts: Content,
    /// The release that offered the policy.
    pub taken: Taken,
}

/// A pair that can be built from.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) pair: Pair,
    pub(super) policy: Arc<Policy>,
    pub(super) facts: Arc<Facts>,
}

/// What is counted and told when something is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) cause: Cause,
    pub(super) why: String,
}

/// From what to choose.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    pub(super) offered: &'a Pair,
    /// Whether it may be empty though the running one is not.
    pub(super) allow_shrink: bool,
    pub(super) running: Option<&'a Pair>,
    pub(super) settled: Option<&'a Pair>,
    pub(super) quarantine: &'a Quarantine,
}

/// What comes of a choice.
#[derive(Debug)]
pub(super) struct Chosen {
    /// What to run; none if nothing may.
    pub(super) candidate: Option<Candidate>,
    /// What was refused on the way.
    pub(super) refused: Vec<Refused>,
    /// Whether quarantine kept a part of the offer from running.
    pub(super) held_back: bool,
}

impl Content {
    /// Content and its digest.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), bytes: bytes.into() }
    }
}

impl Pair {
    /// The digests.
    pub fn names(&self) -> PairNames {
        PairNames { policy: self.policy.digest, facts: self.facts.digest }
    }

    fn with_policy_of(&self, other: &Self) -> Self {
        Self { policy: other.policy.clone(), taken: other.taken.clone(), ..self.clone() }
    }

    fn with_facts_of(&self, other: &Self) -> Self {
        Self { facts: other.facts.clone(), ..self.clone() }
    }
}

impl Choice<'_> {
    /// The offer, but for the parts that are refused or in quarantine: for a refused part the running one stays, for a part in
    /// quarantine the settled one comes back. So a bad policy does not keep endpoints from moving, nor the other way round.
    pub(super) fn choose(&self) -> Chosen {
        let mut refused = Vec::new();
        let (policy, policy_held) = self.policy(&mut refused);
        let (facts, facts_held) = self.facts(&mut refused);
        let candidate = policy.zip(facts).map(|((policy_from, policy), (facts_from, facts))| Candidate {
            pair: self.offered.with_policy_of(policy_from).with_facts_of(facts_from),
            policy,
            facts,
        });
        Chosen { candidate, refused, held_back: policy_held || facts_held }
    }

    /// The same without the offer's policy, after no plan could be built from that.
    pub(super) fn without_policy(&self) -> Option<Candidate> {
        let running = self.running?;
        let mut ignored = Vec::new();
        let (Some((facts_from, facts)), _) = self.facts(&mut ignored) else { return None };
        let policy = Policy::decode(&running.policy.bytes).ok()?;
        Some(Candidate { pair: running.with_facts_of(facts_from), policy: policy.into(), facts })
    }

    fn policy(&self, refused: &mut Vec<Refused>) -> (Option<(&Pair, Arc<Policy>)>, bool) {
        let held = self.quarantine.holds(self.offered.policy.digest);
        let wanted = if held { self.settled } else { Some(self.offered) };
        let checked = wanted.map(|pair| (pair, self.check_policy(pair)));
        match checked {
            Some((pair, Ok(policy))) => return (Some((pair, policy.into())), held),
            Some((_, Err(refusal))) => refused.push(refusal),
            None => {}
        }
        let kept = self.running.filter(|pair| !self.quarantine.holds(pair.policy.digest));
        let policy = kept.and_then(|pair| Some((pair, Policy::decode(&pair.policy.bytes).ok()?.into())));
        (policy, held)
    }

    fn facts(&self, refused: &mut Vec<Refused>) -> (Option<(&Pair, Arc<Facts>)>, bool) {
        let held = self.quarantine.holds(self.offered.facts.digest);
        let wanted = if held { self.settled } else { Some(self.offered) };
        let checked = wanted.map(|pair| (pair, self.check_facts(pair)));
        match checked {
            Some((pair, Ok(facts))) => return (Some((pair, facts.into())), held),
            Some((_, Err(refusal))) => refused.push(refusal),
            None => {}
        }
        let kept = self.running.filter(|pair| !self.quarantine.holds(pair.facts.digest));
        let facts = kept.and_then(|pair| Some((pair, Facts::decode(&pair.facts.bytes).ok()?.into())));
        (facts, held)
    }

    fn check_policy(&self, pair: &Pair) -> Result<Policy, Refused> {
        let policy = Policy::decode(&pair.policy.bytes)
            .map_err(|error| Refused { cause: (&error).into(), why: format!("policy: {}", chain(&error)) })?;
        let had = || self.running.and_then(|running| Policy::decode(&running.policy.bytes).ok());
        if !self.allow_shrink
            && policy.services.is_empty()
            && had().is_some_and(|had| !had.services.is_empty())
        {
            return Err(emptied("policy", "service"));
        }
        Ok(policy)
    }

    fn check_facts(&self, pair: &Pair) -> Result<Facts, Refused> {
        let facts = Facts::decode(&pair.facts.bytes)
            .map_err(|error| Refused { cause: (&error).into(), why: format!("facts: {}", chain(&error)) })?;
        let had = || self.running.and_then(|running| Facts::decode(&running.facts.bytes).ok());
        if !self.allow_shrink && !has_endpoints(&facts) && had().is_some_and(|had| has_endpoints(&had)) {
            return Err(emptied("facts", "endpoint"));
        }
        Ok(facts)
    }
}

fn emptied(part: &str, what: &str) -> Refused {
    Refused {
        cause: Cause::Emptied,
        why: format!("{part}: it would remove every {what}; push again with --allow-shrink if that is meant"),
    }
}

/// Whether any cluster has one, as far as facts can tell: a name may always have some.
fn has_endpoints(facts: &Facts) -> bool {
    facts.clusters.values().any(|cluster| match &cluster.discovery {
        Discovery::Static(endpoints) => !endpoints.is_empty(),
        Discovery::Dns(_) | Discovery::Srv(_) => true,
    })
}
