//! Peers that are believed no more: what becomes of the connections that are open with them.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it set it up")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use http::{Method, Version};
use outrigger_integration_tests::app::App;
use outrigger_integration_tests::client::{self, Connection};
use outrigger_integration_tests::load::{Load, Plan, Report};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::pki::{Authority, mesh_of};
use outrigger_integration_tests::{Mesh, Proxy, eventually, port, within};
use rcgen::{CertificateParams, SerialNumber};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::config::{all, service, service_of};
use crate::retries::count;

const DEADLINE: Duration = Duration::from_secs(40);
/// The number of the certificate that is taken back.
const NUMBER: u64 = 4711;
/// So long a certificate lasts that is to end.
const SOON: Duration = Duration::from_secs(20);
const RATE: u32 = 50;

/// Two callers, a shop and a front, of a cart that speaks HTTP and a database that does not, all with sidecars.
struct Site {
    authority: Authority,
    mesh: Mesh,
    cart: Proxy,
    db: Proxy,
    shop: Proxy,
    front: Proxy,
    /// Where the applications of the shop and the front find the database.
    forwards: [SocketAddr; 2],
    _app: App,
}

impl Site {
    /// One where the certificate of `changed` is another than it would be.
    async fn new(changed: &str, change: fn(&mut CertificateParams)) -> Self {
        let (authority, mesh, app) = (Authority::new(), Mesh::new(), App::start("cart").await);
        let inbound = [port::free(), port::free()];
        mesh.publish(&resources(authority.mesh("Strict"), inbound));
        let beside = |service: &str| {
            let change = if service == changed { change } else { |_: &mut CertificateParams| {} };
            Sidecar::beside(service).proving(&authority.identify_after(mesh.folder(), service, change))
        };
        let cart = beside("cart").inbound_to(app.addr);
        let cart = Proxy::start_inbound(&mesh, cart, inbound[0]).await;
        let db = Proxy::start_inbound(&mesh, beside("db").inbound_to(echo().await), inbound[1]).await;
        let forwards = [port::free(), port::free()];
        let caller = async |service: &str, forward: SocketAddr| {
            let caller = beside(service).with(&["--forward", &format!("{forward}=db:80")]);
            Proxy::start(&mesh, caller).await
        };
        let (shop, front) = (caller("shop", forwards[0]).await, caller("front", forwards[1]).await);
        for proxy in [&cart, &db, &shop, &front] {
            proxy.ready().await;
        }
        Self { authority, mesh, cart, db, shop, front, forwards, _app: app }
    }

    fn publish(&self, mesh: String) {
        self.mesh.publish(&resources(mesh, [&self.cart, &self.db].map(|proxy| proxy.inbound.unwrap())));
    }

    /// Takes back the certificate that has the number.
    fn revoke(&self) {
        let believed = self.authority.mesh("Strict");
        self.publish(format!("{}\n{}", believed.trim_end(), self.authority.revocations(NUMBER)));
    }
}

fn resources(mesh: String, [cart, db]: [SocketAddr; 2]) -> String {
    let services = [service("shop", &[]), service("front", &[]), service("cart", &[cart])];
    let services = services.into_iter().chain([service_of("db", "TCP", &[db]), mesh]);
    all(&services.collect::<Vec<_>>())
}

/// An application that gives back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

fn numbered(params: &mut CertificateParams) {
    params.serial_number = Some(SerialNumber::from(NUMBER));
}

fn ending(params: &mut CertificateParams) {
    params.not_after = (SystemTime::now() + SOON).into();
}

async fn connect(to: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    assert!(echoes(&mut stream).await);
    stream
}

async fn echoes(stream: &mut TcpStream) -> bool {
    stream.write_all(b"x").await.is_ok() && stream.read_u8().await.is_ok_and(|byte| byte == b'x')
}

/// Waits until it is over, though nobody says anything.
async fn ends(stream: &mut TcpStream) {
    let read = within(DEADLINE, "the end of the connection", stream.read(&mut [0])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

async fn ended(proxy: &Proxy, direction: &str, reason: &str) -> u64 {
    let labels = [format!("direction=\"{direction}\""), format!("reason=\"{reason}\"")];
    count(proxy, &["outrigger_peer_connections_ended_total", &labels[0], &labels[1]]).await
}

async fn ended_once(proxy: &Proxy, direction: &str, reason: &str) {
    let what = format!("a connection of {direction} ends for {reason}");
    eventually(DEADLINE, &what, async || (ended(proxy, direction, reason).await >= 1).then_some(())).await;
}

async fn goes_on(load: &Load) {
    let before = load.sent();
    let enough = u64::from(RATE) * 2;
    eventually(DEADLINE, "calls go on", async || (load.sent() > before + enough).then_some(())).await;
}

#[track_caller]
fn assert_whole(report: &Report) {
    assert!(report.sent > 50, "{} requests", report.sent);
    assert!(report.failed.is_empty(), "{:?}", report.reasons());
}

fn upgrade() -> http::Request<client::Body> {
    let mut request = client::request(Method::GET, "cart", "/upgrade", "");
    request.headers_mut().insert("connection", "upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "echo".parse().unwrap());
    request
}

/// Who was taken back goes on over nothing that is open, and others notice nothing.
#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_caller_that_was_taken_back_end_and_no_others() {
    let site = Site::new("shop", numbered).await;
    let (mut of_shop, mut of_front) = (connect(site.forwards[0]).await, connect(site.forwards[1]).await);
    let load = Load::start(Plan::new(site.front.outbound, "cart", RATE));
    let mut connection = Connection::open(site.shop.outbound, Version::HTTP_11).await.unwrap();
    let switched = connection.begin(upgrade()).await.unwrap();
    let mut upgraded = hyper_util::rt::TokioIo::new(hyper::upgrade::on(switched).await.unwrap());
    let answer = client::fetch(site.shop.outbound, "cart", "/").await.unwrap();
    assert_eq!(answer.status, http::StatusCode::OK);
    // These are under way when the certificate is taken back: one that is over in a moment, one that is not.
    let slow = tokio::spawn(client::send(
        site.shop.outbound,
        client::request(Method::GET, "cart", "/slow/3000", ""),
    ));
    let endless = tokio::spawn(client::send(
        site.shop.outbound,
        client::request(Method::GET, "cart", "/drip/1000000", ""),
    ));
    eventually(DEADLINE, "all calls are under way", async || {
        (count(&site.shop, &["http_client_active_requests", "cart"]).await >= 3).then_some(())
    })
    .await;

    site.revoke();
    ends(&mut of_shop).await;
    let read = within(DEADLINE, "the end of what was switched to", upgraded.read(&mut [0])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    let slow = within(DEADLINE, "an answer", slow).await.unwrap().expect("what was under way goes on");
    assert_eq!(slow.status, http::StatusCode::OK);
    let endless = within(DEADLINE, "the end of what would not end", endless).await.unwrap();
    assert!(endless.is_err(), "{endless:?}");
    let answer = client::fetch(site.shop.outbound, "cart", "/").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.reason()), (503, "upstream_tls_refused"));
    for proxy in [&site.cart, &site.db] {
        assert!(ended(proxy, "inbound", "revoked").await >= 1);
        let log = proxy.process.log();
        let told = log.lines().find(|line| line.contains("an open connection with it is ended"));
        let told = told.unwrap_or_else(|| panic!("it is told: {log}"));
        for said in ["revoked", "svc/shop\"", "proved=true", "serial=\"12:67\"", "peer=127.0.0.1"] {
            assert!(told.contains(said), "{said}: {told}");
        }
        assert!(!log.contains("svc/front"), "{log}");
    }
    let parted = ["outrigger_connections_total", "direction=\"inbound\"", "end=\"parted\""];
    assert_eq!(count(&site.db, &parted).await, 1);

    assert!(echoes(&mut of_front).await, "others go on");
    goes_on(&load).await;
    assert_whole(&load.stop().await);
    let opened = count(&site.front, &["outrigger_tls_handshakes_total", "result=\"ok\""]).await;
    assert_eq!(opened, 2, "one for requests and one for the database, both from before");
}

/// Whoever is called by nobody any more: connections that callers keep open are not used again.
#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_service_that_was_taken_back_are_retired() {
    let site = Site::new("cart", numbered).await;
    let mut of_shop = connect(site.forwards[0]).await;
    let slow = client::request(Method::GET, "cart", "/slow/2000", "");
    let slow = tokio::spawn(client::send(site.shop.outbound, slow));
    eventually(DEADLINE, "the call is under way", async || {
        (count(&site.cart, &["http_server_active_requests", "cart"]).await >= 1).then_some(())
    })
    .await;
    site.revoke();
    ended_once(&site.shop, "outbound", "revoked").await;
    let answer = client::fetch(site.shop.outbound, "cart", "/").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.reason()), (503, "upstream_certificate_revoked"));
    assert_eq!(slow.await.unwrap().expect("what was under way goes on").status, http::StatusCode::OK);
    eventually(DEADLINE, "the connection is closed", async || {
        (count(&site.cart, &["outrigger_downstream_connections{", "direction=\"inbound\""]).await == 0)
            .then_some(())
    })
    .await;
    assert!(echoes(&mut of_shop).await, "the database is as good as before");
}

/// The end of a certificate that was renewed in time costs connections that are not looked into, and no request.
#[tokio::test(flavor = "multi_thread")]
async fn connections_end_with_the_certificate_that_they_began_with() {
    let site = Site::new("shop", ending).await;
    let mut of_shop = connect(site.forwards[0]).await;
    let load = Load::start(Plan::new(site.shop.outbound, "cart", RATE));
    goes_on(&load).await;
    site.authority.identify(site.mesh.folder(), "shop");
    eventually(DEADLINE, "the new certificate is in force", async || {
        (count(&site.shop, &["outrigger_certificate_renewals_total"]).await >= 2).then_some(())
    })
    .await;
    assert!(echoes(&mut of_shop).await, "it is not over yet");
    ends(&mut of_shop).await;
    for proxy in [&site.cart, &site.db] {
        ended_once(proxy, "inbound", "expired").await;
    }
    goes_on(&load).await;
    assert_whole(&load.stop().await);
    connect(site.forwards[0]).await;
}

/// An authority that is believed no more takes with it what it has vouched for.
#[tokio::test(flavor = "multi_thread")]
async fn connections_end_with_the_authority_that_they_began_with() {
    let site = Site::new("", |_| {}).await;
    let mut of_shop = connect(site.forwards[0]).await;
    let load = Load::start(Plan::new(site.shop.outbound, "cart", RATE));
    let next = Authority::new();
    let all = [&site.cart, &site.db, &site.shop, &site.front];
    site.publish(mesh_of(&[&site.authority, &next], "Strict"));
    for proxy in all {
        let roots = ["outrigger_certificate_expiry_timestamp_seconds", "role=\"root\""];
        eventually(DEADLINE, "both are believed", async || {
            let page = client::page(proxy.metrics, "/metrics").await.ok()?.text();
            let found = page.lines().filter(|line| roots.iter().all(|part| line.contains(part)));
            (found.count() == 2).then_some(())
        })
        .await;
    }
    let folder: &Path = site.mesh.folder();
    for name in ["cart", "db", "shop", "front"] {
        next.identify(folder, name);
    }
    for proxy in all {
        eventually(DEADLINE, "the new certificate is in force", async || {
            (count(proxy, &["outrigger_certificate_renewals_total"]).await >= 2).then_some(())
        })
        .await;
    }
    assert!(echoes(&mut of_shop).await, "both are believed");
    assert_eq!(ended(&site.db, "inbound", "unknown_issuer").await, 0);
    site.publish(mesh_of(&[&next], "Strict"));
    ends(&mut of_shop).await;
    // Whichever sidecar hears of it first ends it.
    let parted = async || {
        let db = ended(&site.db, "inbound", "unknown_issuer").await;
        let shop = ended(&site.shop, "outbound", "unknown_issuer").await;
        (db + shop > 0).then_some(())
    };
    eventually(DEADLINE, "it is counted", parted).await;
    goes_on(&load).await;
    assert_whole(&load.stop().await);
    connect(site.forwards[0]).await;
}
