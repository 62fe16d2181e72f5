//! The sockets of a proxy: all are bound before anything else is tried, and listen when they can be served.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use super::AppError;
use crate::config::{self, Config, UnknownDestinations};
use crate::connection::Interceptor;
use crate::crew::{Crew, Door};
use crate::listener::{BindError, bind, listen, reserve_on_ipv6, reserve_refusing};
use crate::opaque::Forward;
use crate::telemetry::metrics::Direction;

/// The listener that begins to listen only when its calls can be served: callers find another endpoint meanwhile.
const INBOUND: &str = "inbound";

/// Those like it that are for one port each.
const INBOUND_PORT: &str = "inbound-port";

/// The sockets of a proxy.
pub(super) struct Listeners {
    outbound: StdListener,
    forwards: Vec<(StdListener, Arc<Forward>)>,
    inbound: Option<StdListener>,
    inbound_ports: Vec<(StdListener, config::InboundPort)>,
    pub(super) admin: StdListener,
    pub(super) metrics: StdListener,
    /// Of outbound and inbound, for intercepted connections of IPv6.
    twins: Vec<(StdListener, Direction)>,
}

impl Listeners {
    pub(super) fn bind(config: &Config) -> Result<Self, AppError> {
        if config.transparent.is_some() && rustix::process::geteuid().is_root() {
            return Err(AppError::Root);
        }
        let outbound = bind(config.outbound, "--outbound")?;
        let inbound = config
            .inbound
            .as_ref()
            .map(|inbound| reserve_refusing(inbound.listen, "--inbound"))
            .transpose()?;
        let twins = match config.transparent {
            Some(_) => twins(&outbound, inbound.as_ref())?,
            None => Vec::new(),
        };
        Ok(Self {
            outbound,
            forwards: config.forwards.iter().map(bind_forward).collect::<Result<_, _>>()?,
            inbound,
            inbound_ports: config
                .inbound_ports
                .iter()
                .map(|port| Ok((reserve_refusing(port.listen, "--inbound-port")?, *port)))
                .collect::<Result<_, BindError>>()?,
            admin: bind(config.admin, "--admin")?,
            metrics: bind(config.metrics, "--metrics")?,
            twins,
        })
    }

    /// How what is intercepted is treated, if anything is.
    fn interceptor(&self, config: &Config) -> Option<Arc<Interceptor>> {
        let transparent = config.transparent?;
        let all = [&self.outbound, &self.admin, &self.metrics].into_iter();
        let all = all.chain(&self.inbound).chain(self.forwards.iter().map(|(forward, _)| forward));
        let all = all.chain(self.inbound_ports.iter().map(|(port, _)| port));
        let port = |listener: &StdListener| listener.local_addr().ok().map(|bound| bound.port());
        Some(Arc::new(Interceptor {
            lets_out: transparent.unknown == UnknownDestinations::Allow,
            own_ports: all.filter_map(port).collect(),
            passing: Arc::default(),
        }))
    }

    /// What is bound where; port 0 has become a real one.
    pub(super) fn addresses(&self) -> Vec<(&'static str, String)> {
        let mut listeners = vec![("outbound", &self.outbound)];
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

/// The same for IPv6, where there is such a thing.
fn twins(
    outbound: &StdListener,
    inbound: Option<&StdListener>,
) -> Result<Vec<(StdListener, Direction)>, BindError> {
    let outbound = reserve_on_ipv6(outbound, "--outbound")?.map(|twin| (twin, Direction::Outbound));
    let inbound = inbound.map(|inbound| reserve_on_ipv6(inbound, "--inbound")).transpose()?.flatten();
    Ok(outbound.into_iter().chain(inbound.map(|twin| (twin, Direction::Inbound))).collect())
}

fn bind_forward(forward: &config::Forward) -> Result<(StdListener, Arc<Forward>), BindError> {
    let listener = bind(forward.listen, "--forward")?;
    Ok((listener, Arc::new(Forward { port: forward.port.clone() })))
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

/// Takes the application's calls, and calls to it.
pub(super) async fn take_calls(crew: &Crew, listeners: Listeners, config: &Config) -> Result<(), AppError> {
    let interceptor = listeners.interceptor(config);
    let door = |direction: Direction| Door { interceptor: interceptor.clone(), ..direction.into() };
    crew.listen(listeners.outbound, door(Direction::Outbound)).await;
    for (listener, forward) in listeners.forwards {
        crew.listen(listener, Door { forward: Some(forward), ..Direction::Outbound.into() }).await;
    }
    for (twin, direction) in listeners.twins {
        let flag = match direction {
            Direction::Inbound => "--inbound",
            Direction::Outbound => "--outbound",
        };
        listen(&twin, twin.local_addr()?, flag)?;
        crew.listen(twin, door(direction)).await;
    }
    if let (Some(inbound), Some(address)) = (listeners.inbound, &config.inbound) {
        listen(&inbound, address.listen, "--inbound")?;
        announce_one(INBOUND, &inbound.local_addr()?.to_string());
        crew.listen(inbound, door(Direction::Inbound)).await;
    }
    for (listener, declared) in listeners.inbound_ports {
        listen(&listener, declared.listen, "--inbound-port")?;
        announce_one(INBOUND_PORT, &listener.local_addr()?.to_string());
        crew.listen(listener, Door { port: Some(declared.port), ..Direction::Inbound.into() }).await;
    }
    Ok(())
}
