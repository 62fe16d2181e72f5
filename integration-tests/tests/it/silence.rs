//! Connections that say nothing: they take no room from those who do.

use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Mesh, Proxy, client, eventually, port};
use tokio::net::TcpStream;

use crate::config::{all, service};

const DEADLINE: Duration = Duration::from_secs(20);
/// Of the sidecar's process; a quarter of what is left of them after 128 is for calls to its workload.
const DESCRIPTORS: u32 = 328;
/// More than it has descriptors.
const SILENT: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_nothing_takes_nothing_from_those_who_do() {
    for workers in [1, 2] {
        let (mesh, inbound) = (Mesh::new(), port::free());
        let (app, other) = (App::start("cart").await, App::start("stock").await);
        mesh.publish(&all(&[
            service("shop", &[]),
            service("cart", &[inbound]),
            service("stock", &[other.addr]),
        ]));
        let cart = Sidecar::beside("cart").inbound_to(app.addr).workers(workers).descriptors(DESCRIPTORS);
        let cart = Proxy::start_inbound(&mesh, cart.with(&["--downstream-head", "1s"]), inbound).await;
        let shop = mesh.proxy("shop").await;
        cart.ready().await;
        shop.ready().await;
        let mut silent = Vec::new();
        for _ in 0..SILENT {
            silent.push(TcpStream::connect(inbound).await.expect("the kernel takes it"));
        }
        // What the workload calls by itself has room of its own, and so has whoever asks how it is.
        let answer = client::fetch(cart.outbound, "stock", "/").await.expect("there is room for it");
        assert_eq!(answer.status, StatusCode::OK);
        cart.ready().await;
        // Callers have it as soon as the silent have had their second.
        eventually(DEADLINE, "a call is answered", async || {
            let answer = client::fetch(shop.outbound, "cart", "/").await.ok()?;
            (answer.status == StatusCode::OK).then_some(())
        })
        .await;
        drop(silent);
    }
}
