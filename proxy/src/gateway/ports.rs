//! The sockets of a gateway, opened and closed as plans have it. Runs on the control thread.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::crew::{Door, Usher};
use crate::listener::bind;
use crate::logging::say;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::metrics::Direction;

/// How often a port is tried again that could not be had.
const AGAIN: Duration = Duration::from_secs(1);

/// How it stands with a port.
#[derive(Debug)]
pub enum PortState {
    /// It takes connections until this is dropped.
    Open {
        /// Where.
        address: SocketAddr,
        /// Closes it.
        _close: oneshot::Sender<()>,
    },
    /// It cannot be had, and why.
    Failed(String),
}

/// See the module.
#[derive(Debug)]
pub struct Ports {
    address: IpAddr,
    usher: Usher,
    wanted: watch::Sender<BTreeSet<u16>>,
    states: RefCell<BTreeMap<u16, PortState>>,
}

impl Ports {
    /// None are open.
    pub fn new(address: IpAddr, usher: Usher) -> Rc<Self> {
        Rc::new(Self { address, usher, wanted: watch::Sender::default(), states: RefCell::default() })
    }

    /// Has these open from now on, and no others.
    pub fn want(&self, ports: BTreeSet<u16>) {
        self.wanted.send_if_modified(|wanted| {
            let changed = *wanted != ports;
            *wanted = ports;
            changed
        });
    }

    /// Opens and closes, for as long as the proxy runs.
    pub async fn run(self: Rc<Self>) {
        let mut wanted = self.wanted.subscribe();
        loop {
            let ports = wanted.borrow_and_update().clone();
            self.states.borrow_mut().retain(|port, _| ports.contains(port));
            for port in ports {
                self.open(port).await;
            }
            let failed = self.trouble().is_some();
            tokio::select! {
                // Never closed: it is our own.
                _ = wanted.changed() => {}
                () = sleep(AGAIN), if failed => {}
            }
        }
    }

    async fn open(&self, port: u16) {
        let before = match self.states.borrow().get(&port) {
            Some(PortState::Open { .. }) => return,
            Some(PortState::Failed(why)) => Some(why.clone()),
            None => None,
        };
        let state = match bind(SocketAddr::new(self.address, port), "--gateway-address") {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(SocketAddr::new(self.address, port));
                let (close, closed) = oneshot::channel();
                let door = Door { gateway: Some(port), closed: Some(closed), ..Direction::Outbound.into() };
                self.usher.listen(listener, door).await;
                say(&format!("gateway listening on {address} (--gateway-address)"));
                PortState::Open { address, _close: close }
            }
            Err(error) => {
                let why = error.to_string();
                if before.as_ref() != Some(&why) {
                    tracing::error!(port, "a port of the gateway is not open: {why}");
                }
                PortState::Failed(why)
            }
        };
        self.states.borrow_mut().insert(port, state);
    }

    /// Why not every port is open, if so.
    pub fn trouble(&self) -> Option<String> {
        let states = self.states.borrow();
        let why = |port: &u16| match states.get(port) {
            Some(PortState::Open { .. }) => None,
            Some(PortState::Failed(why)) => Some(why.clone()),
            None => Some(format!("port {port} of the gateway is not open yet")),
        };
        self.wanted.borrow().iter().find_map(why)
    }

    /// Writes which are open.
    pub fn write(&self, exposition: &mut Exposition) {
        for (port, state) in &*self.states.borrow() {
            exposition
                .gauge("outrigger_gateway_port_open", "Whether a port of the gateway takes connections.")
                .sample(&[("port", &port.to_string())], u64::from(matches!(state, PortState::Open { .. })));
        }
    }
}
