//! Handshakes between two sidecars, one of which may be anything but that.

use std::sync::Arc;

use outrigger_certs::mesh::{Mesh, Spoken};
use outrigger_certs::problem::Problem;
use outrigger_certs::trust::TrustBundle;
use outrigger_certs::verify::Verifier;
use rcgen::{
    BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, SanType,
    date_time_ymd,
};
use rustls::client::Resumption;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, Error, HandshakeKind, NamedGroup, ServerConnection};
use rustls_pki_types::{CertificateDer, ServerName};

use crate::made::{Authority, DOMAIN, Pair, id, leaf_params, now, sha1};

const CART: &str = "p80.cart.shop.mesh.test";

/// Moves bytes between both sides until nothing moves; the errors of client and server.
pub(crate) fn shake(
    client: &mut ClientConnection,
    server: &mut ServerConnection,
) -> (Option<Error>, Option<Error>) {
    let (mut client_error, mut server_error) = (None, None);
    for _ in 0..10 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() && server_error.is_none() {
            server.read_tls(&mut rest).unwrap();
            server_error = server.process_new_packets().err();
        }
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() && client_error.is_none() {
            client.read_tls(&mut rest).unwrap();
            client_error = client.process_new_packets().err();
        }
    }
    (client_error, server_error)
}

fn connect(client: &Arc<ClientConfig>, name: &str, server: &Mesh) -> (ClientConnection, ServerConnection) {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let client = ClientConnection::new(client.clone(), name).unwrap();
    (client, ServerConnection::new(server.server().clone()).unwrap())
}

/// What each side finds wrong with the other. The clock of these handshakes is the real one.
fn problems(client: &Mesh, name: &str, server: &Mesh) -> (Option<Problem>, Option<Problem>) {
    let (mut client, mut server) = connect(client.client(Spoken::Http2), name, server);
    let (client, server) = shake(&mut client, &mut server);
    (client.as_ref().and_then(Problem::of), server.as_ref().and_then(Problem::of))
}

/// A leaf whose time is now: TLS looks at the clock itself.
fn today(authority: &Authority, service: &str) -> Pair {
    authority.leaf(&id(service), |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
    })
}

fn today_root(name: &str) -> Authority {
    Authority::root_between(name, date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1))
}

#[test]
fn sidecars_prove_themselves_to_each_other() {
    let root = today_root("root");
    let (front, cart) =
        (today(&root, "front").mesh(&root.bundle(&[])), today(&root, "cart").mesh(&root.bundle(&[])));
    for spoken in Spoken::ALL {
        let (mut client, mut server) = connect(front.client(spoken), CART, &cart);
        assert_eq!(shake(&mut client, &mut server), (None, None));
        assert_eq!(server.alpn_protocol().and_then(Spoken::of), Some(spoken));
        assert_eq!(server.server_name(), Some(CART));
        let shown = server.peer_certificates().unwrap();
        assert_eq!(outrigger_certs::svid::identity(&shown[0]).unwrap().as_str(), id("front"));
        let group = client.negotiated_key_exchange_group().unwrap();
        assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    }
}

#[test]
fn whoever_answers_must_be_who_was_called() {
    let root = today_root("root");
    let bundle = root.bundle(&[]);
    let (front, cart) = (today(&root, "front").mesh(&bundle), today(&root, "cart").mesh(&bundle));
    for name in
        ["p80.front.shop.mesh.test", "p80.cart.other.mesh.test", "cart.shop", "p80.cart.shop.other.test"]
    {
        let (found, _) = problems(&front, name, &cart);
        assert_eq!(found, Some(Problem::WrongName), "{name}");
    }
}

#[test]
fn a_caller_without_certificate_is_refused() {
    let root = today_root("root");
    let cart = today(&root, "cart").mesh(&root.bundle(&[]));
    let mut nameless = ClientConfig::clone(cart.client(Spoken::Http2));
    nameless.client_auth_cert_resolver = Arc::new(NoCertificate);
    let (mut client, mut server) = connect(&Arc::new(nameless), CART, &cart);
    let (_, refused) = shake(&mut client, &mut server);
    assert_eq!(refused.as_ref().and_then(Problem::of), Some(Problem::Missing));
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// A resumed session would be believed by a server whose new bundle no longer trusts the caller.
#[test]
fn nothing_is_resumed_so_that_new_roots_count_at_once() {
    let (old, new) = (today_root("old"), today_root("new"));
    let cart = today(&new, "cart");
    let both = [old.certificate.clone(), new.certificate.clone()];
    let both = Arc::new(TrustBundle::new(DOMAIN.parse().unwrap(), &both, &[]).unwrap());
    let (before, after) = (cart.mesh(&both), cart.mesh(&new.bundle(&[])));
    // A caller that would resume if it could.
    let mut eager = ClientConfig::clone(today(&old, "front").mesh(&both).client(Spoken::Http2));
    eager.resumption = Resumption::in_memory_sessions(16);
    let eager = Arc::new(eager);
    for _ in 0..3 {
        let (mut client, mut server) = connect(&eager, CART, &before);
        assert_eq!(shake(&mut client, &mut server), (None, None));
        assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
    }
    let (mut client, mut server) = connect(&eager, CART, &after);
    let (_, refused) = shake(&mut client, &mut server);
    assert_eq!(refused.as_ref().and_then(Problem::of), Some(Problem::UnknownIssuer));
}

fn verify(root: &Authority, pair: &Pair) -> Result<(), Problem> {
    Verifier::new(root.bundle(&[])).verify(&pair.chain[0], &pair.chain[1..], now()).map(|_| ())
}

#[test]
fn each_way_to_be_wrong_has_its_own_reason() {
    let (root, stranger) = (Authority::root("root"), Authority::root("stranger"));
    let cart = id("cart");
    let leaf = |change: &dyn Fn(&mut rcgen::CertificateParams)| root.leaf(&cart, |params| change(params));
    let selfmade = || {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf_params(&cart);
        params.distinguished_name.push(rcgen::DnType::CommonName, "cart");
        Pair { chain: vec![params.self_signed(&key).unwrap().der().clone()], key }
    };
    let no_sign =
        |params: &mut rcgen::CertificateParams| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    let server_only = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    let authority =
        |params: &mut rcgen::CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let two = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names.push(SanType::URI("https://x".try_into().unwrap()));
    };
    let hostname = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names = vec![SanType::DnsName("cart".try_into().unwrap())];
    };
    let mut damaged = leaf(&|_| {});
    let mut bytes = damaged.chain[0].to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    damaged.chain[0] = CertificateDer::from(bytes);
    let mut cut = leaf(&|_| {});
    cut.chain[0] = CertificateDer::from(cut.chain[0][..200].to_vec());
    for (pair, problem) in [
        (leaf(&|params| params.not_after = date_time_ymd(2030, 1, 1)), Problem::Expired),
        (leaf(&|params| params.not_before = date_time_ymd(2030, 12, 1)), Problem::NotYetValid),
        (root.leaf("spiffe://other.test/ns/shop/svc/cart", |_| {}), Problem::WrongTrustDomain),
        (leaf(&no_sign), Problem::WrongKeyUsage),
        (leaf(&server_only), Problem::WrongKeyUsage),
        (leaf(&authority), Problem::WrongKeyUsage),
        (leaf(&two), Problem::NoIdentity),
        (leaf(&hostname), Problem::NoIdentity),
        (selfmade(), Problem::SelfSigned),
        (stranger.leaf(&cart, |_| {}), Problem::UnknownIssuer),
        (damaged, Problem::BadSignature),
        (cut, Problem::Malformed),
    ] {
        assert_eq!(verify(&root, &pair), Err(problem));
    }
    assert_eq!(verify(&root, &leaf(&|_| {})), Ok(()));
    assert_eq!(TrustBundle::new(DOMAIN.parse().unwrap(), &[], &[]).err(), Some(Problem::NoTrust));
}

#[test]
fn every_certificate_of_a_chain_counts() {
    let root = Authority::root("root");
    let middle = root.below("middle", |_| {});
    assert_eq!(verify(&root, &middle.leaf(&id("cart"), |_| {}).under(&middle)), Ok(()));
    assert_eq!(verify(&root, &middle.leaf(&id("cart"), |_| {})), Err(Problem::UnknownIssuer), "without it");

    let over = root.below("over", |params| params.not_after = date_time_ymd(2030, 1, 1));
    assert_eq!(verify(&root, &over.leaf(&id("cart"), |_| {}).under(&over)), Err(Problem::Expired));

    let last = root.below("last", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let beyond = last.below("beyond", |_| {});
    let pair = beyond.leaf(&id("cart"), |_| {}).under(&beyond).under(&last);
    assert_eq!(verify(&root, &pair), Err(Problem::ChainTooDeep));

    let mut deep: Vec<Authority> = vec![root.below("0", |_| {})];
    for nth in 1..7 {
        deep.push(deep[nth - 1].below(&nth.to_string(), |_| {}));
    }
    let mut pair = deep[6].leaf(&id("cart"), |_| {});
    for authority in deep.iter().rev() {
        pair = pair.under(authority);
    }
    assert_eq!(verify(&root, &pair), Err(Problem::ChainTooDeep));
    assert_eq!(pair.svid(now()).err(), Some(Problem::ChainTooDeep));
}

/// The library looks at the time of what is below a root alone.
#[test]
fn a_root_that_has_ended_vouches_for_nobody_until_it_is_renewed() {
    let (from, ended) = (date_time_ymd(2029, 1, 1), date_time_ymd(2030, 1, 1));
    let root = Authority::root_between("root", from, ended);
    let middle = root.below("middle", |_| {});
    let pair = middle.leaf(&id("cart"), |_| {}).under(&middle);
    assert_eq!(verify(&root, &pair), Err(Problem::Expired));
    let believed = |roots: &[CertificateDer<'_>]| {
        let bundle = TrustBundle::new(DOMAIN.parse().unwrap(), roots, &[]).unwrap();
        Verifier::new(Arc::new(bundle)).verify(&pair.chain[0], &pair.chain[1..], now()).map(|_| ())
    };
    let renewed = root.renewed("root", date_time_ymd(2030, 1, 1), date_time_ymd(2040, 1, 1));
    let later = root.renewed("root", date_time_ymd(2031, 1, 1), date_time_ymd(2040, 1, 1));
    assert_eq!(believed(&[root.certificate.clone(), renewed.clone()]), Ok(()));
    assert_eq!(believed(&[renewed, root.certificate.clone()]), Ok(()));
    assert_eq!(believed(&[root.certificate.clone(), later]), Err(Problem::NotYetValid));
}

#[test]
fn sha1_is_not_believed() {
    let root = Authority::root("root");
    let rsa = root.below_with("rsa", KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(), |_| {});
    let mut pair = rsa.leaf(&id("cart"), |_| {}).under(&rsa);
    assert_eq!(verify(&root, &pair), Ok(()));
    pair.chain[0] = sha1(&pair.chain[0]);
    assert_eq!(verify(&root, &pair), Err(Problem::WeakSignature));
}

/// What cannot prove anything is refused before it is shown to anybody.
#[test]
fn what_is_no_identity_of_our_own_is_refused() {
    let root = Authority::root("root");
    let pair = root.leaf(&id("cart"), |_| {});
    let other = root.leaf(&id("cart"), |_| {});
    let mixed = Pair { chain: pair.chain.clone(), key: other.key };
    assert_eq!(mixed.svid(now()).err(), Some(Problem::KeyMismatch));
    let old = root.leaf(&id("cart"), |params| params.not_after = date_time_ymd(2030, 1, 1));
    assert_eq!(old.svid(now()).err(), Some(Problem::Expired));
    let svid = pair.svid(now()).unwrap();
    assert_eq!((svid.id().as_str(), svid.facts().len()), (id("cart").as_str(), 1));
    assert!(svid.not_before_unix() < svid.not_after_unix());
    let shown = format!("{svid:?} {:?}", pair.mesh(&root.bundle(&[])));
    let secret = pair.key.serialize_der();
    assert!(!shown.contains(&format!("{:?}", &secret[secret.len() - 16..])), "{shown}");
}
