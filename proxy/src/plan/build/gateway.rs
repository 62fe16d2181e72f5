//! The listeners of a gateway.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_filters::FilterChain;
use outrigger_snapshot::connections::Connections;
use outrigger_snapshot::facts::PEERS_DEFAULT;
use outrigger_snapshot::hosts::Hosts;
use outrigger_snapshot::name::ServiceName;
use outrigger_snapshot::policy::{self, Gateway, Listener, ListenerProtocol};
use outrigger_snapshot::router::{GatewayRoutes, RouterError};

use super::Builder;
use crate::gate::Gate;
use crate::gateway::{GatewayPort, GatewayPorts, HttpListener, HttpListeners, OpaqueListener};
use crate::termination::TlsListener;

impl Builder<'_> {
    /// `name` is the gateway's.
    pub(super) fn gateway(
        &mut self,
        name: &ServiceName,
        gateway: &Gateway,
    ) -> Result<GatewayPorts, RouterError> {
        let mut by_port: BTreeMap<u16, Vec<&Listener>> = BTreeMap::new();
        for listener in &gateway.listeners {
            by_port.entry(listener.port).or_default().push(listener);
        }
        let ports = by_port.into_iter();
        ports.map(|(number, listeners)| Ok((number, Arc::new(self.port(name, &listeners)?)))).collect()
    }

    fn port(&mut self, name: &ServiceName, listeners: &[&Listener]) -> Result<GatewayPort, RouterError> {
        let protocol = listeners.first().map_or(ListenerProtocol::Http, |listener| listener.protocol);
        if !protocol.is_http() {
            let mut found = Hosts::default();
            for listener in listeners {
                let rules = Connections::of_rules(&listener.connections, |rule| {
                    Arc::new(self.listed_connection_rule(rule))
                });
                found.insert(listener.hostname.as_deref(), OpaqueListener { gate: gate(listener), rules });
            }
            return Ok(GatewayPort::Opaque { by_host: protocol == ListenerProtocol::Tls, listeners: found });
        }
        let mut http = HttpListeners::default();
        let (mut tls, mut first) = (Hosts::default(), None);
        for listener in listeners {
            let host = listener.hostname.as_deref();
            let limits = self.limits(name, listener);
            let routes = GatewayRoutes::build(&listener.routes, |rule| self.routed(rule, &limits))?;
            http.insert(host, HttpListener { gate: gate(listener), routes });
            if let Some(terms) = &listener.tls {
                let listener = Arc::new(TlsListener::new(terms, self.facts));
                first.get_or_insert_with(|| listener.clone());
                tls.insert(host, listener);
            }
        }
        Ok(match first {
            Some(first) => GatewayPort::Https { http, tls, first },
            None => GatewayPort::Http(http),
        })
    }

    /// What the requests of a listener meet before the filters of their rule: they are counted together, whichever that is.
    fn limits(&mut self, name: &ServiceName, listener: &Listener) -> FilterChain {
        let limits = listener.inbound.iter().flat_map(|inbound| inbound.rate_limits.iter().cloned());
        let limits: Vec<_> = limits.map(policy::Filter::RateLimit).collect();
        self.filters(&format!("Gateway {name}/{}", listener.name), PEERS_DEFAULT, &limits)
    }
}

/// Who may come in, if that is said. Strangers have no identity.
fn gate(listener: &Listener) -> Option<Box<Gate>> {
    Gate::new(listener.inbound.as_ref()?, None, None)
}
