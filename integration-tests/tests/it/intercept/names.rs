//! Addresses that the snapshot does not list: those that DNS names, and those of nobody.

use super::*;

/// Where the shop's resolver is, on its own machine.
const DNS: &str = "127.0.0.1:5353";

/// A resolver in the shop's namespace that knows where the cart is.
fn dns(shop: &Namespace, address: impl std::fmt::Display) -> Process {
    let mut command = shop.command("/usr/sbin/dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--conf-file=/dev/null",
    ]);
    command.args(["--listen-address=127.0.0.1", "--port=5353", "--pid-file=", "--user=", "--local-ttl=1"]);
    Process::start("dnsmasq", command.arg(format!("--address=/cart.internal/{address}")))
}

/// A machine with a cart, its database, and a sidecar.
async fn cart(
    mesh: &Mesh,
    authority: &Authority,
    namespace: Namespace,
    name: &'static str,
) -> (Sidecar, App, Database) {
    let app = namespace.run(App::start_at(name, any(8080))).await;
    let database = namespace.run(Database::start(any(5432))).await;
    let sidecar = Sidecar::start(
        mesh,
        authority,
        namespace,
        "cart",
        &["--app", "127.0.0.1", "--node", name, "--downstream-head", "2s"],
    )
    .await;
    sidecar.install(&[]);
    (sidecar, app, database)
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_dns_names_are_known_by_their_addresses_for_as_long_as_it_says_so() {
    let (network, mesh, authority) = (Network::new(), Mesh::new(), Authority::new());
    let [shop, first, second] = [(); 3].map(|()| network.namespace());
    let by_dns = "\n  endpoints: {dns: {name: cart.internal}}";
    let ports =
        "{name: http, port: 80, targetPort: 8080, protocol: HTTP}, {name: db, port: 5432, protocol: TCP}";
    mesh.publish(&all(&[
        authority.mesh("Strict"),
        service("shop", "{name: http, port: 80, protocol: HTTP}", None),
        service("cart", ports, None) + by_dns,
    ]));
    open_to_others(&mesh);
    let at = [first.v4, second.v4];
    let (_first, _app, _database) = cart(&mesh, &authority, first, "first").await;
    let (_second, _other_app, _other_database) = cart(&mesh, &authority, second, "second").await;
    let mut resolver = dns(&shop, at[0]);
    let shop =
        Sidecar::start(&mesh, &authority, shop, "shop", &["--dns-server", DNS, "--detect-wait", "200ms"])
            .await;
    shop.install(&["--no-inbound"]);

    // The port that callers know and the one where it listens, by a host that nobody has: the address alone says whose it is.
    let page = |address: std::net::Ipv4Addr, port: u16| {
        let mut curl = shop.namespace.command("curl");
        curl.args(["--silent", "--max-time", "20", &format!("http://{address}:{port}/")]);
        let out = curl.output().expect("curl is installed");
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let converse = async |address: std::net::Ipv4Addr| {
        shop.namespace.run(converse(SocketAddr::new(address.into(), 5432), b"select 1")).await
    };
    for known in at {
        eventually(DEADLINE, "what is at an address that DNS names is of the mesh", async || {
            let said = page(known, 80);
            said.contains("URI=spiffe://mesh.test/ns/default/svc/shop").then_some(())
        })
        .await;
        assert!(page(known, 8080).contains("svc/shop"), "{}", page(known, 8080));
        // Each port asks DNS for itself.
        let says = async || converse(known).await.is_ok_and(|said| said == b"select 1").then_some(());
        eventually(DEADLINE, "so is what is at its other port", says).await;
        // And what is at the other is not, so that its sidecar turns clear text away.
        let other = at.into_iter().find(|address| *address != known).unwrap();
        assert!(
            page(other, 80).is_empty() || page(other, 80).starts_with("identity_required"),
            "{}",
            page(other, 80)
        );
        eventually(DEADLINE, "it is turned away there, too", async || {
            converse(other).await.is_err().then_some(())
        })
        .await;
        resolver.kill();
        resolver = dns(&shop.namespace, other);
    }
}

/// Such as a virtual IP address of Kubernetes.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_to_an_address_of_nobody_goes_by_its_host_where_nothing_leaves_the_mesh() {
    let keeps =
        Site::intercepted(Odd { shop: &["--unknown-destinations", "refuse"], ..Odd::default() }).await;
    let nobody = SocketAddr::new(keeps.world.v4.into(), 90);
    let answer = keeps.shop.namespace.run(grpc(nobody)).await;
    assert_eq!((answer.0, answer.1.as_str()), (StatusCode::OK, "42"));
    assert_eq!(keeps.cart.count(&["outrigger_tls_handshakes_total", "result=\"ok\""]).await, 1);
    assert_eq!(keeps.cart.count(&["outrigger_plaintext"]).await, 0);

    // Else it gets where it was going, whatever its host is, and nobody looks into it.
    let passes = Site::intercepted(Odd::default()).await;
    let world = passes.world.run(App::start_at("world", any(90))).await;
    let nobody = SocketAddr::new(passes.world.v4.into(), 90);
    let answer = passes.shop.namespace.run(grpc(nobody)).await;
    assert_eq!((answer.0, world.requests(), passes.app.requests()), (StatusCode::OK, 1, 0));
}
