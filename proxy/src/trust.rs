//! Whose word counts: callers whose `outrigger-*` fields are believed, and proxies that say for whom they connect.

use std::net::IpAddr;

use http::HeaderValue;
use outrigger_snapshot::network::Network;

use crate::http::forwarded::address;

/// One address for all that a host may have: of IPv6 that is a network of 64 bits.
pub fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

/// Addresses and networks.
#[derive(Debug, Clone, Default)]
pub struct Trusted(Box<[Network]>);

impl Trusted {
    /// Of texts such as `10.1.0.0/16`; those that cannot be read were refused with the snapshot.
    pub fn new(texts: &[String]) -> Self {
        Self(texts.iter().filter_map(|text| text.parse().ok()).collect())
    }

    /// Whether the peer with this address is one of them.
    pub fn contains(&self, peer: &HeaderValue) -> bool {
        if self.0.is_empty() {
            return false;
        }
        address(peer).is_some_and(|address| self.covers(address))
    }

    /// The same of an address.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.covers(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_cover_their_addresses_and_no_others() {
        let trusted = Trusted::new(&["10.1.0.0/16", "::1", "0.0.0.0/32"].map(str::to_owned));
        for (peer, contained) in [
            ("10.1.255.3", true),
            ("::ffff:10.1.0.1", true),
            ("::1", true),
            ("10.2.0.1", false),
            ("::2", false),
            ("nobody", false),
        ] {
            assert_eq!(trusted.contains(&HeaderValue::from_static(peer)), contained, "{peer}");
        }
        assert!(!Trusted::default().contains(&HeaderValue::from_static("::1")));
        assert!(Trusted::new(&["0.0.0.0/0".into()]).contains(&HeaderValue::from_static("1.2.3.4")));
    }
}
