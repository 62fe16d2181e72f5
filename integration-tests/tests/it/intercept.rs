//! Transparent interception, in network namespaces: programs that know nothing of a mesh, and are in one.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::app::App;
use outrigger_integration_tests::mesh::said;
use outrigger_integration_tests::netns::{Namespace, Network};
use outrigger_integration_tests::pki::Authority;
use outrigger_integration_tests::{Mesh, Metrics, Process, binaries, client, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::config::all;

mod bounds;
mod names;
mod passing;
mod rules;

const DEADLINE: Duration = Duration::from_secs(20);

/// Whom sidecars run as here; applications are root's.
const PROXY_USER: u32 = 4_242;

/// What the database says before anybody has asked.
const GREETING: &[u8] = b"ready when you are\n";

/// A shop that calls a cart and its database, both with a sidecar that they know nothing of, and a world without one.
///
/// The cart carries requests on 80, gRPC on 90, and on 5432 speaks first.
struct Site {
    shop: Sidecar,
    cart: Sidecar,
    world: Namespace,
    app: App,
    _mesh: Mesh,
    _database: Database,
}

/// A machine with a sidecar.
struct Sidecar {
    process: Process,
    namespace: Namespace,
}

/// What is different from a site in order.
#[derive(Default)]
struct Odd {
    mtls: Option<&'static str>,
    /// What else is said of the port of the database.
    db: &'static str,
    /// Who may call the cart.
    access: Option<&'static str>,
    /// Flags of the shop's sidecar.
    shop: &'static [&'static str],
    /// Flags of the cart's sidecar.
    cart: &'static [&'static str],
}

impl Site {
    async fn new(odd: Odd) -> Self {
        let (network, mesh, authority) = (Network::new(), Mesh::new(), Authority::new());
        let [shop, cart, world] = [(); 3].map(|()| network.namespace());
        let app = cart.run(App::start_at("cart", any(8080))).await;
        let database = cart.run(Database::start(any(5432))).await;
        let mut resources = vec![
            authority.mesh(odd.mtls.unwrap_or("Strict")),
            service("shop", "{name: http, port: 80, protocol: HTTP}", None),
            service(
                "cart",
                &format!(
                    "{{name: http, port: 80, targetPort: 8080, protocol: HTTP}}, {{name: grpc, port: 90, targetPort: 8080, protocol: \
                     GRPC}}, {{name: db, port: 5432, protocol: TCP{}}}",
                    odd.db
                ),
                Some(&cart),
            ),
        ];
        resources.extend(odd.access.map(|access| {
            format!(
                "apiVersion: outrigger.dev/v1alpha1\nkind: InboundPolicy\nmetadata: {{name: cart}}\nspec:\n  targetRefs: [{{kind: \
                 Service, name: cart}}]\n  authorization: {access}"
            )
        }));
        mesh.publish(&all(&resources));
        open_to_others(&mesh);
        let app_is_here = [&["--app", "127.0.0.1"], odd.cart].concat();
        let cart = Sidecar::start(&mesh, &authority, cart, "cart", &app_is_here).await;
        let shop = Sidecar::start(&mesh, &authority, shop, "shop", odd.shop).await;
        Self { shop, cart, world, app, _mesh: mesh, _database: database }
    }

    /// The same, with both intercepted.
    async fn intercepted(odd: Odd) -> Self {
        let site = Self::new(odd).await;
        site.shop.install(&["--no-inbound"]);
        site.cart.install(&[]);
        site
    }
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0; 4], port))
}

fn service(name: &str, ports: &str, at: Option<&Namespace>) -> String {
    let endpoints =
        at.map_or(String::new(), |at| format!("\n  endpoints: {{static: [{{address: '{}'}}]}}", at.v4));
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  ports: [{ports}]{endpoints}"
    )
}

/// Sidecars are not root, and have to read what root has written, their own program too.
fn open_to_others(mesh: &Mesh) {
    let readable = |path: &PathBuf, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("it is ours");
    };
    readable(&mesh.folder().to_owned(), 0o755);
    let program = proxy(mesh);
    std::fs::copy(binaries::proxy(), &program).expect("the mesh's folder can be written");
    readable(&program, 0o755);
}

fn proxy(mesh: &Mesh) -> PathBuf {
    mesh.folder().join("outrigger-proxy")
}

impl Sidecar {
    async fn start(
        mesh: &Mesh,
        authority: &Authority,
        namespace: Namespace,
        service: &str,
        flags: &[&str],
    ) -> Self {
        let pair = authority.identify(mesh.folder(), service);
        let node = flags.windows(2).find(|pair| pair[0] == "--node").map_or(service, |pair| pair[1]);
        let state = mesh.state(node);
        std::fs::create_dir_all(&state).expect("the mesh's folder can be written");
        for path in [&pair.certificate, &pair.key, &state] {
            chown(path, Some(PROXY_USER), Some(PROXY_USER)).expect("root may give it away");
        }
        let mut command = namespace.command_as(PROXY_USER, proxy(mesh));
        command.arg("--store").arg(mesh.store()).arg("--state-dir").arg(&state);
        command.arg("--identity-cert").arg(&pair.certificate).arg("--identity-key").arg(&pair.key);
        command.args(["--service", service, "--transparent", "--poll", "100ms", "--drain-grace", "300ms"]);
        let mut process = Process::start(service, command.args(flags));
        process.listening("--metrics").await;
        let sidecar = Self { process, namespace };
        eventually(DEADLINE, "the sidecar is ready", async || {
            let page = client::page(SocketAddr::from(([127, 0, 0, 1], 15020)), "/ready");
            let page = sidecar.namespace.run(page).await.ok()?;
            (page.status == StatusCode::OK).then_some(())
        })
        .await;
        sidecar
    }

    /// `outrigger intercept …` on this machine.
    fn intercept(&self, arguments: &[&str]) -> Output {
        let mut command = self.namespace.command(binaries::outrigger());
        command.arg("intercept").args(arguments).output().expect("outrigger is built")
    }

    fn install(&self, flags: &[&str]) {
        let user = PROXY_USER.to_string();
        let out = self.intercept(&[&["install", "--proxy-user", &user], flags].concat());
        assert!(out.status.success(), "{}", said(&out));
    }

    /// Waits until the series that have all of these parts come to so much: a connection is counted once it is over, which its client may learn first.
    async fn comes_to(&self, parts: &'static [&'static str], expected: u64) {
        let what = format!("{parts:?} come to {expected}");
        eventually(DEADLINE, &what, async || (self.count(parts).await == expected).then_some(())).await;
    }

    /// The sum of the series that have all of these parts.
    async fn count(&self, parts: &'static [&'static str]) -> u64 {
        let metrics = Metrics::of(SocketAddr::from(([127, 0, 0, 1], 15020)));
        self.namespace.run(metrics).await.expect("the sidecar serves metrics").sum(parts)
    }
}

/// Runs a program to its end, and returns what it printed.
fn printed(command: &mut Command) -> String {
    let out = command.output().expect("the program is installed");
    assert!(out.status.success(), "{command:?}: {}", said(&out));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Speaks first, and then echoes. Dropped, it stops.
struct Database(JoinHandle<()>);

impl Database {
    async fn start(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.expect("the address is free");
        Self(tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    if write.write_all(GREETING).await.is_ok() {
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                    }
                });
            }
        }))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A client that lets the other side speak first; then its echo.
async fn converse(addr: SocketAddr, words: &'static [u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(addr).await?;
    let mut greeting = vec![0; GREETING.len()];
    stream.read_exact(&mut greeting).await?;
    assert_eq!(greeting, GREETING);
    stream.write_all(words).await?;
    stream.shutdown().await?;
    let mut echo = Vec::new();
    stream.read_to_end(&mut echo).await?;
    Ok(echo)
}

impl Site {
    /// curl on the shop's machine, which believes that the cart is where its endpoints are.
    fn curl(&self, arguments: &[&str]) -> Command {
        let address = self.cart.namespace.v4;
        let mut command = self.shop.namespace.command("curl");
        command.args(["--silent", "--show-error", "--max-time", "20"]);
        for port in [80, 90, 8080] {
            command.args(["--resolve", &format!("cart:{port}:{address}")]);
        }
        command.args(arguments);
        command
    }

    fn database(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.cart.namespace.v4), 5432)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_know_nothing_of_the_mesh_call_through_it_by_mutual_tls() {
    // So long a strict port waits for callers to begin a handshake.
    let site = Site::intercepted(Odd { cart: &["--downstream-head", "3s"], ..Odd::default() }).await;
    let page = printed(&mut site.curl(&["http://cart/basket"]));
    assert!(page.contains("URI=spiffe://mesh.test/ns/default/svc/shop"), "{page}");
    // By the port where the workload listens, which is none of the service: known by its address alone.
    let page = printed(&mut site.curl(&["http://cart:8080/"]));
    assert!(page.contains("URI=spiffe://mesh.test/ns/default/svc/shop"), "{page}");
    assert_eq!(site.cart.count(&["outrigger_tls_handshakes_total", "result=\"ok\""]).await, 1);

    let echo = site.shop.namespace.run(converse(site.database(), b"select 1")).await.unwrap();
    assert_eq!(echo, b"select 1");
    eventually(DEADLINE, "both sidecars have carried it", async || {
        let parts = &["outrigger_connections_total", "cluster=\"default/cart:5432\"", "end=\"done\""];
        let carried = (site.shop.count(parts).await, site.cart.count(parts).await);
        (carried == (1, 1)).then_some(())
    })
    .await;

    let answer = site.shop.namespace.run(grpc(SocketAddr::new(site.cart.namespace.v4.into(), 90))).await;
    assert_eq!((answer.0, answer.1.as_str()), (StatusCode::OK, "42"));
    assert_eq!(site.cart.count(&["outrigger_tls_handshakes_total", "result=\"ok\""]).await, 3);
    assert_eq!(site.cart.count(&["outrigger_plaintext"]).await, 0);

    // Whoever goes around the shop's sidecar meets the cart's.
    let cart = site.cart.namespace.v4;
    let page = printed(site.world.command("curl").args(["-s", &format!("http://{cart}:8080/")]));
    assert!(page.starts_with("identity_required"), "{page}");
    let refused = site.world.run(converse(site.database(), b"")).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(site.cart.count(&["outrigger_connections_refused_total", "identity_required"]).await, 1);
}

/// A call by HTTP/2 from the start, with trailers; the status and what they say.
async fn grpc(to: SocketAddr) -> (StatusCode, String) {
    let request = client::request2(http::Method::POST, "cart:90", "/trailers", "");
    let mut connection =
        client::Connection::open(to, http::Version::HTTP_2).await.expect("the sidecar accepts");
    let answer = connection.send(request).await.expect("the cart answers");
    let sum = answer.trailers.get("x-sum").map_or("", |value| value.to_str().unwrap_or_default());
    (answer.status, sum.to_owned())
}
