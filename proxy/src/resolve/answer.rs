//! From records to endpoints. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::ResolvedEndpoint;
use super::state::{Answer, Nothing};

/// Most endpoints of one name; of more, those with the lowest addresses are used, so that all proxies use the same.
pub const ENDPOINTS_MAX: usize = 1_024;

/// Most targets of one SRV name; of more, those with the lowest names are used.
pub const SRV_TARGETS_MAX: usize = 64;

/// Beside records of more weight, one of weight 0 gets this fraction of a share of 1: "a very small chance" (RFC 2782).
const ZERO_WEIGHT_FRACTION: u64 = 100;

/// Weights are multiplied by this before a target's weight is divided among its addresses: divisible by 1 to 8 without rest.
const WEIGHT_SCALE: u64 = 840;

/// The last addresses of a host, by family, for when only one of the two questions is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostMemory {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
}

/// Those of every host that a name leads to.
pub type Memory = BTreeMap<String, HostMemory>;

/// An SRV record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// Lower is better.
    pub priority: u16,
    /// The host; `.` is none.
    pub target: String,
    /// The port to dial.
    pub port: u16,
    /// The share among records of the same priority.
    pub weight: u16,
}

impl HostMemory {
    /// All addresses, of both families.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.v4.iter().chain(&self.v6).copied().collect()
    }

    /// One answer from the two for A and AAAA. Where only one of them found addresses and the other failed, the addresses of the
    /// failed family stay as they were: a resolver that is broken for AAAA must not freeze the A records, nor the other way round.
    pub fn merge(&mut self, v4: Answer<IpAddr>, v6: Answer<IpAddr>) -> Answer<IpAddr> {
        match (v4, v6) {
            (Answer::Found { records: v4, ttl: ttl_v4 }, Answer::Found { records: v6, ttl: ttl_v6 }) => {
                *self = Self { v4, v6 };
                self.found(ttl_v4.min(ttl_v6))
            }
            (Answer::Found { records, ttl }, other) => {
                self.v4 = records;
                self.forget_unless_failed(&other, false);
                self.found(ttl)
            }
            (other, Answer::Found { records, ttl }) => {
                self.v6 = records;
                self.forget_unless_failed(&other, true);
                self.found(ttl)
            }
            // NXDOMAIN is about the name, whatever was asked for (RFC 8020).
            (no_such_name @ Answer::Nothing { reason: Nothing::NoSuchName, .. }, _)
            | (_, no_such_name @ Answer::Nothing { reason: Nothing::NoSuchName, .. }) => {
                *self = Self::default();
                no_such_name
            }
            (Answer::Nothing { reason, ttl: ttl_v4 }, Answer::Nothing { ttl: ttl_v6, .. }) => {
                *self = Self::default();
                Answer::Nothing { reason, ttl: ttl_v4.into_iter().chain(ttl_v6).min() }
            }
            (failed @ Answer::Failed(_), _) | (_, failed @ Answer::Failed(_)) => failed,
        }
    }

    fn forget_unless_failed(&mut self, other: &Answer<IpAddr>, v4: bool) {
        if !matches!(other, Answer::Failed(_)) {
            if v4 { self.v4.clear() } else { self.v6.clear() }
        }
    }

    fn found(&self, ttl: Duration) -> Answer<IpAddr> {
        Answer::Found { records: self.addresses(), ttl }
    }
}

/// Without the IPv6 addresses where this machine has no route for IPv6; but with them if there would be none left.
pub fn dialable(addresses: Vec<IpAddr>, has_ipv6: bool) -> Vec<IpAddr> {
    let may_dial = |address: &IpAddr| has_ipv6 || address.is_ipv4() || address.is_loopback();
    if addresses.iter().any(may_dial) { addresses.into_iter().filter(may_dial).collect() } else { addresses }
}

/// Endpoints of equal weight, sorted, each once.
pub fn at_port(mut addresses: Vec<IpAddr>, port: u16) -> Vec<ResolvedEndpoint> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses
        .into_iter()
        .map(|address| ResolvedEndpoint { address: SocketAddr::new(address, port), weight: 1 })
        .collect()
}

/// The records that count: those of the lowest priority (RFC 2782), in order, each target and port once.
pub fn preferred(mut services: Vec<Service>) -> Vec<Service> {
    services.retain(|service| service.target != ".");
    services.sort_unstable();
    services.dedup_by(|later, first| {
        (later.priority, &later.target, later.port) == (first.priority, &first.target, first.port)
    });
    let lowest = services.first().map(|service| service.priority);
    services.retain(|service| Some(service.priority) == lowest);
    services.truncate(SRV_TARGETS_MAX);
    services
}

/// The endpoints of `targets`, each with the answer for its host and the host's last addresses, which stand in where it failed.
/// `ttl` is that of the SRV records.
pub fn join(targets: Vec<(Service, Answer<IpAddr>, Vec<IpAddr>)>, ttl: Duration) -> Answer {
    let mut ttl = ttl;
    let mut failure = None;
    let mut weighted = Vec::new();
    for (service, answer, last) in targets {
        let addresses = match answer {
            Answer::Found { records, ttl: ttl_host } => {
                ttl = ttl.min(ttl_host);
                records
            }
            Answer::Nothing { .. } => continue,
            Answer::Failed(reason) => {
                failure = Some(reason);
                last
            }
        };
        weighted.push((service, addresses));
    }
    let records = share_out(&weighted);
    match failure {
        _ if !records.is_empty() => Answer::Found { records, ttl },
        Some(failure) => Answer::Failed(failure),
        None => Answer::Nothing { reason: Nothing::Empty, ttl: Some(ttl) },
    }
}

/// Divides each target's weight among its addresses; an address that several targets share gets the sum.
fn share_out(targets: &[(Service, Vec<IpAddr>)]) -> Vec<ResolvedEndpoint> {
    let some_weight = targets.iter().any(|(service, _)| service.weight > 0);
    let mut shares: BTreeMap<SocketAddr, u64> = BTreeMap::new();
    for (service, addresses) in targets {
        let weight = match (some_weight, service.weight) {
            (false, _) => WEIGHT_SCALE,
            (true, 0) => WEIGHT_SCALE / ZERO_WEIGHT_FRACTION,
            (true, weight) => u64::from(weight) * WEIGHT_SCALE,
        };
        for address in addresses {
            let share = (weight / addresses.len() as u64).max(1);
            *shares.entry(SocketAddr::new(*address, service.port)).or_default() += share;
        }
    }
    let divisor = shares.values().fold(0, |divisor, share| gcd(divisor, *share)).max(1);
    let weight = |share: u64| u32::try_from(share / divisor).unwrap_or(u32::MAX);
    shares.into_iter().map(|(address, share)| ResolvedEndpoint { address, weight: weight(share) }).collect()
}

fn gcd(left: u64, right: u64) -> u64 {
    if right == 0 { left } else { gcd(right, left % right) }
}

#[cfg(test)]
mod tests;
