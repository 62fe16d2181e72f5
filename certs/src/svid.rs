//! An X.509-SVID: a chain of certificates that proves a SPIFFE ID, and its key.

use std::fmt;
use std::sync::Arc;

use outrigger_snapshot::identity::SpiffeId;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::inspect::{Facts, check_leaf_usage, parse};
use crate::pem::CHAIN_MAX;
use crate::problem::Problem;

/// See the module. It was sound when it was made; only time can change that.
#[derive(Clone)]
pub struct Svid {
    id: SpiffeId,
    certified: Arc<CertifiedKey>,
    /// Of each certificate of the chain.
    facts: Arc<[Facts]>,
}

impl Svid {
    /// Checks everything that can be checked without a trust bundle: the leaf has one SPIFFE ID, may be used for TLS and belongs to the
    /// key, and all of the chain is valid at `now`.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
        now: UnixTime,
    ) -> Result<Self, Problem> {
        let leaf = chain.first().ok_or(Problem::Missing)?;
        if chain.len() > CHAIN_MAX {
            return Err(Problem::ChainTooDeep);
        }
        let id = identity(leaf)?;
        check_leaf_usage(&parse(leaf)?)?;
        let facts = chain.iter().map(|certificate| Facts::of(certificate)).collect::<Result<Vec<_>, _>>()?;
        facts.iter().try_for_each(|facts| facts.check_time(now))?;
        let signing = any_supported_type(key).map_err(|_| Problem::UnusableKey)?;
        let certified = CertifiedKey::new(chain, signing);
        certified.keys_match().map_err(|_| Problem::KeyMismatch)?;
        Ok(Self { id, certified: Arc::new(certified), facts: facts.into() })
    }

    /// Whom it proves.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// What its certificates say, the leaf's first.
    pub fn facts(&self) -> &[Facts] {
        &self.facts
    }

    /// From when on it holds, in seconds since 1970.
    pub fn not_before_unix(&self) -> i64 {
        self.facts.iter().map(|facts| facts.not_before_unix).max().unwrap_or(i64::MAX)
    }

    /// Until when it holds, in seconds since 1970: the first of its certificates to end.
    pub fn not_after_unix(&self) -> i64 {
        self.facts.iter().map(|facts| facts.not_after_unix).min().unwrap_or(0)
    }

    /// For TLS.
    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The chain, the leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }
}

/// The one SPIFFE ID of a leaf (X509-SVID §2): it has no other URI.
pub fn identity(leaf: &CertificateDer<'_>) -> Result<SpiffeId, Problem> {
    let parsed = webpki::EndEntityCert::try_from(leaf).map_err(|_| Problem::Malformed)?;
    let mut names = parsed.valid_uri_names();
    let (Some(name), None) = (names.next(), names.next()) else { return Err(Problem::NoIdentity) };
    name.parse().map_err(|_| Problem::NoIdentity)
}

impl fmt::Debug for Svid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Svid")
            .field("id", &self.id)
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}
