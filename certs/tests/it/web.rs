//! Handshakes with those outside the mesh: which certificate is shown, what is agreed on, and what the workload is told.

use std::sync::Arc;

use outrigger_certs::inspect::forwarded;
use outrigger_certs::mesh::Spoken;
use outrigger_certs::problem::Problem;
use outrigger_certs::web::{self, Clients, Pair, Shown, Tickets, Upstream, roots};
use outrigger_snapshot::facts::AltName;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, PKCS_ED25519,
    PKCS_RSA_SHA256, SanType, date_time_ymd,
};
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ServerConnection};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::made::{Authority, sha1};
use crate::peers::shake;

fn authority(name: &str) -> Authority {
    Authority::root_between(name, date_time_ymd(2020, 1, 1), date_time_ymd(4096, 1, 1))
}

fn leaf(authority: &Authority, hosts: &[&str], key: &KeyPair, uri: Option<&str>) -> CertificateDer<'static> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::OrganizationName, "A, \"B\"; C=D");
    params.distinguished_name.push(DnType::CommonName, "someone");
    let uri = uri.map(|uri| SanType::URI(uri.to_owned().try_into().unwrap()));
    params.subject_alt_names.extend(uri);
    params.signed_by(key, &authority.issuer).unwrap().der().clone()
}

fn pair_of(authority: &Authority, hosts: &[&str], key: KeyPair) -> Arc<Pair> {
    let chain = vec![leaf(authority, hosts, &key, None)];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Arc::new(Pair::new(chain, &key, None, UnixTime::now()).unwrap())
}

fn pair(authority: &Authority, hosts: &[&str]) -> Arc<Pair> {
    pair_of(authority, hosts, KeyPair::generate().unwrap())
}

fn believing(authority: &Authority, names: Vec<AltName>, shown: Option<Arc<Shown>>) -> Upstream {
    let roots = roots(std::slice::from_ref(&authority.certificate)).unwrap();
    Upstream::new(roots, names, shown).unwrap()
}

/// What it does for clients that want nothing in particular.
fn served(server: Result<web::Server, rustls::Error>) -> Arc<rustls::ServerConfig> {
    server.unwrap().config(&[]).clone()
}

/// Both sides after a handshake, or what is wrong with it.
fn meet(
    client: &Arc<ClientConfig>,
    name: &str,
    server: &Arc<rustls::ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), Option<Problem>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    match shake(&mut client, &mut server) {
        (None, None) => Ok((client, server)),
        (client, server) => {
            Err(server.as_ref().and_then(Problem::of).or(client.as_ref().and_then(Problem::of)))
        }
    }
}

#[test]
fn the_certificate_that_fits_best_is_shown() {
    let root = authority("root");
    let hosts: [&[&str]; 4] = [&["other.test"], &["*.a.test"], &["b.a.test", "A.test"], &["*.b.a.test"]];
    let pairs: Vec<_> = hosts.iter().map(|hosts| pair(&root, hosts)).collect();
    let server = served(web::server(pairs.clone(), false, None, &Tickets::new().unwrap()));
    let any: Vec<_> = hosts
        .iter()
        .flat_map(|hosts| hosts.iter())
        .map(|host| AltName::Dns(host.replace('*', "x")))
        .collect();
    let client = believing(&root, any, None);
    for (name, shown) in [
        ("b.a.test", 2),
        ("a.test", 2),
        ("c.a.test", 1),
        ("d.b.a.test", 3),
        // One label for each wildcard (RFC 9525 §6.3); what nothing fits is shown the first.
        ("d.c.a.test", 0),
        ("nobody.test", 0),
    ] {
        let (client, _) = meet(client.client(Spoken::Http2), name, &server).unwrap();
        let serial =
            outrigger_certs::inspect::Facts::of(&client.peer_certificates().unwrap()[0]).unwrap().serial;
        assert_eq!(serial, pairs[shown].leaf().serial, "{name}");
    }
}

#[test]
fn the_order_of_suites_is_the_servers_but_for_clients_that_want_chacha20_before_all() {
    use rustls::CipherSuite::{
        TLS13_AES_128_GCM_SHA256 as AES_128, TLS13_AES_256_GCM_SHA384 as AES_256,
        TLS13_CHACHA20_POLY1305_SHA256 as CHACHA20, Unknown,
    };
    let root = authority("root");
    let server = web::server(vec![pair(&root, &["a.test"])], false, None, &Tickets::new().unwrap()).unwrap();
    let mut believed = rustls::RootCertStore::empty();
    believed.add(root.certificate.clone()).unwrap();
    let grease = Unknown(0x3a3a);
    for (offered, chosen) in [
        (vec![AES_256, CHACHA20, AES_128], AES_128),
        (vec![grease, AES_256, AES_128], AES_128),
        (vec![AES_256, CHACHA20], AES_256),
        (vec![CHACHA20, AES_256, AES_128], CHACHA20),
        (vec![grease, CHACHA20, AES_128], CHACHA20),
    ] {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        let known = provider.cipher_suites.clone();
        let suite = |wanted| known.iter().find(|suite| suite.suite() == wanted).copied();
        provider.cipher_suites = offered.iter().filter_map(|wanted| suite(*wanted)).collect();
        let client = ClientConfig::builder_with_provider(Arc::new(provider));
        let client = client.with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(believed.clone()).with_no_client_auth();
        let (_, server) = meet(&Arc::new(client), "a.test", server.config(&offered)).unwrap();
        assert_eq!(server.negotiated_cipher_suite().unwrap().suite(), chosen, "{offered:?}");
    }
}

#[test]
fn a_client_that_cannot_check_one_key_is_shown_another() {
    let root = authority("root");
    let edwards = pair_of(&root, &["a.test"], KeyPair::generate_for(&PKCS_ED25519).unwrap());
    let pairs = vec![edwards, pair(&root, &["other.test"])];
    let server = served(web::server(pairs.clone(), false, None, &Tickets::new().unwrap()));
    let client =
        believing(&root, vec![AltName::Dns("a.test".into()), AltName::Dns("other.test".into())], None);
    let (met, _) = meet(client.client(Spoken::Http1), "a.test", &server).unwrap();
    assert_eq!(met.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
    assert_eq!(met.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (met, _) = meet(client.client(Spoken::Opaque), "a.test", &server).unwrap();
    assert_eq!(met.alpn_protocol(), None);
}

#[test]
fn servers_are_believed_by_name_time_purpose_and_authority() {
    let (root, stranger) = (authority("root"), authority("stranger"));
    let serve = |pair| served(web::server(vec![pair], false, None, &Tickets::new().unwrap()));
    let for_clients = {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.signed_by(&key, &root.issuer).unwrap().der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Arc::new(Pair::new(chain, &key, None, UnixTime::now()).unwrap())
    };
    let right = serve(pair(&root, &["a.test"]));
    let dns = |name: &str| vec![AltName::Dns(name.to_owned())];
    for (server, names, name, wrong) in [
        (&right, vec![], "a.test", None),
        (&right, vec![], "b.test", Some(Problem::WrongName)),
        (&right, dns("a.test"), "b.test", None),
        (&right, dns("b.test"), "a.test", Some(Problem::WrongName)),
        (&right, vec![AltName::Uri("a.test".into())], "a.test", Some(Problem::WrongName)),
        (&serve(pair(&stranger, &["a.test"])), vec![], "a.test", Some(Problem::UnknownIssuer)),
        (&serve(for_clients), vec![], "a.test", Some(Problem::WrongKeyUsage)),
    ] {
        let met = meet(believing(&root, names, None).client(Spoken::Http2), name, server);
        assert_eq!(met.err(), wrong.map(Some), "{name}");
    }
}

#[test]
fn sessions_are_resumed_only_where_nothing_is_asked_of_clients() {
    let root = authority("root");
    let tickets = Tickets::new().unwrap();
    let shown = Arc::new(Shown::default());
    shown.set(Some(&pair(&root, &["client.test"])));
    let client = believing(&root, Vec::new(), Some(shown));
    let mut client = ClientConfig::clone(client.client(Spoken::Http2));
    client.resumption = Resumption::in_memory_sessions(4);
    let client = Arc::new(client);
    let clients = |required| {
        let roots = roots(std::slice::from_ref(&root.certificate)).unwrap();
        Some(Clients { roots, required })
    };
    let kind = |server: &Arc<rustls::ServerConfig>| {
        let (_, server) = meet(&client, "a.test", server).unwrap();
        server.handshake_kind()
    };
    let serve = |clients| served(web::server(vec![pair(&root, &["a.test"])], true, clients, &tickets));
    for asking in [serve(clients(true)), serve(clients(false))] {
        assert_eq!([kind(&asking), kind(&asking)], [Some(HandshakeKind::Full); 2]);
    }
    let open = serve(None);
    assert_eq!([kind(&open), kind(&open)], [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
    // What an open server gave out opens none that asks.
    assert_eq!(kind(&serve(clients(true))), Some(HandshakeKind::Full));
}

#[test]
fn what_a_client_writes_into_its_certificate_cannot_be_taken_for_more() {
    let root = authority("root");
    let key = KeyPair::generate().unwrap();
    let shown = leaf(&root, &["a.test"], &key, Some("spiffe://a.test/b;URI=spiffe://a.test/admin,Hash=0"));
    let text = forwarded(&shown).unwrap();
    let (hash, rest) = text.split_once(';').unwrap();
    assert_eq!(hash.len(), "Hash=".len() + 64);
    assert_eq!(
        rest,
        "Subject=\"O=A\\\\, \\\\\\\"B\\\\\\\"\\\\; C\\\\=D,CN=someone\";URI=\"spiffe://a.test/b\\\\;URI\\\\=spiffe://a.test/admin\\\\,Hash\\\\=0\";DNS=a.test"
    );
}

/// Once, a pair that no client believes took the place of one that all did.
#[test]
fn a_pair_that_clients_would_not_believe_is_worse_than_one_that_they_do() {
    let root = authority("root");
    let good = pair(&root, &["a.test"]);
    let made = |issuer: &Authority, change: &dyn Fn(&mut CertificateParams)| {
        let (mut params, key) =
            (CertificateParams::new(vec!["a.test".to_owned()]).unwrap(), KeyPair::generate().unwrap());
        change(&mut params);
        let chain = vec![params.signed_by(&key, &issuer.issuer).unwrap().der().clone()];
        (chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    };
    let now = UnixTime::now();
    let read = |(chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'_>)| {
        Pair::new(chain, &key, None, now).unwrap()
    };
    let nameless = read(made(&root, &|params| params.subject_alt_names.clear()));
    let posing = read(made(&root, &|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)));
    let rsa = root.below_with("rsa", KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(), |_| {});
    let (mut chain, key) = made(&rsa, &|_| {});
    chain[0] = sha1(&chain[0]);
    let weak = read((chain, key));
    for (worse, problem) in
        [(&nameless, Problem::WrongName), (&posing, Problem::WrongKeyUsage), (&weak, Problem::WeakSignature)]
    {
        assert_eq!(worse.worsens(&good, now), Some(problem));
        assert_eq!(worse.worsens(worse, now), None, "no worse than before");
        assert_eq!(good.worsens(worse, now), None);
        let later = UnixTime::since_unix_epoch(std::time::Duration::from_secs(200_000_000_000));
        assert_eq!(worse.worsens(&good, later), None, "what is over is worth nothing");
    }
    assert_eq!(pair(&root, &["b.test"]).worsens(&good, now), None);
}
