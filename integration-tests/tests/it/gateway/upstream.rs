//! Services outside the mesh that are called by TLS: `openssl s_server` stands for them.

use std::path::Path;
use std::process::Stdio;

use outrigger_integration_tests::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;

use super::*;

/// A server of TLS on a port, that shows a pair and does what else the arguments say.
struct Server {
    port: u16,
    _child: Child,
}

impl Server {
    async fn start(folder: &Path, name: &str, pair: &(String, String), arguments: &[&str]) -> Self {
        let addr = port::free();
        let (certificate, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        replace(&certificate, pair.0.as_bytes());
        replace(&key, pair.1.as_bytes());
        let mut command = tokio::process::Command::new("openssl");
        command.args(["s_server", "-quiet", "-www", "-accept", &addr.to_string(), "-cert"]).arg(certificate);
        command
            .arg("-key")
            .arg(key)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.kill_on_drop(true).spawn().unwrap();
        let listens = async || tokio::net::TcpStream::connect(addr).await.ok().map(drop);
        eventually(DEADLINE, "openssl s_server listens", listens).await;
        Self { port: addr.port(), _child: child }
    }
}

/// A service on the port of a server, which a policy has called by TLS.
fn outside(name: &str, server: &Server, validation: &str) -> String {
    let policy = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
         targetRefs: [{{group: '', kind: Service, name: {name}}}]\n  validation: {{{validation}}}"
    );
    all(&[service(name, &[at(server.port)]), policy])
}

const BELIEVED: &str = "caCertificateRefs: [{group: '', kind: ConfigMap, name: servers}]";

#[tokio::test]
async fn a_server_is_believed_by_its_name_and_who_vouches_for_it() {
    let (servers, strangers, mesh) = (Authority::new(), Authority::new(), Mesh::new());
    let folder = mesh.folder();
    let right = Server::start(folder, "right", &servers.certify(&["api.test"], |_| {}), &[]).await;
    let expired =
        servers.certify(&["api.test"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let expired = Server::start(folder, "expired", &expired, &[]).await;
    let strange = Server::start(folder, "strange", &strangers.certify(&["api.test"], |_| {}), &[]).await;
    let plain = App::start("plain").await;
    let plain_server =
        Server { port: plain.addr.port(), _child: tokio::process::Command::new("true").spawn().unwrap() };
    let named = |names: &str| format!("{BELIEVED}, hostname: api.test, subjectAltNames: [{names}]");
    let resources = [
        service("shop", &[]),
        servers.config_map("servers"),
        outside("right", &right, &format!("{BELIEVED}, hostname: api.test")),
        outside("wrong", &right, &format!("{BELIEVED}, hostname: other.test")),
        outside(
            "by-name",
            &right,
            &named("{type: Hostname, hostname: no.test}, {type: Hostname, hostname: api.test}"),
        ),
        outside("no-name", &right, &named("{type: URI, uri: 'spiffe://a.test/b'}")),
        outside("expired", &expired, &format!("{BELIEVED}, hostname: api.test")),
        outside("strange", &strange, &format!("{BELIEVED}, hostname: api.test")),
        outside("system", &right, "wellKnownCACertificates: System, hostname: api.test"),
        outside("plain", &plain_server, &format!("{BELIEVED}, hostname: api.test")),
    ];
    mesh.publish(&all(&resources));
    let shop = Proxy::start(&mesh, Sidecar::beside("shop")).await;
    shop.ready().await;
    for (host, reason) in [
        ("right", ""),
        ("by-name", ""),
        ("wrong", "upstream_certificate_wrong_name"),
        ("no-name", "upstream_certificate_wrong_name"),
        ("expired", "upstream_certificate_expired"),
        ("strange", "upstream_certificate_unknown_issuer"),
        ("system", "upstream_certificate_unknown_issuer"),
        ("plain", "upstream_not_tls"),
    ] {
        let answer = client::fetch(shop.outbound, host, "/").await.unwrap();
        assert_eq!(answer.reason(), reason, "{host}: {}", answer.text());
        let status = if reason.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        assert_eq!(answer.status, status, "{host}");
    }
    assert_eq!(plain.requests(), 0);
    let page = client::fetch(shop.outbound, "right", "/").await.unwrap().text();
    assert!(page.contains("TLSv1.3"), "{page}");

    // Who is believed no more is believed no more: also on connections that are there.
    let mut resources = resources;
    resources[1] = strangers.config_map("servers");
    mesh.publish(&all(&resources));
    for (host, reason) in [("strange", ""), ("right", "upstream_certificate_unknown_issuer")] {
        eventually(DEADLINE, "the other authority is believed", async || {
            (client::fetch(shop.outbound, host, "/").await.ok()?.reason() == reason).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_shown_the_one_that_the_policy_names() {
    let (servers, clients, mesh) = (Authority::new(), Authority::new(), Mesh::new());
    let roots = mesh.folder().join("clients.pem");
    replace(&roots, clients.pem.as_bytes());
    let asking = ["-Verify", "2", "-verify_return_error", "-CAfile", roots.to_str().unwrap()];
    let pair = servers.certify(&["api.test"], |_| {});
    let server = Server::start(mesh.folder(), "api", &pair, &asking).await;
    let shows = crate::config::backend_policy("api", "tls: {clientCertificateRef: {name: shop}}");
    let listener = gateway(&[http("web", port::free().port())]);
    let port =
        listener.split("port: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().parse().unwrap();
    let outside = outside("api", &server, &format!("{BELIEVED}, hostname: api.test"));
    mesh.publish(&all(&[listener, servers.config_map("servers"), outside, shows, route("api", &[])]));
    let edge = Gateway::start(&mesh, "edge", &[]).await;
    edge.ready().await;
    let answer = ask(port, "any", "/").await;
    assert_eq!(answer.reason(), "no_valid_identity", "{}", answer.text());
    let (certificate, key) = clients.certify(&["shop.test"], |_| {});
    put(&mesh, "shop", &certificate, &key);
    let page = eventually(DEADLINE, "the certificate is shown", async || {
        let answer = ask(port, "any", "/").await;
        (answer.status == StatusCode::OK).then(|| answer.text())
    })
    .await;
    assert!(page.contains("Client certificate"), "{page}");
}

#[tokio::test]
async fn a_health_check_is_answered_inside_tls_by_the_server_that_is_believed() {
    let (servers, mesh) = (Authority::new(), Mesh::new());
    let server = Server::start(mesh.folder(), "api", &servers.certify(&["api.test"], |_| {}), &[]).await;
    let check = |name: &str| {
        let check = "healthCheck: {http: {path: /}, interval: 1s, fastInterval: 500ms, timeout: 500ms}";
        crate::config::backend_policy(name, check)
    };
    mesh.publish(&all(&[
        service("shop", &[]),
        servers.config_map("servers"),
        outside("right", &server, &format!("{BELIEVED}, hostname: api.test")),
        check("right"),
        outside("wrong", &server, &format!("{BELIEVED}, hostname: other.test")),
        check("wrong"),
    ]));
    let shop = Proxy::start(&mesh, Sidecar::beside("shop")).await;
    shop.ready().await;
    let at = format!("127.0.0.1:{}  weight 1", server.port);
    eventually(DEADLINE, "the one is well and the other is not", async || {
        let metrics = outrigger_integration_tests::Metrics::of(shop.metrics).await?;
        let results = |result| metrics.sum(&["outrigger_health_checks_total", result]);
        let page = client::page(shop.admin, "/clusters").await.ok()?.text();
        let lines: Vec<_> = page.lines().filter(|line| line.contains(&at)).collect();
        let well = lines.iter().filter(|line| line.ends_with("healthy")).count();
        let wrong = "fails its health check: the certificate is for another";
        let failing = lines.iter().filter(|line| line.contains(wrong)).count();
        ((well, failing) == (1, 1) && results("result=\"ok\"") > 0 && results("result=\"failed\"") > 0)
            .then_some(())
    })
    .await;
}

/// It is no sidecar: it says nothing of whether it carries the connection, and waits for the client.
#[tokio::test]
async fn a_port_of_tcp_is_carried_to_a_server_of_tls() {
    let (servers, mesh, forward) = (Authority::new(), Mesh::new(), port::free());
    let server = Server::start(mesh.folder(), "db", &servers.certify(&["db.test"], |_| {}), &[]).await;
    let policy = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: db}}\nspec:\n  \
         targetRefs: [{{group: '', kind: Service, name: db}}]\n  validation: {{{BELIEVED}, hostname: db.test}}"
    );
    let db = crate::config::service_of("db", "TCP", &[at(server.port)]);
    mesh.publish(&all(&[service("shop", &[]), servers.config_map("servers"), db, policy]));
    let flag = format!("{forward}=db:80");
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").with(&["--forward", &flag])).await;
    shop.ready().await;
    let mut stream = tokio::net::TcpStream::connect(forward).await.unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut said = String::new();
    within(DEADLINE, "the server's answer", stream.read_to_string(&mut said)).await.unwrap();
    assert!(said.starts_with("HTTP/1.0 200") && said.contains("TLSv1.3"), "{said}");
}
