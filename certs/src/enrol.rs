//! TLS between a sidecar that wants a certificate and the control plane that makes it: version 1.3 only. The control plane proves that it is
//! the mesh's by a SPIFFE ID of its own; the sidecar shows its certificate if it has one.

use std::sync::Arc;

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::identity::{SpiffeId, TrustDomain};
use outrigger_snapshot::name::ServiceName;
use rustls::client::Resumption;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, DistinguishedName, Error, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::problem::Problem;
use crate::provider::provider;
use crate::signatures::signatures;
use crate::svid::Svid;
use crate::trust::TrustBundle;
use crate::verify::Verifier;

/// The service whose identity the control plane has. No sidecar gets it.
pub fn control_plane() -> ServiceName {
    ServiceName::new("outrigger", "control-plane").expect("both are DNS labels")
}

/// Whether `id` is the control plane's.
pub fn is_control_plane(id: &SpiffeId) -> bool {
    id.service().is_some_and(|service| service == control_plane())
}

/// How a sidecar knows the control plane of its mesh. One of them is enough.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// By whom the mesh believes.
    pub bundle: Option<Arc<TrustBundle>>,
    /// By what a join token says: the trust domain, and the SHA-256 of its roots.
    pub pinned: Option<(TrustDomain, Vec<Digest>)>,
}

impl Trust {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Problem> {
        let by_bundle = self.bundle.clone().map(|bundle| is_it(bundle, leaf, above, now));
        // What was taken back stays taken back, whatever a token says.
        if let Some(Ok(()) | Err(Problem::Revoked)) = by_bundle {
            return by_bundle.unwrap_or(Ok(()));
        }
        let pinned = self.pinned.as_ref().map(|(domain, roots)| {
            let shown: Vec<_> =
                above.iter().filter(|root| roots.contains(&Digest::of(root))).cloned().collect();
            if shown.is_empty() {
                return Err(Problem::UnknownIssuer);
            }
            is_it(Arc::new(TrustBundle::new(domain.clone(), &shown, &[])?), leaf, above, now)
        });
        pinned.or(by_bundle).unwrap_or(Err(Problem::NoTrust))
    }
}

fn is_it(
    bundle: Arc<TrustBundle>,
    leaf: &CertificateDer<'_>,
    above: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), Problem> {
    let id = Verifier::new(bundle).verify(leaf, above, now)?;
    if is_control_plane(&id) { Ok(()) } else { Err(Problem::WrongName) }
}

/// The sidecar's side; it shows `svid`, if that is given. The server name of the connection does not count.
pub fn client(trust: Trust, svid: Option<&Svid>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ControlPlaneVerifier(trust)));
    let mut config = match svid {
        Some(svid) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(svid.certified().clone())))
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The control plane's side. A caller may show a certificate, and has its key then; **whether it is to be believed is not checked here**, so
/// that a refusal can say why: ask [`Verifier::verify`] before anything is built on it.
pub fn server(resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(Possession))
        .with_cert_resolver(resolver);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct ControlPlaneVerifier(Trust);

impl ServerCertVerifier for ControlPlaneVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.verify(leaf, above, now)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

/// That a caller has the key of the certificate that it shows, and nothing else.
#[derive(Debug)]
struct Possession;

impl ClientCertVerifier for Possession {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _above: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}
