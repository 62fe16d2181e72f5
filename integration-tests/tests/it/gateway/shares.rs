//! Shares of connections that a gateway does not look into.

use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_integration_tests::within;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::service_of;

const CONNECTIONS: u32 = 400;
/// A quarter of them, give or take five standard deviations (8.7 each).
const QUARTER: std::ops::RangeInclusive<u32> = 57..=143;

/// Says who it is to whoever has said something, and no more.
async fn talker(said: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut first = [0; 16 * 1024];
                // Whoever has left before is not counted as answered.
                if stream.read(&mut first).await.is_ok() {
                    let _ = stream.write_all(said).await;
                    // Or what was not read would break the connection.
                    let _ = stream.shutdown().await;
                    while stream.read(&mut first).await.is_ok_and(|count| count > 0) {}
                }
            });
        }
    });
    addr
}

/// What a client of TLS begins with that asks for this host.
fn hello(host: &'static str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), host.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// How many of the connections that begin with these bytes meet the new one.
async fn news(port: u16, first: &[u8]) -> u32 {
    let mut news = 0;
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(at(port)).await.unwrap();
        stream.write_all(first).await.unwrap();
        let mut said = String::new();
        within(DEADLINE, "an answer", stream.read_to_string(&mut said)).await.unwrap();
        assert!(said == "old" || said == "new", "{said:?}");
        news += u32::from(said == "new");
    }
    news
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_shared_out_by_the_weights_of_tcp_and_tls_routes() {
    let (mesh, old, new) = (Mesh::new(), talker(b"old").await, talker(b"new").await);
    let [tcp, tls] = [port::free().port(), port::free().port()];
    let route = |kind: &str, section: &str, more: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {section}}}\nspec:\n  \
             parentRefs: [{{name: edge, sectionName: {section}}}]{more}\n  \
             rules: [{{backendRefs: [{{name: old, port: 80, weight: 3}}, {{name: new, port: 80, weight: 1}}]}}]"
        )
    };
    mesh.publish(&all(&[
        gateway(&[
            format!("{{name: tcp, port: {tcp}, protocol: TCP}}"),
            format!("{{name: tls, port: {tls}, protocol: TLS, tls: {{mode: Passthrough}}}}"),
        ]),
        service_of("old", "TCP", &[old]),
        service_of("new", "TCP", &[new]),
        route("TCPRoute", "tcp", ""),
        route("TLSRoute", "tls", "\n  hostnames: [db.example.org]"),
    ]));
    let edge = Gateway::start(&mesh, "edge", &[]).await;
    edge.ready().await;
    for (port, first, rule) in [
        (tcp, b"hello".to_vec(), "rule=\"default/tcp#0\""),
        (tls, hello("db.example.org"), "rule=\"default/tls#0\""),
    ] {
        let news = news(port, &first).await;
        assert!(QUARTER.contains(&news), "{rule}: {news} of {CONNECTIONS} went where a quarter should");
        let to = |cluster| ["outrigger_connections_total", rule, cluster];
        edge.says(&to("cluster=\"default/new:80\""), news.into()).await;
        edge.says(&to("cluster=\"default/old:80\""), (CONNECTIONS - news).into()).await;
    }
}
