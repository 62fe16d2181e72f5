//! Everything that can be wrong with a certificate, each with a word of its own.

use rustls::{CertificateError, Error, OtherError};
use std::sync::Arc;

/// What is wrong with a certificate, its chain, its key or what it is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Problem {
    /// Its time is over.
    #[error("the certificate, or one above it, has expired")]
    Expired,
    /// Its time has not come.
    #[error("the certificate, or one above it, is not valid yet: is the clock right on both sides?")]
    NotYetValid,
    /// It is somebody else's.
    #[error("the certificate is for another identity or host than the one that was called")]
    WrongName,
    /// It is of another mesh.
    #[error("the certificate's SPIFFE ID is of another trust domain")]
    WrongTrustDomain,
    /// It may not be used for this.
    #[error(
        "the certificate may not be used for this: the leaf needs the key usage digitalSignature, and clientAuth and serverAuth where it limits its purposes, and must be no CA"
    )]
    WrongKeyUsage,
    /// Nobody but itself vouches for it.
    #[error("the certificate is signed by itself and not in the trust bundle")]
    SelfSigned,
    /// Nobody who is trusted vouches for it.
    #[error("the certificate leads to no authority of the trust bundle")]
    UnknownIssuer,
    /// It was taken back.
    #[error("the certificate, or one above it, is revoked")]
    Revoked,
    /// SHA-1, or what else is not accepted.
    #[error("the certificate is signed with an algorithm that is not accepted, such as SHA-1")]
    WeakSignature,
    /// Somebody has changed it, or another authority has the name of a trusted one.
    #[error(
        "the certificate's signature is wrong: it was changed, or is of another authority with the same name as a trusted one"
    )]
    BadSignature,
    /// More certificates between leaf and root than are followed.
    #[error(
        "the chain of certificates is longer than {} or breaks a limit that one of them sets",
        crate::pem::CHAIN_MAX
    )]
    ChainTooDeep,
    /// An authority may not vouch for such a name.
    #[error("the certificate's name is outside what its authority may vouch for")]
    NameConstraint,
    /// Not a certificate.
    #[error("the certificate cannot be read")]
    Malformed,
    /// None was shown.
    #[error("no certificate was shown")]
    Missing,
    /// It names nobody of a mesh.
    #[error(
        "the certificate has no SPIFFE ID, or more than one URI: it needs exactly one, spiffe://TRUST-DOMAIN/ns/NAMESPACE/svc/NAME"
    )]
    NoIdentity,
    /// Certificate and key are not a pair.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// A key that cannot be used.
    #[error(
        "the private key cannot be used: expected an ECDSA P-256 or P-384, Ed25519 or RSA key in PKCS #8, SEC 1 or PKCS #1"
    )]
    UnusableKey,
    /// Nobody is trusted.
    #[error("the trust bundle is empty, so that nobody can be believed")]
    NoTrust,
}

impl Problem {
    /// All of them, for tables.
    pub const ALL: [Self; 18] = [
        Self::Expired,
        Self::NotYetValid,
        Self::WrongName,
        Self::WrongTrustDomain,
        Self::WrongKeyUsage,
        Self::SelfSigned,
        Self::UnknownIssuer,
        Self::Revoked,
        Self::WeakSignature,
        Self::BadSignature,
        Self::ChainTooDeep,
        Self::NameConstraint,
        Self::Malformed,
        Self::Missing,
        Self::NoIdentity,
        Self::KeyMismatch,
        Self::UnusableKey,
        Self::NoTrust,
    ];

    /// Its word in metrics, logs and `outrigger-reason`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongName => "wrong_name",
            Self::WrongTrustDomain => "wrong_trust_domain",
            Self::WrongKeyUsage => "wrong_key_usage",
            Self::SelfSigned => "self_signed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Revoked => "revoked",
            Self::WeakSignature => "weak_signature",
            Self::BadSignature => "bad_signature",
            Self::ChainTooDeep => "chain_too_deep",
            Self::NameConstraint => "name_constraint",
            Self::Malformed => "malformed",
            Self::Missing => "missing",
            Self::NoIdentity => "no_identity",
            Self::KeyMismatch => "key_mismatch",
            Self::UnusableKey => "unusable_key",
            Self::NoTrust => "no_trust",
        }
    }

    /// The problem that a handshake failed of on this side; `None`: of something else.
    pub fn of(error: &Error) -> Option<Self> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
                other.downcast_ref().copied()
            }
            Error::InvalidCertificate(error) => Some(Self::of_certificate(error)),
            Error::NoCertificatesPresented => Some(Self::Missing),
            _ => None,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::Revoked => Self::Revoked,
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::BadSignature => Self::BadSignature,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::WrongKeyUsage
            }
            CertificateError::UnsupportedSignatureAlgorithmContext { .. } => Self::WeakSignature,
            _ => Self::Malformed,
        }
    }
}

impl From<Problem> for Error {
    /// Where TLS has an alert for it, the peer is told.
    fn from(problem: Problem) -> Self {
        let error = match problem {
            Problem::Expired => CertificateError::Expired,
            Problem::NotYetValid => CertificateError::NotValidYet,
            Problem::Revoked => CertificateError::Revoked,
            Problem::UnknownIssuer => CertificateError::UnknownIssuer,
            Problem::BadSignature => CertificateError::BadSignature,
            Problem::Missing => return Self::NoCertificatesPresented,
            other => CertificateError::Other(OtherError(Arc::new(other))),
        };
        Self::InvalidCertificate(error)
    }
}

impl From<webpki::Error> for Problem {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error as Wrong;
        match error {
            Wrong::CertExpired { .. } => Self::Expired,
            Wrong::CertNotValidYet { .. } => Self::NotYetValid,
            Wrong::CertRevoked => Self::Revoked,
            Wrong::UnknownIssuer => Self::UnknownIssuer,
            Wrong::InvalidSignatureForPublicKey => Self::BadSignature,
            Wrong::CertNotValidForName(_) => Self::WrongName,
            Wrong::CaUsedAsEndEntity
            | Wrong::EndEntityUsedAsCa
            | Wrong::EmptyEkuExtension
            | Wrong::RequiredEkuNotFoundContext(_) => Self::WrongKeyUsage,
            Wrong::MaximumPathDepthExceeded
            | Wrong::MaximumPathBuildCallsExceeded
            | Wrong::MaximumSignatureChecksExceeded
            | Wrong::PathLenConstraintViolated => Self::ChainTooDeep,
            Wrong::NameConstraintViolation | Wrong::MaximumNameConstraintComparisonsExceeded => {
                Self::NameConstraint
            }
            Wrong::UnsupportedSignatureAlgorithmContext(_)
            | Wrong::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
            | Wrong::SignatureAlgorithmMismatch => Self::WeakSignature,
            _ => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_survives_the_way_through_tls() {
        for problem in Problem::ALL {
            assert_eq!(Problem::of(&problem.into()), Some(problem), "{}", problem.code());
        }
        assert_eq!(Problem::of(&Error::DecryptError), None);
    }
}
