//! Proxies of several workers: whichever has a connection, it is the same.

use std::time::Duration;

use http::{Method, StatusCode, Version};
use outrigger_integration_tests::client::{self, Connection};
use outrigger_integration_tests::gateway::{Gateway, at, gateway, http, route};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::pki::Authority;
use outrigger_integration_tests::{App, Mesh, Metrics, Proxy, eventually, port};

use crate::config::{all, service, service_of};

const DEADLINE: Duration = Duration::from_secs(20);

/// Open at the same time, so that no worker has all of them.
const CONNECTIONS: u64 = 24;

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_at_each_hop_serve_requests_and_connections_alike() {
    let (authority, mesh) = (Authority::new(), Mesh::new());
    let app = App::start("cart").await;
    let (inbound, beside_db, edge) = (port::free(), port::free(), port::free().port());
    let resources = [
        authority.mesh("Strict"),
        service("cart", &[inbound]),
        service_of("db", "TCP", &[beside_db]),
        service("shop", &[]),
        gateway(&[http("web", edge)]),
        route("cart", &[]),
    ];
    mesh.publish(&all(&resources));
    let beside =
        |name: &str| Sidecar::beside(name).workers(2).proving(&authority.identify(mesh.folder(), name));
    let cart = Proxy::start_inbound(&mesh, beside("cart").inbound_to(app.addr), inbound).await;
    // Whatever it is that comes, it is an application of HTTP at the other end.
    let db = Proxy::start_inbound(&mesh, beside("db").inbound_to(app.addr), beside_db).await;
    let raw = port::free();
    let shop = Proxy::start(&mesh, beside("shop").with(&["--forward", &format!("{raw}=db:80")])).await;
    let own = authority.identify(mesh.folder(), "edge");
    let (certificate, key) =
        (own.certificate.to_str().unwrap_or_default(), own.key.to_str().unwrap_or_default());
    let arguments = ["--workers", "2", "--identity-cert", certificate, "--identity-key", key];
    let stranger = Gateway::start(&mesh, "edge", &arguments).await;
    cart.ready().await;
    db.ready().await;
    shop.ready().await;
    stranger.ready().await;
    for (way, to, version) in [
        ("requests", shop.outbound, Version::HTTP_11),
        ("streams", shop.outbound, Version::HTTP_2),
        ("connections", raw, Version::HTTP_11),
        ("strangers", at(edge), Version::HTTP_2),
    ] {
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            open.push(Connection::open(to, version).await.expect("it listens"));
        }
        for connection in &mut open {
            for _ in 0..2 {
                let request = match version {
                    Version::HTTP_2 => client::request2(Method::GET, "cart", "/", ""),
                    _ => client::request(Method::GET, "cart", "/", ""),
                };
                let answer = connection.send(request).await.expect("it is answered");
                assert_eq!((answer.status, answer.header("x-app")), (StatusCode::OK, "cart"), "{way}");
            }
        }
    }
    assert_eq!(app.requests(), 4 * 2 * CONNECTIONS);
    eventually(DEADLINE, "all were carried, and counted once", async || {
        let parts = ["outrigger_connections_total", "cluster=\"default/db:80\"", "end=\"done\""];
        Metrics::of(shop.metrics).await?.say(&parts, CONNECTIONS).then_some(())
    })
    .await;
}
