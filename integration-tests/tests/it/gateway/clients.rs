//! Certificates that clients show, and sessions that are taken up again.

use rcgen::SanType;

use super::*;

/// What is asked of the clients of the gateway.
fn asking(port: u16, mode: &str) -> String {
    let listener = https("shop", port, "shop.example.org", "shop", "");
    let authorities = "caCertificateRefs: [{group: '', kind: ConfigMap, name: clients}]";
    let tls = format!("  tls: {{frontend: {{default: {{validation: {{{authorities}, mode: {mode}}}}}}}}}\n");
    gateway(&[listener]) + &tls
}

struct Site {
    authority: Authority,
    mesh: Mesh,
    shop: App,
    port: u16,
    edge: Gateway,
}

impl Site {
    /// A gateway that asks its clients for certificates of `clients`, if it does.
    async fn new(mode: Option<&str>, clients: &Authority) -> Self {
        Self::with(mode, clients, &[]).await
    }

    /// The same, with more resources.
    async fn with(mode: Option<&str>, clients: &Authority, more: &[String]) -> Self {
        let (authority, mesh, shop) = (Authority::new(), Mesh::new(), App::start("shop").await);
        let port = port::free().port();
        show(&mesh, &authority, "shop", &["shop.example.org"]);
        let gateway = match mode {
            Some(mode) => asking(port, mode),
            None => gateway(&[https("shop", port, "shop.example.org", "shop", "")]),
        };
        publish(&mesh, gateway, &shop, clients, more);
        let edge = Gateway::start(&mesh, "edge", &[]).await;
        edge.ready().await;
        Self { authority, mesh, shop, port, edge }
    }

    /// A call by a client that shows a pair, if it has one.
    async fn call(&self, pair: Option<&(String, String)>, arguments: &[&str]) -> String {
        let files = pair.map(|pair| proof(&self.mesh, pair));
        let shown =
            files.as_ref().map_or(vec![], |[certificate, key]| vec!["--cert", certificate, "--key", key]);
        said(
            &curl(&self.mesh, &self.authority, "shop.example.org", self.port, &[&shown, arguments].concat())
                .await,
        )
    }

    /// What the application was told of the certificate of the last client.
    fn told(&self) -> Option<String> {
        let head = self.shop.last()?;
        head.headers.get("x-forwarded-client-cert").map(|value| value.to_str().unwrap().to_owned())
    }

    /// Whether a session is taken up again.
    async fn resumes(&self, pair: Option<&(String, String)>, version: &str) -> bool {
        resumes(&self.mesh, at(self.port), "shop.example.org", pair, version).await
    }
}

fn publish(mesh: &Mesh, gateway: String, shop: &App, clients: &Authority, more: &[String]) {
    let resources =
        [gateway, service("shop", &[shop.addr]), route("shop", &[]), clients.config_map("clients")];
    mesh.publish_shrunk(&all(&[&resources, more].concat()));
}

#[tokio::test]
async fn clients_that_must_prove_themselves_do_and_the_workload_is_told_who_they_are() {
    let (clients, strangers) = (Authority::new(), Authority::new());
    let site = Site::new(Some("AllowValidOnly"), &clients).await;
    let pair = clients.certify(&["client.test"], |_| {});
    let forged = ["--header", "x-forwarded-client-cert: Hash=00"];
    let said = site.call(Some(&pair), &forged).await;
    assert!(said.contains("HTTP/2 200"), "{said}");
    let told = site.told().unwrap();
    assert!(told.starts_with("Hash=") && told.ends_with(";Subject=\"CN=someone\";DNS=client.test"), "{told}");
    assert!(!told.contains("Hash=00;") && told.len() > 64, "{told}");
    for (pair, reason) in
        [(None, "missing"), (Some(strangers.certify(&["client.test"], |_| {})), "unknown_issuer")]
    {
        let said = site.call(pair.as_ref(), &[]).await;
        assert!(!said.contains("HTTP/"), "{said}");
        let counted = ["outrigger_tls_handshakes_total", &format!("result=\"{reason}\"")];
        site.edge.says(&counted, 1).await;
    }
    assert_eq!(site.shop.requests(), 1);
}

#[tokio::test]
async fn clients_that_need_not_prove_themselves_count_as_nobody_unless_they_do() {
    let (clients, strangers) = (Authority::new(), Authority::new());
    let site = Site::new(Some("AllowInsecureFallback"), &clients).await;
    for (pair, is_told) in [
        (None, false),
        (Some(strangers.certify(&["client.test"], |_| {})), false),
        (Some(clients.certify(&["client.test"], |_| {})), true),
    ] {
        let said = site.call(pair.as_ref(), &["--header", "x-forwarded-client-cert: Hash=00"]).await;
        assert!(said.contains("HTTP/2 200"), "{said}");
        assert_eq!(site.told().is_some(), is_told);
    }
}

/// The authorities of others give nobody an identity of the mesh, not even in what the workload is told.
#[tokio::test]
async fn a_certificate_of_an_outsider_names_nobody_of_the_mesh() {
    let of = |clients: &Authority, uri: &'static str| {
        clients.certify(&["client.test"], |params| {
            params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        })
    };
    for (mode, says, reason) in
        [("AllowValidOnly", "", "name_constraint"), ("AllowInsecureFallback", "HTTP/2 200", "ok")]
    {
        let clients = Authority::new();
        let site = Site::with(Some(mode), &clients, &[Authority::new().mesh("Disabled")]).await;
        for uri in ["spiffe://mesh.test/ns/default/svc/admin", "SPIFFE://MESH.TEST/ns/default/svc/admin"] {
            let said = site.call(Some(&of(&clients, uri)), &[]).await;
            assert!(said.contains(says) && said.contains("HTTP/2 200") != says.is_empty(), "{mode}: {said}");
            assert_eq!(site.told(), None, "{mode}");
        }
        site.edge.says(&["outrigger_tls_handshakes_total", &format!("result=\"{reason}\"")], 2).await;
        let said = site.call(Some(&of(&clients, "spiffe://partner.test/a")), &[]).await;
        assert!(said.contains("HTTP/2 200"), "{mode}: {said}");
        let told = site.told().unwrap();
        assert!(told.contains(";URI=spiffe://partner.test/a"), "{told}");
    }
}

/// A session that was taken up again would let a client in whose authority is believed no more.
#[tokio::test]
async fn sessions_are_taken_up_again_only_where_nobody_proves_anything() {
    let clients = Authority::new();
    let open = Site::new(None, &clients).await;
    assert!(open.resumes(None, "-tls1_3").await && open.resumes(None, "-tls1_2").await);
    drop(open);
    for mode in ["AllowValidOnly", "AllowInsecureFallback"] {
        let site = Site::new(Some(mode), &clients).await;
        let pair = clients.certify(&["client.test"], |_| {});
        for version in ["-tls1_3", "-tls1_2"] {
            assert!(!site.resumes(Some(&pair), version).await, "{mode} {version}");
        }
        if mode == "AllowValidOnly" {
            publish(&site.mesh, asking(site.port, mode), &site.shop, &Authority::new(), &[]);
            eventually(DEADLINE, "the authority is believed no more", async || {
                (!site.call(Some(&pair), &[]).await.contains("HTTP/")).then_some(())
            })
            .await;
        }
    }
}
