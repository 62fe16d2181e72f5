//! What a certificate says that was just refused. TLS hands on why, and not the certificate: what it says is left here, on the thread that
//! refused it, for whoever hears of the failure to pick up in the same turn.

use std::cell::RefCell;

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::inspect::{parse, unambiguous};
use crate::problem::Problem;

/// Most that is kept of a name, in characters.
const NAME_CHARS_MAX: usize = 256;
/// And of a number, whose twenty bytes (RFC 5280 §4.1.2.2) come to 59.
const SERIAL_CHARS_MAX: usize = 64;

thread_local! {
    static LAST: RefCell<Option<(Problem, Claim)>> = const { RefCell::new(None) };
}

/// Who a peer says that it is, and has not proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The first URI that the certificate names.
    pub identity: Option<String>,
    /// Its number, in hexadecimal.
    pub serial: String,
}

/// Leaves what a certificate says that is refused for `problem`.
pub fn note(leaf: &CertificateDer<'_>, problem: Problem) {
    let claim = read(leaf).map(|claim| (problem, claim));
    LAST.with_borrow_mut(|last| *last = claim);
}

/// Picks up what was left of the last that was refused on this thread, if it was refused for `problem`.
pub fn take(problem: Problem) -> Option<Claim> {
    let last = LAST.take();
    last.filter(|(noted, _)| *noted == problem).map(|(_, claim)| claim)
}

fn read(leaf: &CertificateDer<'_>) -> Option<Claim> {
    let serial = parse(leaf).ok()?.raw_serial_as_string().chars().take(SERIAL_CHARS_MAX).collect();
    let names = EndEntityCert::try_from(leaf).ok();
    let name = names.as_ref().and_then(|names| names.valid_uri_names().next().map(unambiguous));
    let identity = name.map(|name| name.chars().take(NAME_CHARS_MAX).collect());
    Some(Claim { identity, serial })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType, SerialNumber};

    use super::*;

    fn leaf(uri: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.serial_number = Some(SerialNumber::from(0x1234_u64));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_claim_is_picked_up_once_and_for_its_problem_alone() {
        let shop = leaf("spiffe://mesh.test/ns/default/svc/shop");
        note(&shop, Problem::Revoked);
        assert_eq!(take(Problem::Expired), None, "of another failure");
        assert_eq!(take(Problem::Revoked), None, "it is gone");
        note(&shop, Problem::Revoked);
        let claim = take(Problem::Revoked).unwrap();
        assert_eq!(claim.identity.as_deref(), Some("spiffe://mesh.test/ns/default/svc/shop"));
        assert_eq!(claim.serial, "12:34");
    }

    #[test]
    fn what_cannot_be_read_leaves_nothing_and_what_is_long_is_cut() {
        note(&leaf("spiffe://a/b"), Problem::Malformed);
        note(&CertificateDer::from(vec![0x30, 0x03]), Problem::Malformed);
        assert_eq!(take(Problem::Malformed), None, "nor what was left before");
        note(&leaf(&format!("spiffe://a/{}", "b".repeat(1000))), Problem::NoIdentity);
        let name = take(Problem::NoIdentity).and_then(|claim| claim.identity).unwrap();
        assert_eq!(name.len(), NAME_CHARS_MAX);
    }
}
