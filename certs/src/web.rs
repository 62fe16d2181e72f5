//! TLS with those outside the mesh: servers that are known by their names, and clients of a gateway, known or not.

use std::fmt;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::inspect::is_self_signed;
use crate::pem::CHAIN_MAX;
use crate::problem::Problem;
use crate::provider::provider;

pub use client::{Shown, Upstream};
pub use ocsp::Unstapled;
pub use pair::{Folder, Pair};
pub use server::{Clients, Server, Tickets, server};

mod client;
mod ocsp;
mod pair;
mod server;

/// Authorities that are believed about others.
#[derive(Clone)]
pub struct Roots(Vec<TrustAnchor<'static>>);

impl fmt::Debug for Roots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Roots").field(&self.0.len()).finish()
    }
}

/// Authorities of their certificates, at least one.
pub fn roots(certificates: &[CertificateDer<'_>]) -> Result<Roots, Problem> {
    if certificates.is_empty() {
        return Err(Problem::NoTrust);
    }
    let anchor = |root| anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned());
    certificates.iter().map(anchor).collect::<Result<_, _>>().map(Roots).map_err(|_| Problem::Malformed)
}

/// Those that can be used of many, as systems have them; at least one.
pub fn usable_roots(certificates: &[CertificateDer<'_>]) -> Result<Roots, Problem> {
    let anchor = |root| anchor_from_trusted_cert(root).ok().map(|anchor| anchor.to_owned());
    let anchors: Vec<_> = certificates.iter().filter_map(anchor).collect();
    if anchors.is_empty() { Err(Problem::NoTrust) } else { Ok(Roots(anchors)) }
}

impl Roots {
    /// Whether a chain leads to one of them, and may be used for this.
    fn check<'a>(
        &self,
        leaf: &'a CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<EndEntityCert<'a>, Problem> {
        if above.len() >= CHAIN_MAX {
            return Err(Problem::ChainTooDeep);
        }
        let parsed = EndEntityCert::try_from(leaf).map_err(|_| Problem::Malformed)?;
        let algorithms = provider().signature_verification_algorithms.all;
        let checked = parsed.verify_for_usage(algorithms, &self.0, above, now, usage, None, None);
        let checked = checked.map(|_| ()).map_err(|error| match Problem::from(error) {
            Problem::UnknownIssuer if is_self_signed(leaf) => Problem::SelfSigned,
            other => other,
        });
        checked.map(|()| parsed)
    }
}
