//! TLS between sidecars: mutual, version 1.3 only, and without resumption, since a resumed session would skip what the trust bundle says
//! today.

use std::sync::Arc;

use outrigger_snapshot::identity::SpiffeId;
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, ServerConfig};

use crate::provider::provider;
use crate::svid::Svid;
use crate::trust::TrustBundle;
use crate::verify::Verifier;

/// What is spoken inside, by ALPN (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/2: all calls but upgrades.
    Http2,
    /// HTTP/1.1: upgrades.
    Http1,
    /// Bytes that nobody looks at.
    Opaque,
}

impl Spoken {
    /// All of them, the preferred first.
    pub const ALL: [Self; 3] = [Self::Http2, Self::Http1, Self::Opaque];

    /// Its name in the handshake.
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http2 => b"h2",
            Self::Http1 => b"http/1.1",
            Self::Opaque => b"outrigger-tcp/1",
        }
    }

    /// That of the name.
    pub fn of(alpn: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|spoken| spoken.alpn() == alpn)
    }
}

/// Both sides of mutual TLS for one sidecar.
#[derive(Debug, Clone)]
pub struct Mesh {
    svid: Svid,
    bundle: Arc<TrustBundle>,
    server: Arc<ServerConfig>,
    clients: [Arc<ClientConfig>; 3],
}

impl Mesh {
    /// Of who we are and whom we believe.
    pub fn new(svid: Svid, bundle: Arc<TrustBundle>) -> Result<Self, Error> {
        let server = Arc::new(server(&svid, bundle.clone())?);
        let [http2, http1, opaque] =
            Spoken::ALL.map(|spoken| client(&svid, bundle.clone(), spoken).map(Arc::new));
        Ok(Self { svid, bundle, server, clients: [http2?, http1?, opaque?] })
    }

    /// Who we are.
    pub fn id(&self) -> &SpiffeId {
        self.svid.id()
    }

    /// How we prove it.
    pub fn svid(&self) -> &Svid {
        &self.svid
    }

    /// Whom we believe.
    pub fn bundle(&self) -> &Arc<TrustBundle> {
        &self.bundle
    }

    /// The side that is called.
    pub fn server(&self) -> &Arc<ServerConfig> {
        &self.server
    }

    /// The side that calls. The server name of the connection must be that of a port of a service of the mesh
    /// ([`outrigger_snapshot::identity::ServerName`]): it says whose certificate is expected.
    pub fn client(&self, spoken: Spoken) -> &Arc<ClientConfig> {
        &self.clients[spoken as usize]
    }
}

fn server(svid: &Svid, bundle: Arc<TrustBundle>) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(Verifier::new(bundle)))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(svid.certified().clone())));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = Spoken::ALL.map(|spoken| spoken.alpn().to_vec()).to_vec();
    Ok(config)
}

fn client(svid: &Svid, bundle: Arc<TrustBundle>, spoken: Spoken) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(bundle)))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(svid.certified().clone())));
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![spoken.alpn().to_vec()];
    Ok(config)
}
