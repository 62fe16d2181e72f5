//! The side that calls: a server is believed if an authority vouches for its name.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use outrigger_snapshot::facts::AltName;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::KeyUsage;

use super::{Pair, Roots};
use crate::claim;
use crate::mesh::Spoken;
use crate::problem::Problem;
use crate::provider::provider;
use crate::signatures::signatures;

/// TLS towards servers that are alike.
#[derive(Debug, Clone)]
pub struct Upstream {
    clients: [Arc<ClientConfig>; 3],
}

impl Upstream {
    /// Servers are believed by `roots`, if their certificates are for one of `names`, or for the name that they are asked for where there
    /// are none. They are shown what is in `shown` when they ask for it.
    pub fn new(roots: Roots, names: Vec<AltName>, shown: Option<Arc<Shown>>) -> Result<Self, Error> {
        let verifier = Arc::new(Verifier { roots, names });
        let client = |spoken: Spoken| -> Result<_, Error> {
            let builder = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&TLS13, &TLS12])?
                .dangerous()
                .with_custom_certificate_verifier(verifier.clone());
            let mut config = match &shown {
                Some(shown) => builder.with_client_cert_resolver(shown.clone()),
                None => builder.with_no_client_auth(),
            };
            // A resumed session would skip what is believed today.
            config.resumption = Resumption::disabled();
            // Only sidecars know a name for bytes that nobody looks at.
            let named = Some(spoken).filter(|spoken| *spoken != Spoken::Opaque);
            config.alpn_protocols = named.iter().map(|spoken| spoken.alpn().to_vec()).collect();
            Ok(Arc::new(config))
        };
        let [http2, http1, opaque] = Spoken::ALL.map(client);
        Ok(Self { clients: [http2?, http1?, opaque?] })
    }

    /// For what is spoken inside.
    pub fn client(&self, spoken: Spoken) -> &Arc<ClientConfig> {
        &self.clients[spoken as usize]
    }
}

/// The certificate that is shown to servers: what is in force may change at any time.
#[derive(Default)]
pub struct Shown(ArcSwapOption<CertifiedKey>);

impl Shown {
    /// Shows this from now on.
    pub fn set(&self, pair: Option<&Pair>) {
        self.0.store(pair.map(|pair| pair.certified().clone()));
    }

    /// Whether there is anything to show.
    pub fn is_there(&self) -> bool {
        self.0.load().is_some()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Shown").field(&self.is_there()).finish()
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.load_full().filter(|pair| pair.key.choose_scheme(schemes).is_some())
    }

    fn has_certs(&self) -> bool {
        self.is_there()
    }
}

#[derive(Debug)]
struct Verifier {
    roots: Roots,
    names: Vec<AltName>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let checked = self.roots.check(leaf, above, now, KeyUsage::server_auth());
        let parsed = checked.inspect_err(|problem| claim::note(leaf, *problem))?;
        let is = |name: &ServerName<'_>| parsed.verify_is_valid_for_subject_name(name).is_ok();
        let has = |name: &AltName| match name {
            AltName::Dns(name) => ServerName::try_from(name.as_str()).is_ok_and(|name| is(&name)),
            AltName::Uri(uri) => parsed.valid_uri_names().any(|name| name == uri),
        };
        let named = if self.names.is_empty() { is(name) } else { self.names.iter().any(has) };
        if !named {
            claim::note(leaf, Problem::WrongName);
            return Err(Problem::WrongName.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}
