//! Connections inside mutual TLS between two sidecars.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use outrigger_integration_tests::pki::{Authority, Pair};
use tokio::sync::mpsc;

use super::*;

/// A shop whose application connects to a database, both with a sidecar.
struct Site {
    authority: Authority,
    mesh: Mesh,
    shop: Proxy,
    db: Proxy,
    /// Where the application finds the database.
    forward: SocketAddr,
}

/// What is different from a site in order.
#[derive(Default)]
struct Odd<'a> {
    mtls: Option<&'a str>,
    /// What port 80 of the database speaks.
    protocol: Option<&'a str>,
    /// Has no identity.
    anonymous: &'a [&'a str],
    documents: &'a [String],
    /// Of the database's sidecar.
    flags: &'a [&'a str],
}

impl Site {
    async fn new(app: SocketAddr, odd: Odd<'_>) -> Self {
        let (authority, mesh, inbound) = (Authority::new(), Mesh::new(), port::free());
        let mut resources = vec![
            authority.mesh(odd.mtls.unwrap_or("Strict")),
            service("shop", &[]),
            service_of("db", odd.protocol.unwrap_or("TCP"), &[inbound]),
        ];
        resources.extend(odd.documents.iter().cloned());
        mesh.publish(&all(&resources));
        let beside = |service: &str| match odd.anonymous.contains(&service) {
            true => Sidecar::beside(service),
            false => Sidecar::beside(service).proving(&authority.identify(mesh.folder(), service)),
        };
        let db = Proxy::start_inbound(&mesh, beside("db").inbound_to(app).with(odd.flags), inbound).await;
        let forward = port::free();
        let shop = beside("shop").with(&["--forward", &format!("{forward}=db:80")]);
        let shop = Proxy::start(&mesh, shop).await;
        db.ready().await;
        shop.ready().await;
        Self { authority, mesh, shop, db, forward }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.forward).await.unwrap()
    }

    /// Whether a connection to an echo comes about and carries.
    async fn answers(&self) -> bool {
        // A reset may show while it still connects.
        let Ok(mut stream) = TcpStream::connect(self.forward).await else { return false };
        stream.write_all(b"x").await.is_ok() && stream.read_u8().await.is_ok_and(|byte| byte == b'x')
    }

    /// Publishes these beside the mesh and the shop.
    fn publish(&self, documents: &[String]) {
        let fixed = [self.authority.mesh("Strict"), service("shop", &[])];
        self.mesh.publish(&all(&fixed.into_iter().chain(documents.iter().cloned()).collect::<Vec<_>>()));
    }
}

fn inbound_policy(spec: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {{name: db}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: db}}]\n  {spec}"
    )
}

async fn refused(proxy: &Proxy, reason: &str, wanted: u64) {
    let label = format!("reason=\"{reason}\"");
    counts(proxy, "outrigger_connections_refused_total", &[&label], wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_come_through_whole_and_each_end_by_itself() {
    const CHUNKS: usize = 640; // 40 MiB
    let app = Talker::echo().await;
    for (protocol, workers) in [("TCP", "1"), ("TLS", "2")] {
        let odd = Odd { protocol: Some(protocol), flags: &["--workers", workers], ..Odd::default() };
        let site = Site::new(app.addr, odd).await;
        let (read, write) = site.connect().await.into_split();
        let (sent, (length, received)) = tokio::join!(send(write, 3, CHUNKS), receive(read));
        assert_eq!((length, received), (CHUNKS * 65_536, sent), "what came back is what was sent");
        for (proxy, direction) in [(&site.shop, "outbound"), (&site.db, "inbound")] {
            let direction = format!("direction=\"{direction}\"");
            let labels = [&*direction, "cluster=\"default/db:80\""];
            counts(proxy, "outrigger_connections_total", &[labels[0], labels[1], "end=\"done\""], 1).await;
            counts(proxy, "outrigger_tls_handshakes_total", &[labels[0], "result=\"ok\""], 1).await;
            for way in ["way=\"up\"", "way=\"down\""] {
                let bytes = metric(proxy, "outrigger_connection_bytes_total", &[labels[0], way]).await;
                assert_eq!(bytes, (CHUNKS * 65_536) as u64, "{direction} {way}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_speak_first_and_end_first() {
    let (heard, mut hears) = mpsc::unbounded_channel();
    let app = Talker::start(move |mut stream: TcpStream| {
        let heard = heard.clone();
        async move {
            stream.write_all(b"220 ready\r\n").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            heard.send(rest).unwrap();
        }
    })
    .await;
    let site = Site::new(app.addr, Odd::default()).await;
    let mut stream = site.connect().await;
    let mut greeting = String::new();
    within(DEADLINE, "a greeting and its end", stream.read_to_string(&mut greeting)).await.unwrap();
    assert_eq!(greeting, "220 ready\r\n");
    stream.write_all(b"thanks").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(within(DEADLINE, "the rest", hears.recv()).await.unwrap(), "thanks");
}

/// An end that nobody has said would be taken for all there is.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_is_never_taken_for_an_end() {
    let app = Talker::start(async |mut stream: TcpStream| {
        stream.write_all(b"half an answ").await.unwrap();
        if stream.read_u8().await.is_ok() {
            stream.set_zero_linger().unwrap();
        }
    })
    .await;
    let mut site = Site::new(app.addr, Odd::default()).await;
    for dies in ["the application", "its sidecar"] {
        let mut stream = site.connect().await;
        stream.read_exact(&mut [0; 12]).await.unwrap();
        match dies {
            "the application" => stream.write_all(b"!").await.unwrap(),
            _ => site.db.process.kill(),
        }
        let ended = within(DEADLINE, "the break", stream.read_u8()).await.unwrap_err();
        assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset, "{dies}");
    }
    counts(&site.shop, "outrigger_connections_total", &["end=\"broken\""], 2).await;
    let cluster = "cluster=\"default/db:80\"";
    counts(&site.shop, "outrigger_endpoint_failures_total", &[cluster], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_service_takes_nobody_without_identity_and_a_permissive_one_counts_them() {
    let app = Talker::echo().await;
    for (mtls, taken) in [("Strict", false), ("Permissive", true)] {
        let site =
            Site::new(app.addr, Odd { mtls: Some(mtls), anonymous: &["shop"], ..Odd::default() }).await;
        assert_eq!(site.answers().await, taken, "{mtls}");
        counts(&site.db, "outrigger_plaintext_connections_total", &[], 1).await;
        refused(&site.db, "identity_required", u64::from(!taken)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_an_identity_never_falls_back_to_clear_text() {
    let app = Talker::start(async |mut stream: TcpStream| {
        let _ = stream.write_all(b"220 ready\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let odd = Odd { mtls: Some("Permissive"), anonymous: &["db"], ..Odd::default() };
    let site = Site::new(app.addr, odd).await;
    let ended =
        within(DEADLINE, "a refusal", async { TcpStream::connect(site.forward).await?.read_u8().await })
            .await;
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    refused(&site.shop, "upstream_not_tls", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn access_rules_decide_by_identity_before_the_workload_hears_anything() {
    let (met, mut meets) = mpsc::unbounded_channel();
    let app = Talker::start(move |mut stream: TcpStream| {
        met.send(()).unwrap();
        async move {
            let byte = stream.read_u8().await.unwrap_or_default();
            let _ = stream.write_all(&[byte]).await;
        }
    })
    .await;
    let rules = |dry: bool, who: &str| {
        format!(
            "authorization: {{dryRun: {dry}, rules: [{{name: known, access: Allow, \
             identities: ['spiffe://mesh.test/ns/default/svc/{who}']}}, \
             {{name: readers, access: Allow, namespaces: [default], methods: [GET]}}]}}"
        )
    };
    let allowed = [inbound_policy(&rules(false, "shop"))];
    let site = Site::new(app.addr, Odd { documents: &allowed, ..Odd::default() }).await;
    assert!(site.answers().await);
    assert!(meets.recv().await.is_some());
    let db = service_of("db", "TCP", &[site.db.inbound.unwrap()]);
    site.publish(&[db.clone(), inbound_policy(&rules(false, "billing"))]);
    eventually(DEADLINE, "the shop may not", async || (!site.answers().await).then_some(())).await;
    while meets.try_recv().is_ok() {}
    let before = metric(&site.db, "outrigger_denied_connections_total", &["dry_run=\"false\""]).await;
    let retries = metric(&site.shop, "outrigger_connection_retries_total", &[]).await;
    assert!(!site.answers().await);
    counts(&site.db, "outrigger_denied_connections_total", &["dry_run=\"false\""], before + 1).await;
    refused(&site.db, "access_denied", before + 1).await;
    refused(&site.shop, "upstream_denied", before + 1).await;
    assert_eq!(metric(&site.shop, "outrigger_connection_retries_total", &[]).await, retries, "no is no");
    assert!(meets.try_recv().is_err(), "the workload was asked");
    site.publish(&[db, inbound_policy(&rules(true, "billing"))]);
    eventually(DEADLINE, "a dry run lets it pass", async || site.answers().await.then_some(())).await;
    assert!(metric(&site.db, "outrigger_denied_connections_total", &["dry_run=\"true\""]).await > 0);
}

/// What the called sidecar says to `openssl s_client`, which is the shop and says `said`.
fn says(site: &Site, proof: &Pair, alpn: &str, name: &str, said: &str) -> Vec<u8> {
    let file = site.mesh.file(said);
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let output = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &site.db.inbound.unwrap().to_string(), "-alpn", alpn])
        .args(["-servername", name, "-cert", &path(&proof.certificate), "-key", &path(&proof.key)])
        .stdin(Stdio::from(File::open(file).unwrap()))
        .output()
        .expect("openssl is installed");
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn each_port_is_called_as_it_speaks() {
    const NO_PORT: &[u8] = &[2];
    let app = Talker::start(async |mut stream: TcpStream| {
        let _ = stream.write_all(b"x").await;
    })
    .await;
    let site = Site::new(app.addr, Odd::default()).await;
    let proof = site.authority.identify(site.mesh.folder(), "front");
    let request = "GET / HTTP/1.1\r\nhost: db\r\nconnection: close\r\n\r\n";
    let answer = says(&site, &proof, "http/1.1", "p80.db.default.mesh.test", request);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("outrigger-reason: no_port"), "{answer}");
    let asked = says(&site, &proof, "outrigger-tcp/1", "p80.db.default.mesh.test", "");
    assert_eq!(asked, b"\0x", "carried, and what the application says");
    let asked = says(&site, &proof, "outrigger-tcp/1", "p81.db.default.mesh.test", "x");
    assert_eq!(asked, NO_PORT, "it has no such port");
    refused(&site.db, "no_port", 1).await;
    site.publish(&[service_of("db", "HTTP", &[site.db.inbound.unwrap()])]);
    eventually(DEADLINE, "the port carries requests", async || {
        (says(&site, &proof, "outrigger-tcp/1", "p80.db.default.mesh.test", "") == NO_PORT).then_some(())
    })
    .await;
    assert!(
        metric(&site.db, "outrigger_connections_refused_total", &["reason=\"wrong_protocol\""]).await > 0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn open_connections_outlive_the_certificates_that_they_began_with() {
    let app = Talker::echo().await;
    let site = Site::new(app.addr, Odd::default()).await;
    let mut stream = site.connect().await;
    stream.write_all(b"x").await.unwrap();
    stream.read_u8().await.unwrap();
    for (proxy, service) in [(&site.shop, "shop"), (&site.db, "db")] {
        let renewals = metric(proxy, "outrigger_certificate_renewals_total", &[]).await;
        site.authority.identify(site.mesh.folder(), service);
        eventually(DEADLINE, "the new certificate is in force", async || {
            (metric(proxy, "outrigger_certificate_renewals_total", &[]).await > renewals).then_some(())
        })
        .await;
    }
    assert!(site.answers().await);
    stream.write_all(b"y").await.unwrap();
    assert_eq!(within(DEADLINE, "an answer", stream.read_u8()).await.unwrap(), b'y');
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_of_the_called_waits_for_its_connections() {
    let app = Talker::echo().await;
    let mut site = Site::new(app.addr, Odd::default()).await;
    let mut stream = site.connect().await;
    stream.write_all(b"x").await.unwrap();
    stream.read_u8().await.unwrap();
    site.db.process.terminate();
    eventually(DEADLINE, "no more connections are taken", async || (!site.answers().await).then_some(()))
        .await;
    stream.write_all(b"y").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'y');
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(site.db.process.ended(DEADLINE).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_moves_ends_on_both_sides() {
    let app = Talker::echo().await;
    let documents = [backend_policy("db", "timeouts: {tunnelIdle: 300ms}")];
    let site = Site::new(app.addr, Odd { documents: &documents, ..Odd::default() }).await;
    let mut stream = site.connect().await;
    stream.write_all(b"x").await.unwrap();
    let mut said = Vec::new();
    within(DEADLINE, "the end", stream.read_to_end(&mut said)).await.unwrap();
    assert_eq!(said, b"x");
    let over = async || {
        let (shop, db) = (&site.shop, &site.db);
        let ended = async |proxy| metric(proxy, "outrigger_connections_open", &[]).await == 0;
        (ended(shop).await && ended(db).await).then_some(())
    };
    eventually(DEADLINE, "both are over", over).await;
}

/// A sidecar whose workload is gone says so, and the caller goes elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_cannot_be_reached_costs_no_connection() {
    let app = Talker::echo().await;
    let site = Site::new(app.addr, Odd::default()).await;
    let proof = site.authority.identify(site.mesh.folder(), "db");
    let lonely = Sidecar::beside("db").node("lonely").inbound_to(port::free()).proving(&proof);
    let lonely = Proxy::start(&site.mesh, lonely).await;
    lonely.ready().await;
    let endpoints = [site.db.inbound.unwrap(), lonely.inbound.unwrap()];
    site.publish(&[service_of("db", "TCP", &endpoints), backend_policy("db", "ejection: {maxPercent: 0}")]);
    eventually(DEADLINE, "the other one is asked, too", async || {
        assert!(site.answers().await);
        (metric(&lonely, "outrigger_connections_refused_total", &["reason=\"connect_failed\""]).await > 0)
            .then_some(())
    })
    .await;
    assert!(metric(&site.shop, "outrigger_connection_retries_total", &[]).await > 0);
    assert_eq!(metric(&site.shop, "outrigger_connections_refused_total", &[]).await, 0);
}
