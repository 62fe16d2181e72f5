//! The sockets of a proxy: all are bound before anything else is tried, and listen when they can be served.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use super::AppError;
use crate::config::{self, Config};
use crate::crew::{Door, Usher};
use crate::identity::Keeper;
use crate::listener::{BindError, bind, listen, reserve_refusing};
use crate::opaque::Forward;
use crate::telemetry::metrics::Direction;

/// The listener that begins to listen only when its calls can be served: callers find another endpoint meanwhile.
const INBOUND: &str = "inbound";

/// Those like it that are for one port each.
const INBOUND_PORT: &str = "inbound-port";

/// The sockets of a proxy.
pub(super) struct Listeners {
    pub(super) outbound: Option<StdListener>,
    pub(super) forwards: Vec<(StdListener, Arc<Forward>)>,
    pub(super) inbound: Option<StdListener>,
    pub(super) inbound_ports: Vec<(StdListener, config::InboundPort)>,
    pub(super) admin: StdListener,
    pub(super) metrics: StdListener,
}

impl Listeners {
    pub(super) fn bind(config: &Config) -> Result<Self, BindError> {
        Ok(Self {
            outbound: config.outbound.map(|address| bind(address, "--outbound")).transpose()?,
            forwards: config.forwards.iter().map(bind_forward).collect::<Result<_, _>>()?,
            inbound: config
                .inbound
                .as_ref()
                .map(|inbound| reserve_refusing(inbound.listen, "--inbound"))
                .transpose()?,
            inbound_ports: config
                .inbound_ports
                .iter()
                .map(|port| Ok((reserve_refusing(port.listen, "--inbound-port")?, *port)))
                .collect::<Result<_, _>>()?,
            admin: bind(config.admin, "--admin")?,
            metrics: bind(config.metrics, "--metrics")?,
        })
    }

    /// What is bound where; port 0 has become a real one.
    pub(super) fn addresses(&self) -> Vec<(&'static str, String)> {
        let mut listeners: Vec<_> = self.outbound.iter().map(|outbound| ("outbound", outbound)).collect();
        listeners.extend(self.forwards.iter().map(|(forward, _)| ("forward", forward)));
        listeners.extend(self.inbound.as_ref().map(|inbound| (INBOUND, inbound)));
        listeners.extend(self.inbound_ports.iter().map(|(port, _)| (INBOUND_PORT, port)));
        listeners.extend([("admin", &self.admin), ("metrics", &self.metrics)]);
        let address = |listener: &StdListener| {
            listener.local_addr().map_or_else(|_| "?".into(), |bound: SocketAddr| bound.to_string())
        };
        listeners.into_iter().map(|(name, listener)| (name, address(listener))).collect()
    }
}

fn bind_forward(forward: &config::Forward) -> Result<(StdListener, Arc<Forward>), BindError> {
    let listener = bind(forward.listen, "--forward")?;
    Ok((listener, Arc::new(Forward::Port(forward.port.clone()))))
}

/// Says where everything listens: scripts that pass port 0 read it.
pub(super) fn announce(listeners: &Listeners) {
    for (name, address) in listeners.addresses() {
        if ![INBOUND, INBOUND_PORT].contains(&name) {
            announce_one(name, &address);
        }
    }
}

fn announce_one(name: &str, address: &str) {
    // Nobody reads a closed stderr.
    let _ = writeln!(std::io::stderr(), "outrigger-proxy: {name} listening on {address} (--{name})");
}

/// Takes calls to the application once this proxy can prove who it is; returns only why it cannot take them.
pub(super) async fn take_inbound(
    usher: &Usher,
    inbound: Option<StdListener>,
    ports: Vec<(StdListener, config::InboundPort)>,
    config: &Config,
    identity: &Keeper,
) -> AppError {
    identity.proved().await;
    if let (Some(inbound), Some(address)) = (inbound, &config.inbound) {
        if let Err(error) = begin(&inbound, address.listen, INBOUND, "--inbound") {
            return error;
        }
        usher.listen(inbound, Direction::Inbound).await;
    }
    for (listener, declared) in ports {
        if let Err(error) = begin(&listener, declared.listen, INBOUND_PORT, "--inbound-port") {
            return error;
        }
        usher.listen(listener, Door { port: Some(declared.port), ..Direction::Inbound.into() }).await;
    }
    std::future::pending().await
}

fn begin(
    listener: &StdListener,
    address: SocketAddr,
    name: &'static str,
    flag: &'static str,
) -> Result<(), AppError> {
    listen(listener, address, flag)?;
    announce_one(name, &listener.local_addr()?.to_string());
    Ok(())
}

/// Takes the application's calls.
pub(super) async fn listen_outbound(
    usher: &Usher,
    outbound: Option<StdListener>,
    forwards: Vec<(StdListener, Arc<Forward>)>,
) {
    if let Some(outbound) = outbound {
        usher.listen(outbound, Direction::Outbound).await;
    }
    for (listener, forward) in forwards {
        usher.listen(listener, Door { forward: Some(forward), ..Direction::Outbound.into() }).await;
    }
}
