//! A trust bundle: who is believed about the identities of one trust domain, and what they have taken back.

use std::fmt;
use std::sync::Arc;

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::identity::TrustDomain;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use webpki::anchor_from_trusted_cert;

use crate::inspect::Facts;
use crate::problem::Problem;
use crate::revocation::RevocationList;

/// See the module.
#[derive(Clone)]
pub struct TrustBundle {
    domain: TrustDomain,
    anchors: Vec<TrustAnchor<'static>>,
    revocations: Arc<[RevocationList]>,
    facts: Vec<Facts>,
    fingerprint: Digest,
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
        let all = std::iter::once(domain.as_str().as_bytes()).chain(revocations.iter().map(AsRef::as_ref));
        let fingerprint = fingerprint(all);
        let revocations = revocations.iter().map(RevocationList::read).collect::<Result<_, _>>()?;
        Self { domain, anchors: Vec::new(), revocations, facts: Vec::new(), fingerprint }.with(roots)
    }

    /// The same, and these authorities as well. What was taken back stays taken back.
    pub fn with(&self, roots: &[CertificateDer<'_>]) -> Result<Self, Problem> {
        let Self { domain, mut anchors, revocations, mut facts, fingerprint: before } = self.clone();
        let before = std::iter::once(&before.as_bytes()[..]);
        let fingerprint = fingerprint(before.chain(roots.iter().map(AsRef::as_ref)));
        for root in roots {
            let anchor = anchor_from_trusted_cert(root).map_err(|_| Problem::Malformed)?.to_owned();
            let told = Facts::of(root)?;
            // An authority that was renewed has the name and the key that it had, and another time.
            if !anchors.iter().zip(&facts).any(|known| known == (&anchor, &told)) {
                facts.push(told);
                anchors.push(anchor);
            }
        }
        Ok(Self { domain, anchors, revocations, facts, fingerprint })
    }

    /// What tells it from others: bundles of one fingerprint believe the same.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// Whose identities they vouch for.
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// What the authorities' certificates say.
    pub fn facts(&self) -> &[Facts] {
        &self.facts
    }

    /// Whether the time of an authority has come and is not over: the library asks that of those below it alone.
    pub(crate) fn check_time(&self, anchor: &TrustAnchor<'_>, now: UnixTime) -> Result<(), Problem> {
        let times = self.anchors.iter().zip(&self.facts).filter(|(known, _)| *known == anchor);
        let checks = times.map(|(_, facts)| facts.check_time(now));
        checks.reduce(Result::or).unwrap_or(Err(Problem::UnknownIssuer))
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    pub(crate) fn lists(&self) -> &[RevocationList] {
        &self.revocations
    }
}

/// Of parts, each of which says by itself, or by its length, where it ends.
fn fingerprint<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Digest {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    Digest::of(&bytes)
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut form = formatter.debug_struct("TrustBundle");
        form.field("domain", &self.domain).field("facts", &self.facts);
        form.field("revocations", &self.revocations.len()).finish()
    }
}
