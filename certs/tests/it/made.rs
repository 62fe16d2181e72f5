//! Certificates of every kind.

use std::sync::Arc;
use std::time::Duration;

use outrigger_certs::mesh::Mesh;
use outrigger_certs::problem::Problem;
use outrigger_certs::svid::Svid;
use outrigger_certs::trust::TrustBundle;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use time::OffsetDateTime;

pub(crate) const DOMAIN: &str = "mesh.test";

/// The middle of 2030; certificates are valid in 2029 to 2031.
pub(crate) fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_908_000_000))
}

pub(crate) struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
}

/// A chain and its key.
pub(crate) struct Pair {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: KeyPair,
}

fn valid(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2029, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params);
    params
}

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        Self::root_between(name, date_time_ymd(2029, 1, 1), date_time_ymd(2031, 1, 1))
    }

    pub(crate) fn root_between(name: &str, from: OffsetDateTime, to: OffsetDateTime) -> Self {
        let (mut params, key) = (authority_params(name), KeyPair::generate().unwrap());
        (params.not_before, params.not_after) = (from, to);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// The same name and key for another time.
    pub(crate) fn renewed(
        &self,
        name: &str,
        from: OffsetDateTime,
        to: OffsetDateTime,
    ) -> CertificateDer<'static> {
        let mut params = authority_params(name);
        (params.not_before, params.not_after) = (from, to);
        params.self_signed(self.issuer.key()).unwrap().der().clone()
    }

    pub(crate) fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        self.below_with(name, KeyPair::generate().unwrap(), change)
    }

    pub(crate) fn below_with(
        &self,
        name: &str,
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let mut params = authority_params(name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A leaf, after a change to what would be right.
    pub(crate) fn leaf(&self, id: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf_params(id);
        change(&mut params);
        let chain = vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()];
        Pair { chain, key }
    }

    pub(crate) fn bundle(&self, revocations: &[CertificateRevocationListDer<'_>]) -> Arc<TrustBundle> {
        let roots = std::slice::from_ref(&self.certificate);
        Arc::new(TrustBundle::new(DOMAIN.parse().unwrap(), roots, revocations).unwrap())
    }
}

/// The same, as if it were signed with SHA-1: sha256WithRSAEncryption becomes sha1WithRSAEncryption (RFC 8017 §A.2.4), in the signed part and
/// beside it.
pub(crate) fn sha1(certificate: &CertificateDer<'_>) -> CertificateDer<'static> {
    let (sha256, sha1) = (0x0b, 0x05);
    let mut der = certificate.to_vec();
    let oid = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, sha256];
    let places: Vec<usize> = (0..der.len() - oid.len()).filter(|at| der[*at..].starts_with(&oid)).collect();
    assert_eq!(places.len(), 2);
    places.iter().for_each(|at| der[at + oid.len() - 1] = sha1);
    CertificateDer::from(der)
}

pub(crate) fn leaf_params(id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    valid(&mut params);
    params
}

pub(crate) fn id(service: &str) -> String {
    format!("spiffe://{DOMAIN}/ns/shop/svc/{service}")
}

impl Pair {
    pub(crate) fn under(mut self, authority: &Authority) -> Self {
        self.chain.push(authority.certificate.clone());
        self
    }

    pub(crate) fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }

    pub(crate) fn svid(&self, now: UnixTime) -> Result<Svid, Problem> {
        Svid::new(self.chain.clone(), &self.private(), now)
    }

    pub(crate) fn mesh(&self, bundle: &Arc<TrustBundle>) -> Mesh {
        Mesh::new(self.svid(now()).unwrap(), bundle.clone()).unwrap()
    }
}
