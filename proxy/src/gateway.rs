//! What strangers may call: the listeners of a gateway, as one plan has them, and their connections.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::Either;
use outrigger_snapshot::connections::Connections;
use outrigger_snapshot::hosts::Hosts;
use outrigger_snapshot::router::GatewayRoutes;
use tower_service::Service;

use crate::connection::{self, Arrival};
use crate::error::ProxyError;
use crate::exchange::{Exchange, Reply};
use crate::gate::Gate;
use crate::opaque::{self, Forward};
use crate::plan::Rule;
use crate::plan::connection::ConnectionRule;
use crate::termination::TlsListener;
use crate::transport::Socket;

pub use edge::{Edge, Opening};
pub use ports::{PortState, Ports};

mod edge;
mod ports;

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
        /// What its connections meet, for each listener.
        listeners: Hosts<OpaqueListener>,
    },
}

/// What requests meet, for each listener.
pub type HttpListeners = Hosts<HttpListener>;

/// What the requests of one listener meet.
#[derive(Debug)]
pub struct HttpListener {
    /// Who may send them.
    pub gate: Option<Box<Gate>>,
    /// Where they go.
    pub routes: GatewayRoutes<Arc<Rule>>,
}

/// What the connections of one listener meet, which are not looked into.
#[derive(Debug)]
pub struct OpaqueListener {
    /// Who may open them.
    pub gate: Option<Box<Gate>>,
    /// Where they go.
    pub rules: Connections<Arc<ConnectionRule>>,
}

impl GatewayPort {
    /// What its requests are routed by, if it has any.
    pub fn http(&self) -> Option<&HttpListeners> {
        match self {
            Self::Http(http) | Self::Https { http, .. } => Some(http),
            Self::Opaque { .. } => None,
        }
    }

    /// What a connection meets that is not looked into, whose client asks for `host`, if it says so.
    pub fn opaque(&self, host: Option<&str>) -> Option<&OpaqueListener> {
        match self {
            Self::Opaque { listeners, .. } => listeners.find(host),
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

/// Serves a connection that came to a port of the gateway, until it ends; `None`: its port was closed as it came.
pub fn serve<S>(
    stream: Socket,
    mut arrival: Arrival,
    stack: S,
    number: u16,
) -> Option<impl Future<Output = ()>>
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
{
    // A connection must not hold on to the plan that it began under.
    let port = arrival.worker.with_plan(|plan| plan.gateway.get(&number).cloned()).flatten()?;
    let opening = match *port {
        GatewayPort::Opaque { .. } => None,
        GatewayPort::Http(_) => Some(Opening::Plain),
        GatewayPort::Https { .. } => Some(Opening::Expected),
    };
    arrival.edge = Some(Edge::new(number, opening.unwrap_or(Opening::Plain)));
    if opening.is_some() {
        return Some(Either::Left(connection::serve(stream, arrival, stack)));
    }
    let carrying = async move {
        if let Some(stream) = connection::announced(stream, &mut arrival).await {
            opaque::serve(arrival, Arc::new(Forward::Listener(number)), stream.into()).await;
        }
    };
    Some(Either::Right(Box::pin(carrying)))
}
