//! Asking an authority for a certificate: a new key, and a request (PKCS #10, RFC 2986) that it signs.

use std::fmt;

use outrigger_snapshot::identity::SpiffeId;
use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PublicKeyData, SanType, SignatureAlgorithm, SigningKey,
};
use zeroize::Zeroizing;

/// The key could not be made or used.
#[derive(Debug, thiserror::Error)]
#[error("a key or a request for a certificate cannot be made")]
pub struct RequestError(#[from] rcgen::Error);

/// A key whose memory is wiped when it is dropped.
pub(crate) struct Wiped(Zeroizing<KeyPair>);

impl Wiped {
    /// A new one: ECDSA P-256.
    pub(crate) fn generate() -> Result<Self, rcgen::Error> {
        KeyPair::generate().map(Self::from)
    }

    /// The key, to be kept: a secret.
    pub(crate) fn pem(&self) -> Zeroizing<String> {
        self.0.serialize_pem().into()
    }
}

impl From<KeyPair> for Wiped {
    fn from(pair: KeyPair) -> Self {
        Self(pair.into())
    }
}

impl PublicKeyData for Wiped {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for Wiped {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

/// A private key that has no certificate yet. Never printed.
pub struct NewKey(Wiped);

impl NewKey {
    /// A new one: ECDSA P-256.
    pub fn generate() -> Result<Self, RequestError> {
        Ok(Self(Wiped::generate()?))
    }

    /// Of what [`NewKey::pem`] wrote.
    pub fn read(pem: &str) -> Result<Self, RequestError> {
        Ok(Self(KeyPair::from_pem(pem)?.into()))
    }

    /// The key, to be kept: a secret.
    pub fn pem(&self) -> Zeroizing<String> {
        self.0.pem()
    }

    /// The request for a certificate of this key, in PEM.
    pub fn request(&self, id: &SpiffeId) -> Result<String, RequestError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
        Ok(params.serialize_request(&self.0)?.pem()?)
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NewKey(redacted)")
    }
}
