//! What the rules name: ports, networks and users. Each is a number once it is read, so that nothing that is typed becomes part of a rule as it
//! stands.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Longest list of a flag.
pub(super) const LIST_MAX: usize = 64;

/// Several, with commas between them. Blanks around them are nothing, and neither is an empty text, as a manifest has that sets a variable to
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List<T>(Vec<T>);

impl<T: FromStr<Err = String>> FromStr for List<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.split(',').map(str::trim).filter(|element| !element.is_empty());
        let read = |element: &str| element.parse().map_err(|error| format!("{element:?}: {error}"));
        named.map(read).collect::<Result<_, _>>().map(Self)
    }
}

/// The elements of all lists.
pub(super) fn all<T>(lists: Vec<List<T>>) -> Vec<T> {
    lists.into_iter().flat_map(|List(elements)| elements).collect()
}

/// A port, or all from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ports {
    first: u16,
    last: u16,
}

impl From<u16> for Ports {
    fn from(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let ports = port(first).zip(port(last)).map(|(first, last)| Self { first, last });
        ports
            .filter(|ports| ports.first <= ports.last)
            .ok_or_else(|| "expected a port, or two with a dash between them, such as 9000-9100".to_owned())
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { write!(formatter, "{first}") } else { write!(formatter, "{first}-{last}") }
    }
}

/// The same ports in order, none of them twice: sets of nftables take no overlaps.
pub(super) fn ports_apart(ports: impl IntoIterator<Item = Ports>) -> Vec<Ports> {
    let mut ports: Vec<_> = ports.into_iter().collect();
    ports.sort_unstable();
    let mut apart: Vec<Ports> = Vec::with_capacity(ports.len());
    for next in ports {
        match apart.last_mut() {
            Some(before) if next.first <= before.last => before.last = before.last.max(next.last),
            _ => apart.push(next),
        }
    }
    apart
}

/// An address, or all of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network(IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map(|network| Self(network.trunc()))
            .map_err(|_| "expected an IP address, or a network such as 10.9.0.0/16 or fd00::/8".to_owned())
    }
}

/// The networks of each family, none of them within another.
pub(super) fn networks_apart(networks: &[Network]) -> (Vec<Ipv4Net>, Vec<Ipv6Net>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for network in networks {
        match network.0 {
            IpNet::V4(network) => v4.push(network),
            IpNet::V6(network) => v6.push(network),
        }
    }
    (Ipv4Net::aggregate(&v4), Ipv6Net::aggregate(&v6))
}

/// A user of this machine, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct User(pub(super) u32);

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            // To the kernel that is nobody.
            Ok(u32::MAX) => return Err("no user has this number".to_owned()),
            Ok(id) => return Ok(Self(id)),
            Err(_) => {}
        }
        match nix::unistd::User::from_name(text) {
            Ok(Some(user)) => Ok(Self(user.uid.as_raw())),
            Ok(None) => Err("this machine has no user of that name; a number needs none".to_owned()),
            Err(error) => Err(format!("the users of this machine can't be asked ({error}); give a number")),
        }
    }
}

/// Elements of a set.
pub(super) fn set<T: fmt::Display>(elements: impl IntoIterator<Item = T>) -> String {
    let elements: Vec<_> = elements.into_iter().map(|element| element.to_string()).collect();
    format!("{{ {} }}", elements.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_and_set_apart() {
        for (text, apart) in [
            ("22", "{ 22 }"),
            ("9000-9100,22,9050-9200,9200", "{ 22, 9000-9200 }"),
            ("1-65535,80", "{ 1-65535 }"),
            ("80,81", "{ 80, 81 }"),
        ] {
            let ports = text.split(',').map(|ports| ports.parse::<Ports>().unwrap());
            assert_eq!(set(ports_apart(ports)), apart, "{text}");
        }
        for wrong in ["", "0", "65536", "-", "2-1", "1-", "0-3", "http", "22 }; flush ruleset; {", "1:2"] {
            assert!(wrong.parse::<Ports>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn lists_take_blanks_and_nothing() {
        let read = |text: &str| text.parse::<List<Ports>>().map(|list| all(vec![list]));
        assert_eq!(read("22, 80-81 ,"), Ok(vec![22.into(), Ports { first: 80, last: 81 }]));
        assert_eq!((read(""), read(" ")), (Ok(Vec::new()), Ok(Vec::new())));
        assert!(read("22,http").unwrap_err().starts_with("\"http\": expected a port"));
        assert!(read("22 80").is_err());
    }

    #[test]
    fn networks_are_read_and_set_apart() {
        let networks = "10.1.2.3/8,10.9.0.0/16,192.0.2.7,fd00::1/8,::1";
        let networks: Vec<Network> = networks.split(',').map(|network| network.parse().unwrap()).collect();
        let (v4, v6) = networks_apart(&networks);
        assert_eq!(
            (set(v4), set(v6)),
            ("{ 10.0.0.0/8, 192.0.2.7/32 }".into(), "{ ::1/128, fd00::/8 }".into())
        );
        for wrong in ["", "10.0.0.0/33", "10.0.0", "example.org", "10.0.0.0/8 }", "fe80::1%eth0"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn users_are_numbers_once_they_are_read() {
        assert_eq!("1337".parse(), Ok(User(1337)));
        assert_eq!("root".parse(), Ok(User(0)));
        for wrong in ["", "-1", "4294967295", "4294967296", "no such user", "root; flush ruleset"] {
            assert!(wrong.parse::<User>().is_err(), "{wrong:?}");
        }
    }
}
