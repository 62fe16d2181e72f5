//! The TLS of a listener: which certificates are shown, and what is asked of clients.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::header::HeaderValue;
use outrigger_certs::inspect;
use outrigger_certs::problem::Problem;
use outrigger_certs::web::{self, Clients, Pair, Tickets};
use outrigger_snapshot::policy::{CertificateName, Termination};
use rustls_pki_types::CertificateDer;
use tokio_rustls::rustls::ServerConfig;

/// What is asked of clients.
#[derive(Debug)]
pub enum Asked {
    /// Nothing.
    Nothing,
    /// A certificate that one of these vouches for.
    Certificate(Clients),
    /// A certificate, and it is not known who could vouch for one: nobody comes in.
    Unknown,
}

/// See the module. What it shows may change at any time, by the control thread.
#[derive(Debug)]
pub struct TlsListener {
    terms: Termination,
    asked: Asked,
    config: ArcSwapOption<ServerConfig>,
}

impl TlsListener {
    /// A listener that shows nothing yet.
    pub fn new(terms: Termination, asked: Asked) -> Self {
        Self { terms, asked, config: ArcSwapOption::empty() }
    }

    /// The pairs that it may show.
    pub fn certificates(&self) -> &[CertificateName] {
        &self.terms.certificates
    }

    /// What handshakes go by; `None`: there is nothing to show.
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        self.config.load_full()
    }

    /// Shows what there is of its pairs from now on.
    pub fn renew(&self, pair: impl Fn(&CertificateName) -> Option<Arc<Pair>>, tickets: &Tickets) {
        let pairs: Vec<_> = self.terms.certificates.iter().filter_map(pair).collect();
        let clients = match &self.asked {
            Asked::Nothing => None,
            Asked::Certificate(clients) => Some(clients.clone()),
            Asked::Unknown => return self.config.store(None),
        };
        if pairs.is_empty() {
            return self.config.store(None);
        }
        match web::server(pairs, self.terms.only_tls13, clients, tickets) {
            Ok(config) => self.config.store(Some(Arc::new(config))),
            // Each pair was checked when it was read.
            Err(error) => tracing::error!(%error, "certificates cannot be used for TLS"),
        }
    }

    /// What the workload is told of the certificate that a client has shown, if it proves anything.
    pub fn shown(
        &self,
        chain: Option<&[CertificateDer<'_>]>,
        config: &ServerConfig,
    ) -> Result<Option<HeaderValue>, Problem> {
        let (Asked::Certificate(clients), Some([leaf, above @ ..])) = (&self.asked, chain) else {
            return Ok(None);
        };
        if !clients.required {
            let now = config.time_provider.current_time().ok_or(Problem::NotYetValid)?;
            if let Err(problem) = clients.check(leaf, above, now) {
                tracing::debug!("a client's certificate does not count: {problem}");
                return Ok(None);
            }
        }
        let text = inspect::forwarded(leaf)?;
        HeaderValue::try_from(text).map(Some).map_err(|_| Problem::Malformed)
    }
}
