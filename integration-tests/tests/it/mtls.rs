//! Mutual TLS between sidecars: who calls, who may, and what goes wrong.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode, Version};
use outrigger_integration_tests::app::App;
use outrigger_integration_tests::client::{self, Connection};
use outrigger_integration_tests::load::{Load, Plan};
use outrigger_integration_tests::mesh::{Sidecar, said};
use outrigger_integration_tests::pki::{Authority, Pair, mesh_of};
use outrigger_integration_tests::{Answer, Mesh, Proxy, eventually, port, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::{all, service};
use crate::retries::count;

const DEADLINE: Duration = Duration::from_secs(20);
const REQUESTS: u32 = 20;

/// A shop that calls a cart, both with a sidecar.
struct Site {
    authority: Authority,
    mesh: Mesh,
    app: App,
    shop: Proxy,
    cart: Proxy,
}

/// What is different from a site in order.
#[derive(Default)]
struct Odd {
    mtls: Option<&'static str>,
    /// What the shop proves itself with.
    shop: Option<fn(&Authority, &Path) -> Option<Pair>>,
    /// What the cart proves itself with.
    cart: Option<fn(&Authority, &Path) -> Option<Pair>>,
    policy: &'static str,
    /// Flags of the cart's sidecar.
    flags: &'static [&'static str],
}

impl Site {
    async fn new(odd: Odd) -> Self {
        let (authority, mesh, app) = (Authority::new(), Mesh::new(), App::start("cart").await);
        let inbound = port::free();
        let policy = if odd.policy.is_empty() { String::new() } else { inbound_policy(odd.policy) };
        mesh.publish(&resources(authority.mesh(odd.mtls.unwrap_or("Strict")), inbound, policy));
        let proof = |pair: Option<fn(&Authority, &Path) -> Option<Pair>>, service: &str| match pair {
            Some(pair) => pair(&authority, mesh.folder()),
            None => Some(authority.identify(mesh.folder(), service)),
        };
        let beside = |service: &str, pair: Option<Pair>| match pair {
            Some(pair) => Sidecar::beside(service).proving(&pair),
            None => Sidecar::beside(service),
        };
        let cart = beside("cart", proof(odd.cart, "cart")).inbound_to(app.addr).with(odd.flags);
        let cart = Proxy::start_inbound(&mesh, cart, inbound).await;
        let shop = Proxy::start(&mesh, beside("shop", proof(odd.shop, "shop"))).await;
        cart.ready().await;
        shop.ready().await;
        Self { authority, mesh, app, shop, cart }
    }

    async fn call(&self, method: Method, path: &str) -> Answer {
        let request = client::request(method, "cart", path, "");
        client::send(self.shop.outbound, request).await.expect("the sidecar answers")
    }

    async fn get(&self) -> Answer {
        self.call(Method::GET, "/").await
    }
}

/// All that is published: the mesh, its services, of which the cart has a port `inbound`, and a policy or nothing.
fn resources(mesh: String, inbound: SocketAddr, policy: String) -> String {
    let mut resources = vec![mesh, service("shop", &[]), service("cart", &[inbound]), service("front", &[])];
    if !policy.is_empty() {
        resources.push(policy);
    }
    all(&resources)
}

fn inbound_policy(spec: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {{name: cart}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: cart}}]\n  {spec}"
    )
}

fn nobody(_: &Authority, _: &Path) -> Option<Pair> {
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_told_who_calls_and_many_calls_share_a_connection() {
    let site = Site::new(Odd::default()).await;
    for _ in 0..REQUESTS {
        let mut request = client::request(Method::POST, "cart", "/", "an order");
        request.headers_mut().insert("x-forwarded-client-cert", "URI=spiffe://forged".parse().unwrap());
        let answer = client::send(site.shop.outbound, request).await.unwrap();
        assert_eq!((answer.status, answer.reason()), (StatusCode::OK, ""));
    }
    let seen = site.app.last().expect("the workload was called");
    let told: Vec<_> = seen.headers.get_all("x-forwarded-client-cert").iter().collect();
    let told = told.first().filter(|_| told.len() == 1).expect("one field").to_str().unwrap();
    assert!(told.starts_with("By=spiffe://mesh.test/ns/default/svc/cart;Hash="), "{told}");
    assert!(told.ends_with(";URI=spiffe://mesh.test/ns/default/svc/shop"), "{told}");
    assert_eq!(seen.version, Version::HTTP_11, "what the workload speaks");
    assert_eq!(count(&site.shop, &["outrigger_upstream_connections_total"]).await, 1);
    for (proxy, direction) in [(&site.shop, "outbound"), (&site.cart, "inbound")] {
        let direction = format!("direction=\"{direction}\"");
        let name = "outrigger_tls_handshakes_total";
        assert_eq!(count(proxy, &[name, &direction, "result=\"ok\""]).await, 1);
        assert_eq!(count(proxy, &[name, &direction]).await, 1);
    }
    let expiry =
        count(&site.cart, &["outrigger_certificate_expiry_timestamp_seconds", "role=\"leaf\""]).await;
    assert!(expiry > 1_700_000_000, "{expiry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_go_through() {
    let site = Site::new(Odd::default()).await;
    let mut request = client::request(Method::GET, "cart", "/upgrade", "");
    request.headers_mut().insert("connection", "upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "echo".parse().unwrap());
    let mut connection = Connection::open(site.shop.outbound, Version::HTTP_11).await.unwrap();
    let response = connection.begin(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(hyper_util::rt::TokioIo::new(upgraded));
    let sent = vec![7_u8; 300_000];
    let written = sent.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&written).await.unwrap();
        writer
    });
    let mut received = vec![0; sent.len()];
    reader.read_exact(&mut received).await.unwrap();
    assert!(received == sent);
    drop(writing.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_service_takes_nobody_without_identity_and_a_permissive_one_counts_them() {
    let strict = Site::new(Odd { shop: Some(nobody), ..Odd::default() }).await;
    let answer = strict.get().await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::FORBIDDEN, "identity_required"));
    assert_eq!(strict.app.requests(), 0);

    let permissive = Site::new(Odd { mtls: Some("Permissive"), shop: Some(nobody), ..Odd::default() }).await;
    assert_eq!(permissive.get().await.status, StatusCode::OK);
    assert_eq!(count(&permissive.cart, &["outrigger_plaintext_requests_total"]).await, 1);
    let seen = permissive.app.last().unwrap();
    assert!(!seen.headers.contains_key("x-forwarded-client-cert"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_an_identity_never_falls_back_to_clear_text() {
    let site = Site::new(Odd { mtls: Some("Permissive"), cart: Some(nobody), ..Odd::default() }).await;
    let answer = site.get().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.reason(), "upstream_not_tls", "{}", answer.text());
    assert!(answer.text().contains("mtls: Disabled"), "the next step: {}", answer.text());
    assert_eq!(site.app.requests(), 0);
}

fn of_stranger(_: &Authority, folder: &Path) -> Option<Pair> {
    Some(Authority::new().identify(folder, "cart"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_for_a_service_must_be_it() {
    let site = Site::new(Odd { cart: Some(of_stranger), ..Odd::default() }).await;
    let answer = site.call(Method::POST, "/").await;
    let reason = "upstream_certificate_unknown_issuer";
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, reason));
    assert_eq!(site.app.requests(), 0);
    assert!(count(&site.shop, &["outrigger_tls_handshakes_total", "result=\"unknown_issuer\""]).await > 0);
}

fn stranger_shop(_: &Authority, folder: &Path) -> Option<Pair> {
    Some(Authority::new().identify(folder, "shop"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_of_another_authority_is_refused_and_told_so() {
    let site = Site::new(Odd { shop: Some(stranger_shop), ..Odd::default() }).await;
    // It believes the cart, which does not believe it.
    let answer = site.call(Method::POST, "/").await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "upstream_tls_refused"));
    assert!(answer.text().contains("UnknownCA"), "{}", answer.text());
    assert!(count(&site.cart, &["outrigger_tls_handshakes_total", "result=\"unknown_issuer\""]).await > 0);
    assert_eq!(site.app.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_rules_decide_by_identity_method_and_path_and_denial_wins() {
    let rules = "authorization: {rules: [\
        {name: readers, access: Allow, identities: ['spiffe://mesh.test/ns/default/svc/shop'], methods: [GET]}, \
        {name: writers, access: Allow, namespaces: [other], methods: [POST]}, \
        {name: no-admin, access: Deny, paths: [{value: /admin}]}]}";
    let site = Site::new(Odd { policy: rules, ..Odd::default() }).await;
    assert_eq!(site.get().await.status, StatusCode::OK);
    for (method, path, said) in [
        (Method::POST, "/", "no access rule"),
        (Method::GET, "/admin/users", "no-admin"),
        (Method::GET, "/%61dmin", "no-admin"),
        (Method::GET, "/x/../admin", "no-admin"),
    ] {
        let answer = site.call(method, path).await;
        assert_eq!((answer.status, answer.reason()), (StatusCode::FORBIDDEN, "access_denied"), "{path}");
        assert!(answer.text().contains(said), "{path}: {}", answer.text());
    }
    assert_eq!(site.app.requests(), 1);
    assert_eq!(count(&site.cart, &["outrigger_denied_requests_total", "dry_run=\"false\""]).await, 4);
    let shop = "spiffe://mesh.test/ns/default/svc/shop";
    let log = site.cart.process.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("a peer is refused")).collect();
    let [told] = told[..] else { panic!("one line for all of them: {told:?}") };
    for said in ["WARN", "access_denied", "peer=127.0.0.1", "serial=\"", "no access rule"] {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert!(told.contains(&format!("identity=\"{shop}\" proved=true")), "{told}");
    let caller = format!("caller=\"{shop}\"");
    for (class, times) in [("2xx", 1), ("4xx", 4)] {
        let class = format!("code_class=\"{class}\"");
        assert_eq!(count(&site.cart, &["outrigger_caller_requests_total", &caller, &class]).await, times);
    }
    let denied = inbound_policy("authorization: {dryRun: true, default: Deny}");
    site.mesh.publish(&resources(site.authority.mesh("Strict"), site.cart.inbound.unwrap(), denied));
    eventually(DEADLINE, "a dry run lets all pass", async || {
        (site.call(Method::POST, "/admin").await.status == StatusCode::OK).then_some(())
    })
    .await;
    assert!(count(&site.cart, &["outrigger_denied_requests_total", "dry_run=\"true\""]).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_are_limited_by_identity() {
    let limits = "rateLimits: [{name: calls, requests: 2, burst: 2, period: 24h, keys: [{identity: true}]}]";
    let site = Site::new(Odd { policy: limits, ..Odd::default() }).await;
    let front = site.authority.identify(site.mesh.folder(), "front");
    let front = Proxy::start(&site.mesh, Sidecar::beside("front").proving(&front)).await;
    front.ready().await;
    let status = async |proxy: &Proxy| client::fetch(proxy.outbound, "cart", "/").await.unwrap().status;
    for proxy in [&site.shop, &front] {
        assert_eq!(status(proxy).await, StatusCode::OK);
        assert_eq!(status(proxy).await, StatusCode::OK);
        assert_eq!(status(proxy).await, StatusCode::TOO_MANY_REQUESTS, "each has its own, and no more");
    }
}

/// New certificates by a new authority, one after the other while the old is still believed: nobody notices.
#[tokio::test(flavor = "multi_thread")]
async fn authorities_are_replaced_under_load_without_a_failed_request() {
    // Connections are opened anew all the time.
    let site = Site::new(Odd { flags: &["--downstream-age", "200ms"], ..Odd::default() }).await;
    let load = Load::start(Plan::new(site.shop.outbound, "cart", 200));
    let next = Authority::new();
    let publish = |authorities: &[&Authority]| {
        let inbound = site.cart.inbound.unwrap();
        site.mesh.publish(&resources(mesh_of(authorities, "Strict"), inbound, String::new()));
    };
    let roots = async |proxy: &Proxy, roots: usize| {
        eventually(DEADLINE, "the bundle is there", async || {
            let page = client::page(proxy.metrics, "/metrics").await.ok()?.text();
            let found = page.lines().filter(|line| {
                line.starts_with("outrigger_certificate_expiry") && line.contains("role=\"root\"")
            });
            (found.count() == roots).then_some(())
        })
        .await;
    };
    let renewed = async |proxy: &Proxy, times: u64| {
        eventually(DEADLINE, "the new certificate is in force", async || {
            (count(proxy, &["outrigger_certificate_renewals_total"]).await >= times).then_some(())
        })
        .await;
    };
    publish(&[&site.authority, &next]);
    for proxy in [&site.shop, &site.cart] {
        roots(proxy, 2).await;
    }
    next.identify(site.mesh.folder(), "shop");
    next.identify(site.mesh.folder(), "cart");
    for proxy in [&site.shop, &site.cart] {
        renewed(proxy, 2).await;
    }
    publish(&[&next]);
    for proxy in [&site.shop, &site.cart] {
        roots(proxy, 1).await;
    }
    let before = load.sent();
    eventually(DEADLINE, "calls go on", async || (load.sent() > before + 200).then_some(())).await;
    let report = load.stop().await;
    let opened = count(&site.shop, &["outrigger_tls_handshakes_total", "result=\"ok\""]).await;
    assert!(opened > 5, "{opened} connections");
    assert!(report.failed.is_empty(), "{:?}", report.reasons());
}

/// A pair that cannot be used changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_used_does_not_replace_one_that_can() {
    let site = Site::new(Odd::default()).await;
    assert_eq!(site.get().await.status, StatusCode::OK);
    site.authority.identify_after(site.mesh.folder(), "cart", |params| {
        params.not_after = params.not_before + Duration::from_secs(3_600);
    });
    eventually(DEADLINE, "the refusal is counted", async || {
        (count(&site.cart, &["outrigger_certificate_refusals_total"]).await > 0).then_some(())
    })
    .await;
    assert!(site.cart.process.log().contains("has expired"), "{}", site.cart.process.log());
    for _ in 0..REQUESTS {
        let fresh = client::request(Method::GET, "cart", "/", "");
        assert_eq!(client::send(site.shop.outbound, fresh).await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(count(&site.cart, &["outrigger_certificate_renewals_total"]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_much_a_call_matters_is_for_the_called_to_say() {
    let rules = "priorities: [\
        {priority: 0, paths: [{value: /checkout}]}, \
        {priority: 3, identities: ['spiffe://mesh.test/ns/default/svc/shop']}]";
    let site = Site::new(Odd { policy: rules, ..Odd::default() }).await;
    for (path, asked, seen) in [("/checkout", "3", "0"), ("/", "0", "3")] {
        let mut request = client::request(Method::GET, "cart", path, "");
        request.headers_mut().insert("outrigger-priority", asked.parse().unwrap());
        assert_eq!(client::send(site.shop.outbound, request).await.unwrap().status, StatusCode::OK);
        assert_eq!(site.app.last().unwrap().headers["outrigger-priority"], seen, "{path}");
    }
}

/// More connections than there are places for handshakes, all of which stop after their first byte.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_never_end_hold_up_nobody_for_long_and_are_cut() {
    const STALLED: usize = 600;
    let site = Site::new(Odd::default()).await;
    let inbound = site.cart.inbound.unwrap();
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let mut stream = TcpStream::connect(inbound).await.unwrap();
        stream.write_all(&[0x16]).await.unwrap();
        stalled.push(stream);
    }
    // Behind all of them.
    let answer = within(DEADLINE, "a caller is served", site.get()).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::OK, ""));
    for stream in &mut stalled {
        let read = within(DEADLINE, "it is cut", stream.read(&mut [0; 64])).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    eventually(DEADLINE, "they are counted", async || {
        let late = count(&site.cart, &["outrigger_tls_handshakes_total", "result=\"late\""]).await;
        (late >= STALLED as u64).then_some(())
    })
    .await;
}

/// The whole way by hand: an authority, certificates of it, the mesh that believes it, and a call.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_in_a_folder_is_all_that_is_needed() {
    let (mesh, app, inbound) = (Mesh::new(), App::start("cart").await, port::free());
    let run = |arguments: &[&str]| {
        let out = mesh.outrigger(arguments);
        assert!(out.status.success(), "{arguments:?}: {}", said(&out));
        said(&out)
    };
    run(&["certs", "init", "--trust-domain", "mesh.test", "ca"]);
    let again = mesh.outrigger(["certs", "init", "--trust-domain", "mesh.test", "ca"]);
    assert!(!again.status.success() && said(&again).contains("is not overwritten"), "{}", said(&again));
    let proof = |service: &str| {
        run(&["certs", "issue", "--ca", "ca", "--service", service, "."]);
        let file = |extension: &str| mesh.folder().join(format!("default.{service}.{extension}"));
        Pair { certificate: file("crt"), key: file("key") }
    };
    let (shop, cart) = (proof("shop"), proof("cart"));
    for secret in [&shop.key, &mesh.folder().join("ca/root.key"), &mesh.folder().join("ca/ca.key")] {
        let mode = std::fs::metadata(secret).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", secret.display());
    }
    let shown = run(&["certs", "show", "default.cart.crt", "ca/ca.crt", "ca/root.crt"]);
    assert!(shown.contains("spiffe://mesh.test/ns/default/svc/cart"), "{shown}");
    let believed = std::fs::read_to_string(mesh.folder().join("ca/mesh.yaml")).unwrap();
    let believed = believed.replace("mtls: Disabled", "mtls: Strict");
    mesh.publish(&all(&[believed, service("shop", &[]), service("cart", &[inbound])]));
    let cart = Sidecar::beside("cart").inbound_to(app.addr).proving(&cart);
    let cart = Proxy::start_inbound(&mesh, cart, inbound).await;
    let shop = Proxy::start(&mesh, Sidecar::beside("shop").proving(&shop)).await;
    cart.ready().await;
    shop.ready().await;
    let answer = client::fetch(shop.outbound, "cart", "/").await.unwrap();
    assert_eq!((answer.status, answer.reason()), (StatusCode::OK, ""));
    let told = app.last().unwrap().headers["x-forwarded-client-cert"].to_str().unwrap().to_owned();
    assert!(told.ends_with("URI=spiffe://mesh.test/ns/default/svc/shop"), "{told}");
    for (arguments, said_of) in [
        (vec!["certs", "issue", "--ca", "nowhere", "--service", "cart", "."], "cannot read nowhere/ca.crt"),
        (vec!["certs", "issue", "--ca", "ca", "--service", "cart", "--lifetime", "800h", "."], "1m to 744h"),
        (vec!["certs", "init", "--trust-domain", "Mesh", "other"], "is not a trust domain"),
        (vec!["certs", "show", "default.cart.key"], "has no certificate"),
    ] {
        let out = mesh.outrigger(&arguments);
        assert!(!out.status.success() && said(&out).contains(said_of), "{arguments:?}: {}", said(&out));
    }
}
