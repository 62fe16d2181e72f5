//! The listeners of a gateway.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_certs::web::Clients;
use outrigger_snapshot::connections::Connections;
use outrigger_snapshot::facts::Facts;
use outrigger_snapshot::hosts::Hosts;
use outrigger_snapshot::policy::{ClientCertificates, Gateway, Listener, ListenerProtocol, Termination};
use outrigger_snapshot::router::{GatewayRoutes, RouterError};

use super::Builder;
use crate::gateway::{Asked, GatewayPort, GatewayPorts, HttpListeners, TlsListener};
use crate::upstream_tls::listed_roots;

impl Builder<'_> {
    pub(super) fn gateway(&mut self, gateway: &Gateway) -> Result<GatewayPorts, RouterError> {
        let mut by_port: BTreeMap<u16, Vec<&Listener>> = BTreeMap::new();
        for listener in &gateway.listeners {
            by_port.entry(listener.port).or_default().push(listener);
        }
        let ports = by_port.into_iter();
        ports.map(|(number, listeners)| Ok((number, Arc::new(self.port(&listeners)?)))).collect()
    }

    fn port(&mut self, listeners: &[&Listener]) -> Result<GatewayPort, RouterError> {
        let protocol = listeners.first().map_or(ListenerProtocol::Http, |listener| listener.protocol);
        if !protocol.is_http() {
            let mut rules = Hosts::default();
            for listener in listeners {
                let table = Connections::of_rules(&listener.connections, |rule| {
                    Arc::new(self.listed_connection_rule(rule))
                });
                rules.insert(listener.hostname.as_deref(), table);
            }
            return Ok(GatewayPort::Opaque { by_host: protocol == ListenerProtocol::Tls, rules });
        }
        let mut http = HttpListeners::default();
        let (mut tls, mut first) = (Hosts::default(), None);
        for listener in listeners {
            let host = listener.hostname.as_deref();
            http.insert(host, GatewayRoutes::build(&listener.routes, |rule| self.routed(rule))?);
            if let Some(terms) = &listener.tls {
                let listener = Arc::new(self::tls(terms, self.facts));
                first.get_or_insert_with(|| listener.clone());
                tls.insert(host, listener);
            }
        }
        Ok(match first {
            Some(first) => GatewayPort::Https { http, tls, first },
            None => GatewayPort::Http(http),
        })
    }
}

fn tls(terms: &Termination, facts: &Facts) -> TlsListener {
    let asked = |clients: &ClientCertificates| {
        let roots = listed_roots(&clients.authorities, facts);
        roots
            .map_or(Asked::Unknown, |roots| Asked::Certificate(Clients { roots, required: clients.required }))
    };
    TlsListener::new(terms.clone(), terms.clients.as_ref().map_or(Asked::Nothing, asked))
}
