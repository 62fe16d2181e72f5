//! Whether a peer of the mesh is who it says it is. Names of hosts do not count: the SPIFFE ID does (X509-SVID §5).

use std::sync::Arc;

use outrigger_snapshot::identity::{ServerName, SpiffeId};
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DistinguishedName, Error};
use rustls_pki_types::{CertificateDer, ServerName as TlsServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::claim;
use crate::inspect::{check_leaf_usage, is_self_signed, parse};
use crate::pem::CHAIN_MAX;
use crate::problem::Problem;
use crate::provider::provider;
use crate::signatures::signatures;
use crate::svid::identity;
use crate::trust::TrustBundle;

/// Verifies peers by a trust bundle, on either side of a connection.
#[derive(Debug, Clone)]
pub struct Verifier(Arc<TrustBundle>);

impl Verifier {
    /// By this bundle.
    pub fn new(bundle: Arc<TrustBundle>) -> Self {
        Self(bundle)
    }

    /// Who the peer with this chain is, at `now`. What is closest to the peer's own doing is found first.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<SpiffeId, Problem> {
        if above.len() >= CHAIN_MAX {
            return Err(Problem::ChainTooDeep);
        }
        let parsed = EndEntityCert::try_from(leaf).map_err(|_| Problem::Malformed)?;
        check_leaf_usage(&parse(leaf)?)?;
        self.verify_chain(&parsed, above, now).map_err(|problem| match problem {
            Problem::UnknownIssuer if is_self_signed(leaf) => Problem::SelfSigned,
            other => other,
        })?;
        let id = identity(leaf)?;
        if id.domain() == self.0.domain().as_str() { Ok(id) } else { Err(Problem::WrongTrustDomain) }
    }

    fn verify_chain(
        &self,
        leaf: &EndEntityCert<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Problem> {
        // The library looks at one list of each issuer alone.
        let check = |path: &VerifiedPath<'_>| self.0.check_revoked(path);
        let algorithms = provider().signature_verification_algorithms.all;
        // Both purposes are asked of the leaf beforehand.
        let usage = KeyUsage::client_auth();
        let anchors = self.0.anchors();
        let path = leaf.verify_for_usage(algorithms, anchors, above, now, usage, None, Some(&check))?;
        self.0.check_time(path.anchor(), now)
    }
}

impl ServerCertVerifier for Verifier {
    /// The server name says which service was called; its certificate must be that service's.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &TlsServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let domain = self.0.domain();
        let called = match name {
            TlsServerName::DnsName(name) => ServerName::read(name.as_ref(), domain),
            _ => None,
        };
        let called = called.ok_or(Problem::WrongName)?;
        let named = self.verify(leaf, above, now).and_then(|id| {
            let is_called = id == SpiffeId::of_service(domain, &called.service);
            if is_called { Ok(ServerCertVerified::assertion()) } else { Err(Problem::WrongName) }
        });
        Ok(named.inspect_err(|problem| claim::note(leaf, *problem))?)
    }

    signatures!();
}

impl ClientCertVerifier for Verifier {
    /// None: a list of authorities would tell strangers who we trust, and the callers of a mesh have one certificate each.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, above, now).inspect_err(|problem| claim::note(leaf, *problem))?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}
