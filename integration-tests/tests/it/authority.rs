//! The mesh's authority in bad days: it has ended, it has taken back what it made, it was replaced.

use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::enrol::{self, Requester, ask, control_plane, init, keep, revocations};
use outrigger_integration_tests::mesh::said;
use outrigger_integration_tests::{Mesh, Metrics, Proxy, client, eventually};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::config::{all, service};
use crate::enrol::Site;
use crate::retries::count;

const DEADLINE: Duration = Duration::from_secs(60);

/// The number of the certificate of one role that a sidecar has.
async fn serial(proxy: &Proxy, role: &str) -> String {
    let role = format!("role=\"{role}\"");
    let metrics = Metrics::of(proxy.metrics).await.expect("it serves metrics");
    let mut lines = metrics.text().lines().filter(|line| line.starts_with("outrigger_certificate_expiry"));
    let line = lines.find(|line| line.contains(&role)).expect("it has one");
    line.split("serial=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a number").to_owned()
}

/// Has the authority of `mesh` end: an intermediate whose time is over, by the same root.
fn end(mesh: &Mesh) {
    let folder = mesh.folder().join(enrol::FOLDER);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("it is in a temporary folder");
    let root = KeyPair::from_pem(&read("root.key")).expect("a key");
    let root = Issuer::from_ca_cert_pem(&read("root.crt"), root).expect("an authority");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "over");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let key = KeyPair::generate().expect("keys can be made");
    let certificate = params.signed_by(&key, &root).expect("an authority can sign");
    for (name, text) in [("ca.key", key.serialize_pem()), ("ca.crt", certificate.pem())] {
        std::fs::write(folder.join(name), text).expect("it is in a temporary folder");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_starts_with_an_authority_that_has_ended_and_takes_a_new_one() {
    let mesh = Mesh::new();
    let believed = init(&mesh, enrol::FOLDER, "Strict");
    end(&mesh);
    let (mut control_plane, at) = control_plane(&mesh, "one", &[]).await;
    let metrics = control_plane.process.listening("--metrics").await;
    control_plane.process.says("can make no certificates").await;
    control_plane.apply(&mesh, &all(&[believed, service("cart", &[])]));
    mesh.published().await;
    let requester = Requester::new();
    let (_, token) = enrol::token(&mesh, &control_plane, "cart", &[]);
    let asked = async || ask(at, Some(&token), None, &requester.request("cart")).await;
    assert_eq!(asked().await.refusal(), (503, "authority"));
    let ready =
        async |value| Metrics::of(metrics).await.unwrap().say(&["control_plane_authority_ready"], value);
    assert!(ready(0).await);
    let url = format!("http://{}", control_plane.api);
    let status = || said(&mesh.outrigger(["certs", "status", "--server", &url]));
    let listed = status();
    assert!(listed.contains("NO CERTIFICATES CAN BE MADE"), "{listed}");
    let over = |line: &str| {
        line.trim_start().starts_with("OVER") && line.contains("intermediate") && line.contains("certs renew")
    };
    assert!(listed.lines().any(over), "{listed}");
    // A sidecar does not believe what is shown by an authority that has ended, and says so.
    let file = keep(&mesh, "cart", &token);
    let cart = outrigger_integration_tests::mesh::Sidecar::beside("cart").enrolling(at, &file);
    let cart = Proxy::start(&mesh, cart).await;
    cart.process.says("has expired").await;
    let out = mesh.outrigger(["certs", "renew", enrol::FOLDER]);
    assert!(out.status.success(), "{}", said(&out));
    let mode = std::fs::metadata(mesh.folder().join(enrol::FOLDER).join("ca.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    cart.ready().await;
    assert!(ready(1).await);
    assert!(!status().contains("NO CERTIFICATES"), "{}", status());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_whose_certificate_was_taken_back_says_that_first() {
    let site = Site::new(&["--certificate-lifetime", "20s"]).await;
    let shop = site.proxy("shop", &[]).await;
    shop.ready().await;
    site.push(&revocations(&site.mesh, &[&serial(&shop, "leaf").await]));
    let both = |text: &str| {
        // Held off at last, as the same has failed again and again.
        let (first, then) = (text.find("is revoked"), text.find("token_used").or(text.find("rate_limited")));
        first.zip(then).is_some_and(|(first, then)| first < then)
    };
    eventually(DEADLINE, "the log says what is wrong, and what became of the token", async || {
        shop.process.log().lines().any(|line| line.contains("no new certificate") && both(line)).then_some(())
    })
    .await;
    let trouble = async |reason: &str| {
        let reason = format!("reason=\"{reason}\"");
        count(&shop, &["outrigger_certificate_trouble", &reason]).await
    };
    assert_eq!((trouble("certificate").await, trouble("token_used").await), (1, 0));
    eventually(DEADLINE, "it is not ready when its certificate has ended, and still says why", async || {
        let page = client::page(shop.admin, "/ready").await.unwrap();
        let text = page.text();
        (page.status == StatusCode::SERVICE_UNAVAILABLE && text.contains("its time is over") && both(&text))
            .then_some(())
    })
    .await;
    assert_eq!(trouble("certificate").await, 1);
    keep(&site.mesh, "shop", &site.token("shop", &[]).1);
    shop.ready().await;
    assert_eq!(trouble("certificate").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_stays_so_while_the_store_is_away() {
    let site = Site::new(&[]).await;
    let requester = Requester::new();
    let (_, token) = site.token("cart", &["--reusable"]);
    let made = ask(site.enrol, Some(&token), None, &requester.request("cart")).await;
    let (chain, key) = (made.body["chain"].as_str().unwrap().to_owned(), requester.key());
    let renewed =
        async || ask(site.enrol, None, Some((&chain, &key)), &Requester::new().request("cart")).await;
    assert_eq!(renewed().await.status, 200);
    let log = site.control_plane.process.log();
    let issued =
        log.lines().find(|line| line.contains("certificate_issued")).expect("it is audited").to_owned();
    let number = issued.split("serial=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a number");
    site.push(&revocations(&site.mesh, &[number.trim_matches('"')]));
    let refused = renewed().await;
    assert_eq!(refused.refusal(), (401, "certificate"));
    assert!(refused.body["message"].as_str().unwrap().contains("is revoked"), "{refused:?}");
    let away = site.mesh.folder().join("away");
    std::fs::rename(site.mesh.store(), &away).unwrap();
    assert_eq!(renewed().await.refusal(), (401, "certificate"));
    let joined = ask(site.enrol, Some(&token), None, &requester.request("cart")).await;
    assert_eq!(joined.refusal(), (503, "store"));
    std::fs::rename(&away, site.mesh.store()).unwrap();
    assert_eq!(renewed().await.refusal(), (401, "certificate"));
}

/// It was off while the root was replaced: what lies in its state folder is worth nothing, however long it would last.
#[tokio::test(flavor = "multi_thread")]
async fn a_stored_certificate_that_the_mesh_does_not_believe_any_more_is_replaced_by_a_token() {
    let site = Site::new(&[]).await;
    let mut shop = site.proxy("shop", &[]).await;
    shop.ready().await;
    let before = serial(&shop, "leaf").await;
    shop.drain().await;
    let new = init(&site.mesh, "next", "Strict");
    for file in ["ca.key", "ca.crt", "root.crt"] {
        let from = site.mesh.folder().join("next").join(file);
        std::fs::copy(from, site.mesh.folder().join(enrol::FOLDER).join(file)).unwrap();
    }
    site.control_plane.process.says("by a new authority").await;
    site.control_plane.apply(&site.mesh, &all(&[new, service("shop", &[])]));
    keep(&site.mesh, "shop", &site.token("shop", &[]).1);
    shop.restart().await;
    eventually(DEADLINE, "it has a certificate of the new authority", async || {
        (serial(&shop, "leaf").await != before).then_some(())
    })
    .await;
    assert_eq!(site.counted(&["certificates_issued_total", "proof=\"token\""]).await, 2);
    shop.ready().await;
}
