//! Identities from an agent of the SPIFFE Workload API.

use std::time::Duration;

use http::{Method, StatusCode};
use outrigger_integration_tests::app::App;
use outrigger_integration_tests::load::{Load, Plan};
use outrigger_integration_tests::mesh::Sidecar;
use outrigger_integration_tests::pki::{Authority, DOMAIN, mesh_of};
use outrigger_integration_tests::workload_api::Agent;
use outrigger_integration_tests::{Mesh, Proxy, client, eventually, port};

use crate::config::{all, service};
use crate::retries::count;

const DEADLINE: Duration = Duration::from_secs(20);

fn id(service: &str) -> String {
    format!("spiffe://{DOMAIN}/ns/default/svc/{service}")
}

/// A shop that calls a cart, each known to an agent of its own.
struct Site {
    mesh: Mesh,
    app: App,
    shop: Proxy,
    cart: Proxy,
    agents: [Agent; 2],
}

impl Site {
    async fn new(authority: &Authority) -> Self {
        let (mesh, app) = (Mesh::new(), App::start("cart").await);
        let inbound = port::free();
        mesh.publish(&all(&[
            mesh_of(&[authority], "Strict"),
            service("shop", &[]),
            service("cart", &[inbound]),
        ]));
        let agents = ["shop", "cart"].map(|service| {
            let folder = mesh.folder().join(service);
            std::fs::create_dir(&folder).expect("the folder can be written");
            let agent = Agent::start(&folder);
            agent.tell(&[authority.agent_svid(&id(service))]);
            agent
        });
        let [shop, cart] = &agents;
        let cart = Sidecar::beside("cart").inbound_to(app.addr).with(&["--workload-api", &cart.socket()]);
        let cart = Proxy::start_inbound(&mesh, cart, inbound).await;
        let shop = Sidecar::beside("shop").with(&["--workload-api", &shop.socket()]);
        let shop = Proxy::start(&mesh, shop).await;
        cart.ready().await;
        shop.ready().await;
        Self { mesh, app, shop, cart, agents }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_authorities_of_an_agent_are_replaced_under_load() {
    let (old, new) = (Authority::new(), Authority::new());
    let site = Site::new(&old).await;
    let load = Load::start(Plan::new(site.shop.outbound, "cart", 200));
    let [shop, cart] = &site.agents;
    let renewed = async |proxy: &Proxy, times: u64| {
        eventually(DEADLINE, "a certificate comes into force", async || {
            (count(proxy, &["outrigger_certificate_renewals_total"]).await == times).then_some(())
        })
        .await;
    };
    let bundle = [old.der(), new.der()].concat();
    // Both are believed first, as an agent goes about it; a change of those alone is no new certificate.
    for (authority, times) in [(&old, 2), (&new, 3)] {
        for (agent, proxy, service) in [(shop, &site.shop, "shop"), (cart, &site.cart, "cart")] {
            let mut svid = authority.agent_svid(&id(service));
            svid.authorities = bundle.clone();
            agent.tell(&[svid]);
            renewed(proxy, times).await;
        }
    }
    let more = load.succeeded() + 100;
    eventually(DEADLINE, "calls under the new authority", async || (load.succeeded() >= more).then_some(()))
        .await;
    let report = load.stop().await;
    assert_eq!(report.succeeded, report.sent, "{:?}", report.reasons());
    assert!(site.app.requests() >= report.sent);
    // The snapshot knows the old authority alone.
    let roots = count(&site.cart, &["outrigger_certificate_expiry_timestamp_seconds{role=\"root\""]).await;
    assert!(roots > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_gone_changes_nothing_and_is_found_again() {
    let authority = Authority::new();
    let site = Site::new(&authority).await;
    let Site { shop, cart: _cart, agents: [agent, _other], mesh, app: _app } = site;
    drop(agent);
    eventually(DEADLINE, "the agent is missed", async || {
        (count(&shop, &["outrigger_certificate_failures_total"]).await > 0).then_some(())
    })
    .await;
    let call =
        async || client::send(shop.outbound, client::request(Method::GET, "cart", "/", "")).await.unwrap();
    assert_eq!(call().await.status, StatusCode::OK);
    let agent = Agent::start(&mesh.folder().join("shop"));
    agent.tell(&[authority.agent_svid(&id("shop"))]);
    eventually(DEADLINE, "the new agent is heard", async || {
        (count(&shop, &["outrigger_certificate_renewals_total"]).await == 2).then_some(())
    })
    .await;
    assert_eq!(call().await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_waits_for_its_own_identity_and_says_which_it_was_given() {
    let (mesh, authority) = (Mesh::new(), Authority::new());
    mesh.publish(&all(&[mesh_of(&[&authority], "Strict"), service("shop", &[])]));
    let agent = Agent::start(mesh.folder());
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").with(&["--workload-api", &agent.socket()])).await;
    let ready = async || client::fetch(shop.metrics, "metrics", "/ready").await.unwrap();
    let not_ready = async |why: &str| {
        eventually(DEADLINE, why, async || {
            let answer = ready().await;
            (answer.status == StatusCode::SERVICE_UNAVAILABLE && answer.text().contains(why)).then_some(())
        })
        .await;
    };
    not_ready("is there an entry for this process?").await;
    agent.tell(&[authority.agent_svid(&id("thief"))]);
    not_ready("the agent knows this process as spiffe://mesh.test/ns/default/svc/thief").await;
    // Its own is found among several.
    agent.tell(&[authority.agent_svid(&id("thief")), authority.agent_svid(&id("shop"))]);
    shop.ready().await;
}
