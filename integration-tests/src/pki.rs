//! An authority for tests, and the files that sidecars prove themselves with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::mesh::Sidecar;
use crate::workload_api::AgentSvid;

/// The trust domain of every mesh here.
pub const DOMAIN: &str = "mesh.test";

/// An authority that is its own.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
    der: Vec<u8>,
}

/// A certificate and its key, in files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    #[expect(clippy::new_without_default, reason = "it makes a key; nobody should get one by default")]
    pub fn new() -> Self {
        Self::with(KeyPair::generate().expect("keys can be made"))
    }

    /// One with this key.
    pub fn with(key: KeyPair) -> Self {
        let mut params = CertificateParams::default();
        // Two of one name could not be told apart by what is wrong.
        params.distinguished_name.push(DnType::CommonName, format!("authority {}", fastrand::u64(..)));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("a key can sign");
        let (pem, der) = (certificate.pem(), certificate.der().to_vec());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    /// Files below `folder` that prove a service of the default namespace.
    pub fn identify(&self, folder: &Path, service: &str) -> Pair {
        self.identify_after(folder, service, |_| {})
    }

    /// The same, after a change to what would be right.
    pub fn identify_after(
        &self,
        folder: &Path,
        service: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let mut params = CertificateParams::default();
        let id = format!("spiffe://{DOMAIN}/ns/default/svc/{service}");
        params.subject_alt_names = vec![SanType::URI(id.try_into().expect("the id is ASCII"))];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("an authority can sign");
        let file = |extension: &str, text: &str| {
            let path = folder.join(format!("{service}.{extension}"));
            // Together with its rename: a sidecar that looks sees the old or the new.
            let next = folder.join(format!("{service}.{extension}.next"));
            std::fs::write(&next, text).expect("the folder can be written");
            std::fs::rename(&next, &path).expect("a file can be renamed");
            path
        };
        Pair { certificate: file("crt", &certificate.pem()), key: file("key", &key.serialize_pem()) }
    }

    /// A certificate for this key, in DER.
    pub fn sign(&self, params: CertificateParams, key: &KeyPair) -> Vec<u8> {
        params.signed_by(key, &self.issuer).expect("an authority can sign").der().to_vec()
    }

    /// What takes back, as a part of the Mesh, the certificate with this number.
    pub fn revocations(&self, number: u64) -> String {
        revoked(&self.issuer, [SerialNumber::from(number)])
    }

    /// Its certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// What an agent of the Workload API tells: a certificate for `id`, its key, and this authority.
    pub fn agent_svid(&self, id: &str) -> AgentSvid {
        self.agent_svid_after(id, |_| {})
    }

    /// The same, after a change to what would be right.
    pub fn agent_svid_after(&self, id: &str, change: impl FnOnce(&mut CertificateParams)) -> AgentSvid {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.try_into().expect("the id is ASCII"))];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("an authority can sign");
        AgentSvid {
            id: id.to_owned(),
            certificate: certificate.der().to_vec(),
            key: key.serialize_der(),
            authorities: self.der.clone(),
        }
    }

    /// A certificate for some hosts and its key, in PEM, after a change to what would be right.
    pub fn certify(&self, hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("hosts are names");
        params.distinguished_name.push(DnType::CommonName, "someone");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("an authority can sign");
        (certificate.pem(), key.serialize_pem())
    }

    /// TLS of a server that is certified for some hosts, and whose clients need certificates of the same authority.
    ///
    /// # Panics
    /// If the library of TLS does not take what has just been made for it.
    pub fn server(&self, hosts: &[&str]) -> ServerConfig {
        let (certificate, key) = self.certify(hosts, |_| {});
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("it was just made");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("it was just made");
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone().into()).expect("it is a certificate");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("there are some")
            .with_client_cert_verifier(clients.build().expect("there is an authority"))
            .with_single_cert(vec![certificate], key)
            .expect("they belong together");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }

    /// Its key, in PEM.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The `ConfigMap` that holds it.
    pub fn config_map(&self, name: &str) -> String {
        let pem = self.pem.lines().map(|line| format!("    {}\n", line.trim_end())).collect::<String>();
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n  ca.crt: |\n{pem}")
    }

    /// The mesh resource that has it believed, with what sidecars ask of callers.
    pub fn mesh(&self, mtls: &str) -> String {
        mesh_of(&[self], mtls)
    }
}

/// The part of a Mesh that takes certificates of an issuer back.
pub fn revoked(issuer: &Issuer<'_, KeyPair>, numbers: impl IntoIterator<Item = SerialNumber>) -> String {
    let revoked = |serial_number| RevokedCertParams {
        serial_number,
        revocation_time: date_time_ymd(2021, 6, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2021, 6, 1),
        next_update: date_time_ymd(2090, 7, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: numbers.into_iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let pem = params.signed_by(issuer).and_then(|list| list.pem()).expect("an authority can sign");
    let lines = pem.lines().map(|line| format!("    {}\n", line.trim_end())).collect::<String>();
    format!("  revocations: |\n{lines}")
}

/// The mesh resource that has all of them believed.
pub fn mesh_of(authorities: &[&Authority], mtls: &str) -> String {
    let bundle: String = authorities.iter().map(|authority| authority.pem.as_str()).collect();
    let bundle = bundle.lines().map(|line| format!("    {}\n", line.trim_end())).collect::<String>();
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: mesh}}\nspec:\n  trustDomain: {DOMAIN}\n  mtls: {mtls}\n  \
         trustBundle: |\n{bundle}"
    )
}

impl Sidecar {
    /// It proves itself with these.
    pub fn proving(self, pair: &Pair) -> Self {
        let path = |path: &Path| path.to_str().expect("temporary folders have names in UTF-8").to_owned();
        self.with(&["--identity-cert", &path(&pair.certificate), "--identity-key", &path(&pair.key)])
    }
}
