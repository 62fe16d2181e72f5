//! The authority of a mesh: a root that is kept away, and an intermediate that vouches for sidecars in its name.

use std::fmt;
use std::time::Duration;

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::identity::{SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateSigningRequestDer, UnixTime};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::inspect::{Facts, is_authority};
use crate::pem::{self, PemError};
use crate::problem::Problem;
use crate::request::Wiped;

/// How long a certificate is valid before it is made: clocks differ.
pub const BACKDATED: Duration = Duration::from_secs(300);
/// Longest request for a certificate, in bytes of PEM.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// When a new list is promised, which nobody waits for: what was taken back stays taken back.
const LIST_LIFETIME: Duration = Duration::from_secs(3_652 * 86_400);

/// Why a certificate is not made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// What was read.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The authority's own certificate or key.
    #[error("the authority cannot be used: {0}")]
    Authority(Problem),
    /// Not an authority.
    #[error("the certificate is no authority's: it may not sign others")]
    NoAuthority,
    /// What is asked for.
    #[error("the request for a certificate cannot be read, or is not signed by its own key")]
    Request,
    /// Somebody else's identity.
    #[error("the request asks for {asked}, and whoever sent it may be {allowed} only")]
    OtherIdentity {
        /// By its own words.
        asked: String,
        /// By its proof.
        allowed: SpiffeId,
    },
    /// It would be over before it begins.
    #[error("the authority's certificate ends before one that it makes could be used")]
    Ending,
    /// The library.
    #[error("a certificate or a key cannot be made")]
    Making(#[source] rcgen::Error),
}

/// A certificate, or a chain of them, and the key of the first.
pub struct Made {
    /// In PEM, the own first.
    pub certificate: String,
    /// In PEM.
    pub key: Zeroizing<String>,
}

impl fmt::Debug for Made {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Made").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Of what a request asks for, so much is told.
const ASKED_CHARS_MAX: usize = 200;

/// A request for a certificate (PKCS #10, RFC 2986) that is signed by its own key.
pub struct Request(CertificateSigningRequestParams);

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Request").field("key", &self.key()).finish_non_exhaustive()
    }
}

impl Request {
    /// Reads one in PEM.
    pub fn read(text: &str) -> Result<Self, IssueError> {
        use rustls_pki_types::pem::PemObject;
        if text.len() > REQUEST_BYTES_MAX {
            return Err(IssueError::Request);
        }
        let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes());
        let der = der.map_err(|_| IssueError::Request)?;
        CertificateSigningRequestParams::from_der(&der).map(Self).map_err(|_| IssueError::Request)
    }

    /// The SHA-256 of its public key (`SubjectPublicKeyInfo`).
    pub fn key(&self) -> Digest {
        Digest::of(&self.0.public_key.subject_public_key_info())
    }

    /// Whether it asks for nothing but `id`.
    pub fn check(&self, id: &SpiffeId) -> Result<(), IssueError> {
        for name in &self.0.params.subject_alt_names {
            let asked = match name {
                SanType::URI(uri) if uri.as_str() == id.as_str() => continue,
                SanType::URI(uri) => uri.as_str().to_owned(),
                other => format!("{other:?}"),
            };
            // It goes to a log, of which each line is to be what it looks like.
            let asked = asked.escape_debug().take(ASKED_CHARS_MAX).collect();
            return Err(IssueError::OtherIdentity { asked, allowed: id.clone() });
        }
        Ok(())
    }
}

/// See the module.
pub struct Authority {
    issuer: Issuer<'static, Wiped>,
    /// What is shown below a certificate that it makes: itself and what is between it and the root. A root is shown to nobody.
    chain: String,
    facts: Facts,
    /// What the certificates above it say.
    above: Vec<Facts>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Makes a root for a trust domain.
pub fn make_root(domain: &TrustDomain, lifetime: Duration, now: UnixTime) -> Result<Made, IssueError> {
    let key = Wiped::generate().map_err(IssueError::Making)?;
    let params = authority_params(&format!("{domain} root"), BasicConstraints::Unconstrained, lifetime, now)?;
    let certificate = params.self_signed(&key).map_err(IssueError::Making)?;
    Ok(Made { certificate: certificate.pem(), key: key.pem() })
}

impl Authority {
    /// Of its chain, the own certificate first, and its key. It can make certificates now.
    pub fn load(chain: &[u8], key: &[u8], origin: &str, now: UnixTime) -> Result<Self, IssueError> {
        let authority = Self::read(chain, key, origin)?;
        authority.check_time(now).map_err(IssueError::Authority)?;
        Ok(authority)
    }

    /// The same, whether or not its time has come or is over.
    pub fn read(chain: &[u8], key: &[u8], origin: &str) -> Result<Self, IssueError> {
        let certificates = pem::chain(chain, origin)?;
        let own = &certificates[0];
        let facts = certificates.iter().map(|certificate| Facts::of(certificate));
        let mut facts = facts.collect::<Result<Vec<_>, _>>().map_err(IssueError::Authority)?;
        let above = facts.split_off(1);
        let facts = facts.remove(0);
        if !is_authority(own) {
            return Err(IssueError::NoAuthority);
        }
        if pem::is_encrypted(key) {
            return Err(PemError::Encrypted { origin: format!("the key of {origin}") }.into());
        }
        let text = std::str::from_utf8(key).map_err(|_| IssueError::Authority(Problem::UnusableKey))?;
        let pair = KeyPair::from_pem(text).map_err(|_| IssueError::Authority(Problem::UnusableKey))?;
        let pair = Wiped::from(pair);
        if !facts.has_key(own, &pair.subject_public_key_info()) {
            return Err(IssueError::Authority(Problem::KeyMismatch));
        }
        let issuer = Issuer::from_ca_cert_der(own, pair).map_err(IssueError::Making)?;
        let shown = certificates.iter().filter(|certificate| !crate::inspect::is_self_signed(certificate));
        Ok(Self {
            issuer,
            chain: shown.map(|certificate| pem::written("CERTIFICATE", certificate)).collect(),
            facts,
            above,
        })
    }

    /// What its own certificate says.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What it and the certificates above it say, its own first.
    pub fn chain_facts(&self) -> impl Iterator<Item = &Facts> {
        std::iter::once(&self.facts).chain(&self.above)
    }

    /// Whether what it makes would be believed at `now`, as far as time goes.
    pub fn check_time(&self, now: UnixTime) -> Result<(), Problem> {
        self.chain_facts().try_for_each(|facts| facts.check_time(now))
    }

    /// The moment closest to `now` at which it can make certificates, if there is any.
    pub fn nearest(&self, now: UnixTime) -> UnixTime {
        let from = self.chain_facts().map(|facts| facts.not_before_unix).max().unwrap_or(0);
        let until = self.chain_facts().map(|facts| facts.not_after_unix).min().unwrap_or(0) - 1;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.max(from).min(until)).unwrap_or(0)))
    }

    /// Makes an intermediate, which may vouch for sidecars and for no other authority.
    pub fn make_intermediate(
        &self,
        domain: &TrustDomain,
        lifetime: Duration,
        now: UnixTime,
    ) -> Result<Made, IssueError> {
        let key = Wiped::generate().map_err(IssueError::Making)?;
        let name = format!("{domain} intermediate");
        let params =
            authority_params(&name, BasicConstraints::Constrained(0), self.within(lifetime, now)?, now)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(IssueError::Making)?;
        Ok(Made { certificate: format!("{}{}", certificate.pem(), self.chain), key: key.pem() })
    }

    /// Makes a key and a certificate that proves `id`.
    pub fn make(&self, id: &SpiffeId, lifetime: Duration, now: UnixTime) -> Result<Made, IssueError> {
        let key = Wiped::generate().map_err(IssueError::Making)?;
        let certificate = self.certify(id, &key, lifetime, now)?;
        Ok(Made { certificate, key: key.pem() })
    }

    /// Vouches for the key of a request, whose sender has proved to be `id`. Of what the request asks for only the identity counts: it must
    /// be that one, or none.
    pub fn sign(
        &self,
        request: &Request,
        id: &SpiffeId,
        lifetime: Duration,
        now: UnixTime,
    ) -> Result<String, IssueError> {
        request.check(id)?;
        self.certify(id, &request.0.public_key, lifetime, now)
    }

    /// Takes back what it has made with these numbers: a list, and below it its own certificate, by which the list is known.
    pub fn take_back(&self, serials: &[Vec<u8>], now: UnixTime) -> Result<String, IssueError> {
        let at = |since: Duration| moment(now.as_secs().saturating_add(since.as_secs()));
        let this_update = at(Duration::ZERO)?;
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update,
            next_update: at(LIST_LIFETIME)?,
            crl_number: SerialNumber::from(now.as_secs()),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).map_err(IssueError::Making)?;
        Ok(format!("{}{}", pem::written(pem::REVOCATION_LIST, list.der()), self.chain))
    }

    fn certify(
        &self,
        id: &SpiffeId,
        key: &impl PublicKeyData,
        lifetime: Duration,
        now: UnixTime,
    ) -> Result<String, IssueError> {
        let mut params = CertificateParams::default();
        // SPIFFE IDs are ASCII.
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().map_err(IssueError::Making)?)];
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        date(&mut params, self.within(lifetime, now)?, now)?;
        let certificate = params.signed_by(key, &self.issuer).map_err(IssueError::Making)?;
        Ok(format!("{}{}", certificate.pem(), self.chain))
    }

    /// As long as is wanted, and not longer than the authority itself.
    fn within(&self, lifetime: Duration, now: UnixTime) -> Result<Duration, IssueError> {
        self.check_time(now).map_err(IssueError::Authority)?;
        let left = self.facts.not_after_unix.saturating_sub(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        match u64::try_from(left) {
            Ok(left @ 1..) => Ok(lifetime.min(Duration::from_secs(left))),
            _ => Err(IssueError::Ending),
        }
    }
}

fn authority_params(
    name: &str,
    constraint: BasicConstraints,
    lifetime: Duration,
    now: UnixTime,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    // Two authorities of one name could be told apart only by signatures that turn out wrong.
    let mut distinct = [0; 4];
    random(&mut distinct)?;
    params
        .distinguished_name
        .push(DnType::CommonName, format!("{name} {:08x}", u32::from_be_bytes(distinct)));
    params.is_ca = IsCa::Ca(constraint);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    date(&mut params, lifetime, now)?;
    Ok(params)
}

fn date(params: &mut CertificateParams, lifetime: Duration, now: UnixTime) -> Result<(), IssueError> {
    params.not_before = moment(now.as_secs().saturating_sub(BACKDATED.as_secs()))?;
    params.not_after = moment(now.as_secs().saturating_add(lifetime.as_secs()))?;
    // 128 random bits but for the sign: RFC 5280 §4.1.2.2.
    let mut serial = [0; 16];
    random(&mut serial)?;
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(())
}

fn moment(unix: u64) -> Result<OffsetDateTime, IssueError> {
    let seconds = i64::try_from(unix).map_err(|_| IssueError::Ending)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| IssueError::Ending)
}

fn random(bytes: &mut [u8]) -> Result<(), IssueError> {
    let filled = crate::provider::provider().secure_random.fill(bytes);
    filled.map_err(|_| IssueError::Making(rcgen::Error::RingUnspecified))
}
