//! TLS with clients outside the mesh that ends here: which certificates are shown, and what is asked of clients.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::header::HeaderValue;
use outrigger_certs::claim;
use outrigger_certs::inspect;
use outrigger_certs::problem::Problem;
use outrigger_certs::web::{self, Clients, Pair, Server, Tickets};
use outrigger_snapshot::facts::Facts;
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::identity::TrustDomain;
use outrigger_snapshot::policy::{CertificateName, ClientCertificates, Termination};
use rustls_pki_types::CertificateDer;
use tokio_rustls::rustls::ServerConfig;

use crate::http::forwarded::FORWARDED_PROTO;
use crate::upstream_tls::listed_roots;

/// What is asked of clients.
#[derive(Debug)]
enum Asked {
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
    server: ArcSwapOption<Server>,
}

impl TlsListener {
    /// A listener that shows nothing yet, and believes of clients what the authorities in `facts` vouch for.
    pub fn new(terms: &Termination, facts: &Facts) -> Self {
        let certificate = |clients: &ClientCertificates| match listed_roots(&clients.authorities, facts) {
            Ok(roots) => Asked::Certificate(Clients { roots, required: clients.required }),
            Err(_) => Asked::Unknown,
        };
        let asked = terms.clients.as_ref().map_or(Asked::Nothing, certificate);
        Self { terms: terms.clone(), asked, server: ArcSwapOption::empty() }
    }

    /// The pairs that it may show.
    pub fn certificates(&self) -> &[CertificateName] {
        &self.terms.certificates
    }

    /// What handshakes go by; `None`: there is nothing to show.
    pub fn server(&self) -> Option<Arc<Server>> {
        self.server.load_full()
    }

    /// Shows what there is of its pairs from now on.
    pub fn renew(&self, pair: impl Fn(&CertificateName) -> Option<Arc<Pair>>, tickets: &Tickets) {
        let pairs: Vec<_> = self.terms.certificates.iter().filter_map(pair).collect();
        let clients = match &self.asked {
            Asked::Nothing => None,
            Asked::Certificate(clients) => Some(clients.clone()),
            Asked::Unknown => return self.server.store(None),
        };
        if pairs.is_empty() {
            return self.server.store(None);
        }
        match web::server(pairs, self.terms.only_tls13, clients, tickets) {
            Ok(server) => self.server.store(Some(Arc::new(server))),
            // Each pair was checked when it was read.
            Err(error) => tracing::error!(%error, "certificates cannot be used for TLS"),
        }
    }

    /// What the workload is told of the certificate that a client has shown, if it proves anything. One that names an identity of `besides`, the
    /// trust domain of the mesh, proves nothing: those are not for the authorities of others to give.
    pub fn shown(
        &self,
        chain: Option<&[CertificateDer<'_>]>,
        config: &ServerConfig,
        besides: Option<&TrustDomain>,
    ) -> Result<Option<HeaderValue>, Problem> {
        let (Asked::Certificate(clients), Some([leaf, above @ ..])) = (&self.asked, chain) else {
            return Ok(None);
        };
        let outside = besides.map_or(Ok(()), |domain| inspect::check_outsider(leaf, domain));
        if clients.required {
            outside.inspect_err(|problem| claim::note(leaf, *problem))?;
        } else {
            let now = config.time_provider.current_time().ok_or(Problem::NotYetValid)?;
            if let Err(problem) = outside.and_then(|()| clients.check(leaf, above, now)) {
                tracing::debug!("a client's certificate does not count: {problem}");
                return Ok(None);
            }
        }
        let text = inspect::forwarded(leaf)?;
        HeaderValue::try_from(text).map(Some).map_err(|_| Problem::Malformed)
    }
}

/// A client outside the mesh, inside TLS that ends beside the workload. It has no identity of the mesh, whatever it has shown.
#[derive(Debug)]
pub struct Client {
    /// The port of the own service on whose terms it was let in: what it asks for is for no other.
    pub port: u16,
    /// What the workload is told of the certificate that it has shown, if that proves anything.
    pub certificate: Option<HeaderValue>,
}

impl Client {
    /// Says how a request came. Who is believed may say that it came so to someone further out.
    pub fn enter(&self, head: &mut RequestHead, believed: bool) {
        if !believed || head.header(&FORWARDED_PROTO).is_none() {
            head.set_header(FORWARDED_PROTO, HeaderValue::from_static("https"));
        }
    }
}
