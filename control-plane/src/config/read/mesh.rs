//! `Mesh`.

use outrigger_certs::pem::{self, PemError};
use outrigger_certs::trust::TrustBundle;
use outrigger_snapshot::facts::Trust;
use outrigger_snapshot::identity::TrustDomain;
use outrigger_snapshot::policy::Mtls;
use rustls_pki_types::CertificateDer;

use super::super::model::Mesh;
use super::super::node::{Node, Path};
use super::super::shape::Report;
use crate::causes::with_causes;

pub(super) fn read(spec: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Mesh {
    let mtls = spec.text_of("mtls").map_or(Some(Mtls::Permissive), mode);
    Mesh { trust: trust(spec, path, report), mtls }
}

/// The word of a mode; `None`: nothing is asked.
pub(super) fn mode(word: &str) -> Option<Mtls> {
    match word {
        "Permissive" => Some(Mtls::Permissive),
        "Strict" => Some(Mtls::Strict),
        _ => None,
    }
}

/// What a bundle is made of.
const BUNDLE: &str =
    "certificates of authorities in PEM, whole, from BEGIN to END lines, and nothing besides";
/// What lists of revocations are made of.
const LISTS: &str = "revocation lists in PEM (X509 CRL), each of an authority of trustBundle, or of an intermediate whose certificate stands beside it";

/// Read as proxies read it: what they could not use is refused here, and so is what would be of no effect.
fn trust(spec: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Trust> {
    let domain: TrustDomain = spec.text_of("trustDomain")?.parse().ok()?;
    let (bundle, lists) = (spec.field("trustBundle")?, spec.field("revocations"));
    let (bundle_text, lists_text) = (bundle.text()?, lists.and_then(Node::text));
    let roots = roots(bundle_text, &domain)
        .map_err(|message| report.unexpected(bundle.at, &path.field("trustBundle"), message, BUNDLE))
        .ok()?;
    let checked = lists_text.map_or(Ok(()), |text| check_lists(text, &domain, &roots));
    let at = lists.unwrap_or(spec).at;
    checked.map_err(|message| report.unexpected(at, &path.field("revocations"), message, LISTS)).ok()?;
    let revocations = lists_text.unwrap_or_default().to_owned();
    Some(Trust { domain, bundle: bundle_text.to_owned(), revocations })
}

fn roots(text: &str, domain: &TrustDomain) -> Result<Vec<CertificateDer<'static>>, String> {
    let unread = |error: PemError| with_causes("", &error);
    pem::check_only(text, &[pem::CERTIFICATE], "it", "certificates").map_err(unread)?;
    let roots = pem::roots(text.as_bytes(), "it").map_err(unread)?;
    TrustBundle::new(domain.clone(), &roots, &[]).map_err(|problem| problem.to_string())?;
    Ok(roots)
}

/// Empty, it is as good as absent.
fn check_lists(text: &str, domain: &TrustDomain, roots: &[CertificateDer<'_>]) -> Result<(), String> {
    if text.trim().is_empty() {
        return Ok(());
    }
    let unread = |error: PemError| with_causes("", &error);
    let labels = [pem::REVOCATION_LIST, pem::CERTIFICATE];
    pem::check_only(text, &labels, "it", "revocation lists").map_err(unread)?;
    let lists = pem::revocations(text.as_bytes(), "it").map_err(unread)?;
    if lists.is_empty() {
        return Err("it has no revocation list".to_owned());
    }
    let below = pem::authorities(text.as_bytes(), "it").map_err(unread)?;
    let bundle = TrustBundle::new(domain.clone(), roots, &lists).map_err(|_| {
        "a list cannot be read, only adds to another (delta), or is of only some reasons".to_owned()
    })?;
    bundle.check_lists(&below).map_err(|foreign| foreign.to_string())
}
