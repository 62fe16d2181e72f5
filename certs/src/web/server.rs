//! The side that is called: certificates by the name that the client asks for, and what is asked of clients.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, DistinguishedName, Error, ServerConfig};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::KeyUsage;

use super::{Pair, Roots};
use crate::claim;
use crate::mesh::Spoken;
use crate::problem::Problem;
use crate::provider::{is_chacha20, provider};
use crate::signatures::signatures;

/// Keys of session tickets (RFC 8446 §4.6.1), which change every few hours.
#[derive(Debug, Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// New ones, that no other process knows.
    pub fn new() -> Result<Self, Error> {
        Ticketer::new().map(Self)
    }
}

/// What is asked of clients.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Who is believed about them.
    pub roots: Roots,
    /// Whether a handshake fails without a valid certificate. If not, whoever ends it asks [`Clients::check`].
    pub required: bool,
}

impl Clients {
    /// Whether a client with this chain has proved who it is, at `now`.
    pub fn check(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Problem> {
        self.roots.check(leaf, above, now, KeyUsage::client_auth()).map(|_| ())
    }
}

/// How TLS is ended.
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    /// The same for clients whose machines have nothing for AES.
    chacha20: Arc<ServerConfig>,
}

impl Server {
    /// What a handshake goes by that begins with `offered`: our order of suites, but for clients that want ChaCha20 before all.
    pub fn config(&self, offered: &[CipherSuite]) -> &Arc<ServerConfig> {
        match offered.iter().find(|suite| !is_grease(**suite)) {
            Some(first) if is_chacha20(*first) => &self.chacha20,
            _ => &self.config,
        }
    }
}

/// Values that stand for nothing (RFC 8701 §2).
fn is_grease(suite: CipherSuite) -> bool {
    let value = u16::from(suite);
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// TLS that shows one of `pairs`. Sessions are resumed only where nothing is asked of clients: a resumed one would skip what is believed
/// today.
pub fn server(
    pairs: Vec<Arc<Pair>>,
    only_tls13: bool,
    clients: Option<Clients>,
    tickets: &Tickets,
) -> Result<Server, Error> {
    let versions: &[_] = if only_tls13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let asks = clients.is_some();
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::new(clients)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Choice(pairs)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if asks {
        config.send_tls13_tickets = 0;
    } else {
        config.ticketer = tickets.0.clone();
    }
    config.alpn_protocols = [Spoken::Http2, Spoken::Http1].map(|spoken| spoken.alpn().to_vec()).to_vec();
    let chacha20 = Arc::new(config.clone());
    config.ignore_client_order = true;
    Ok(Server { config: Arc::new(config), chacha20 })
}

/// Pairs, the preferred first.
#[derive(Debug)]
struct Choice(Vec<Arc<Pair>>);

impl ResolvesServerCert for Choice {
    /// The one that fits the name best among those whose keys the client can check; without a name, or one that none is for, the first.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name().unwrap_or_default();
        let usable =
            |pair: &&Arc<Pair>| pair.certified().key.choose_scheme(hello.signature_schemes()).is_some();
        // The last of equals would win: from behind, that is the preferred.
        let best = self.0.iter().rev().filter(usable).max_by_key(|pair| pair.fits(host));
        best.map(|pair| pair.certified().clone())
    }
}

impl ClientCertVerifier for Clients {
    /// None: a list of authorities would tell strangers who we trust.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.required {
            self.check(leaf, above, now).inspect_err(|problem| claim::note(leaf, *problem))?;
        }
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}
