//! Revocation lists (RFC 5280 §5). All lists of an authority count: a certificate is taken back if any of them has its number. Whose a list
//! is, its signature says, not the name in it alone.

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, SubjectPublicKeyInfoDer};
use webpki::{Cert, CertRevocationList, EndEntityCert, OwnedCertRevocationList, VerifiedPath};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::inspect::is_authority;
use crate::problem::Problem;
use crate::signed::{Signed, key_of};
use crate::trust::TrustBundle;

/// One list.
pub(crate) struct RevocationList {
    list: CertRevocationList<'static>,
    signed: Signed,
    /// By whom, by its own words, for people.
    by: String,
}

/// An authority, as far as lists need it.
struct Signer {
    subject: Vec<u8>,
    key: SubjectPublicKeyInfoDer<'static>,
}

/// A list that nobody who is believed has signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignList {
    /// Of no name that is known.
    #[error(
        "the list of \"{0}\" is of no authority of the trust bundle; if an intermediate has made it, put the intermediate's certificate beside it"
    )]
    Stranger(String),
    /// Another key has signed it than that of the authority of this name.
    #[error("the list of \"{0}\" is signed with another key than that authority's")]
    Forged(String),
}

impl RevocationList {
    /// Reads one that is whole: what only adds to another, or leaves out reasons, is not taken for one.
    pub(crate) fn read(der: &CertificateRevocationListDer<'_>) -> Result<Self, Problem> {
        let list = OwnedCertRevocationList::from_der(der).map_err(|_| Problem::Malformed)?;
        let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|_| Problem::Malformed)?;
        let signed = Signed::read(der).map_err(|_| Problem::Malformed)?;
        Ok(Self { list: list.into(), signed, by: parsed.issuer().to_string() })
    }

    /// Whether an authority of this name and key has taken back what has this number. The signature is looked at last, since most
    /// certificates are on no list; a list by another key of the same name is somebody else's.
    fn takes_back(&self, issuer: &[u8], serial: &[u8], key: &SubjectPublicKeyInfoDer<'_>) -> bool {
        self.list.issuer() == issuer
            && !matches!(self.list.find_serial(serial), Ok(None))
            && self.signed.is_by(key)
    }
}

impl TrustBundle {
    /// Whether each certificate of a chain is still meant by the authority above it. An expired list still says who was revoked, and an
    /// authority without a list has revoked nobody.
    pub(crate) fn check_revoked(&self, path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
        if self.lists().is_empty() {
            return Ok(());
        }
        let leaf: &Cert<'_> = path.end_entity();
        let own = std::iter::once(leaf).chain(path.intermediate_certificates());
        let above = path.intermediate_certificates().map(Cert::subject_public_key_info);
        for (certificate, key) in own.zip(above.chain(std::iter::once(key_of(path.anchor())))) {
            let back =
                |list: &RevocationList| list.takes_back(certificate.issuer(), certificate.serial(), &key);
            if self.lists().iter().any(back) {
                return Err(webpki::Error::CertRevoked);
            }
        }
        Ok(())
    }

    /// Whether each list is by an authority of the bundle, or by one of these below them.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check_lists(&self, below: &[CertificateDer<'_>]) -> Result<(), ForeignList> {
        let signers = self.signers(below);
        self.lists().iter().try_for_each(|list| match standing(list, &signers) {
            Some(true) => Ok(()),
            Some(false) => Err(ForeignList::Forged(list.by.clone())),
            None => Err(ForeignList::Stranger(list.by.clone())),
        })
    }

    /// The first list that has the name of an authority of the bundle, or of one of these below them, and is signed with another key: it takes
    /// nothing back.
    pub fn forged_list(&self, below: &[CertificateDer<'_>]) -> Option<ForeignList> {
        let signers = self.signers(below);
        let forged = self.lists().iter().find(|list| standing(list, &signers) == Some(false))?;
        Some(ForeignList::Forged(forged.by.clone()))
    }

    /// The authorities of the bundle, and those of `below` that they vouch for, in whichever order they come. Their time does not matter:
    /// what they took back stays taken back.
    fn signers(&self, below: &[CertificateDer<'_>]) -> Vec<Signer> {
        let anchored = self.anchors().iter();
        let mut signers: Vec<Signer> =
            anchored.map(|anchor| Signer { subject: anchor.subject.to_vec(), key: key_of(anchor) }).collect();
        let mut left: Vec<_> = below.iter().filter(|certificate| is_authority(certificate)).collect();
        loop {
            let before = left.len();
            left.retain(|certificate| match vouched_for(certificate, &signers) {
                Some(signer) => {
                    signers.push(signer);
                    false
                }
                None => true,
            });
            if left.len() == before {
                return signers;
            }
        }
    }
}

/// `None`: nobody of its name is known; otherwise whether one of that name has signed it.
fn standing(list: &RevocationList, signers: &[Signer]) -> Option<bool> {
    let mut named = signers.iter().filter(|signer| signer.subject == list.list.issuer()).peekable();
    named.peek()?;
    Some(named.any(|signer| list.signed.is_by(&signer.key)))
}

fn vouched_for(certificate: &CertificateDer<'_>, signers: &[Signer]) -> Option<Signer> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let signed = Signed::read(certificate).ok()?;
    let above = |signer: &Signer| signer.subject == parsed.issuer() && signed.is_by(&signer.key);
    signers
        .iter()
        .any(above)
        .then(|| Signer { subject: parsed.subject().to_vec(), key: parsed.subject_public_key_info() })
}
