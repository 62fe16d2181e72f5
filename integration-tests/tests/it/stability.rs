//! Static stability: what happens to traffic when everything but the sidecars is gone. Nothing.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::load::Plan;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::{App, Load, Mesh, Metrics, Process, Proxy, client, eventually, port};

use crate::config::{all, service, service_by_dns};

const DEADLINE: Duration = Duration::from_secs(30);
const RATE: u32 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_fails_with_control_plane_store_and_dns_gone() {
    let (cart, late) = (App::start("cart").await, App::start("late").await);
    let dns = dns_server("late.internal");
    let mesh = Mesh::new();
    let mut control_plane = mesh.control_plane("one").await;
    control_plane.apply(&mesh, &all(&[service("shop", &[]), service("cart", &[])]));
    mesh.published().await;
    let beside_cart = |node: &str| Sidecar::beside("cart").inbound_to(cart.addr).node(node);
    let mut cart_a = Proxy::start(&mesh, beside_cart("cart-a")).await;
    let mut cart_b = Proxy::start(&mesh, beside_cart("cart-b")).await;
    let inbound = [&cart_a, &cart_b].map(|proxy| proxy.inbound.expect("asked for above"));
    control_plane.apply(
        &mesh,
        &all(&[service("cart", &inbound), service_by_dns("late", "late.internal", late.addr.port())]),
    );
    let mut shop =
        Proxy::start(&mesh, Sidecar::beside("shop").with(&["--dns-server", &dns.addr.to_string()])).await;
    shop.ready().await;
    let resolved = format!("{}", late.addr);
    eventually(DEADLINE, "the shop has resolved late.internal", async || {
        client::page(shop.admin, "/clusters").await.ok()?.text().contains(&resolved).then_some(())
    })
    .await;
    shop.remembers(&resolved).await;

    let mut plan = Plan::new(shop.outbound, "cart", RATE);
    plan.keep_alive = false;
    let load = Load::start(plan);
    some_more(&load, 200).await;
    control_plane.process.kill();
    std::fs::remove_dir_all(mesh.store()).expect("the store is there");
    drop(dns);
    some_more(&load, 200).await;

    for proxy in [&mut cart_a, &mut cart_b, &mut shop] {
        let status = proxy.drain().await;
        assert!(status.success(), "a drained proxy ends with 0, not {status}");
        proxy.restart().await;
        proxy.ready().await;
        some_more(&load, 200).await;
    }
    let answer =
        client::fetch(shop.outbound, "late", "/").await.expect("never called before, and known by name");
    assert_eq!((answer.status, answer.header("x-app")), (StatusCode::OK, "late"), "{}", answer.text());
    assert_eq!(late.requests(), 1);

    let report = load.stop().await;
    assert!(
        report.failed_but_for("refused").is_empty(),
        "of {} requests failed: {:?}",
        report.sent,
        report.reasons()
    );
    assert!(report.succeeded > 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_was_killed_boots_from_its_own_disk() {
    let cart = App::start("cart").await;
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[cart.addr])]));
    let mut shop = mesh.proxy("shop").await;
    shop.ready().await;
    shop.remembers("\"offered\"").await;
    std::fs::remove_dir_all(mesh.store()).expect("the store is there");
    shop.process.kill();
    shop.restart().await;
    shop.ready().await;
    let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
    assert_eq!(answer.header("x-app"), "cart", "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_comes_back_is_followed_again() {
    let (one, two) = (App::start("one").await, App::start("two").await);
    let mesh = Mesh::new();
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[one.addr])]));
    let shop = mesh.proxy("shop").await;
    shop.ready().await;
    let away = mesh.folder().join("away");
    std::fs::rename(mesh.store(), &away).expect("the store is there");
    let unreachable =
        async || Metrics::of(shop.metrics).await?.say(&["outrigger_store_reachable "], 0).then_some(());
    eventually(DEADLINE, "the sidecar says that its store is gone", unreachable).await;
    assert_eq!(client::fetch(shop.outbound, "cart", "/").await.unwrap().header("x-app"), "one");
    std::fs::rename(&away, mesh.store()).expect("nothing stands in its place");
    mesh.publish(&all(&[service("shop", &[]), service("cart", &[two.addr])]));
    eventually(DEADLINE, "the newer release is applied", async || {
        (client::fetch(shop.outbound, "cart", "/").await.ok()?.header("x-app") == "two").then_some(())
    })
    .await;
}

/// Waits until so many more requests have succeeded.
async fn some_more(load: &Load, count: u64) {
    let before = load.succeeded();
    eventually(DEADLINE, "traffic flows", async || (load.succeeded() >= before + count).then_some(())).await;
}

struct Dns {
    addr: SocketAddr,
    _process: Process,
}

/// A real DNS server that knows one name.
fn dns_server(name: &str) -> Dns {
    let addr = port::free();
    let mut command = Command::new("/usr/sbin/dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--conf-file=/dev/null",
    ]);
    command.args(["--listen-address=127.0.0.1", "--pid-file=", "--user=", "--local-ttl=5"]);
    command.arg(format!("--port={}", addr.port())).arg(format!("--address=/{name}/127.0.0.1"));
    Dns { addr, _process: Process::start("dnsmasq", &mut command) }
}
