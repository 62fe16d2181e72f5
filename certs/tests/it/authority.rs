//! The mesh's own authority: whom it vouches for, and for whom it does not.

use std::time::Duration;

use outrigger_certs::authority::{
    Authority, BACKDATED, IssueError, Made, REQUEST_BYTES_MAX, Request, make_root,
};
use outrigger_certs::inspect::Facts;
use outrigger_certs::pem;
use outrigger_certs::problem::Problem;
use outrigger_certs::svid::Svid;
use outrigger_certs::trust::TrustBundle;
use outrigger_certs::verify::Verifier;
use outrigger_snapshot::identity::{SpiffeId, TrustDomain};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls_pki_types::UnixTime;

use crate::made::{DOMAIN, id, now};

const DAY: Duration = Duration::from_secs(86_400);

fn domain() -> TrustDomain {
    DOMAIN.parse().unwrap()
}

fn cart() -> SpiffeId {
    id("cart").parse().unwrap()
}

fn load(made: &Made) -> Authority {
    Authority::load(made.certificate.as_bytes(), made.key.as_bytes(), "it", now()).unwrap()
}

/// A root and an intermediate of it.
fn authorities() -> (Made, Authority) {
    let root = make_root(&domain(), 3_650 * DAY, now()).unwrap();
    let intermediate = load(&root).make_intermediate(&domain(), 365 * DAY, now()).unwrap();
    (root, load(&intermediate))
}

/// Whether `chain` is believed by who believes the root, and as whom.
fn believed(root: &Made, chain: &str, at: UnixTime) -> Result<String, Problem> {
    let roots = pem::roots(root.certificate.as_bytes(), "the root").unwrap();
    let bundle = TrustBundle::new(domain(), &roots, &[]).unwrap();
    let chain = pem::chain(chain.as_bytes(), "it").unwrap();
    Verifier::new(bundle.into()).verify(&chain[0], &chain[1..], at).map(|id| id.to_string())
}

fn request(names: Vec<SanType>) -> (String, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    (params.serialize_request(&key).unwrap().pem().unwrap(), key)
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

#[test]
fn what_it_makes_is_believed_for_as_long_as_was_asked() {
    let (root, authority) = authorities();
    let made = authority.make(&cart(), DAY, now()).unwrap();
    assert_eq!(believed(&root, &made.certificate, now()), Ok(id("cart")));
    let at = |seconds: i64| {
        let since = now().as_secs().checked_add_signed(seconds).unwrap();
        believed(&root, &made.certificate, UnixTime::since_unix_epoch(Duration::from_secs(since)))
    };
    let (day, backdated) = (DAY.as_secs() as i64, BACKDATED.as_secs() as i64);
    assert_eq!((at(day - 1), at(1 - backdated)), (Ok(id("cart")), Ok(id("cart"))));
    assert_eq!((at(day + 1), at(-backdated - 1)), (Err(Problem::Expired), Err(Problem::NotYetValid)));
    let chain = pem::chain(made.certificate.as_bytes(), "it").unwrap();
    assert_eq!(chain.len(), 2, "the root is shown to nobody");
    let key = pem::key(made.key.as_bytes(), "it").unwrap();
    assert_eq!(*Svid::new(chain, &key, now()).unwrap().id(), cart());
    assert!(!format!("{made:?}").contains("PRIVATE"));
}

/// Compiles for what is wiped when it is dropped.
fn is_wiped(_: &impl zeroize::ZeroizeOnDrop) {}

/// Neither keys nor what is made of them.
#[test]
fn secrets_are_not_printed() {
    let (root, authority) = authorities();
    let made = authority.make(&cart(), DAY, now()).unwrap();
    let new = outrigger_certs::request::NewKey::generate().unwrap();
    let web = outrigger_certs::web::Pair::new(
        pem::chain(made.certificate.as_bytes(), "it").unwrap(),
        &pem::key(made.key.as_bytes(), "it").unwrap(),
        None,
        now(),
    );
    let printed = format!("{root:?} {authority:?} {made:?} {new:?} {:?}", web.unwrap());
    assert!(!printed.contains("PRIVATE"), "{printed}");
    for pem in [&root.key, &made.key, &new.pem()] {
        let der = pem::key(pem.as_bytes(), "it").unwrap();
        is_wiped(pem);
        is_wiped(&der);
        let bytes = der.secret_der();
        let middle = &bytes[bytes.len() / 2..bytes.len() / 2 + 8];
        let body = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, middle);
        for secret in [format!("{middle:?}").trim_matches(['[', ']']).to_owned(), body] {
            assert!(!printed.contains(&secret), "{printed}");
        }
    }
}

#[test]
fn the_key_of_a_request_gets_the_identity_that_its_sender_proved() {
    let (root, authority) = authorities();
    for names in [vec![], vec![uri(&id("cart"))]] {
        let (request, key) = request(names);
        let chain = authority.sign(&Request::read(&request).unwrap(), &cart(), DAY, now()).unwrap();
        assert_eq!(believed(&root, &chain, now()), Ok(id("cart")));
        let private = pem::key(key.serialize_pem().as_bytes(), "it").unwrap();
        assert!(Svid::new(pem::chain(chain.as_bytes(), "it").unwrap(), &private, now()).is_ok());
    }
}

#[test]
fn a_request_for_anything_else_is_refused() {
    let (_, authority) = authorities();
    for name in [
        uri(&id("front")),
        uri("spiffe://other.test/ns/shop/svc/cart"),
        SanType::DnsName("cart".try_into().unwrap()),
    ] {
        let (request, _) = request(vec![uri(&id("cart")), name]);
        let refused = authority.sign(&Request::read(&request).unwrap(), &cart(), DAY, now());
        assert!(matches!(refused, Err(IssueError::OtherIdentity { .. })), "{refused:?}");
    }
    let (right, _) = request(vec![]);
    // The last byte of the signature, which proves that the sender has the key.
    let body: String = right.lines().filter(|line| !line.starts_with('-')).collect();
    let mut der = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, body).unwrap();
    *der.last_mut().unwrap() ^= 1;
    let forged = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der);
    let forged =
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{forged}\n-----END CERTIFICATE REQUEST-----\n");
    let long = format!("{right}{}", " ".repeat(REQUEST_BYTES_MAX));
    for wrong in ["", "nonsense", &right[..right.len() / 2], &forged, &long] {
        let refused = Request::read(wrong);
        assert!(matches!(refused, Err(IssueError::Request)), "{refused:?}");
    }
}

#[test]
fn nothing_outlives_its_authority_and_nobody_but_authorities_vouch() {
    let (root, authority) = authorities();
    let made = authority.make(&cart(), 3_650 * DAY, now()).unwrap();
    let facts = Facts::of(&pem::chain(made.certificate.as_bytes(), "it").unwrap()[0]);
    assert_eq!(facts.unwrap().not_after_unix, authority.facts().not_after_unix);

    let leaf = authority.make(&cart(), DAY, now()).unwrap();
    let loaded = |certificate: &str, key: &str, at| {
        Authority::load(certificate.as_bytes(), key.as_bytes(), "it", at).map(|_| ())
    };
    assert!(matches!(loaded(&leaf.certificate, &leaf.key, now()), Err(IssueError::NoAuthority)));
    assert!(matches!(
        loaded(&root.certificate, &leaf.key, now()),
        Err(IssueError::Authority(Problem::KeyMismatch))
    ));
    let later = UnixTime::since_unix_epoch(Duration::from_secs(now().as_secs()) + 4_000 * DAY);
    assert!(matches!(
        loaded(&root.certificate, &root.key, later),
        Err(IssueError::Authority(Problem::Expired))
    ));

    let ended = Authority::read(root.certificate.as_bytes(), root.key.as_bytes(), "it").unwrap();
    assert_eq!(ended.check_time(later), Err(Problem::Expired));
    let made = ended.make(&cart(), DAY, later);
    assert!(matches!(made, Err(IssueError::Authority(Problem::Expired))), "{made:?}");
    let at = ended.nearest(later);
    assert!(ended.make(&cart(), DAY, at).is_ok() && at < later);
    assert_eq!(ended.nearest(now()), now());

    // An intermediate may not make another.
    let below = authority.make_intermediate(&domain(), DAY, now()).unwrap();
    let pair = load(&below).make(&cart(), DAY, now()).unwrap();
    assert_eq!(believed(&root, &pair.certificate, now()), Err(Problem::ChainTooDeep));
}

#[test]
fn what_an_authority_takes_back_is_known_by_its_certificate() {
    let (root, authority) = authorities();
    let made = authority.make(&cart(), DAY, now()).unwrap();
    let chain = pem::chain(made.certificate.as_bytes(), "it").unwrap();
    let serial = Facts::of(&chain[0]).unwrap().serial;
    let number: Vec<u8> = serial.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let text = authority.take_back(&[vec![7], number], now()).unwrap();
    let roots = pem::roots(root.certificate.as_bytes(), "it").unwrap();
    let lists = pem::revocations(text.as_bytes(), "it").unwrap();
    let bundle = TrustBundle::new(domain(), &roots, &lists).unwrap();
    assert_eq!(bundle.check_lists(&pem::authorities(text.as_bytes(), "it").unwrap()), Ok(()));
    let verified = Verifier::new(bundle.into()).verify(&chain[0], &chain[1..], now());
    assert_eq!(verified, Err(Problem::Revoked));
}

#[test]
fn a_key_that_only_a_pass_phrase_opens_is_called_encrypted() {
    for key in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN EC PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\nDEK-Info: AES-256-CBC,00\r\n\r\nAAAA\r\n-----END EC PRIVATE KEY-----\r\n",
    ] {
        let error = pem::key(key.as_bytes(), "tls.key").unwrap_err();
        assert_eq!(error.code(), "encrypted");
        assert!(error.to_string().starts_with("tls.key is encrypted"), "{error}");
    }
}
