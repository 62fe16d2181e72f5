//! Which port of a service is at an address: all that is known of an intercepted connection before it has said anything.
//!
//! An endpoint stands for its port of the service at its own address, and at its IP address with the number that callers know the port by:
//! an application that resolves a service's name to its endpoints dials that. Where endpoints of several ports would be meant, the first by
//! name has its own address, and nobody has the other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use outrigger_snapshot::name::ClusterName;

use crate::cluster::Cluster;

/// Most addresses that are known of a snapshot, and of DNS; the rest is as unknown as what is not of the mesh.
pub const ADDRESSES_MAX: usize = 1 << 17;

/// See the module.
#[derive(Debug, Default)]
pub struct Addresses {
    listed: Table,
    /// Replaced when DNS says something new.
    resolved: ArcSwap<Table>,
}

/// Addresses from one origin.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<SocketAddr, Arc<ClusterName>>,
    /// By IP address and the number that callers know; `None`: several are meant.
    called: HashMap<SocketAddr, Option<Arc<ClusterName>>>,
}

impl Addresses {
    /// What the snapshot lists, and what DNS has said so far.
    pub fn new(listed: Table, resolved: Table) -> Self {
        Self { listed, resolved: ArcSwap::from_pointee(resolved) }
    }

    /// What DNS says now.
    pub fn resolve(&self, resolved: Table) {
        self.resolved.store(Arc::new(resolved));
    }

    /// The port of a service that is at an address.
    pub fn find(&self, address: SocketAddr) -> Option<Arc<ClusterName>> {
        let resolved = self.resolved.load();
        let tables = [&self.listed, &resolved];
        let exact = tables.iter().find_map(|table| table.exact.get(&address));
        let called = || tables.iter().find_map(|table| table.called.get(&address)).and_then(Option::as_ref);
        exact.or_else(called).cloned()
    }
}

impl Table {
    /// Of these clusters, in the order of their names.
    pub fn of<'a>(clusters: impl IntoIterator<Item = (&'a ClusterName, &'a Cluster)>) -> Self {
        let mut clusters: Vec<_> = clusters.into_iter().collect();
        clusters.sort_unstable_by_key(|(name, _)| *name);
        let mut table = Self::default();
        for (name, cluster) in clusters {
            let name = Arc::new(name.clone());
            for entry in cluster.endpoints.load().entries() {
                table.add(&name, entry.endpoint.address());
            }
        }
        table
    }

    fn add(&mut self, name: &Arc<ClusterName>, address: SocketAddr) {
        if self.exact.len().max(self.called.len()) >= ADDRESSES_MAX {
            return;
        }
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        self.exact.entry(address).or_insert_with(|| name.clone());
        match self.called.entry(SocketAddr::new(address.ip(), name.port)) {
            Entry::Vacant(vacant) => {
                vacant.insert(Some(name.clone()));
            }
            Entry::Occupied(mut known) => {
                if known.get().as_ref().is_some_and(|known| known != name) {
                    known.insert(None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(endpoints: &[(&str, &str)]) -> Table {
        let mut table = Table::default();
        for (name, address) in endpoints {
            table.add(&Arc::new(name.parse().unwrap()), address.parse().unwrap());
        }
        table
    }

    #[test]
    fn endpoints_stand_at_their_address_and_at_the_port_that_callers_know() {
        let listed = table(&[
            ("a/cart:80", "10.0.0.1:8080"),
            ("a/cart:80", "10.0.0.2:8080"),
            ("a/db:5432", "10.0.0.3:15006"),
            ("b/db:5432", "10.0.0.3:15007"),
            ("b/twin:80", "10.0.0.1:8080"),
            ("c/odd:8080", "10.0.0.4:80"),
            ("d/even:80", "10.0.0.4:8080"),
        ]);
        let addresses = Addresses::new(listed, table(&[("e/named:443", "[fd00::1]:8443")]));
        let found = |address: &str| addresses.find(address.parse().unwrap()).map(|name| name.to_string());
        for (address, name) in [
            ("10.0.0.1:8080", Some("a/cart:80")),
            ("10.0.0.2:80", Some("a/cart:80")),
            ("10.0.0.1:80", None),
            ("10.0.0.2:81", None),
            ("10.0.0.3:15006", Some("a/db:5432")),
            ("10.0.0.3:15007", Some("b/db:5432")),
            ("10.0.0.3:5432", None),
            ("10.0.0.4:80", Some("c/odd:8080")),
            ("10.0.0.4:8080", Some("d/even:80")),
            ("[fd00::1]:443", Some("e/named:443")),
            ("[fd00::1]:8443", Some("e/named:443")),
            ("10.0.0.9:80", None),
        ] {
            assert_eq!(found(address).as_deref(), name, "{address}");
        }
        addresses.resolve(table(&[("e/named:443", "[fd00::2]:8443")]));
        assert!(addresses.find("[fd00::1]:443".parse().unwrap()).is_none(), "DNS has taken it back");
        assert!(addresses.find("[fd00::2]:443".parse().unwrap()).is_some());
    }
}
