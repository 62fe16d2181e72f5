//! A trust bundle: who is believed about the identities of one trust domain, and what they have taken back.

use std::fmt;

use outrigger_snapshot::identity::TrustDomain;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor};
use webpki::{CertRevocationList, OwnedCertRevocationList, anchor_from_trusted_cert};

use crate::inspect::Facts;
use crate::problem::Problem;

/// See the module.
pub struct TrustBundle {
    domain: TrustDomain,
    anchors: Vec<TrustAnchor<'static>>,
    revocations: Vec<CertRevocationList<'static>>,
    facts: Vec<Facts>,
}

impl TrustBundle {
    /// Of authorities, at least one, and their revocation lists.
    pub fn new(
        domain: TrustDomain,
        roots: &[CertificateDer<'_>],
        revocations: &[CertificateRevocationListDer<'_>],
    ) -> Result<Self, Problem> {
        if roots.is_empty() {
            return Err(Problem::NoTrust);
        }
        let anchor = |root| anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned());
        let anchors = roots.iter().map(anchor).collect::<Result<_, _>>().map_err(|_| Problem::Malformed)?;
        let list = |list: &CertificateRevocationListDer<'_>| OwnedCertRevocationList::from_der(list);
        let revocations = revocations.iter().map(list).collect::<Result<Vec<_>, _>>();
        let revocations = revocations.map_err(|_| Problem::Malformed)?.into_iter().map(Into::into).collect();
        let facts = roots.iter().map(|root| Facts::of(root)).collect::<Result<_, _>>()?;
        Ok(Self { domain, anchors, revocations, facts })
    }

    /// Whose identities they vouch for.
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// What the authorities' certificates say.
    pub fn facts(&self) -> &[Facts] {
        &self.facts
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    pub(crate) fn revocations(&self) -> Vec<&CertRevocationList<'static>> {
        self.revocations.iter().collect()
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut form = formatter.debug_struct("TrustBundle");
        form.field("domain", &self.domain).field("facts", &self.facts);
        form.field("revocations", &self.revocations.len()).finish()
    }
}
