//! Gateways: what strangers may call, and what is made of what they say.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it set it up")]

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, Version};
use outrigger_integration_tests::client::{self, Connection};
use outrigger_integration_tests::gateway::{Gateway, at, certificates, gateway, http, https, replace, route};
use outrigger_integration_tests::mesh::{Sidecar, said};
use outrigger_integration_tests::pki::Authority;
use outrigger_integration_tests::process::finished;
use outrigger_integration_tests::{Answer, App, Mesh, Proxy, eventually, port};

use crate::config::{all, service};

mod answers;
mod clients;
mod passthrough;
mod policies;
mod shares;
mod tls;
mod upstream;

const DEADLINE: Duration = Duration::from_secs(20);

/// Asks the gateway on a port, in the clear.
async fn ask(port: u16, host: &str, path: &str) -> Answer {
    client::fetch(at(port), host, path).await.expect("the gateway answers")
}

/// Writes a pair for some hosts where proxies look for it.
pub(crate) fn show(mesh: &Mesh, authority: &Authority, name: &str, hosts: &[&str]) {
    let (certificate, key) = authority.certify(hosts, |_| {});
    put(mesh, name, &certificate, &key);
}

pub(crate) fn put(mesh: &Mesh, name: &str, certificate: &str, key: &str) {
    let folder = certificates(mesh).join("default").join(name);
    replace(&folder.join("tls.key"), key.as_bytes());
    replace(&folder.join("tls.crt"), certificate.as_bytes());
}

/// `curl` of a host on a port of this machine, that believes this authority, with further arguments.
pub(crate) async fn curl(
    mesh: &Mesh,
    authority: &Authority,
    host: &str,
    port: u16,
    arguments: &[&str],
) -> Output {
    let roots = mesh.folder().join("roots.pem");
    replace(&roots, authority.pem.as_bytes());
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--include", "--max-time", "15", "--resolve"]);
    command.arg(format!("{host}:{port}:127.0.0.1")).arg("--cacert").arg(roots).args(arguments);
    command.arg(format!("https://{host}:{port}/"));
    finished(command, DEADLINE).await
}

/// `openssl` with these arguments, and with nothing to read.
pub(crate) async fn openssl(arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(arguments);
    said(&finished(command, DEADLINE).await)
}

/// The certificate that is shown to whoever asks an address for a host, in PEM without its marks.
pub(crate) async fn shown(address: SocketAddr, host: &str) -> Option<String> {
    let name: &[&str] = if host.is_empty() { &["-noservername"] } else { &["-servername", host] };
    let address = address.to_string();
    let said = openssl(&[&["s_client", "-connect", &address, "-showcerts"], name].concat()).await;
    let (_, rest) = said.split_once("-----BEGIN CERTIFICATE-----")?;
    rest.split_once("-----END CERTIFICATE-----").map(|(certificate, _)| certificate.to_owned())
}

/// Writes what a client shows, certificate and key, to files of these names.
pub(crate) fn proof(mesh: &Mesh, pair: &(String, String)) -> [String; 2] {
    let write = |name: &str, text: &str| {
        let path = mesh.folder().join(name);
        replace(&path, text.as_bytes());
        path.to_str().unwrap().to_owned()
    };
    [write("client.crt", &pair.0), write("client.key", &pair.1)]
}

/// Two handshakes, the second with what the first left; whether a session was taken up again.
pub(crate) async fn resumes(
    mesh: &Mesh,
    address: SocketAddr,
    host: &str,
    pair: Option<&(String, String)>,
    version: &str,
) -> bool {
    let (session, address) = (mesh.folder().join("session"), address.to_string());
    let _ = std::fs::remove_file(&session);
    let mut arguments = vec!["s_client", "-connect", &address, "-servername", host, version];
    let shown = pair.map(|pair| proof(mesh, pair));
    if let Some([certificate, key]) = &shown {
        arguments.extend(["-cert", certificate, "-key", key]);
    }
    let session = session.to_str().unwrap();
    // The ticket of TLS 1.3 comes after the handshake: with the answer, at the latest.
    let request = format!("GET / HTTP/1.1\\r\\nhost: {host}\\r\\nconnection: close\\r\\n\\r\\n");
    let asked = format!("printf '{request}' | openssl {} -ign_eof -sess_out {session}", arguments.join(" "));
    let mut command = Command::new("sh");
    command.args(["-c", &asked]);
    let first = said(&finished(command, DEADLINE).await);
    assert!(first.contains("HTTP/1.1 200"), "{first}");
    if !std::path::Path::new(session).exists() {
        return false;
    }
    let again = openssl(&[&arguments[..], &["-sess_in", session]].concat()).await;
    again.contains("Reused, ")
}

#[tokio::test]
async fn strangers_are_routed_by_host_and_what_they_say_of_themselves_is_dropped() {
    let (mesh, shop, blog) = (Mesh::new(), App::start("shop").await, App::start("blog").await);
    let port = port::free().port();
    let listeners = [format!("{{name: web, port: {port}, protocol: HTTP, hostname: '*.example.org'}}")];
    let resources = [
        gateway(&listeners),
        service("shop", &[shop.addr]),
        service("blog", &[blog.addr]),
        route("shop", &["shop.example.org", "shop.test"]),
        route("blog", &["*.example.org"]),
    ];
    mesh.publish(&all(&resources));
    let edge = Gateway::start(&mesh, "edge", &[]).await;
    edge.ready().await;
    for (host, app) in
        [("shop.example.org", "shop"), ("SHOP.example.org:8080", "shop"), ("a.b.example.org", "blog")]
    {
        assert_eq!(ask(port, host, "/").await.header("x-app"), app, "{host}");
    }
    // The route is for it, and no listener is. By the names of the mesh nobody outside is served.
    for host in ["shop.test", "example.org", "shop", "shop.default.svc"] {
        let answer = ask(port, host, "/").await;
        assert_eq!((answer.status, answer.reason()), (StatusCode::NOT_FOUND, "no_host"), "{host}");
    }
    let mut request = client::request(Method::GET, "shop.example.org", "/", "");
    let forged = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-client-cert", "Hash=00;URI=spiffe://mesh.test/ns/default/svc/admin"),
        ("x-forwarded-prefix", "/admin"),
        ("forwarded", "for=10.0.0.1"),
        ("outrigger-priority", "0"),
        ("x-request-id", "kept"),
    ];
    for (name, value) in forged {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    assert_eq!(client::send(at(port), request).await.unwrap().status, StatusCode::OK);
    let seen = shop.last().unwrap().headers;
    let field = |name: &str| seen.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(field("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(field("x-forwarded-host").as_deref(), Some("shop.example.org"));
    assert_eq!(field("x-request-id").as_deref(), Some("kept"));
    for name in ["x-forwarded-client-cert", "x-forwarded-prefix", "forwarded", "outrigger-priority"] {
        assert_eq!(field(name), None, "{name}");
    }
}

#[tokio::test]
async fn whoever_stands_in_front_of_the_gateway_is_believed_if_a_flag_says_so() {
    let (mesh, shop) = (Mesh::new(), App::start("shop").await);
    let port = port::free().port();
    mesh.publish(&all(&[gateway(&[http("web", port)]), service("shop", &[shop.addr]), route("shop", &[])]));
    let edge = Gateway::start(&mesh, "default/edge", &["--trusted-sources", "127.0.0.0/8"]).await;
    edge.ready().await;
    let mut request = client::request(Method::GET, "anything.test", "/", "");
    request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("203.0.113.7"));
    request.headers_mut().insert("x-forwarded-proto", HeaderValue::from_static("https"));
    assert_eq!(client::send(at(port), request).await.unwrap().status, StatusCode::OK);
    let seen = shop.last().unwrap().headers;
    assert_eq!(seen["x-forwarded-for"], "203.0.113.7, 127.0.0.1");
    assert_eq!(seen["x-forwarded-proto"], "https");
}

#[tokio::test]
async fn listeners_come_and_go_and_a_port_that_cannot_be_had_is_no_end() {
    let (mesh, shop) = (Mesh::new(), App::start("shop").await);
    let [first, second, third] = [port::free().port(), port::free().port(), port::free().port()];
    let publish = |ports: &[u16]| {
        let listeners: Vec<_> = ports.iter().map(|port| http(&format!("p{port}"), *port)).collect();
        mesh.publish_shrunk(&all(&[gateway(&listeners), service("shop", &[shop.addr]), route("shop", &[])]));
    };
    publish(&[first, second]);
    let edge = Gateway::start(&mesh, "edge", &["--workers", "2"]).await;
    edge.ready().await;
    let mut kept = Connection::open(at(first), Version::HTTP_11).await.unwrap();
    assert_eq!(kept.send(client::request(Method::GET, "a", "/", "")).await.unwrap().status, StatusCode::OK);
    assert_eq!(ask(second, "a", "/").await.status, StatusCode::OK);

    let taken = TcpListener::bind(at(third)).unwrap();
    publish(&[first, third]);
    edge.says(&["outrigger_gateway_port_open", &format!("port=\"{third}\"")], 0).await;
    let closed = "the second port is closed";
    eventually(DEADLINE, closed, async || client::fetch(at(second), "a", "/").await.is_err().then_some(()))
        .await;
    let ready = client::page(edge.admin, "/ready").await.unwrap();
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text().contains("Another process"), "{}", ready.text());
    assert_eq!(kept.send(client::request(Method::GET, "a", "/", "")).await.unwrap().status, StatusCode::OK);

    drop(taken);
    edge.ready().await;
    assert_eq!(ask(third, "a", "/").await.status, StatusCode::OK);
    edge.says(&["outrigger_gateway_port_open", &format!("port=\"{third}\"")], 1).await;
}

#[tokio::test]
async fn a_service_is_no_gateway() {
    let (mesh, port) = (Mesh::new(), port::free().port());
    mesh.publish(&all(&[gateway(&[http("web", port)]), service("shop", &[])]));
    let edge = Gateway::start(&mesh, "shop", &[]).await;
    let why = "--gateway names a Service";
    eventually(DEADLINE, why, async || {
        let ready = client::page(edge.admin, "/ready").await.ok()?;
        ready.text().contains(why).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gateway_proves_itself_to_sidecars_as_a_service_does() {
    let (authority, mesh, app) = (Authority::new(), Mesh::new(), App::start("shop").await);
    let (inbound, port) = (port::free(), port::free().port());
    let policy = "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {name: shop}\nspec:\n  \
         targetRefs: [{kind: Service, name: shop}]\n  authorization: {rules: [{name: edge, access: Allow, \
         identities: ['spiffe://mesh.test/ns/default/svc/edge']}]}"
        .to_owned();
    let resources = [
        authority.mesh("Strict"),
        gateway(&[http("web", port)]),
        service("shop", &[inbound]),
        route("shop", &[]),
        policy,
    ];
    mesh.publish(&all(&resources));
    let own = authority.identify(mesh.folder(), "shop");
    let shop = Sidecar::beside("shop").proving(&own).inbound_to(app.addr);
    let shop = Proxy::start_inbound(&mesh, shop, inbound).await;
    shop.ready().await;
    let pair = authority.identify(mesh.folder(), "edge");
    let (certificate, key) = (pair.certificate.to_str().unwrap(), pair.key.to_str().unwrap());
    let arguments = ["--identity-cert", certificate, "--identity-key", key];
    let edge = Gateway::start(&mesh, "edge", &arguments).await;
    edge.ready().await;
    let answer = ask(port, "anything", "/").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let said = app.last().unwrap().headers["x-forwarded-client-cert"].to_str().unwrap().to_owned();
    assert!(said.contains("URI=spiffe://mesh.test/ns/default/svc/edge"), "{said}");
}
