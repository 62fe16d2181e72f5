//! Certificates in files that end, come too early, or are nobody's.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::pki::{Authority, DOMAIN, mesh_of};
use outrigger_integration_tests::workload_api::Agent;
use outrigger_integration_tests::{Mesh, Proxy, client, eventually};
use rcgen::CertificateParams;

use crate::config::{all, service};
use crate::retries::count;

const DEADLINE: Duration = Duration::from_secs(30);

/// So much later a certificate ends, or begins.
const SOON: Duration = Duration::from_secs(8);

fn ending(params: &mut CertificateParams) {
    params.not_after = (SystemTime::now() + SOON).into();
}

fn beginning(params: &mut CertificateParams) {
    params.not_before = (SystemTime::now() + SOON).into();
}

async fn renewals(proxy: &Proxy) -> u64 {
    count(proxy, &["outrigger_certificate_renewals_total"]).await
}

async fn trouble(proxy: &Proxy, reason: &str) -> u64 {
    let reason = format!("reason=\"{reason}\"");
    count(proxy, &["outrigger_certificate_trouble", &reason]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_is_not_ready_with_a_certificate_that_has_ended() {
    let (mesh, authority) = (Mesh::new(), Authority::new());
    mesh.publish(&all(&[mesh_of(&[&authority], "Strict"), service("shop", &[])]));
    let pair = authority.identify_after(mesh.folder(), "shop", ending);
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").proving(&pair)).await;
    shop.ready().await;
    eventually(DEADLINE, "it is not ready any more, and says why", async || {
        let page = client::page(shop.admin, "/ready").await.unwrap();
        let says = page.text().contains("its time is over");
        (page.status == StatusCode::SERVICE_UNAVAILABLE && says).then_some(())
    })
    .await;
    // One that has ended as well is no help, and the page says so.
    authority.identify_after(mesh.folder(), "shop", |params| {
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    eventually(DEADLINE, "the new one is refused", async || {
        (trouble(&shop, "expired").await == 1).then_some(())
    })
    .await;
    let page = client::page(shop.admin, "/ready").await.unwrap().text();
    assert!(page.contains("no new one comes") && page.contains("has expired"), "{page}");
    authority.identify(mesh.folder(), "shop");
    shop.ready().await;
    assert_eq!(trouble(&shop, "expired").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_comes_before_its_time_is_used_when_that_has_come() {
    let (mesh, authority) = (Mesh::new(), Authority::new());
    mesh.publish(&all(&[mesh_of(&[&authority], "Strict"), service("shop", &[])]));
    let pair = authority.identify(mesh.folder(), "shop");
    let files = Proxy::start(&mesh, Sidecar::beside("shop").proving(&pair)).await;
    let agent = Agent::start(mesh.folder());
    let id = format!("spiffe://{DOMAIN}/ns/default/svc/shop");
    agent.tell(&[authority.agent_svid(&id)]);
    let told = Sidecar::beside("shop").node("told").with(&["--workload-api", &agent.socket()]);
    let told = Proxy::start(&mesh, told).await;
    for proxy in [&files, &told] {
        proxy.ready().await;
        assert_eq!(renewals(proxy).await, 1);
    }
    authority.identify_after(mesh.folder(), "shop", beginning);
    agent.tell(&[authority.agent_svid_after(&id, beginning)]);
    for proxy in [&files, &told] {
        eventually(DEADLINE, "it is too early", async || {
            (trouble(proxy, "not_yet_valid").await == 1).then_some(())
        })
        .await;
        assert_eq!(renewals(proxy).await, 1);
    }
    for proxy in [&files, &told] {
        eventually(DEADLINE, "its time has come", async || (renewals(proxy).await == 2).then_some(())).await;
        assert_eq!(trouble(proxy, "not_yet_valid").await, 0);
        let log = proxy.process.log();
        assert_eq!(log.matches("is not valid yet").count(), 1, "told once: {log}");
    }
}

/// An authority that is not pushed yet, or a chain of which only the first half is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_the_mesh_does_not_believe_does_not_replace_one_that_it_does() {
    let (mesh, old, new) = (Mesh::new(), Authority::new(), Authority::new());
    let push = |authorities: &[&Authority]| {
        mesh.publish(&all(&[mesh_of(authorities, "Strict"), service("shop", &[])]));
    };
    push(&[&old]);
    let pair = old.identify(mesh.folder(), "shop");
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").proving(&pair)).await;
    shop.ready().await;
    new.identify(mesh.folder(), "shop");
    eventually(DEADLINE, "it is not believed", async || {
        (trouble(&shop, "unknown_issuer").await == 1).then_some(())
    })
    .await;
    assert_eq!(renewals(&shop).await, 1);
    assert!(shop.process.log().contains("push the Mesh with both authorities first"));
    push(&[&old, &new]);
    eventually(DEADLINE, "it is used", async || (renewals(&shop).await == 2).then_some(())).await;
    assert_eq!(trouble(&shop, "unknown_issuer").await, 0);
}

/// Once, the sidecar went on with it, and no caller believed it any more.
#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_another_service_does_not_replace_the_own() {
    let (mesh, authority) = (Mesh::new(), Authority::new());
    mesh.publish(&all(&[mesh_of(&[&authority], "Strict"), service("shop", &[])]));
    let pair = authority.identify(mesh.folder(), "shop");
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").proving(&pair)).await;
    shop.ready().await;
    let cart = format!("spiffe://{DOMAIN}/ns/default/svc/cart");
    authority.identify_after(mesh.folder(), "shop", |params| {
        params.subject_alt_names = vec![rcgen::SanType::URI(cart.as_str().try_into().unwrap())];
    });
    eventually(DEADLINE, "it is refused", async || (trouble(&shop, "wrong_name").await == 1).then_some(()))
        .await;
    assert_eq!(renewals(&shop).await, 1);
    assert!(shop.process.log().contains("and this is default/shop"), "{}", shop.process.log());
    authority.identify(mesh.folder(), "shop");
    eventually(DEADLINE, "the next is used", async || (renewals(&shop).await == 2).then_some(())).await;
    assert_eq!(trouble(&shop, "wrong_name").await, 0);
}

/// Once, a sidecar that nobody believed had nothing to say about it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_the_mesh_does_not_believe_says_so_and_stays_ready() {
    const NUMBER: u64 = 5;
    let (mesh, authority) = (Mesh::new(), Authority::new());
    let believed = mesh_of(&[&authority], "Strict");
    let pair = authority.identify_after(mesh.folder(), "shop", |params| {
        params.serial_number = Some(rcgen::SerialNumber::from(NUMBER));
    });
    mesh.publish(&all(&[believed.clone(), service("shop", &[])]));
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").proving(&pair)).await;
    shop.ready().await;
    assert_eq!(trouble(&shop, "revoked").await, 0);
    let taken_back = format!("{}\n{}", believed.trim_end(), authority.revocations(NUMBER));
    mesh.publish(&all(&[taken_back, service("shop", &[])]));
    eventually(DEADLINE, "it says so", async || (trouble(&shop, "revoked").await == 1).then_some(())).await;
    shop.ready().await;
    let log = shop.process.log();
    assert_eq!(log.matches("the mesh does not believe the certificate").count(), 1, "told once: {log}");
    mesh.publish(&all(&[believed, service("shop", &[])]));
    eventually(DEADLINE, "it is well again", async || (trouble(&shop, "revoked").await == 0).then_some(()))
        .await;
}
