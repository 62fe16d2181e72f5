//! TLS with clients outside the mesh that ends at a sidecar, as `curl` and `openssl` see it, beside callers of the mesh.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it set it up")]

use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, StatusCode};
use outrigger_integration_tests::gateway::{at, certificates};
use outrigger_integration_tests::mesh::{Sidecar, said};
use outrigger_integration_tests::pki::Authority;
use outrigger_integration_tests::{Answer, App, Mesh, Metrics, Proxy, client, eventually, port};

use crate::config::{all, service};
use crate::gateway::{curl, openssl, proof, put, resumes, show, shown};
use crate::retries::count;

mod clients;
mod mesh;

const DEADLINE: Duration = Duration::from_secs(20);
const HOST: &str = "cart.example.org";
/// What shows one certificate, and asks nothing.
const SHOWN: &str = "certificateRefs: [{name: cart}]";

/// A workload whose sidecar ends TLS, in a mesh with or without identities.
struct Site {
    /// Whom clients believe.
    authority: Authority,
    mesh: Mesh,
    app: App,
    cart: Proxy,
}

impl Site {
    /// Without identities.
    async fn new(tls: &str) -> Self {
        Self::with(&format!("tls: {{{tls}}}"), &[], Sidecar::beside("cart")).await
    }

    /// With this policy and further resources, beside this sidecar.
    async fn with(policy: &str, resources: &[String], sidecar: Sidecar) -> Self {
        let (mesh, inbound) = (Mesh::new(), port::free());
        Self::within(mesh, policy, resources, sidecar, inbound).await
    }

    async fn within(
        mesh: Mesh,
        policy: &str,
        resources: &[String],
        sidecar: Sidecar,
        inbound: SocketAddr,
    ) -> Self {
        let (authority, app) = (Authority::new(), App::start("cart").await);
        show(&mesh, &authority, "cart", &[HOST]);
        show(&mesh, &authority, "wild", &["*.example.org"]);
        publish(&mesh, policy, resources, inbound);
        let folder = certificates(&mesh);
        let sidecar = sidecar.with(&["--certificates", folder.to_str().unwrap()]).inbound_to(app.addr);
        let cart = Proxy::start_inbound(&mesh, sidecar, inbound).await;
        cart.ready().await;
        Self { authority, mesh, app, cart }
    }

    fn address(&self) -> SocketAddr {
        self.cart.inbound.unwrap()
    }

    /// A call of a host by `curl`.
    async fn curl(&self, host: &str, arguments: &[&str]) -> String {
        said(&curl(&self.mesh, &self.authority, host, self.address().port(), arguments).await)
    }

    /// A call by a client that shows a pair, if it has one.
    async fn call(&self, pair: Option<&(String, String)>, arguments: &[&str]) -> String {
        let files = pair.map(|pair| proof(&self.mesh, pair));
        let shown =
            files.as_ref().map_or(vec![], |[certificate, key]| vec!["--cert", certificate, "--key", key]);
        self.curl(HOST, &[&shown, arguments].concat()).await
    }

    /// A call in the clear.
    async fn plain(&self, path: &str) -> Answer {
        client::fetch(self.address(), HOST, path).await.expect("the sidecar answers")
    }

    /// What `openssl s_client` says of a handshake.
    async fn handshake(&self, arguments: &[&str]) -> String {
        openssl(&[&["s_client", "-connect", &self.address().to_string()], arguments].concat()).await
    }

    /// What the workload was told last in a field.
    fn told(&self, field: &str) -> Option<String> {
        self.app.last()?.headers.get(field).map(|value| value.to_str().unwrap().to_owned())
    }

    async fn counts(&self, parts: &[&str]) -> u64 {
        count(&self.cart, parts).await
    }
}

fn publish(mesh: &Mesh, policy: &str, resources: &[String], inbound: SocketAddr) {
    let policy = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {{name: cart}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: cart}}]\n  {policy}"
    );
    mesh.publish_shrunk(&all(&[&[service("cart", &[inbound]), policy], resources].concat()));
}

#[tokio::test]
async fn each_host_is_shown_its_certificate_and_speaks_what_it_can() {
    let site = Site::new("certificateRefs: [{name: wild}, {name: cart}]").await;
    for (host, arguments, says) in [
        (HOST, &[][..], "HTTP/2 200"),
        (HOST, &["--http1.1"], "HTTP/1.1 200"),
        ("blog.example.org", &[], "HTTP/2 200"),
        (HOST, &["--tls-max", "1.2"], "HTTP/2 200"),
        ("a.b.example.org", &[], "no alternative certificate subject name matches"),
    ] {
        let said = site.curl(host, arguments).await;
        assert!(said.contains(says), "{host} {arguments:?}: {said}");
    }
    let forged = [
        "x-forwarded-client-cert: Hash=00;URI=spiffe://mesh.test/ns/default/svc/admin",
        "x-forwarded-proto: http",
        "outrigger-priority: 0",
    ];
    let forged: Vec<_> = forged.iter().flat_map(|field| ["--header", field]).collect();
    assert!(site.curl(HOST, &forged).await.contains("HTTP/2 200"));
    for (field, value) in [
        ("x-forwarded-proto", Some("https")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-client-cert", None),
        ("outrigger-priority", None),
    ] {
        assert_eq!(site.told(field).as_deref(), value, "{field}");
    }
    let own = shown(site.address(), HOST).await;
    let wild = shown(site.address(), "blog.example.org").await;
    assert!(own.is_some() && wild.is_some() && own != wild);
    // Without a name, and for one that none is for, the first.
    for host in ["", "other.test"] {
        assert_eq!(shown(site.address(), host).await, wild, "{host:?}");
    }
    assert_eq!(site.counts(&["outrigger_plaintext_requests_total"]).await, 0);
    let ends = site.counts(&["outrigger_edge_certificate_expiry_timestamp_seconds", "default/cart"]).await;
    assert!(ends > 1_700_000_000, "{ends}");

    let newest = Site::new(&format!("{SHOWN}, minVersion: '1.3'")).await;
    assert!(newest.curl(HOST, &[]).await.contains("HTTP/2 200"));
    assert!(newest.curl(HOST, &["--tls-max", "1.2"]).await.contains("alert"));
}

#[tokio::test]
async fn clear_text_is_refused_unless_it_is_allowed_and_counted_either_way() {
    let check = "apiVersion: outrigger.dev/v1alpha1\nkind: BackendPolicy\nmetadata: {name: cart}\nspec:\n  \
         targetRefs: [{kind: Service, name: cart}]\n  healthCheck: {http: {path: /well}}"
        .to_owned();
    let refused = Site::with(&format!("tls: {{{SHOWN}}}"), &[check], Sidecar::beside("cart")).await;
    let answer = refused.plain("/").await;
    assert_eq!(
        (answer.status, answer.reason()),
        (StatusCode::BAD_REQUEST, "tls_required"),
        "{}",
        answer.text()
    );
    assert_eq!(refused.app.requests(), 0);
    // Or callers without identity would take the workload for ill.
    assert_eq!(refused.plain("/well").await.status, StatusCode::OK);
    assert!(refused.curl(HOST, &[]).await.contains("HTTP/2 200"));
    assert_eq!(refused.counts(&["outrigger_plaintext_requests_total"]).await, 2);

    let allowed = Site::new(&format!("{SHOWN}, cleartext: Allowed")).await;
    assert_eq!(allowed.plain("/").await.status, StatusCode::OK);
    assert_eq!(allowed.told("x-forwarded-proto").as_deref(), Some("http"));
    assert!(allowed.curl(HOST, &[]).await.contains("HTTP/2 200"));
    assert_eq!(allowed.counts(&["outrigger_plaintext_requests_total"]).await, 1);
}

#[tokio::test]
async fn without_a_certificate_nobody_comes_in_until_there_is_one() {
    let site = Site::new("certificateRefs: [{name: late}], cleartext: Allowed").await;
    let said = site.handshake(&["-servername", HOST]).await;
    assert!(said.contains("unrecognized name"), "{said}");
    assert_eq!(site.counts(&["outrigger_tls_handshakes_total", "result=\"no_certificate\""]).await, 1);
    assert_eq!(
        site.counts(&["outrigger_edge_certificate_expiry_timestamp_seconds", "default/late"]).await,
        0
    );
    assert_eq!(site.plain("/").await.status, StatusCode::OK, "others go on");
    show(&site.mesh, &site.authority, "late", &[HOST]);
    eventually(DEADLINE, "the certificate is shown", async || {
        site.curl(HOST, &[]).await.contains("HTTP/2 200").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_certificate_is_renewed_and_no_request_fails() {
    let site = Site::new(SHOWN).await;
    let before = shown(site.address(), HOST).await.unwrap();
    show(&site.mesh, &site.authority, "cart", &[HOST]);
    let mut calls = 0;
    eventually(DEADLINE, "the new certificate is shown", async || {
        calls += 1;
        let said = site.curl(HOST, &[]).await;
        assert!(said.contains("HTTP/2 200"), "call {calls}: {said}");
        shown(site.address(), HOST).await.filter(|now| *now != before)
    })
    .await;
    assert!(site.curl(HOST, &[]).await.contains("HTTP/2 200"));
    assert_eq!(site.counts(&["outrigger_edge_certificate_renewals_total"]).await, 2);
    let (certificate, _) = site.authority.certify(&[HOST], |_| {});
    let (_, other) = site.authority.certify(&[HOST], |_| {});
    let kept = shown(site.address(), HOST).await;
    put(&site.mesh, "cart", &certificate, &other);
    eventually(DEADLINE, "what does not fit together is refused", async || {
        let metrics = Metrics::of(site.cart.metrics).await?;
        (metrics.sum(&["outrigger_edge_certificate_refusals_total"]) > 0).then_some(())
    })
    .await;
    assert_eq!(shown(site.address(), HOST).await, kept);
}
