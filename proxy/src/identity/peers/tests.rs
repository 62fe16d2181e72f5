use rcgen::{CertificateParams, KeyPair, SanType};

use super::*;

/// When the certificates here end: 2030.
const END_UNIX: i64 = 1_893_456_000;

fn shown(service: &str) -> Vec<CertificateDer<'static>> {
    let mut params = CertificateParams::default();
    let id = format!("spiffe://mesh.test/ns/default/svc/{service}");
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    vec![params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()]
}

#[test]
fn connections_with_the_same_certificates_share_a_peer_and_the_last_takes_it_along() {
    let (peers, shop, front) = (Peers::default(), shown("shop"), shown("front"));
    let (one, again, other) =
        (peers.enter(&shop).unwrap(), peers.enter(&shop).unwrap(), peers.enter(&front).unwrap());
    assert!(Arc::ptr_eq(&one, &again) && !Arc::ptr_eq(&one, &other));
    assert_eq!(one.identity.as_str(), "spiffe://mesh.test/ns/default/svc/shop");
    drop((one, again));
    assert_eq!(peers.due(true, 0).len(), 1);
    assert_eq!(peers.lock().len(), 1);
}

#[test]
fn all_are_looked_at_or_those_alone_that_have_ended() {
    let (peers, shop) = (Peers::default(), shown("shop"));
    let _shop = peers.enter(&shop).unwrap();
    for (all, now_unix, due) in
        [(true, 0, 1), (false, END_UNIX - 1, 0), (false, END_UNIX, 0), (false, END_UNIX + 1, 1)]
    {
        assert_eq!(peers.due(all, now_unix).len(), due, "{all} {now_unix}");
    }
}

#[test]
fn who_was_refused_stays_so_and_whoever_comes_after_that_is_new() {
    let (peers, shop, front) = (Peers::default(), shown("shop"), shown("front"));
    let (refused, other) = (peers.enter(&shop).unwrap(), peers.enter(&front).unwrap());
    let judge = |peer: &Peer| (*peer.identity == *refused.identity).then_some(Problem::NoTrust);
    assert!(Peers::judge(&peers.due(true, 0), judge));
    assert_eq!((refused.refused(), other.refused()), (Some(Problem::NoTrust), None));
    assert!(!Peers::judge(&peers.due(true, 0), judge), "it is not judged twice");
    let new = peers.enter(&shop).unwrap();
    assert_eq!((refused.refused(), new.refused()), (Some(Problem::NoTrust), None));
}
