//! The sockets of a proxy: all are bound before anything else is tried, and listen when they can be served.

use std::net::TcpListener as StdListener;
use std::sync::Arc;

use super::AppError;
use crate::config::{self, Config, Place, UnknownDestinations};
use crate::connection::Interceptor;
use crate::crew::{Door, Usher};
use crate::identity::Keeper;
use crate::listener::{BindError, Bound, bind, bind_at, listen, reserve_on_ipv6, reserve_refusing};
use crate::logging::say;
use crate::opaque::Forward;
use crate::telemetry::metrics::Direction;

/// The listener that begins to listen only when its calls can be served: callers find another endpoint meanwhile.
const INBOUND: &str = "inbound";

/// Those like it that are for one port each.
const INBOUND_PORT: &str = "inbound-port";

/// The sockets of a proxy.
pub(super) struct Listeners {
    pub(super) outbound: OutboundListeners,
    pub(super) inbound: InboundListeners,
    pub(super) admin: StdListener,
    pub(super) metrics: StdListener,
}

/// Those for the application's calls.
pub(super) struct OutboundListeners {
    own: Option<Bound>,
    /// For intercepted connections of IPv6.
    twin: Option<StdListener>,
    forwards: Vec<(Bound, Arc<Forward>)>,
}

/// Those for calls to it.
pub(super) struct InboundListeners {
    own: Option<StdListener>,
    /// For intercepted connections of IPv6.
    twin: Option<StdListener>,
    ports: Vec<(StdListener, config::InboundPort)>,
}

impl Listeners {
    pub(super) fn bind(config: &Config) -> Result<Self, AppError> {
        if config.transparent.is_some() && rustix::process::geteuid().is_root() {
            return Err(AppError::Root);
        }
        Ok(Self {
            outbound: OutboundListeners::bind(config)?,
            inbound: InboundListeners::bind(config)?,
            admin: bind(config.admin, "--admin")?,
            metrics: bind(config.metrics, "--metrics")?,
        })
    }

    /// How what is intercepted is treated, if anything is.
    pub(super) fn interceptor(&self, config: &Config) -> Option<Arc<Interceptor>> {
        let transparent = config.transparent?;
        let port = |(_, place): (_, Option<Place>)| Some(place?.address()?.port());
        Some(Arc::new(Interceptor {
            lets_out: transparent.unknown == UnknownDestinations::Allow,
            own_ports: self.all().filter_map(port).collect(),
            declared: self
                .inbound
                .ports
                .iter()
                .filter_map(|(at, port)| Some((at.local_addr().ok()?.port(), port.port)))
                .collect(),
            passing: Arc::default(),
        }))
    }

    /// What is bound where; port 0 has become a real one.
    pub(super) fn addresses(&self) -> Vec<(&'static str, String)> {
        let said = |place: Option<Place>| place.map_or_else(|| "?".into(), |place| place.to_string());
        self.all().map(|(name, place)| (name, said(place))).collect()
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, Option<Place>)> {
        let Self { outbound, inbound, admin, metrics } = self;
        let address = |listener: &StdListener| listener.local_addr().ok().map(Place::from);
        let own = outbound.own.iter().map(|own| ("outbound", own.place()));
        own.chain(outbound.forwards.iter().map(|(forward, _)| ("forward", forward.place())))
            .chain(inbound.own.iter().map(move |own| (INBOUND, address(own))))
            .chain(inbound.ports.iter().map(move |(port, _)| (INBOUND_PORT, address(port))))
            .chain([("admin", address(admin)), ("metrics", address(metrics))])
    }
}

impl OutboundListeners {
    fn bind(config: &Config) -> Result<Self, BindError> {
        let own = config.outbound.as_ref().map(|place| bind_at(place, "--outbound")).transpose()?;
        let twin = match &own {
            Some(Bound::Tcp(own)) => twin(config, Some(own), "--outbound")?,
            Some(Bound::Unix(..)) | None => None,
        };
        let forwards = config.forwards.iter().map(bind_forward).collect::<Result<_, _>>()?;
        Ok(Self { own, twin, forwards })
    }

    /// Takes the application's calls.
    pub(super) async fn take(
        self,
        usher: &Usher,
        interceptor: Option<&Arc<Interceptor>>,
    ) -> Result<(), AppError> {
        let door = || Door { interceptor: interceptor.cloned(), ..Direction::Outbound.into() };
        if let Some(own) = self.own {
            usher.listen(own, door()).await;
        }
        if let Some(twin) = self.twin {
            listen(&twin, twin.local_addr()?, "--outbound")?;
            usher.listen(twin, door()).await;
        }
        for (listener, forward) in self.forwards {
            usher.listen(listener, Door { forward: Some(forward), ..Direction::Outbound.into() }).await;
        }
        Ok(())
    }
}

impl InboundListeners {
    fn bind(config: &Config) -> Result<Self, BindError> {
        let own = config.inbound.as_ref().map(|inbound| reserve_refusing(inbound.listen, "--inbound"));
        let own = own.transpose()?;
        let twin = twin(config, own.as_ref(), "--inbound")?;
        let port = |port: &config::InboundPort| Ok((reserve_refusing(port.listen, "--inbound-port")?, *port));
        let ports = config.inbound_ports.iter().map(port).collect::<Result<_, _>>()?;
        Ok(Self { own, twin, ports })
    }

    /// Takes calls to the application once this proxy can prove who it is; ends only with why it cannot take them.
    pub(super) async fn take(
        self,
        usher: &Usher,
        interceptor: Option<&Arc<Interceptor>>,
        config: &Config,
        identity: &Keeper,
    ) -> Result<std::convert::Infallible, AppError> {
        identity.proved().await;
        let door = || Door { interceptor: interceptor.cloned(), ..Direction::Inbound.into() };
        if let Some(twin) = self.twin {
            listen(&twin, twin.local_addr()?, "--inbound")?;
            usher.listen(twin, door()).await;
        }
        if let (Some(own), Some(inbound)) = (self.own, &config.inbound) {
            listen(&own, inbound.listen, "--inbound")?;
            announce_one(INBOUND, &own.local_addr()?.to_string());
            usher.listen(own, door()).await;
        }
        for (listener, declared) in self.ports {
            listen(&listener, declared.listen, "--inbound-port")?;
            announce_one(INBOUND_PORT, &listener.local_addr()?.to_string());
            usher.listen(listener, Door { port: Some(declared.port), ..Direction::Inbound.into() }).await;
        }
        std::future::pending().await
    }
}

/// The same for IPv6, where connections are intercepted and there is such a thing.
fn twin(
    config: &Config,
    own: Option<&StdListener>,
    flag: &'static str,
) -> Result<Option<StdListener>, BindError> {
    match own.filter(|_| config.transparent.is_some()) {
        Some(own) => reserve_on_ipv6(own, flag),
        None => Ok(None),
    }
}

fn bind_forward(forward: &config::Forward) -> Result<(Bound, Arc<Forward>), BindError> {
    let listener = bind_at(&forward.listen, "--forward")?;
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
    say(&format!("{name} listening on {address} (--{name})"));
}
