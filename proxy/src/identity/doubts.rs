//! What is wrong with the certificate in force, or with the lists of those that were taken back, and keeps nothing from working at this end.

use std::sync::Arc;

use outrigger_certs::problem::Problem;
use outrigger_certs::svid::Svid;
use outrigger_certs::trust::TrustBundle;
use outrigger_certs::verify::Verifier;
use rustls_pki_types::UnixTime;

use super::Trouble;

/// All of it, each reason once.
pub(super) fn of(svid: Option<&Svid>, bundle: &Arc<TrustBundle>, now: UnixTime) -> Vec<Trouble> {
    let unbelieved = svid.and_then(|svid| {
        let (leaf, above) = svid.chain().split_first()?;
        Verifier::new(bundle.clone()).verify(leaf, above, now).err()
    });
    let above = svid.and_then(|svid| svid.chain().get(1..)).unwrap_or_default();
    let forged = bundle.forged_list(above).map(|list| Trouble {
        reason: "foreign_list".to_owned(),
        why: format!("a revocation list of the Mesh takes nothing back: {list}"),
    });
    unbelieved.map(trouble).into_iter().chain(forged).collect()
}

fn trouble(problem: Problem) -> Trouble {
    Trouble {
        reason: problem.code().to_owned(),
        why: format!(
            "the mesh does not believe the certificate that this proxy proves itself with: {problem}"
        ),
    }
}
