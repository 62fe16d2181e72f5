//! What strangers may call: the listeners of a gateway, as one plan has them, and their connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use outrigger_snapshot::connections::Connections;
use outrigger_snapshot::hosts::Hosts;
use outrigger_snapshot::router::GatewayRoutes;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::connection::{self, Arrival};
use crate::error::ProxyError;
use crate::exchange::{Exchange, Reply};
use crate::opaque::{self, Forward};
use crate::passage::Accepted;
use crate::plan::Rule;
use crate::plan::connection::ConnectionRule;
use crate::telemetry::metrics::Direction;
use crate::worker::Worker;

pub use edge::{Edge, Opening};
pub use ports::{PortState, Ports};
pub use tls::{Asked, TlsListener};

mod edge;
mod ports;
mod tls;

/// Ports by their number.
pub type GatewayPorts = HashMap<u16, Arc<GatewayPort>>;

/// The listeners of one port, by host. The most specific one for a host has all that is for it.
#[derive(Debug)]
pub enum GatewayPort {
    /// HTTP in the clear.
    Http(HttpListeners),
    /// HTTP inside TLS. A client that asks for no host, or for one that no listener is for, meets the first.
    Https {
        /// What the requests of each listener are routed by.
        http: HttpListeners,
        /// How the TLS of each listener is ended.
        tls: Hosts<Arc<TlsListener>>,
        /// The first of them.
        first: Arc<TlsListener>,
    },
    /// Connections that are not looked into.
    Opaque {
        /// Whether the host that a client asks for decides.
        by_host: bool,
        /// The rules of each listener.
        rules: Hosts<Connections<Arc<ConnectionRule>>>,
    },
}

/// What requests are routed by, for each listener.
pub type HttpListeners = Hosts<GatewayRoutes<Arc<Rule>>>;

impl GatewayPort {
    /// What its requests are routed by, if it has any.
    pub fn http(&self) -> Option<&HttpListeners> {
        match self {
            Self::Http(http) | Self::Https { http, .. } => Some(http),
            Self::Opaque { .. } => None,
        }
    }

    /// The rule of a connection that is not looked into, whose client asks for `host`, if it says so.
    pub fn connection(&self, host: Option<&str>) -> Option<&Arc<ConnectionRule>> {
        match self {
            Self::Opaque { rules, .. } => rules.find(host)?.find(host),
            Self::Http(_) | Self::Https { .. } => None,
        }
    }

    /// All that end TLS.
    pub fn tls_listeners(&self) -> impl Iterator<Item = &Arc<TlsListener>> {
        let tls = match self {
            Self::Https { tls, .. } => Some(tls),
            Self::Http(_) | Self::Opaque { .. } => None,
        };
        tls.into_iter().flat_map(Hosts::values)
    }

    /// How the TLS is ended of a client that asks for `host`, if it says so.
    pub(crate) fn tls(&self, host: Option<&str>) -> Option<&Arc<TlsListener>> {
        match self {
            Self::Https { tls, first, .. } => tls.find(host).or(Some(first)),
            Self::Http(_) | Self::Opaque { .. } => None,
        }
    }
}

/// Serves a connection that came to a port of the gateway, until it ends. One that came as its port was closed is dropped.
pub async fn serve<S>(worker: Rc<Worker>, stack: S, stream: TcpStream, peer: SocketAddr, number: u16)
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
{
    let Some(port) = worker.with_plan(|plan| plan.gateway.get(&number).cloned()).flatten() else { return };
    let https = match &*port {
        GatewayPort::Opaque { .. } => {
            drop(port);
            return opaque::serve(worker, Arc::new(Forward::Listener(number)), stream.into(), peer).await;
        }
        GatewayPort::Http(_) => false,
        GatewayPort::Https { .. } => true,
    };
    // Or a connection would hold on to the plan that it began under.
    drop(port);
    let opening = if https { Opening::Expected } else { Opening::Plain };
    let direction = Direction::Outbound;
    let accepted = Accepted::new(&worker.stats, direction);
    let edge = Some(Edge::new(number, opening));
    let arrival = Arrival { worker, direction, port: None, edge, peer, accepted };
    connection::serve(stream, arrival, stack).await;
}
