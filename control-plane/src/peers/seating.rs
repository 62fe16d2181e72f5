//! Which callers sit where.
//!
//! Whoever is heard is to have a seat. It is lost by who says that it calls no more, and by who is not heard of for as long as counts stand:
//! of a proxy that reports to another replica, this one knows nothing, so that its seat is lost only when that may fall which a replica
//! does not see. Every change of the list moves nearly all callers by a little, and so waits until it is worth it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use outrigger_snapshot::facts::{Cluster, Discovery};
use outrigger_snapshot::name::ClusterName;
use outrigger_snapshot::policy::Backend;
use outrigger_snapshot::seats::{SEATS_MAX, SEATS_TOTAL_MAX, Seats};
use outrigger_snapshot::subset::CONNECTIONS_MAX;
use outrigger_store::write::CountedPeers;

use super::{Callers, Due, Seen};
use crate::compile::Compiled;

/// A list is replaced before it is [settled](Due::settled) if one of so many seats is missing or left.
pub(super) const DIFFERING: usize = 8;

/// Who should sit at a cluster.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    name: &'a ClusterName,
    /// Who does; empty: nobody.
    listed: Seats,
    /// Who should.
    pub(super) callers: BTreeSet<u64>,
    /// Of these and of those, how many are not among the others.
    differing: usize,
    /// Callers × endpoints.
    connections: usize,
}

impl<'a> Wish<'a> {
    pub(super) fn new(name: &'a ClusterName, published: &CountedPeers, seen: &Seen, due: Due) -> Self {
        let listed = published.counts.seats.get(name).cloned().unwrap_or_default();
        let nobody = Callers::default();
        let Callers { heard, silent } = seen.callers.get(name).unwrap_or(&nobody);
        let stays = |caller: &u64| {
            let left = due.may_fall || seen.known.contains(caller);
            heard.contains(caller) || silent.contains(caller) || !left
        };
        let mut callers: BTreeSet<u64> = listed.callers().iter().copied().filter(stays).collect();
        let left = listed.len() - callers.len();
        let before = callers.len();
        callers.extend(heard);
        let differing = left + (callers.len() - before);
        Self { name, listed, callers, differing, connections: 0 }
    }

    /// The same where `count` callers are published, if they share out the endpoints of `cluster` and may have seats.
    pub(super) fn sized(self, count: u32, cluster: &Cluster, compiled: &Compiled) -> Option<Self> {
        let Discovery::Static(endpoints) = &cluster.discovery else { return None };
        let open = endpoints.iter().filter(|endpoint| endpoint.weight > 0).count();
        let connections = open.saturating_mul(count as usize);
        let many = connections > CONNECTIONS_MAX && count as usize <= SEATS_MAX;
        let some = many && !self.callers.is_empty() && shares_out(compiled, self.name);
        some.then_some(Self { connections, ..self })
    }

    fn seats(&self, due: Due) -> Option<Seats> {
        let worth = due.settled || self.differing * DIFFERING >= self.listed.len();
        match self.differing == 0 || !worth {
            true => Some(self.listed.clone()).filter(|listed| !listed.is_empty()),
            false => Seats::new(self.callers.iter().copied().collect()).ok(),
        }
    }
}

/// Whether callers of that cluster have some of its endpoints each, if they are many. Those that prefer their own zone have not.
fn shares_out(compiled: &Compiled, name: &ClusterName) -> bool {
    let ports = compiled.policies.iter().filter_map(|policy| policy.services.get(&name.service));
    let mut ports = ports.flat_map(|service| &service.ports).filter(|port| port.port == name.port);
    ports.next().is_some_and(|port| {
        let Backend { subset, balance, zone_preference, .. } = &port.backend;
        subset.is_some() && balance.key().is_none() && zone_preference.is_none()
    })
}

/// Seats for all clusters, as far as they go round: first for those that have them, then for those where the most connections are saved.
pub(super) fn seats(mut wanted: Vec<Wish<'_>>, due: Due) -> BTreeMap<ClusterName, Seats> {
    wanted.sort_by_key(|wish| (wish.listed.is_empty(), Reverse(wish.connections), wish.name));
    let mut left = SEATS_TOTAL_MAX;
    let mut seats = BTreeMap::new();
    for wish in wanted {
        let Some(own) = wish.seats(due).filter(|own| own.len() <= left) else { continue };
        left -= own.len();
        seats.insert(wish.name.clone(), own);
    }
    seats
}
