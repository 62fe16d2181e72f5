//! The PROXY protocol, towards the application and from proxies in front.

use std::process::{Command, Stdio};

use outrigger_integration_tests::app::App;

use super::inbound::{beside_db, is_reset, service_with};
use super::*;

/// What `curl` gets for `GET /` when it begins with a header of version 1.
fn curl(to: SocketAddr, arguments: &[&str]) -> std::process::Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"])
        .args(arguments)
        .arg(format!("http://{to}/"))
        .stdin(Stdio::null())
        .output()
        .expect("curl is installed")
}

/// Version 2 of a connection from 192.0.2.7:5 to 192.0.2.9:80, byte by byte (`proxy-protocol.txt` §2.2).
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x09\0\x05\0\x50";
/// Version 2 of a connection of the proxy's own.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.9 5 80\r\n";

async fn get(to: SocketAddr, header: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // In two pieces, wherever they are cut.
    let (first, rest) = header.split_at(header.len() / 2);
    stream.write_all(first).await.unwrap();
    stream.flush().await.unwrap();
    stream.write_all(rest).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: db\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within(DEADLINE, "an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_for_whom_it_connects() {
    let (app, mesh) = (App::start("db").await, Mesh::new());
    mesh.publish(&service_with("db", &[(app.addr.port(), "HTTP")]));
    let trusting = ["--proxy-protocol-from", "127.0.0.0/8", "--downstream-head", "300ms"];
    let (proxy, inbound) = beside_db(&mesh, &trusting).await;
    let seen = || app.last().unwrap().headers["x-forwarded-for"].to_str().unwrap().to_owned();
    for (header, client) in [(V1, "192.0.2.7"), (V2, "192.0.2.7"), (LOCAL, "127.0.0.1")] {
        let answer = get(inbound, header).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(seen(), client);
    }
    let output = curl(inbound, &["--haproxy-protocol"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(seen(), "127.0.0.1");
    let requests = app.requests();
    // Who is to say it and does not is not served in the name of the proxy.
    is_reset(inbound, b"GET / HTTP/1.1\r\nhost: db\r\n\r\n").await;
    is_reset(inbound, b"PROXY TCP4 192").await;
    is_reset(inbound, &[b"PROXY TCP4 ", &[b'1'; 200][..]].concat()).await;
    assert_eq!(app.requests(), requests);
    let labels = ["direction=\"inbound\"", "reason=\"proxy_header\""];
    counts(&proxy, "outrigger_connections_refused_total", &labels, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_believed() {
    let (app, mesh) = (App::start("db").await, Mesh::new());
    mesh.publish(&service_with("db", &[(app.addr.port(), "HTTP")]));
    let (_proxy, inbound) = beside_db(&mesh, &["--proxy-protocol-from", "10.0.0.0/8"]).await;
    let request = [V1, b"GET / HTTP/1.1\r\nhost: db\r\n\r\n"].concat();
    let answer = client::raw(inbound, &request, DEADLINE).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    let output = curl(inbound, &[]);
    assert!(output.status.success());
    assert_eq!(app.last().unwrap().headers["x-forwarded-for"], "127.0.0.1");
}

/// An application that says the first `length` bytes that it gets, and then whatever it gets.
async fn hears(length: usize) -> Talker {
    Talker::start(move |mut stream: TcpStream| async move {
        let mut header = vec![0; length];
        let _ = stream.read_exact(&mut header).await;
        let _ = stream.write_all(&header).await;
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

fn expecting(name: &str, protocol: &str, rest: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  \
         ports: [{{port: 80, protocol: {protocol}, proxyProtocol: {rest}}}]"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_expects_a_header_gets_one_of_its_callers() {
    let mesh = Mesh::new();
    let flags = ["--proxy-protocol-from", "127.0.0.1"];
    for (version, header) in [("V1", V1), ("V2", V2)] {
        let app = hears(header.len()).await;
        mesh.publish(&expecting("db", "TCP", &format!("{{version: {version}}}")));
        let beside = Sidecar::beside("db").node(version).inbound_to(app.addr).with(&flags);
        let proxy = Proxy::start(&mesh, beside).await;
        proxy.ready().await;
        let mut stream = TcpStream::connect(proxy.inbound.unwrap()).await.unwrap();
        stream.write_all(V1).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        let mut heard = vec![0; header.len() + 1];
        within(DEADLINE, "an echo", stream.read_exact(&mut heard)).await.unwrap();
        assert_eq!(heard, [header, b"x"].concat(), "{version}, and once");
    }
}

/// Where there is no sidecar, that of the caller says it, also before a server that speaks first.
#[tokio::test(flavor = "multi_thread")]
async fn callers_write_the_header_where_nobody_else_does() {
    let app = hears(b"PROXY TCP4 127.0.0.1 127.0.0.1 ".len()).await;
    let mesh = Mesh::new();
    let endpoints = format!("\n  endpoints: {{static: [{{address: '{}'}}]}}", app.addr);
    let db = expecting("db", "TCP", "{version: V1, writtenBy: Callers}") + &endpoints;
    let (_proxy, db) = sidecar(&mesh, &[db], &[]).await;
    let mut stream = TcpStream::connect(db).await.unwrap();
    let mut said = String::new();
    stream.shutdown().await.unwrap();
    within(DEADLINE, "the header", stream.read_to_string(&mut said)).await.unwrap();
    let expected =
        format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", stream.local_addr().unwrap().port(), db.port());
    assert_eq!(said, expected);
}

/// A socket of the machine has no addresses that could be named.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_for_who_came_through_a_socket_names_nobody() {
    const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
    let (app, mesh) = (hears(UNKNOWN.len()).await, Mesh::new());
    let endpoints = format!("\n  endpoints: {{static: [{{address: '{}'}}]}}", app.addr);
    let db = expecting("db", "TCP", "{version: V1, writtenBy: Callers}") + &endpoints;
    mesh.publish(&all(&[service("shop", &[]), db]));
    let path = mesh.folder().join("db.sock");
    let forward = format!("unix:{}=db:80", path.display());
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").with(&["--forward", &forward])).await;
    shop.ready().await;
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut said = Vec::new();
    within(DEADLINE, "the header", stream.read_to_end(&mut said)).await.unwrap();
    assert_eq!(said, UNKNOWN);
}
