//! What authorities have taken back.

use std::sync::Arc;

use outrigger_certs::problem::Problem;
use outrigger_certs::revocation::ForeignList;
use outrigger_certs::trust::TrustBundle;
use outrigger_certs::verify::Verifier;
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::made::{Authority, DOMAIN, Pair, id, now};

/// The list of an authority that takes back these numbers. It is over at the time of the tests, and counts all the same.
fn list(authority: &Authority, numbers: &[u64]) -> CertificateRevocationListDer<'static> {
    let revoked = numbers.iter().map(|number| RevokedCertParams {
        serial_number: SerialNumber::from(*number),
        revocation_time: date_time_ymd(2029, 6, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2029, 6, 1),
        next_update: date_time_ymd(2029, 7, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&authority.issuer).unwrap().der().clone()
}

fn numbered(authority: &Authority, number: u64) -> Pair {
    authority.leaf(&id("cart"), |params| params.serial_number = Some(SerialNumber::from(number)))
}

fn check(bundle: Arc<TrustBundle>, pair: &Pair) -> Result<(), Problem> {
    Verifier::new(bundle).verify(&pair.chain[0], &pair.chain[1..], now()).map(|_| ())
}

#[test]
fn what_was_taken_back_is_not_believed() {
    let root = Authority::root("root");
    let middle = root.below("middle", |params| params.serial_number = Some(SerialNumber::from(7_u64)));
    let (leafs, middles) = (list(&middle, &[5]), list(&root, &[7]));
    let under = |number: u64| numbered(&middle, number).under(&middle);
    assert_eq!(check(root.bundle(std::slice::from_ref(&leafs)), &under(5)), Err(Problem::Revoked));
    assert_eq!(check(root.bundle(&[leafs]), &under(6)), Ok(()));
    assert_eq!(check(root.bundle(&[middles]), &under(6)), Err(Problem::Revoked), "the authority between");
}

/// Once, the second list of an authority was not looked at: who was on it got in.
#[test]
fn all_lists_of_an_authority_count() {
    let root = Authority::root("root");
    let lists = [list(&root, &[5]), list(&root, &[]), list(&root, &[6, 9])];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let lists = order.map(|nth: usize| lists[nth].clone());
        for (number, said) in [(5, Err(Problem::Revoked)), (6, Err(Problem::Revoked)), (7, Ok(()))] {
            assert_eq!(check(root.bundle(&lists), &numbered(&root, number)), said, "{number} of {order:?}");
        }
    }
}

/// Once, it had everybody refused as malformed.
#[test]
fn a_list_by_another_key_of_the_same_name_takes_nothing_back() {
    let (root, other) = (Authority::root("root"), Authority::root("root"));
    let forged = list(&other, &[5, 6]);
    let lists = [forged.clone(), list(&root, &[6])];
    assert_eq!(check(root.bundle(&lists), &numbered(&root, 5)), Ok(()));
    assert_eq!(check(root.bundle(&lists), &numbered(&root, 6)), Err(Problem::Revoked));
    assert_eq!(check(root.bundle(&lists), &numbered(&root, 7)), Ok(()));
    let bundle = root.bundle(&lists);
    let forged = ForeignList::Forged("CN=root".to_owned());
    assert_eq!((bundle.forged_list(&[]), bundle.check_lists(&[])), (Some(forged.clone()), Err(forged)));
    // Both are believed, and each takes back its own.
    let roots = [root.certificate.clone(), other.certificate.clone()];
    let both = Arc::new(TrustBundle::new(DOMAIN.parse().unwrap(), &roots, &lists).unwrap());
    assert_eq!((both.forged_list(&[]), both.check_lists(&[])), (None, Ok(())));
    assert_eq!(check(both.clone(), &numbered(&root, 5)), Ok(()));
    assert_eq!(check(both, &numbered(&other, 5)), Err(Problem::Revoked));
}

/// Whoever could sign certificates may take them back: refusing everybody for want of a bit would help nobody.
#[test]
fn an_authority_that_may_sign_no_lists_takes_back_all_the_same() {
    let root = Authority::root("root");
    let key = KeyPair::generate().unwrap();
    let same = KeyPair::try_from(key.serialize_der()).unwrap();
    let middle =
        root.below_with("middle", key, |params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    let lists = [list(&root.below_with("middle", same, |_| {}), &[5])];
    assert_eq!(check(root.bundle(&lists), &numbered(&middle, 5).under(&middle)), Err(Problem::Revoked));
    assert_eq!(check(root.bundle(&lists), &numbered(&middle, 6).under(&middle)), Ok(()));
}

#[test]
fn the_list_of_an_intermediate_is_known_by_its_certificate() {
    let root = Authority::root("root");
    let (middle, stranger) = (root.below("middle", |_| {}), Authority::root("stranger"));
    let (lower, unsigned) = (middle.below("lower", |_| {}), stranger.below("lower", |_| {}));
    let said = |authority: &Authority, below: &[CertificateDer<'_>]| {
        root.bundle(&[list(authority, &[5])]).check_lists(below)
    };
    let unknown = |name: &str| Err(ForeignList::Stranger(format!("CN={name}")));
    let (middles, lowers) = (middle.certificate.clone(), lower.certificate.clone());
    assert_eq!(said(&root, &[]), Ok(()));
    assert_eq!(said(&middle, &[]), unknown("middle"));
    assert_eq!(said(&middle, std::slice::from_ref(&middles)), Ok(()));
    // In either order, and only all of them.
    assert_eq!(said(&lower, &[lowers.clone(), middles.clone()]), Ok(()));
    assert_eq!(said(&lower, &[middles.clone(), lowers.clone()]), Ok(()));
    assert_eq!(said(&lower, &[lowers]), unknown("lower"));
    assert_eq!(said(&stranger, std::slice::from_ref(&stranger.certificate)), unknown("stranger"));
    assert_eq!(said(&unsigned, &[middles.clone(), unsigned.certificate.clone()]), unknown("lower"));
    // A leaf signs no lists, whoever vouches for it.
    let leaf = root.leaf(&id("cart"), |_| {});
    let posing = Authority { certificate: leaf.chain[0].clone(), ..Authority::root("cart") };
    assert_eq!(said(&posing, &[leaf.chain[0].clone()]), unknown("cart"));
    // Its own sidecars see it by their chains.
    let forged = root.bundle(&[list(&root.below("middle", |_| {}), &[5])]);
    assert_eq!(forged.forged_list(&[]), None);
    assert_eq!(forged.forged_list(&[middles]), Some(ForeignList::Forged("CN=middle".to_owned())));
}

#[test]
fn what_is_no_whole_list_is_refused() {
    let root = Authority::root("root");
    let whole = list(&root, &[5]);
    let roots = std::slice::from_ref(&root.certificate);
    let refused = |der: &[u8]| {
        let lists = [CertificateRevocationListDer::from(der.to_vec())];
        TrustBundle::new(DOMAIN.parse().unwrap(), roots, &lists).err()
    };
    assert_eq!(refused(&whole), None);
    for end in [0, 1, whole.len() / 2, whole.len() - 1] {
        assert_eq!(refused(&whole[..end]), Some(Problem::Malformed), "{end} bytes");
    }
    assert_eq!(refused(&root.certificate), Some(Problem::Malformed));
    assert_eq!(refused(&[&whole[..], b"more"].concat()), Some(Problem::Malformed));
}
