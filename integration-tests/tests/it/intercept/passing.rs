//! What is not the mesh's business goes where it was going, around the proxy or through it.

use super::*;

const OUT: &[&str] = &["outrigger_connections_total", "direction=\"outbound\"", "cluster=\"passthrough\""];

/// Applications of the world, on its addresses.
async fn outside(world: &Namespace) -> (App, Database) {
    (
        world.run(App::start_at("world", SocketAddr::from(([0; 8], 80)))).await,
        world.run(Database::start(any(25))).await,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leads_out_of_the_mesh_gets_there() {
    let site = Site::intercepted(Odd { shop: &["--detect-wait", "200ms"], ..Odd::default() }).await;
    let (world, _post) = outside(&site.world).await;
    let (v4, v6) = (site.world.v4, site.world.v6);
    let curl = |arguments: &[&str]| {
        let mut command = site.shop.namespace.command("curl");
        printed(command.args(["--silent", "--show-error", "--max-time", "20"]).args(arguments))
    };
    for url in [format!("http://{v4}/a"), format!("http://[{v6}]/b")] {
        let page = curl(&[&url]);
        assert!(page.contains("\"app\":\"world\""), "{page}");
        assert!(!page.contains("x-forwarded-for"), "nobody has touched it: {page}");
    }
    // Names that the mesh does not know, a proxy of the world's own, and a tunnel through it.
    let page = curl(&["-H", "Host: world.example", &format!("http://{v4}/")]);
    assert!(page.contains("world.example"), "{page}");
    let page = curl(&["--proxy", &format!("http://{v4}:80"), "http://other.example/c"]);
    assert!(page.contains("http://other.example/c"), "as it was sent: {page}");
    // Of HTTP/2 no host is seen.
    let page = curl(&["--http2-prior-knowledge", &format!("http://{v4}/d")]);
    assert!(page.contains("\"app\":\"world\"") && page.contains("HTTP/2"), "{page}");
    assert_eq!(world.requests(), 5);
    // Who waits for the other side to speak waits a little longer.
    let echo = site.shop.namespace.run(converse(SocketAddr::new(v4.into(), 25), b"mail")).await.unwrap();
    assert_eq!(echo, b"mail");
    eventually(DEADLINE, "all are counted", async || (site.shop.count(OUT).await >= 5).then_some(())).await;
    // What nobody takes is refused there, too.
    let nobody = site.shop.namespace.run(converse(SocketAddr::new(v4.into(), 26), b"")).await;
    assert!(nobody.is_err(), "{nobody:?}");
    assert_eq!(site.shop.count(&["outrigger_connections_refused_total", "connect_failed"]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_may_keep_its_own_within() {
    let flags = &["--unknown-destinations", "refuse", "--detect-wait", "200ms"];
    let site = Site::intercepted(Odd { shop: flags, ..Odd::default() }).await;
    let (world, _post) = outside(&site.world).await;
    let v4 = site.world.v4;
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let mut curl = site.shop.namespace.command("curl");
        let page = printed(curl.args(["--silent", version, &format!("http://{v4}/")]));
        assert!(page.starts_with("no_host"), "{page}");
    }
    let refused = site.shop.namespace.run(converse(SocketAddr::new(v4.into(), 25), b"")).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(site.shop.count(&["outrigger_connections_refused_total", "unknown_destination"]).await, 1);
    assert_eq!(world.requests(), 0);
    let page = printed(&mut site.curl(&["http://cart/"]));
    assert!(page.contains("\"app\":\"cart\""), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_excluded_goes_around_the_proxy() {
    let site = Site::new(Odd::default()).await;
    let (world, _post) = outside(&site.world).await;
    let accepted = async || {
        let parts = &["outrigger_downstream_connections_total", "direction=\"outbound\""];
        site.shop.count(parts).await
    };
    let call = async || {
        let to = SocketAddr::new(site.world.v4.into(), 80);
        site.shop.namespace.run(async move { client::fetch(to, "world", "/").await.unwrap().status }).await
    };
    let world_is = site.world.v4.to_string();
    for (flags, through) in [
        (&["--exclude-outbound-ports", "79-81"][..], 0),
        (&["--exclude-outbound-networks", &world_is], 0),
        (&["--exclude-outbound-networks", "10.77.0.0/16,10.0.0.0/8"], 0),
        (&["--only-outbound-networks", "10.77.1.0/24"], 0),
        (&["--exclude-users", "root"], 0),
        (&["--no-outbound"], 0),
        (&["--exclude-outbound-ports", "81", "--only-outbound-networks", "10.77.0.0/24"], 1),
    ] {
        let inbound = if flags == ["--no-outbound"] { &[][..] } else { &["--no-inbound"] };
        site.shop.install(&[flags, inbound].concat());
        let before = accepted().await;
        assert_eq!(call().await, StatusCode::OK, "{flags:?}");
        assert_eq!(accepted().await - before, through, "{flags:?}");
    }
    assert_eq!(world.requests(), 7);
}
