//! What an authority has signed, as it was signed. Certificates and revocation lists have the same outer shape: the body, by which
//! algorithm, and the signature (RFC 5280 §4.1.1 and §5.1.1).

use rustls_pki_types::{SubjectPublicKeyInfoDer, TrustAnchor};
use webpki::RawPublicKeyEntity;
use x509_parser::asn1_rs::{Any, FromDer, Tag};

use crate::problem::Problem;
use crate::provider::provider;

/// See the module.
pub(crate) struct Signed {
    body: Box<[u8]>,
    /// The content of the `AlgorithmIdentifier`.
    algorithm: Box<[u8]>,
    signature: Box<[u8]>,
}

impl Signed {
    /// Takes DER apart; what is in the body is not looked at.
    pub(crate) fn read(der: &[u8]) -> Result<Self, Problem> {
        let (whole, rest) = element(der, Tag::Sequence)?;
        let (_, after_body) = element(whole.data, Tag::Sequence)?;
        let body = &whole.data[..whole.data.len() - after_body.len()];
        let (algorithm, after_algorithm) = element(after_body, Tag::Sequence)?;
        let (signature, end) = element(after_algorithm, Tag::BitString)?;
        match signature.data.split_first() {
            // Whole bytes: no signature leaves bits of its last unused.
            Some((0, signature)) if rest.is_empty() && end.is_empty() => {
                Ok(Self { body: body.into(), algorithm: algorithm.data.into(), signature: signature.into() })
            }
            _ => Err(Problem::Malformed),
        }
    }

    /// Whether it was signed with the private half of this key, by an algorithm that is accepted.
    pub(crate) fn is_by(&self, key: &SubjectPublicKeyInfoDer<'_>) -> bool {
        let Ok(key) = RawPublicKeyEntity::try_from(key) else { return false };
        let all = provider().signature_verification_algorithms.all;
        let mut fitting = all.iter().filter(|known| *known.signature_alg_id() == *self.algorithm);
        fitting.any(|known| key.verify_signature(*known, &self.body, &self.signature).is_ok())
    }

    /// Whether the algorithm is accepted: SHA-1 is not.
    pub(crate) fn is_accepted(&self) -> bool {
        let mut all = provider().signature_verification_algorithms.all.iter();
        all.any(|known| *known.signature_alg_id() == *self.algorithm)
    }
}

/// The first element of `der`, which must be this, and what follows it.
fn element(der: &[u8], tag: Tag) -> Result<(Any<'_>, &[u8]), Problem> {
    match Any::from_der(der) {
        Ok((rest, element)) if element.header.tag() == tag => Ok((element, rest)),
        _ => Err(Problem::Malformed),
    }
}

/// The public key of an authority, whole: an anchor has it without the outermost header.
pub(crate) fn key_of(anchor: &TrustAnchor<'_>) -> SubjectPublicKeyInfoDer<'static> {
    let content: &[u8] = anchor.subject_public_key_info.as_ref();
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut der = vec![0x30];
    // X.690 §8.1.3: in one byte up to 127, and else after the number of its bytes.
    if content.len() > 127 {
        der.push(0x80 | length.len() as u8);
    }
    der.extend(length);
    der.extend(content);
    der.into()
}
