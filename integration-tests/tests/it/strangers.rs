//! Handshakes with whoever is not who it should be: each has a reason of its own in the answer, in metrics and in the log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use outrigger_integration_tests::app::App;
use outrigger_integration_tests::enrol::Anybody;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::pki::{Authority, DOMAIN};
use outrigger_integration_tests::{Mesh, Proxy, client, eventually, port, within};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair,
    KeyUsagePurpose, NameConstraints, SanType, SerialNumber, date_time_ymd,
};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::{self, sign::any_supported_type};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::{all, service};
use crate::retries::count;

const DEADLINE: Duration = Duration::from_secs(20);
/// The number of the certificate that is taken back.
const TAKEN_BACK: u64 = 7;

/// What is wrong, as `docs/ERRORS.md` has it.
const WRONG: [&str; 13] = [
    "expired",
    "not_yet_valid",
    "wrong_trust_domain",
    "wrong_key_usage",
    "self_signed",
    "unknown_issuer",
    "revoked",
    "weak_signature",
    "bad_signature",
    "chain_too_deep",
    "name_constraint",
    "malformed",
    "no_identity",
];

/// The name of the service that is shown what is wrong so.
fn name(word: &str) -> String {
    word.replace('_', "-")
}

fn id(domain: &str, service: &str) -> SanType {
    let id = format!("spiffe://{domain}/ns/default/svc/{service}");
    SanType::URI(id.try_into().expect("the id is ASCII"))
}

fn host(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("the name is ASCII"))
}

fn leaf(service: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![id(DOMAIN, service)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// Those who are believed, and one who is not.
struct Authorities {
    own: Authority,
    /// With a key of RSA, whose signatures can be made to look like SHA-1's.
    rsa: Authority,
    other: Authority,
}

impl Authorities {
    /// A certificate of `service` that is wrong in the way of this word, and its key.
    fn make(&self, word: &str, service: &str) -> Arc<CertifiedKey> {
        let (mut params, key) = (leaf(service), KeyPair::generate().expect("keys can be made"));
        match word {
            "expired" => params.not_after = date_time_ymd(2020, 1, 1),
            "not_yet_valid" => params.not_before = date_time_ymd(4000, 1, 1),
            "wrong_trust_domain" => params.subject_alt_names = vec![id("other.test", service)],
            "wrong_key_usage" => params.key_usages = vec![KeyUsagePurpose::KeyEncipherment],
            "revoked" => params.serial_number = Some(SerialNumber::from(TAKEN_BACK)),
            "no_identity" => params.subject_alt_names = vec![host("cart")],
            "name_constraint" => params.subject_alt_names.push(host("outside.test")),
            _ => {}
        }
        let mut chain = match word {
            "self_signed" => vec![params.self_signed(&key).expect("a key can sign").der().to_vec()],
            "unknown_issuer" => vec![self.other.sign(params, &key)],
            "weak_signature" => vec![sha1(self.rsa.sign(params, &key))],
            "name_constraint" => {
                let mut above = CertificateParams::default();
                above.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                above.name_constraints = Some(NameConstraints {
                    permitted_subtrees: vec![GeneralSubtree::DnsName("inside.test".to_owned())],
                    excluded_subtrees: Vec::new(),
                });
                let above_key = KeyPair::generate().expect("keys can be made");
                let der = self.own.sign(above.clone(), &above_key);
                let issuer = rcgen::Issuer::new(above, above_key);
                vec![params.signed_by(&key, &issuer).expect("a key can sign").der().to_vec(), der]
            }
            _ => vec![self.own.sign(params, &key)],
        };
        match word {
            "bad_signature" => *chain[0].last_mut().expect("it is not empty") ^= 1,
            "malformed" => chain[0].truncate(200),
            "chain_too_deep" => chain.extend(vec![self.own.der().to_vec(); 6]),
            _ => {}
        }
        certified(chain, &key)
    }
}

fn certified(chain: Vec<Vec<u8>>, key: &KeyPair) -> Arc<CertifiedKey> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("the key can be used");
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    Arc::new(CertifiedKey::new(chain, any_supported_type(&key).expect("the key can be used")))
}

/// sha256WithRSAEncryption becomes sha1WithRSAEncryption (RFC 8017 §A.2.4), in the signed part and beside it.
fn sha1(mut der: Vec<u8>) -> Vec<u8> {
    let oid = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
    let places: Vec<usize> = (0..der.len() - oid.len()).filter(|at| der[*at..].starts_with(&oid)).collect();
    assert_eq!(places.len(), 2, "one algorithm, named twice");
    places.iter().for_each(|at| der[at + oid.len() - 1] = 0x05);
    der
}

/// Shows this, whatever is asked for.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Shows what is wrong in the way of the service that is called.
struct ByService(Authorities);

impl std::fmt::Debug for ByService {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ByService")
    }
}

impl ResolvesServerCert for ByService {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let called = hello.server_name()?.split('.').nth(1)?.to_owned();
        let word = called.replace('-', "_");
        Some(match word.as_str() {
            "wrong_name" => self.0.make("", "somebody-else"),
            _ => self.0.make(&word, &called),
        })
    }
}

fn authorities() -> Authorities {
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("keys can be made");
    Authorities { own: Authority::new(), rsa: Authority::with(rsa), other: Authority::new() }
}

/// The Mesh that believes the first two, and has one certificate taken back.
fn mesh_of(authorities: &Authorities) -> String {
    let believed = outrigger_integration_tests::pki::mesh_of(&[&authorities.own, &authorities.rsa], "Strict");
    format!("{}\n{}", believed.trim_end(), authorities.own.revocations(TAKEN_BACK))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_can_be_wrong_with_a_server_is_told_apart() {
    let (authorities, mesh, rogue) =
        (authorities(), Mesh::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let at = rogue.local_addr().unwrap();
    let words = [&WRONG[..], &["wrong_name"]].concat();
    let mut resources = vec![mesh_of(&authorities), service("shop", &[])];
    resources.extend(words.iter().map(|word| service(&name(word), &[at])));
    mesh.publish(&all(&resources));
    let pair = authorities.own.identify(mesh.folder(), "shop");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByService(authorities)));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let served = tokio::spawn(async move {
        while let Ok((stream, _)) = rogue.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { drop(acceptor.accept(stream).await) });
        }
    });
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").proving(&pair)).await;
    shop.ready().await;
    for word in words {
        let request = client::request(Method::POST, &name(word), "/", "");
        let answer = client::send(shop.outbound, request).await.unwrap();
        let reason = format!("upstream_certificate_{word}");
        assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, reason.as_str()));
        let result = format!("result=\"{word}\"");
        let counted = count(&shop, &["outrigger_tls_handshakes_total", "outbound", &result]).await;
        assert!(counted > 0, "{word}");
    }
    let log = shop.process.log();
    let told = log.lines().find(|line| line.contains("WARN") && line.contains("reason=\"expired\"")).unwrap();
    for said in ["direction=outbound", "peer=127.0.0.1", "identity=\"spiffe://", "proved=false", "serial=\""]
    {
        assert!(told.contains(said), "{said}: {told}");
    }
    served.abort();
}

/// A stranger's side of a handshake.
async fn shake(stream: TcpStream, shown: Option<Arc<CertifiedKey>>) -> std::io::Result<TlsStream<TcpStream>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("the library has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let config = match shown {
        Some(shown) => builder.with_client_cert_resolver(Arc::new(Shows(shown))),
        None => builder.with_no_client_auth(),
    };
    let called = ServerName::try_from(format!("p80.cart.default.{DOMAIN}")).expect("it is a DNS name");
    TlsConnector::from(Arc::new(config)).connect(called, stream).await
}

/// The same with the sidecar at `at`, until the sidecar ends it.
async fn knock(at: SocketAddr, shown: Option<Arc<CertifiedKey>>) {
    let stream = TcpStream::connect(at).await.expect("the sidecar listens");
    // In TLS 1.3 the client is done before the server has looked at its certificate.
    if let Ok(mut stream) = shake(stream, shown).await {
        let ended = within(DEADLINE, "the sidecar hangs up", stream.read(&mut [0; 16])).await;
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_can_be_wrong_with_a_caller_is_told_apart() {
    let (authorities, mesh, app) = (authorities(), Mesh::new(), App::start("cart").await);
    let inbound = port::free();
    mesh.publish(&all(&[mesh_of(&authorities), service("cart", &[inbound])]));
    let pair = authorities.own.identify(mesh.folder(), "cart");
    let cart = Sidecar::beside("cart").proving(&pair).inbound_to(app.addr).with(&["--log", "debug"]);
    let cart = Proxy::start_inbound(&mesh, cart, inbound).await;
    cart.ready().await;
    let refused = async |word: &str, times: u64| {
        let result = format!("result=\"{word}\"");
        eventually(DEADLINE, word, async || {
            let counted = count(&cart, &["outrigger_tls_handshakes_total", "inbound", &result]).await;
            (counted == times).then_some(())
        })
        .await;
        let reason = format!("reason=\"{word}\"");
        let log = cart.process.log();
        assert!(
            log.lines().any(|line| line.contains("is refused") && line.contains(&reason)),
            "{word}: {log}"
        );
    };
    for word in WRONG {
        knock(inbound, Some(authorities.make(word, "shop"))).await;
        refused(word, 1).await;
    }
    let log = cart.process.log();
    let told = log.lines().find(|line| line.contains("WARN") && line.contains("reason=\"expired\"")).unwrap();
    let claimed = format!("identity=\"spiffe://{DOMAIN}/ns/default/svc/shop\" proved=false serial=\"");
    assert!(told.contains("direction=inbound") && told.contains("peer=127.0.0.1"), "{told}");
    assert!(told.contains(&claimed), "{told}");
    knock(inbound, None).await;
    refused("missing", 1).await;
    // A certificate that is right, shown by somebody who does not have its key.
    let stolen = authorities.own.sign(leaf("shop"), &KeyPair::generate().unwrap());
    knock(inbound, Some(certified(vec![stolen], &KeyPair::generate().unwrap()))).await;
    refused("bad_signature", 2).await;
    assert_eq!(app.requests(), 0);
    assert_eq!(count(&cart, &["outrigger_tls_handshakes_total", "inbound", "result=\"ok\""]).await, 0);
}

/// What a client sends first, whole; it never answers what comes back.
fn hello() -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("the library has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let called = ServerName::try_from(format!("p80.cart.default.{DOMAIN}")).expect("it is a DNS name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), called).expect("TLS can be set up");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("a Vec takes every write");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_all_places_for_handshakes_does_not_keep_others_out() {
    const STALLED: usize = 800;
    let (authority, mesh, app) = (Authority::new(), Mesh::new(), App::start("cart").await);
    let inbound = port::free();
    mesh.publish(&all(&[authority.mesh("Strict"), service("cart", &[inbound])]));
    let pair = authority.identify(mesh.folder(), "cart");
    let cart =
        Proxy::start_inbound(&mesh, Sidecar::beside("cart").proving(&pair).inbound_to(app.addr), inbound)
            .await;
    cart.ready().await;
    let (key, mut stalled) = (KeyPair::generate().unwrap(), Vec::new());
    for _ in 0..STALLED {
        let mut stream = TcpStream::connect(inbound).await.unwrap();
        stream.write_all(&hello()).await.unwrap();
        stalled.push(stream);
    }
    let shown = certified(vec![authority.sign(leaf("shop"), &key)], &key);
    let from = TcpSocket::new_v4().unwrap();
    from.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = from.connect(inbound).await.unwrap();
    let shaken = within(Duration::from_secs(2), "a handshake from elsewhere", shake(stream, Some(shown)));
    assert!(shaken.await.is_ok());
}

/// Memory that strangers in the middle of a handshake may take, each: keys and buffers of both directions.
const STALLED_KIB: u64 = 64;

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_in_the_middle_of_a_handshake_costs_little_and_not_for_long() {
    const STALLED: usize = 400;
    let (authority, mesh, app) = (Authority::new(), Mesh::new(), App::start("cart").await);
    let inbound = port::free();
    mesh.publish(&all(&[authority.mesh("Strict"), service("cart", &[inbound])]));
    let pair = authority.identify(mesh.folder(), "cart");
    let cart =
        Proxy::start_inbound(&mesh, Sidecar::beside("cart").proving(&pair).inbound_to(app.addr), inbound)
            .await;
    cart.ready().await;
    knock(inbound, None).await;
    let before = cart.process.resident_kib();
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let mut stream = TcpStream::connect(inbound).await.unwrap();
        stream.write_all(&hello()).await.unwrap();
        stalled.push(stream);
    }
    let late = async || count(&cart, &["outrigger_tls_handshakes_total", "result=\"late\""]).await;
    let mut most = 0;
    eventually(DEADLINE * 2, "all of them are cut", async || {
        most = most.max(cart.process.resident_kib());
        (late().await >= STALLED as u64).then_some(())
    })
    .await;
    for stream in &mut stalled {
        let mut answered = Vec::new();
        // A reset is an end too.
        let _ended = within(DEADLINE, "it is cut", stream.read_to_end(&mut answered)).await;
        drop(answered);
    }
    let took = most.saturating_sub(before);
    assert!(took < STALLED as u64 * STALLED_KIB, "{took} KiB for {STALLED}");
}
