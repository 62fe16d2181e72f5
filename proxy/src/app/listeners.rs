//! The sockets that a proxy listens on.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use crate::config::{self, Config};
use crate::listener::{BindError, bind, reserve_refusing};
use crate::opaque::Forward;

/// The listener that begins to listen only when its calls can be served: callers find another endpoint meanwhile.
pub(super) const INBOUND: &str = "inbound";

/// The sockets of a proxy.
pub(super) struct Listeners {
    pub(super) outbound: StdListener,
    pub(super) forwards: Vec<(StdListener, Arc<Forward>)>,
    pub(super) inbound: Option<StdListener>,
    pub(super) admin: StdListener,
    pub(super) metrics: StdListener,
}

impl Listeners {
    pub(super) fn bind(config: &Config) -> Result<Self, BindError> {
        Ok(Self {
            outbound: bind(config.outbound, "--outbound")?,
            forwards: config.forwards.iter().map(bind_forward).collect::<Result<_, _>>()?,
            inbound: config
                .inbound
                .map(|inbound| reserve_refusing(inbound.listen, "--inbound"))
                .transpose()?,
            admin: bind(config.admin, "--admin")?,
            metrics: bind(config.metrics, "--metrics")?,
        })
    }

    /// What is bound where; port 0 has become a real one.
    pub(super) fn addresses(&self) -> Vec<(&'static str, String)> {
        let mut listeners = vec![("outbound", &self.outbound)];
        listeners.extend(self.forwards.iter().map(|(forward, _)| ("forward", forward)));
        listeners.extend(self.inbound.as_ref().map(|inbound| (INBOUND, inbound)));
        listeners.extend([("admin", &self.admin), ("metrics", &self.metrics)]);
        let address = |listener: &StdListener| {
            listener.local_addr().map_or_else(|_| "?".into(), |bound: SocketAddr| bound.to_string())
        };
        listeners.into_iter().map(|(name, listener)| (name, address(listener))).collect()
    }
}

fn bind_forward(forward: &config::Forward) -> Result<(StdListener, Arc<Forward>), BindError> {
    let listener = bind(forward.listen, "--forward")?;
    Ok((listener, Arc::new(Forward { port: forward.port.clone() })))
}

/// Says where everything listens: scripts that pass port 0 read it.
pub(super) fn announce(listeners: &Listeners) {
    for (name, address) in listeners.addresses().into_iter().filter(|(name, _)| *name != INBOUND) {
        announce_one(name, &address);
    }
}

pub(super) fn announce_one(name: &str, address: &str) {
    // Nobody reads a closed stderr.
    let _ = writeln!(std::io::stderr(), "outrigger-proxy: {name} listening on {address} (--{name})");
}
