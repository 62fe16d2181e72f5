//! What people are told of certificates.

use outrigger_certs::inspect::Facts;
use serde::Serialize;

use super::Keeper;
use crate::admin::{CertView, CertsView, ShownCerts};

/// Who this proxy is to others, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdentityView {
    /// Its SPIFFE ID, once it can prove it.
    pub id: Option<String>,
    /// Its own certificate first, then those between it and the root, then the roots that are believed.
    pub certificates: Vec<CertificateView>,
    /// When a new certificate is asked for, in seconds since 1970, if this proxy asks.
    pub renewal_unix: Option<u64>,
    /// Why none comes, or what is wrong with the one in force.
    pub trouble: Option<String>,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateView {
    /// `leaf`, `intermediate` or `root`.
    pub role: &'static str,
    /// Its number, in hexadecimal.
    pub serial: String,
    /// Whose it is, by its own words; empty for a leaf.
    pub subject: String,
    /// Until when, in seconds since 1970.
    pub until_unix: i64,
}

impl Keeper {
    /// All of it; `None`: this proxy was given no identity.
    pub fn view(&self) -> Option<IdentityView> {
        if !self.shared.wanted {
            return None;
        }
        Some(IdentityView {
            id: self.svid.borrow().as_ref().map(|svid| svid.id().to_string()),
            certificates: self.each(|role, facts| CertificateView {
                role,
                serial: facts.serial.clone(),
                subject: facts.subject.clone(),
                until_unix: facts.not_after_unix,
            }),
            renewal_unix: self.renewal_unix.get(),
            trouble: self
                .trouble
                .borrow()
                .iter()
                .chain(&*self.doubts.borrow())
                .next()
                .map(|it| it.why.clone()),
        })
    }

    /// All that is shown and believed, with what strangers are `shown`.
    pub fn certs(&self, shown: Vec<ShownCerts>) -> CertsView {
        CertsView {
            identity: self.svid.borrow().as_ref().map(|svid| svid.id().to_string()),
            trust_domain: self.bundle().map(|bundle| bundle.domain().to_string()),
            certificates: self.each(CertView::of),
            shown,
        }
    }

    /// What becomes of each certificate and its role.
    pub(super) fn each<T>(&self, mut become_of: impl FnMut(&'static str, &Facts) -> T) -> Vec<T> {
        let (svid, bundle) = (self.svid.borrow(), self.believed());
        let own = svid.iter().flat_map(|svid| svid.facts()).enumerate();
        let own = own.map(|(nth, facts)| (if nth == 0 { "leaf" } else { "intermediate" }, facts));
        let roots = bundle.iter().flat_map(|bundle| bundle.facts()).map(|facts| ("root", facts));
        own.chain(roots).map(|(role, facts)| become_of(role, facts)).collect()
    }
}
