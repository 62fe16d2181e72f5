//! `Mesh`.

use outrigger_certs::pem;
use outrigger_certs::trust::TrustBundle;
use outrigger_snapshot::facts::Trust;
use outrigger_snapshot::identity::TrustDomain;
use outrigger_snapshot::policy::Mtls;

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

/// Read as proxies read it: what they could not use is refused here.
fn trust(spec: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Trust> {
    let domain: TrustDomain = spec.text_of("trustDomain")?.parse().ok()?;
    let (bundle, lists) = (spec.field("trustBundle")?, spec.field("revocations"));
    let (bundle_text, lists_text) = (bundle.text()?, lists.and_then(Node::text).unwrap_or_default());
    let mut wrong = |node: &Node, field: &str, message: String| {
        report.unexpected(node.at, &path.field(field), message, "PEM, whole, from BEGIN to END lines");
    };
    let roots = pem::roots(bundle_text.as_bytes(), "it")
        .map_err(|error| wrong(bundle, "trustBundle", with_causes("", &error)))
        .ok()?;
    let revocations = pem::revocations(lists_text.as_bytes(), "it")
        .map_err(|error| wrong(lists.unwrap_or(spec), "revocations", with_causes("", &error)))
        .ok()?;
    TrustBundle::new(domain.clone(), &roots, &[])
        .map_err(|problem| wrong(bundle, "trustBundle", problem.to_string()))
        .ok()?;
    TrustBundle::new(domain.clone(), &roots, &revocations)
        .map_err(|problem| wrong(lists.unwrap_or(spec), "revocations", problem.to_string()))
        .ok()?;
    Some(Trust { domain, bundle: bundle_text.to_owned(), revocations: lists_text.to_owned() })
}
