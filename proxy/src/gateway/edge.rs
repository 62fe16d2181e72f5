//! The connection of a stranger, and what its requests may say.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::router::Miss;

use crate::error::ProxyError;
use crate::http::forwarded::{FORWARDED_PROTO, address};
use crate::http::normalize::{strip_own_fields, tells_who_asked};
use crate::plan::{Plan, Rule};
use crate::telemetry::metrics::WorkerStats;
use crate::trust::Trusted;

/// Whether a connection is inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// It is not, and need not be.
    Plain,
    /// It is not yet, and must be.
    Expected,
    /// It is.
    Tls,
}

/// The rule for a request, the bytes of its path that a prefix has matched, and how much the request matters, if that is said.
pub(crate) type Routed = (Arc<Rule>, Option<usize>, Option<u8>);

/// See the module.
#[derive(Debug)]
pub struct Edge {
    port: u16,
    opening: Cell<Opening>,
    /// What the workload is told of the certificate that the client has shown.
    certificate: OnceCell<HeaderValue>,
}

impl Edge {
    /// A connection to a port.
    pub fn new(port: u16, opening: Opening) -> Rc<Self> {
        Rc::new(Self { port, opening: Cell::new(opening), certificate: OnceCell::new() })
    }

    /// The port that it came to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is inside TLS.
    pub fn opening(&self) -> Opening {
        self.opening.get()
    }

    /// It is inside TLS from now on; `certificate` is of a client that has proved who it is.
    pub fn secured(&self, certificate: Option<HeaderValue>) {
        self.opening.set(Opening::Tls);
        if let Some(certificate) = certificate {
            // Empty until here.
            let _ = self.certificate.set(certificate);
        }
    }

    /// What the workload is told of the certificate that the client has shown.
    pub fn certificate(&self) -> Option<&HeaderValue> {
        self.certificate.get()
    }

    /// The rule for a request: of the listener that is for its host, and nobody else's. Also how much the request matters, if the listener
    /// says so. What it does not let in, no rule sees.
    pub fn route(
        &self,
        stats: &WorkerStats,
        plan: &Plan,
        head: &RequestHead,
        peer: &HeaderValue,
    ) -> Result<Routed, ProxyError> {
        let port = plan.gateway.get(&self.port).ok_or(ProxyError::NoHost)?;
        let listeners = port.http().ok_or(ProxyError::NoHost)?;
        let listener = listeners.find(Some(head.authority().host())).ok_or(ProxyError::NoHost)?;
        let matters = match &listener.gate {
            Some(gate) => gate.request(stats, None, true, || false, head, || address(peer))?,
            None => None,
        };
        match listener.routes.find(head) {
            Ok((rule, prefix)) => Ok((rule.clone(), prefix.map(str::len), matters)),
            Err(Miss::Host) => Err(ProxyError::NoHost),
            Err(Miss::Port | Miss::Rule) => Err(ProxyError::NoRule),
        }
    }

    /// Takes away what a stranger says to proxies and of itself, and says how it came.
    pub fn enter(
        &self,
        head: &mut RequestHead,
        peer: &HeaderValue,
        marked: bool,
        trusted: &Trusted,
    ) -> Result<(), ProxyError> {
        let scheme = match self.opening.get() {
            Opening::Plain => "http",
            Opening::Expected => return Err(ProxyError::TlsRequired),
            Opening::Tls => "https",
        };
        if trusted.contains(peer) {
            if head.header(&FORWARDED_PROTO).is_none() {
                head.set_header(FORWARDED_PROTO, HeaderValue::from_static(scheme));
            }
            return Ok(());
        }
        if marked {
            strip_own_fields(head);
        }
        let said = |name: &&HeaderName| tells_who_asked(name.as_str());
        let names: Vec<HeaderName> = head.header_names().filter(said).cloned().collect();
        for name in names {
            head.remove_header(&name);
        }
        head.set_header(FORWARDED_PROTO, HeaderValue::from_static(scheme));
        Ok(())
    }
}
