//! Who listens where. The addresses are those of the YAML files; where one is taken on this machine, another takes its
//! place in the copies that are applied.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Every port of the quickstart, as written in its files.
const PORTS: [u16; 21] = [
    15300, 9000, 9001, 9002, 9003, 9100, 9101, 9102, 9103, 9200, 9201, 9202, 9203, 9300, 9301, 9302, 9303,
    9400, 9401, 9402, 9403,
];

/// Where each port of the files really is.
#[derive(Debug)]
pub(super) struct Places(BTreeMap<u16, SocketAddr>);

impl Places {
    /// Finds a free address for each.
    pub(super) fn find() -> Result<Self, String> {
        // All are held until all are found: the kernel must not give one away twice.
        let mut held = Vec::new();
        let mut places = BTreeMap::new();
        for port in PORTS {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
                .map_err(|error| format!("there is no free port on 127.0.0.1: {error}"))?;
            let addr =
                listener.local_addr().map_err(|error| format!("a bound port has no address: {error}"))?;
            places.insert(port, addr);
            held.push(listener);
        }
        Ok(Self(places))
    }

    /// The address of a port of the files.
    pub(super) fn of(&self, port: u16) -> SocketAddr {
        self.0.get(&port).copied().unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// A file's text with the real addresses.
    pub(super) fn put_into(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (port, addr) in &self.0 {
            text = text.replace(&format!("127.0.0.1:{port}'"), &format!("{addr}'"));
        }
        text
    }
}
