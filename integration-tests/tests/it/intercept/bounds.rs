//! What comes in, and what comes back.

use super::*;

/// Nothing of the service's, but of the workload's.
const EXTRA: u16 = 9_999;

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_the_service_does_not_name_is_reached_unless_it_is_strict() {
    for (mtls, passes) in [("Permissive", true), ("Strict", false)] {
        let site = Site::intercepted(Odd { mtls: Some(mtls), ..Odd::default() }).await;
        let _extra = site.cart.namespace.run(Database::start(any(EXTRA))).await;
        let hidden = SocketAddr::from(([127, 0, 0, 1], EXTRA + 1));
        let _hidden = site.cart.namespace.run(Database::start(hidden)).await;
        let cart = [IpAddr::V4(site.cart.namespace.v4), site.cart.namespace.v6.into()];
        let found = site.world.run(converse(SocketAddr::new(cart[0], EXTRA), b"x")).await;
        assert_eq!(found.is_ok(), passes, "{mtls}: {found:?}");
        let found = site.world.run(converse(SocketAddr::new(cart[0], EXTRA + 1), b"x")).await;
        assert!(found.is_err(), "what listens on loopback is for nobody else: {found:?}");
        assert_eq!(
            site.cart.count(&["outrigger_connections_refused_total", "unnamed_port"]).await == 2,
            !passes
        );
        // By the other family.
        let curl = |url: String| printed(site.world.command("curl").args(["-s", "--max-time", "20", &url]));
        let page = curl(format!("http://[{}]:8080/", site.cart.namespace.v6));
        assert_eq!(page.contains("\"app\":\"cart\""), passes, "{page}");
        assert_eq!(page.contains("identity_required"), !passes, "{page}");
        // What is excluded is as it was.
        site.cart.install(&["--exclude-inbound-ports", "9999"]);
        let found = site.world.run(converse(SocketAddr::new(cart[0], EXTRA), b"x")).await;
        assert_eq!(found.unwrap(), b"x");
    }
}

/// A sidecar that balances may pick its own machine, which is a way around it if it is not caught.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_calls_itself_does_so_by_mutual_tls() {
    let site = Site::intercepted(Odd::default()).await;
    let elsewhere = site.world.v4;
    let mut curl = site.cart.namespace.command("curl");
    let resolve = format!("cart:80:{elsewhere}");
    let page = printed(curl.args([
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--resolve",
        &resolve,
        "http://cart/",
    ]));
    assert!(page.contains("URI=spiffe://mesh.test/ns/default/svc/cart"), "{page}");
    assert_eq!(site.cart.count(&["outrigger_tls_handshakes_total", "result=\"ok\""]).await, 2);
    // By its own address it is alone with itself.
    let itself = SocketAddr::new(site.cart.namespace.v4.into(), 8080);
    let answer =
        site.cart.namespace.run(async move { client::fetch(itself, "cart", "/").await.unwrap() }).await;
    assert!(!answer.text().contains("x-forwarded"), "{}", answer.text());
    assert_eq!(site.app.requests(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_go_round_for_good_is_cut() {
    let cart = &["--admin", "127.0.0.1:15999"];
    let mut site = Site::new(Odd { mtls: Some("Permissive"), cart, ..Odd::default() }).await;
    site.cart.install(&[]);
    let admin = SocketAddr::new(site.cart.namespace.v4.into(), 15_999);
    let refused = site.world.run(converse(admin, b"GET / HTTP/1.0\r\n\r\n")).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(site.cart.count(&["outrigger_connections_refused_total", "reason=\"loop\""]).await, 1);

    // Rules for another user than the one that the proxy runs as.
    let out = site.shop.intercept(&["install", "--proxy-user", "1", "--no-inbound"]);
    assert!(out.status.success(), "{}", said(&out));
    let outside = SocketAddr::new(site.world.v4.into(), 25);
    let refused = site.shop.namespace.run(async move {
        let mut stream = TcpStream::connect(outside).await?;
        stream.write_all(b"\0not http").await?;
        stream.read_u8().await
    });
    assert!(refused.await.is_err());
    let page = printed(&mut site.curl(&["http://cart/"]));
    assert!(page.starts_with("upstream_"), "{page}");
    assert!(site.shop.count(&["outrigger_connections_refused_total", "reason=\"loop\""]).await > 0);
    let open = &["outrigger_downstream_connections{", "direction=\"outbound\""];
    eventually(DEADLINE, "nothing goes round", async || (site.shop.count(open).await == 0).then_some(()))
        .await;
    assert!(site.shop.process.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_could_not_be_told_from_the_application_does_not_start() {
    let network = Network::new();
    let (namespace, mesh) = (network.namespace(), Mesh::new());
    mesh.publish(&service("shop", "{name: http, port: 80, protocol: HTTP}", None));
    let mut command = namespace.command(binaries::proxy());
    command.arg("--store").arg(mesh.store()).arg("--state-dir").arg(mesh.state("shop"));
    let out = command.args(["--service", "shop", "--transparent"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
    assert!(said(&out).contains("--proxy-user"), "{}", said(&out));
}

/// To the application it is where the client went, and not where the kernel has led it, that counts.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_asks_is_told_where_the_client_went() {
    let odd = Odd { mtls: Some("Disabled"), db: ", proxyProtocol: {version: V1}", ..Odd::default() };
    let site = Site::intercepted(odd).await;
    let database = site.database();
    let heard = site.world.run(async move {
        let mut stream = TcpStream::connect(database).await?;
        let own = stream.local_addr()?;
        stream.shutdown().await?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.map(|_| (own, heard))
    });
    let (own, heard) = heard.await.unwrap();
    let header = format!("PROXY TCP4 {} {} {} {}\r\n", own.ip(), database.ip(), own.port(), database.port());
    assert_eq!(heard, String::from_utf8_lossy(GREETING).into_owned() + &header);
}

/// The workload's own port, by which it was reached before there was a mesh.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_dials_the_workload_itself_meets_its_rules() {
    let access = Some(
        "{rules: [{name: shop, access: Allow, identities: ['spiffe://mesh.test/ns/default/svc/shop']}]}",
    );
    let site = Site::intercepted(Odd { mtls: Some("Permissive"), access, ..Odd::default() }).await;
    let cart = site.cart.namespace.v4;
    for port in [80, 8080] {
        let page = printed(&mut site.curl(&[&format!("http://cart:{port}/")]));
        assert!(page.contains("\"app\":\"cart\""), "{page}");
    }
    let page = printed(site.world.command("curl").args(["-s", &format!("http://{cart}:8080/")]));
    assert!(page.starts_with("access_denied"), "{page}");
    assert_eq!(site.shop.namespace.run(converse(site.database(), b"x")).await.unwrap(), b"x");
    let refused = site.world.run(converse(site.database(), b"x")).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(
        site.cart.count(&["outrigger_connections_refused_total", "reason=\"access_denied\""]).await,
        1
    );
    assert_eq!(site.app.requests(), 2);
}

/// A listener for one port is that, whether the kernel leads there or elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_for_one_port_is_found_redirected_or_not() {
    let cart = &["--inbound-port", "0.0.0.0:15432=5432"];
    for (mtls, passes) in [("Permissive", true), ("Strict", false)] {
        let site = Site::intercepted(Odd { mtls: Some(mtls), cart, ..Odd::default() }).await;
        let listener = SocketAddr::new(site.cart.namespace.v4.into(), 15432);
        for flags in [&[][..], &["--exclude-inbound-ports", "15432"]] {
            site.cart.install(flags);
            let found = site.world.run(converse(listener, b"x")).await;
            assert_eq!(found.is_ok(), passes, "{mtls} {flags:?}: {found:?}");
        }
        let parts = &["outrigger_connections_total", "cluster=\"default/cart:5432\""];
        site.cart.comes_to(parts, if passes { 2 } else { 0 }).await;
        let parts = &["outrigger_connections_refused_total", "identity_required"];
        site.cart.comes_to(parts, if passes { 0 } else { 2 }).await;
    }
}
