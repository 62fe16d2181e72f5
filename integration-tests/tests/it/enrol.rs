//! Certificates from the control plane: who gets one, who does not, and what happens while it is away.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::app::App;
use outrigger_integration_tests::client;
use outrigger_integration_tests::enrol::{self, Requester, ask, control_plane, init, keep, token};
use outrigger_integration_tests::mesh::{ControlPlane, Sidecar, said};
use outrigger_integration_tests::{Mesh, Metrics, Proxy, eventually, port};

use crate::config::{all, service};
use crate::retries::count;

const DEADLINE: Duration = Duration::from_secs(30);

/// A mesh with an authority, a control plane that makes certificates, and two services.
pub(crate) struct Site {
    pub(crate) mesh: Mesh,
    pub(crate) control_plane: ControlPlane,
    pub(crate) enrol: SocketAddr,
    metrics: SocketAddr,
    inbound: SocketAddr,
    app: App,
    /// The Mesh that was pushed.
    believed: String,
}

impl Site {
    pub(crate) async fn new(arguments: &[&str]) -> Self {
        let (mesh, app, inbound) = (Mesh::new(), App::start("cart").await, port::free());
        let believed = init(&mesh, enrol::FOLDER, "Strict");
        let (mut control_plane, enrol) = control_plane(&mesh, "one", arguments).await;
        let metrics = control_plane.process.listening("--metrics").await;
        let site = Self { mesh, control_plane, enrol, metrics, inbound, app, believed };
        site.push("");
        site.mesh.published().await;
        site
    }

    /// Pushes everything, with `more` in the Mesh.
    pub(crate) fn push(&self, more: &str) {
        let mesh = format!("{}\n{more}", self.believed.trim_end());
        let services = [mesh, service("shop", &[]), service("cart", &[self.inbound])];
        self.control_plane.apply(&self.mesh, &all(&services));
    }

    pub(crate) fn token(&self, service: &str, more: &[&str]) -> (String, String) {
        token(&self.mesh, &self.control_plane, service, more)
    }

    pub(crate) async fn proxy(&self, service: &str, more: &[&str]) -> Proxy {
        let file = keep(&self.mesh, service, &self.token(service, &[]).1);
        let sidecar = Sidecar::beside(service).enrolling(self.enrol, &file).with(more);
        if service == "cart" {
            Proxy::start_inbound(&self.mesh, sidecar.inbound_to(self.app.addr), self.inbound).await
        } else {
            Proxy::start(&self.mesh, sidecar).await
        }
    }

    pub(crate) async fn counted(&self, parts: &[&str]) -> u64 {
        Metrics::of(self.metrics).await.expect("the control plane serves metrics").sum(parts)
    }
}

/// The series of a sidecar's intermediates.
async fn issuers(proxy: &Proxy) -> String {
    let metrics = Metrics::of(proxy.metrics).await.expect("it serves metrics");
    metrics.text().lines().filter(|line| line.contains("role=\"intermediate\"")).collect()
}

async fn called(shop: &Proxy) {
    let answer = client::fetch(shop.outbound, "cart", "/").await.expect("the sidecar answers");
    assert_eq!((answer.status, answer.reason()), (StatusCode::OK, ""), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_gets_a_sidecar_its_identity_and_a_restart_needs_nobody() {
    let site = Site::new(&[]).await;
    let (mut cart, mut shop) = (site.proxy("cart", &[]).await, site.proxy("shop", &[]).await);
    cart.ready().await;
    shop.ready().await;
    called(&shop).await;
    let told = site.app.last().unwrap().headers["x-forwarded-client-cert"].to_str().unwrap().to_owned();
    assert!(told.ends_with("URI=spiffe://mesh.test/ns/default/svc/shop"), "{told}");
    let kept = site.mesh.state("cart").join("identity.json");
    let mode = std::fs::metadata(&kept).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{}", kept.display());
    assert!(!cart.process.log().contains("PRIVATE KEY"));
    assert_eq!(site.counted(&["certificates_issued_total", "proof=\"token\""]).await, 2);
    for service in ["cart", "shop"] {
        let id = format!("id=spiffe://mesh.test/ns/default/svc/{service}");
        let log = site.control_plane.process.log();
        let line = log.lines().find(|line| line.contains("certificate_issued") && line.contains(&id));
        let line = line.unwrap_or_else(|| panic!("no audit of {service}: {log}"));
        assert!(
            ["serial=", "peer=127.0.0.1:", "proof=\"token\""].iter().all(|part| line.contains(part)),
            "{line}"
        );
    }
    drop(site.control_plane);
    for proxy in [&mut cart, &mut shop] {
        proxy.drain().await;
        proxy.restart().await;
        proxy.ready().await;
    }
    called(&shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_by_the_one_before_it_and_listed() {
    let site = Site::new(&["--certificate-lifetime", "10s"]).await;
    let url = format!("http://{}", site.control_plane.api);
    let shop = site.proxy("shop", &["--report", &url]).await;
    shop.ready().await;
    eventually(DEADLINE, "it is renewed again and again", async || {
        (count(&shop, &["outrigger_certificate_renewals_total"]).await >= 4).then_some(())
    })
    .await;
    assert!(site.counted(&["certificates_issued_total", "proof=\"certificate\""]).await >= 3);
    assert_eq!(site.counted(&["certificates_issued_total", "proof=\"token\""]).await, 1);
    eventually(DEADLINE, "the list shows all of them", async || {
        let out = site.mesh.outrigger(["certs", "status", "--server", &url, "-o", "json"]);
        assert!(out.status.success(), "{}", said(&out));
        let listed: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let roles: Vec<&str> =
            listed.as_array().unwrap().iter().map(|one| one["role"].as_str().unwrap()).collect();
        (roles == ["leaf", "server", "intermediate", "root"]).then(|| {
            let leaf = &listed[0];
            assert_eq!(
                leaf["who"].as_str().unwrap().split(' ').next(),
                Some("spiffe://mesh.test/ns/default/svc/shop")
            );
            assert!(leaf["left_s"].as_i64().unwrap() <= 10 && leaf["renewal_unix"].is_u64(), "{leaf}");
            assert_eq!(listed[3]["sidecars"], 1);
        })
    })
    .await;
    let out = site.mesh.outrigger(["certs", "status", "--server", &url]);
    assert!(said(&out).contains("others of the mesh refuse this sidecar"), "{}", said(&out));
    // A new intermediate by the same root: nothing is to be pushed.
    let before = issuers(&shop).await;
    let out = site.mesh.outrigger(["certs", "renew", enrol::FOLDER]);
    assert!(out.status.success(), "{}", said(&out));
    eventually(DEADLINE, "the new intermediate is used", async || {
        (issuers(&shop).await != before).then_some(())
    })
    .await;
    assert_eq!(count(&shop, &["outrigger_certificate_refusals_total"]).await, 0);
    assert_eq!(count(&shop, &["outrigger_certificate_failures_total"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_good_for_what_they_were_made_for_and_nothing_else() {
    let site = Site::new(&[]).await;
    let (one, other) = (Requester::new(), Requester::new());
    let (id, single) = site.token("cart", &[]);
    let asked = async |token: &str, request: &str| {
        let answer = ask(site.enrol, Some(token), None, request).await;
        (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
    };
    let refused = |status: u16, code: &str| (status, code.to_owned());
    // For another service, and with what is no request: neither uses it up.
    assert_eq!(asked(&single, &one.request("shop")).await, refused(403, "token_of_other_service"));
    assert_eq!(asked(&single, "nonsense").await, refused(422, "request"));
    assert_eq!(asked(&single, &one.request("cart")).await.0, 200);
    // The answer may have been lost: the same key gets another.
    assert_eq!(asked(&single, &one.request("cart")).await.0, 200);
    assert_eq!(asked(&single, &other.request("cart")).await, refused(403, "token_used"));
    let (_, reusable) = site.token("cart", &["--reusable"]);
    for requester in [&one, &other] {
        assert_eq!(asked(&reusable, &requester.request("cart")).await.0, 200);
    }
    let server = format!("http://{}", site.control_plane.api);
    let (revoked_id, revoked) = site.token("cart", &["--reusable"]);
    let out = site.mesh.outrigger(["certs", "token", "revoke", "--server", &server, &revoked_id]);
    assert!(out.status.success(), "{}", said(&out));
    assert_eq!(asked(&revoked, &other.request("cart")).await, refused(403, "token_revoked"));
    let listed = said(&site.mesh.outrigger(["certs", "token", "list", "--server", &server]));
    for (id, state) in [(&id, "used"), (&revoked_id, "revoked")] {
        assert!(listed.lines().any(|line| line.contains(id.as_str()) && line.ends_with(state)), "{listed}");
    }
    assert!(!listed.contains(&single), "{listed}");
    let (_, short) = site.token("cart", &["--ttl", "1s"]);
    eventually(DEADLINE, "its time is over", async || {
        (asked(&short, &one.request("cart")).await == refused(403, "token_expired")).then_some(())
    })
    .await;
    for code in ["token_of_other_service", "request", "token_used", "token_revoked", "token_expired"] {
        let reason = format!("reason=\"{code}\"");
        assert_eq!(site.counted(&["certificate_refusals_total", &reason]).await, 1, "{code}");
        let log = site.control_plane.process.log();
        let audited = log.lines().any(|line| line.contains("certificate_refused") && line.contains(&reason));
        assert!(audited, "no audit of {code}: {log}");
    }
    let stored = std::fs::read_dir(site.mesh.store().join("tokens")).unwrap().count();
    assert_eq!(stored, 4);
    assert!(!site.control_plane.process.log().contains(&single), "a token is not logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_nobody_may_have_are_not_made() {
    let site = Site::new(&[]).await;
    let create = |control_plane: &ControlPlane, arguments: &[&str]| {
        let server = format!("http://{}", control_plane.api);
        let out =
            site.mesh.outrigger([&["certs", "token", "create", "--server", &server][..], arguments].concat());
        assert_eq!(out.status.code(), Some(1), "{}", said(&out));
        said(&out)
    };
    let of = |arguments: &[&str]| create(&site.control_plane, arguments);
    assert!(of(&["--service", "outrigger/control-plane"]).contains("no sidecar can be that"));
    assert!(of(&["--service", "cart", "--ttl", "169h"]).contains("1 s to 168 h"));
    let plain = site.mesh.control_plane("plain").await;
    assert!(create(&plain, &["--service", "cart"]).contains("--ca"));
    let server = format!("http://{}", site.control_plane.api);
    let unknown = "0".repeat(32);
    let out = site.mesh.outrigger(["certs", "token", "revoke", "--server", &server, &unknown]);
    assert!(said(&out).contains("there is no join token"), "{}", said(&out));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_proves_nothing_is_refused_and_held_off() {
    let site = Site::new(&[]).await;
    let requester = Requester::new();
    let request = requester.request("cart");
    let (_, good) = site.token("cart", &["--reusable"]);
    let chain = ask(site.enrol, Some(&good), None, &request).await.body["chain"].as_str().unwrap().to_owned();
    let key = requester.key();
    let shown = Some((chain.as_str(), key.as_str()));
    // By its certificate it gets its own identity again, and no other.
    assert_eq!(ask(site.enrol, None, shown, &Requester::new().request("cart")).await.status, 200);
    let other = ask(site.enrol, None, shown, &Requester::new().request("shop")).await;
    assert_eq!(other.refusal(), (403, "other_identity"));
    // Another mesh's token, signed by its key.
    let elsewhere = Site::new(&[]).await;
    let (_, foreign) = elsewhere.token("cart", &[]);
    let theirs = Requester::new();
    let believed_there = ask(elsewhere.enrol, Some(&foreign), None, &theirs.request("cart")).await;
    let foreign_chain = believed_there.body["chain"].as_str().unwrap().to_owned();
    assert_eq!(ask(site.enrol, Some(&foreign), None, &request).await.refusal(), (401, "token_untrusted"));
    let answer = ask(site.enrol, None, Some((&foreign_chain, &theirs.key())), &request).await;
    assert_eq!(answer.refusal(), (401, "certificate"));
    assert_eq!(ask(site.enrol, None, None, &request).await.refusal(), (401, "no_proof"));
    // Guesses, until nothing more is tried.
    let mut guesses = 0;
    let held_off = loop {
        let mut guess = good.clone();
        guess.truncate(good.len() - 6);
        guess.push_str(&format!("{guesses:06}"));
        match ask(site.enrol, Some(&guess), None, &request).await {
            answer if answer.status == 401 => guesses += 1,
            answer => break answer,
        }
        assert!(guesses < 20, "guesses are not held off");
    };
    assert_eq!(held_off.refusal(), (429, "rate_limited"));
    assert!((5..=8).contains(&guesses), "{guesses}");
    // Others behind the same address are not held off by what they did not do.
    assert_eq!(ask(site.enrol, Some(&good), None, &request).await.status, 200);
    assert_eq!(ask(site.enrol, None, shown, &request).await.status, 200);
    assert_eq!(ask(site.enrol, None, None, &request).await.refusal(), (429, "rate_limited"));
    assert!(site.counted(&["certificate_refusals_total", "reason=\"rate_limited\""]).await >= 2);
    let log = site.control_plane.process.log();
    assert!(
        log.lines()
            .any(|line| line.contains("certificate_refused") && line.contains("reason=\"rate_limited\""))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_shown_again_and_again_is_held_off_and_no_other() {
    let site = Site::new(&[]).await;
    let (_, single) = site.token("cart", &[]);
    let (owner, thief) = (Requester::new(), Requester::new());
    assert_eq!(ask(site.enrol, Some(&single), None, &owner.request("cart")).await.status, 200);
    for (request, refusal) in
        [(thief.request("cart"), "token_used"), (thief.request("shop"), "token_of_other_service")]
    {
        for _ in 0..5 {
            assert_eq!(ask(site.enrol, Some(&single), None, &request).await.refusal(), (403, refusal));
        }
    }
    let held_off = ask(site.enrol, Some(&single), None, &thief.request("cart")).await;
    assert_eq!(held_off.refusal(), (429, "rate_limited"));
    let (_, good) = site.token("cart", &[]);
    assert_eq!(ask(site.enrol, Some(&good), None, &thief.request("cart")).await.status, 200);
    assert_eq!(ask(site.enrol, None, None, &thief.request("cart")).await.refusal(), (401, "no_proof"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_tells_nothing_to_a_control_plane_of_another_mesh() {
    let (site, elsewhere) = (Site::new(&[]).await, Site::new(&[]).await);
    let file = keep(&site.mesh, "shop", &site.token("shop", &[]).1);
    let shop = Proxy::start(&site.mesh, Sidecar::beside("shop").enrolling(elsewhere.enrol, &file)).await;
    shop.process.says("does not prove that it is the control plane of this mesh").await;
    eventually(DEADLINE, "it is not ready, and says why", async || {
        let ready = client::page(shop.admin, "/ready").await.unwrap();
        assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
        ready.text().contains("leads to no authority").then_some(())
    })
    .await;
    assert_eq!(elsewhere.counted(&["certificate_refusals_total"]).await, 0, "the token was not shown");
    assert_eq!(elsewhere.counted(&["certificates_issued_total"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_without_a_certificate_waits_and_says_so() {
    let mut site = Site::new(&[]).await;
    let file = keep(&site.mesh, "cart", &site.token("cart", &[]).1);
    site.control_plane.process.terminate();
    site.control_plane.process.ended(DEADLINE).await;
    let (admin, inbound) = (port::free(), site.inbound);
    let flags = ["--admin".to_owned(), admin.to_string(), "--inbound".to_owned(), inbound.to_string()];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let sidecar = Sidecar::beside("cart").inbound_to(site.app.addr).enrolling(site.enrol, &file).with(&flags);
    let waiting = Proxy::start_unchecked(&site.mesh, sidecar);
    eventually(DEADLINE, "it says what it waits for", async || {
        let page = client::page(admin, "/ready").await.ok()?;
        let text = page.text();
        (page.status == StatusCode::SERVICE_UNAVAILABLE && text.contains("can't connect to")).then_some(())
    })
    .await;
    assert!(tokio::net::TcpStream::connect(inbound).await.is_err(), "nobody is let in before");
    assert!(!waiting.log().contains("inbound listening"));
    let at = site.enrol.to_string();
    let (_again, _) = control_plane(&site.mesh, "one", &["--enrol", &at]).await;
    eventually(DEADLINE * 2, "it is ready", async || {
        let page = client::page(admin, "/ready").await.ok()?;
        (page.status == StatusCode::OK).then_some(())
    })
    .await;
    waiting.says("inbound listening").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ended_meanwhile_is_replaced_by_a_new_token() {
    let site = Site::new(&["--certificate-lifetime", "10s"]).await;
    let mut shop = site.proxy("shop", &[]).await;
    shop.ready().await;
    shop.drain().await;
    let kept = std::fs::read_to_string(site.mesh.state("shop").join("identity.json")).unwrap();
    let since =
        serde_json::from_str::<serde_json::Value>(&kept).unwrap()["pair"]["since_unix"].as_u64().unwrap();
    eventually(DEADLINE, "its certificate ends", async || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        (now > since + 11).then_some(())
    })
    .await;
    shop.restart().await;
    let ready = async || client::page(shop.admin, "/ready").await.unwrap();
    eventually(DEADLINE, "the old token does not help", async || {
        let page = ready().await;
        (page.status == StatusCode::SERVICE_UNAVAILABLE && page.text().contains("token_used")).then_some(())
    })
    .await;
    keep(&site.mesh, "shop", &site.token("shop", &[]).1);
    eventually(DEADLINE * 2, "the new one does", async || {
        (ready().await.status == StatusCode::OK).then_some(())
    })
    .await;
}
