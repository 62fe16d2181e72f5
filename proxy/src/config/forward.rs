//! `--forward` and `--inbound-port`: listeners for one port each.

use std::net::SocketAddr;
use std::str::FromStr;

use outrigger_snapshot::name::{ClusterName, ServiceName};

use super::place::Place;

/// Most of each that one proxy has.
pub const FORWARDS_MAX: usize = 64;

/// A listener and where its connections go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Where connections are taken.
    pub listen: Place,
    /// The port of a service that they go to.
    pub port: ClusterName,
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let target = |target: &str| {
            let (service, port) = target.rsplit_once(':')?;
            let port = port.parse().ok().filter(|port| *port != 0)?;
            let service: ServiceName = service.parse().ok()?;
            Some(service.cluster(port))
        };
        // A path may have one, too; a name may not.
        let read = text.rsplit_once('=').and_then(|(listen, to)| Some((listen, target(to)?)));
        let (listen, port) = read.ok_or_else(|| {
            format!(
                "{text:?} is no listener; expected ADDRESS=SERVICE:PORT, such as 127.0.0.1:5432=shop/db:5432 or \
                 unix:/run/db.sock=shop/db:5432"
            )
        })?;
        Ok(Self { listen: listen.parse()?, port })
    }
}

/// A listener for calls to the application that are for one port of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboundPort {
    /// Where connections are taken.
    pub listen: SocketAddr,
    /// The port of the service.
    pub port: u16,
}

impl FromStr for InboundPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (listen, port) = text.split_once('=')?;
            let port = port.parse().ok().filter(|port| *port != 0)?;
            Some(Self { listen: listen.parse().ok()?, port })
        };
        read().ok_or_else(|| {
            format!("{text:?} is no listener; expected ADDRESS=PORT, such as 0.0.0.0:15432=5432, where PORT is one of the own service")
        })
    }
}
