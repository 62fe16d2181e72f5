//! Callers of the mesh and clients outside of it on one port at once: each is what it has proved, and nothing else.

use super::*;

/// Who may: the shop by its identity, and everybody what is public.
const ACCESS: &str = "authorization: {rules: [{name: shop, access: Allow, identities: \
    ['spiffe://mesh.test/ns/default/svc/shop']}, {name: public, access: Allow, paths: [{value: /public}]}]}";

/// A cart that ends TLS, and a shop that calls it by mutual TLS.
struct Pair {
    site: Site,
    shop: Proxy,
}

impl Pair {
    /// The shop calls the cart once it has found it well, and the cart's policy has these fields.
    async fn new(policy: &str) -> Self {
        let (of_mesh, mesh, inbound) = (Authority::new(), Mesh::new(), port::free());
        let check = "apiVersion: outrigger.dev/v1alpha1\nkind: BackendPolicy\nmetadata: {name: cart}\nspec:\n  \
             targetRefs: [{kind: Service, name: cart}]\n  \
             healthCheck: {http: {path: /public/well}, interval: 250ms, waitForFirst: true}";
        let resources = [of_mesh.mesh("Permissive"), service("shop", &[]), check.to_owned()];
        let own = of_mesh.identify(mesh.folder(), "cart");
        let other = of_mesh.identify(mesh.folder(), "shop");
        let cart = Sidecar::beside("cart").proving(&own);
        let site = Site::within(mesh, policy, &resources, cart, inbound).await;
        let shop = Proxy::start(&site.mesh, Sidecar::beside("shop").proving(&other)).await;
        shop.ready().await;
        Self { site, shop }
    }

    /// A call by the shop.
    async fn call(&self, path: &str) -> Answer {
        let request = client::request(Method::GET, "cart", path, "");
        client::send(self.shop.outbound, request).await.expect("the sidecar answers")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_the_mesh_and_clients_outside_of_it_share_a_port_and_nothing_else() {
    let pair = Pair::new(&format!("{ACCESS}\n  tls: {{{SHOWN}}}")).await;
    let site = &pair.site;
    let of_shop = async || {
        for _ in 0..20 {
            let answer = pair.call("/").await;
            assert_eq!((answer.status, answer.reason()), (StatusCode::OK, ""), "{}", answer.text());
        }
    };
    let of_others = async || {
        for _ in 0..5 {
            let said = site.curl(HOST, &["--request-target", "/public/a"]).await;
            assert!(said.contains("HTTP/2 200"), "{said}");
            let said = site.curl(HOST, &[]).await;
            assert!(said.contains("HTTP/2 403") && said.contains("access_denied"), "{said}");
        }
    };
    tokio::join!(of_shop(), of_others());

    assert_eq!(pair.call("/public/b").await.status, StatusCode::OK);
    let told = site.told("x-forwarded-client-cert").unwrap_or_default();
    let of_shop = told.starts_with("By=spiffe://mesh.test/ns/default/svc/cart;Hash=");
    assert!(of_shop && told.ends_with(";URI=spiffe://mesh.test/ns/default/svc/shop"), "{told}");
    assert_eq!(site.counts(&["outrigger_plaintext_requests_total"]).await, 0);

    let answer = site.plain("/public").await;
    assert_eq!(
        (answer.status, answer.reason()),
        (StatusCode::BAD_REQUEST, "tls_required"),
        "{}",
        answer.text()
    );
    assert_eq!(pair.call("/").await.status, StatusCode::OK, "the cart is well");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_what_the_mesh_speaks_proves_that_it_is_of_the_mesh() {
    let pair = Pair::new(&format!("{ACCESS}\n  tls: {{{SHOWN}}}")).await;
    let site = &pair.site;
    let name = "p80.cart.default.mesh.test";
    for arguments in [
        &["-servername", name, "-alpn", "h2"][..],
        &["-servername", HOST, "-alpn", "outrigger-tcp/1"],
        &["-noservername", "-alpn", "http/1.1,outrigger-tcp/1"],
    ] {
        let said = site.handshake(&[arguments, &["-tls1_3", "-ign_eof"]].concat()).await;
        assert!(said.contains("certificate required"), "{arguments:?}: {said}");
        assert!(!said.contains("cart.example.org"), "it is shown no certificate for others: {said}");
    }
    let missing = ["outrigger_tls_handshakes_total", "result=\"missing\""];
    assert_eq!(site.counts(&missing).await, 3);

    // The other way round: an identity of the mesh, shown to where others come, proves nothing.
    let folder = site.mesh.folder();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (file("shop.crt"), file("shop.key"));
    let said = site.curl(HOST, &["--cert", &certificate, "--key", &key]).await;
    assert!(said.contains("HTTP/2 403") && said.contains("access_denied"), "{said}");
    let public = ["--cert", &certificate, "--key", &key, "--request-target", "/public"];
    assert!(site.curl(HOST, &public).await.contains("HTTP/2 200"));
    assert_eq!(site.told("x-forwarded-client-cert"), None);
}

/// Each port has terms of its own, and whoever was let in by those of one is served by no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_with_a_listener_of_its_own_has_terms_of_its_own() {
    let (clients, apart) = (Authority::new(), port::free());
    let mesh = Mesh::new();
    let (authority, app) = (Authority::new(), App::start("cart").await);
    show(&mesh, &authority, "cart", &[HOST]);
    let inbound = port::free();
    let policy = |section: &str, tls: &str| {
        format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {{name: {section}}}\nspec:\n  \
             targetRefs: [{{kind: Service, name: cart, sectionName: {section}}}]\n  tls: {{{tls}}}"
        )
    };
    let asking = format!(
        "{SHOWN}, validation: {{caCertificateRefs: [{{group: '', kind: ConfigMap, name: clients}}]}}"
    );
    let cart = "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {name: cart}\nspec:\n  \
         ports: [{name: open, port: 80, protocol: HTTP}, {name: closed, port: 81, protocol: HTTP}]"
        .to_owned();
    let resources = [cart, policy("open", SHOWN), policy("closed", &asking), clients.config_map("clients")];
    mesh.publish(&all(&resources));
    let (folder, declared) = (certificates(&mesh), format!("{apart}=81"));
    let flags = ["--certificates", folder.to_str().unwrap(), "--inbound-port", &declared];
    let cart = Sidecar::beside("cart").with(&flags).inbound_to(app.addr);
    let cart = Proxy::start_inbound(&mesh, cart, inbound).await;
    cart.ready().await;

    let ask = async |address: SocketAddr, arguments: &[&str]| {
        said(&curl(&mesh, &authority, HOST, address.port(), arguments).await)
    };
    let of_port = async |port: u16| {
        count(&cart, &["outrigger_requests_total", &format!("cluster=\"default/cart:{port}\"")]).await
    };
    assert!(ask(inbound, &["--header", "host: cart:81"]).await.contains("HTTP/2 200"));
    assert_eq!((of_port(80).await, of_port(81).await), (1, 0));
    let refused = ask(at(apart.port()), &[]).await;
    assert!(!refused.contains("HTTP/"), "{refused}");
    let [certificate, key] = proof(&mesh, &clients.certify(&["partner.test"], |_| {}));
    assert!(ask(apart, &["--cert", &certificate, "--key", &key]).await.contains("HTTP/2 200"));
    assert_eq!((of_port(80).await, of_port(81).await), (1, 1));
}

/// Of several ports that carry no requests nothing says which a client means, and of one it is taken to mean that: its TLS is for the workload.
#[tokio::test(flavor = "multi_thread")]
async fn at_an_address_for_all_ports_tls_ends_unless_another_port_may_want_it() {
    for ends in [true, false] {
        let (mesh, authority, app) = (Mesh::new(), Authority::new(), App::start("cart").await);
        show(&mesh, &authority, "cart", &[HOST]);
        let (inbound, second) = (port::free(), "{name: second, port: 91, protocol: TCP}, ");
        let second = if ends { second } else { "" };
        let cart = format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: cart}}\nspec:\n  \
             ports: [{{name: first, port: 90, protocol: TCP}}, {second}{{name: http, port: 80, protocol: HTTP}}]"
        );
        let policy = format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {{name: cart}}\nspec:\n  \
             targetRefs: [{{kind: Service, name: cart}}]\n  tls: {{{SHOWN}}}"
        );
        mesh.publish(&all(&[cart, policy]));
        let folder = certificates(&mesh);
        let sidecar = Sidecar::beside("cart").with(&["--certificates", folder.to_str().unwrap()]);
        let cart = Proxy::start_inbound(&mesh, sidecar.inbound_to(app.addr), inbound).await;
        cart.ready().await;
        let said = said(&curl(&mesh, &authority, HOST, inbound.port(), &[]).await);
        assert_eq!(said.contains("HTTP/2 200"), ends, "{said}");
        assert_eq!(count(&cart, &["outrigger_tls_handshakes_total"]).await, u64::from(ends));
    }
}
