//! Connections to the workload of callers without a sidecar, and what listeners take them for.

use outrigger_integration_tests::app::App;
use outrigger_integration_tests::pki::Authority;

use super::*;

/// A service with these ports: name, target, protocol. Their numbers are 81, 82 and so on.
pub(super) fn service_with(name: &str, ports: &[(u16, &str)]) -> String {
    let port = |(index, (target, protocol)): (usize, &(u16, &str))| {
        let number = 81 + index;
        format!("{{name: p{number}, port: {number}, targetPort: {target}, protocol: {protocol}}}")
    };
    let ports: Vec<_> = ports.iter().enumerate().map(port).collect();
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  ports: [{}]",
        ports.join(", ")
    )
}

/// A sidecar beside `db`, by target ports.
pub(super) async fn beside_db(mesh: &Mesh, arguments: &[&str]) -> (Proxy, SocketAddr) {
    let app = SocketAddr::from(([127, 0, 0, 1], 0));
    let proxy = Proxy::start(mesh, Sidecar::beside("db").inbound_to(app).with(arguments)).await;
    proxy.ready().await;
    let inbound = proxy.inbound.unwrap();
    (proxy, inbound)
}

async fn greeting() -> Talker {
    Talker::start(async |mut stream: TcpStream| {
        let _ = stream.write_all(b"220 ready\r\n").await;
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

async fn greets(mut stream: TcpStream) -> TcpStream {
    let mut said = [0; 11];
    within(DEADLINE, "a greeting", stream.read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"220 ready\r\n");
    stream
}

pub(super) async fn is_reset(to: SocketAddr, bytes: &[u8]) {
    let refused = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(bytes).await?;
        stream.read_u8().await
    };
    let ended = within(DEADLINE, "a refusal", refused).await.unwrap_err();
    assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset, "{bytes:?}");
}

/// Nobody waits, however long the wait might be.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_for_one_port_waits_for_nothing() {
    let (talker, app) = (greeting().await, App::start("db").await);
    let mesh = Mesh::new();
    mesh.publish(&service_with("db", &[(app.addr.port(), "HTTP"), (talker.addr.port(), "TCP")]));
    let (http, tcp, none) = (port::free(), port::free(), port::free());
    let flags = [format!("{http}=81"), format!("{tcp}=82"), format!("{none}=83")];
    let flags = flags.join(",");
    let (proxy, _) = beside_db(&mesh, &["--inbound-port", &flags, "--detect-wait", "1m"]).await;
    let mut stream = greets(TcpStream::connect(tcp).await.unwrap()).await;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut back = [0; 18];
    within(DEADLINE, "an echo", stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"GET / HTTP/1.1\r\n\r\n", "whatever it looks like");
    let answer = client::fetch(http, "db", "/").await.unwrap();
    assert_eq!((answer.status, app.requests()), (::http::StatusCode::OK, 1));
    is_reset(none, b"").await;
    counts(
        &proxy,
        "outrigger_connections_refused_total",
        &["direction=\"inbound\"", "reason=\"no_port\""],
        1,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_goes_to_the_one_port_that_carries_none() {
    let (talker, app) = (greeting().await, App::start("db").await);
    let mesh = Mesh::new();
    let http = (app.addr.port(), "HTTP");
    mesh.publish(&service_with("db", &[http, (talker.addr.port(), "TCP")]));
    let (proxy, inbound) = beside_db(&mesh, &["--detect-wait", "100ms"]).await;
    for first in [&b"EHLO x\r\n"[..], b"", b"GET", b"\x16\x03\x01\x02"] {
        let mut stream = TcpStream::connect(inbound).await.unwrap();
        stream.write_all(first).await.unwrap();
        let mut stream = greets(stream).await;
        let mut back = vec![0; first.len()];
        within(DEADLINE, "an echo", stream.read_exact(&mut back)).await.unwrap();
        assert_eq!(back, first, "nothing of what was looked at is lost");
    }
    let answer = client::fetch(inbound, "db", "/").await.unwrap();
    assert_eq!((answer.status, app.requests()), (::http::StatusCode::OK, 1));
    let direction = "direction=\"inbound\"";
    counts(&proxy, "outrigger_connections_total", &[direction, "cluster=\"default/db:82\""], 4).await;
    mesh.publish(&service_with("db", &[http, (talker.addr.port(), "TCP"), (talker.addr.port(), "TLS")]));
    let refusals = async || {
        TcpStream::connect(inbound).await.unwrap().write_all(b"EHLO x\r\n").await.unwrap();
        let labels = ["direction=\"inbound\"", "reason=\"no_inbound_port\""];
        (metric(&proxy, "outrigger_connections_refused_total", &labels).await > 0).then_some(())
    };
    eventually(DEADLINE, "of two it is not known which", refusals).await;
    let answer = client::fetch(inbound, "db", "/").await.unwrap();
    assert_eq!(answer.status, ::http::StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permissive_port_takes_callers_of_the_mesh_and_after_a_moment_others() {
    let (talker, mesh, authority) = (greeting().await, Mesh::new(), Authority::new());
    let inbound = port::free();
    let db = service_of("db", "TCP", &[inbound]);
    mesh.publish(&all(&[authority.mesh("Permissive"), service("shop", &[]), db]));
    let db = Sidecar::beside("db").inbound_to(talker.addr).with(&["--detect-wait", "300ms"]);
    let db = db.proving(&authority.identify(mesh.folder(), "db"));
    let db = Proxy::start_inbound(&mesh, db, inbound).await;
    let forward = port::free();
    let shop = Sidecar::beside("shop").with(&["--forward", &format!("{forward}=db:80")]);
    let shop = Proxy::start(&mesh, shop.proving(&authority.identify(mesh.folder(), "shop"))).await;
    db.ready().await;
    shop.ready().await;
    greets(TcpStream::connect(forward).await.unwrap()).await;
    counts(&db, "outrigger_tls_handshakes_total", &["result=\"ok\""], 1).await;
    assert_eq!(metric(&db, "outrigger_plaintext_connections_total", &[]).await, 0);
    greets(TcpStream::connect(inbound).await.unwrap()).await;
    // Whoever speaks is told from a caller of the mesh at once, also if it is TLS.
    let mut stream = TcpStream::connect(inbound).await.unwrap();
    stream.write_all(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00").await.unwrap();
    greets(stream).await;
    counts(&db, "outrigger_plaintext_connections_total", &[], 2).await;
}

/// What might yet become something else was only looked at, and nothing of it is lost.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_half_way_is_carried_with_what_was_said() {
    let (talker, app) = (greeting().await, App::start("db").await);
    let mesh = Mesh::new();
    mesh.publish(&service_with("db", &[(app.addr.port(), "HTTP"), (talker.addr.port(), "TCP")]));
    let (_proxy, inbound) = beside_db(&mesh, &["--detect-wait", "300ms"]).await;
    for ends in [false, true] {
        let mut stream = TcpStream::connect(inbound).await.unwrap();
        // So begins HTTP/2, too.
        stream.write_all(b"PRI * HT").await.unwrap();
        if ends {
            stream.shutdown().await.unwrap();
        }
        let mut stream = greets(stream).await;
        let mut back = [0; 8];
        within(DEADLINE, "an echo", stream.read_exact(&mut back)).await.unwrap();
        assert_eq!(&back, b"PRI * HT");
    }
}

/// Nothing tells half a preface from the beginning of a whole one but time.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_preface_is_waited_for_as_long_as_a_head() {
    let (app, mesh) = (App::start("db").await, Mesh::new());
    mesh.publish(&service_with("db", &[(app.addr.port(), "HTTP")]));
    let (_proxy, inbound) = beside_db(&mesh, &["--downstream-head", "300ms"]).await;
    let mut stream = TcpStream::connect(inbound).await.unwrap();
    stream.write_all(b"PRI * HT").await.unwrap();
    let ended = within(DEADLINE, "an end", stream.read(&mut [0])).await;
    assert!(ended.map_or(true, |count| count == 0));
    let mut whole = client::Connection::open(inbound, ::http::Version::HTTP_2).await.unwrap();
    let request = client::request2(::http::Method::GET, "db", "/", "");
    assert_eq!(whole.send(request).await.unwrap().status, ::http::StatusCode::OK);
}
