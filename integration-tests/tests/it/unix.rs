//! Sidecars whose application calls through sockets of the machine.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it set it up")]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::mesh::{Sidecar, said};
use outrigger_integration_tests::process::finished;
use outrigger_integration_tests::{App, Mesh, Process, Proxy, client, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};

use crate::config::{all, service, service_of};

const DEADLINE: Duration = Duration::from_secs(20);

/// A shop that calls a cart, and a database that gives back what it gets.
struct Site {
    mesh: Mesh,
    cart: App,
    out: PathBuf,
    db: PathBuf,
    _database: tokio::task::JoinHandle<()>,
}

impl Site {
    async fn new() -> Self {
        let (mesh, cart) = (Mesh::new(), App::start("cart").await);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let database = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
        });
        mesh.publish(&all(&[
            service("shop", &[]),
            service("cart", &[cart.addr]),
            service_of("db", "TCP", &[addr]),
        ]));
        let (out, db) = (mesh.folder().join("out.sock"), mesh.folder().join("db=1.sock"));
        Self { mesh, cart, out, db, _database: database }
    }

    /// The sidecar of the shop, at both sockets.
    fn sidecar(&self, node: &str) -> Sidecar {
        let out = format!("unix:{}", self.out.display());
        let db = format!("unix:{}=db:80", self.db.display());
        Sidecar::beside("shop").node(node).with(&["--outbound", &out, "--forward", &db])
    }

    /// Starts it, and waits until it is ready.
    async fn start(&self, sidecar: Sidecar) -> (Process, SocketAddr) {
        let mut shop = Proxy::start_unchecked(&self.mesh, sidecar);
        let admin = shop.listening("--admin").await;
        eventually(DEADLINE, "the shop's sidecar is ready", async || {
            let page = client::page(admin, "/ready").await.ok()?;
            (page.status == StatusCode::OK).then_some(())
        })
        .await;
        (shop, admin)
    }

    async fn curl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--include", "--max-time", "15", "--unix-socket"]);
        command.arg(&self.out).args(arguments).arg("http://cart/basket");
        said(&finished(command, DEADLINE).await)
    }

    /// Why a sidecar with these listeners does not start.
    async fn refused(&self, listeners: &[&str]) -> String {
        let sidecar = Sidecar::beside("shop").node("second").with(listeners);
        let mut second = Proxy::start_unchecked(&self.mesh, sidecar);
        assert_eq!(second.ended(DEADLINE).await.code(), Some(4), "{}", second.log());
        second.log()
    }
}

/// What comes back of `length` bytes, and whether they are the same.
async fn echoes(path: &Path, length: usize) -> bool {
    let mut random = fastrand::Rng::with_seed(7);
    let sent: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
    let (mut read, mut write) = UnixStream::connect(path).await.unwrap().into_split();
    let mut came = Vec::new();
    let sending = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (_, received) = tokio::join!(sending, read.read_to_end(&mut came));
    received.unwrap();
    came == sent
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_calls_and_connects_through_sockets() {
    let site = Site::new().await;
    for workers in [1, 2] {
        let (mut shop, admin) = site.start(site.sidecar("one").workers(workers)).await;
        for (arguments, version) in [(&[][..], "HTTP/1.1 200"), (&["--http2-prior-knowledge"], "HTTP/2 200")]
        {
            let answer = site.curl(arguments).await;
            assert!(answer.contains(version) && answer.contains("x-app: cart"), "{answer}");
        }
        let unknown = site.curl(&["--header", "host: nobody"]).await;
        assert!(unknown.contains("outrigger-reason: no_host"), "{unknown}");
        // So few are copied, and so many are moved by the kernel.
        for length in [0, 10, 5_000_000] {
            assert!(echoes(&site.db, length).await, "{length} bytes");
        }
        for path in [&site.out, &site.db] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o660, "{}", path.display());
        }
        let info = client::page(admin, "/server_info").await.unwrap().text();
        for part in ["unix:", "out.sock", "db=1.sock"] {
            assert!(info.contains(part), "{info}");
        }
        shop.terminate();
        assert_eq!(shop.ended(DEADLINE).await.code(), Some(0));
        assert!(!site.out.exists() && !site.db.exists(), "what is closed leaves nothing behind");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_dead_process_has_left_is_replaced() {
    let site = Site::new().await;
    let (mut first, _) = site.start(site.sidecar("one")).await;
    let out = format!("unix:{}", site.out.display());
    let said = site.refused(&["--outbound", &out]).await;
    for part in [out.as_str(), "--outbound", "Another process", "another path"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let db = format!("unix:{}=db:80", site.db.display());
    let said = site.refused(&["--forward", &db]).await;
    assert!(said.contains("--forward") && said.contains("Another process"), "{said}");
    assert!(site.curl(&[]).await.contains("200 OK"), "whoever was there first goes on");

    first.kill();
    assert!(site.out.exists() && site.db.exists(), "a process that is killed cleans nothing up");
    let (mut second, _) = site.start(site.sidecar("one")).await;
    assert!(site.curl(&[]).await.contains("200 OK") && echoes(&site.db, 10).await);
    second.interrupt();
    second.ended(DEADLINE).await;
    assert!(!site.out.exists() && !site.db.exists(), "also if it ends at once");

    std::fs::write(&site.out, "precious").unwrap();
    let said = site.refused(&["--outbound", &out]).await;
    assert!(said.contains("no socket, and stays"), "{said}");
    assert_eq!(std::fs::read_to_string(&site.out).unwrap(), "precious");
    assert_eq!(site.cart.requests(), 2);
}

/// One request on a connection of its own: whether it was answered, or `None` if nobody listens any more.
async fn call(path: &Path) -> Option<bool> {
    let mut stream = UnixStream::connect(path).await.ok()?;
    let request = b"GET /slow/30 HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n";
    let mut answer = Vec::new();
    let answered = stream.write_all(request).await.is_ok() && stream.read_to_end(&mut answer).await.is_ok();
    Some(answered && answer.starts_with(b"HTTP/1.1 200"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_drops_nobody_who_has_connected() {
    for workers in [1, 2] {
        let site = Site::new().await;
        let (mut shop, _) = site.start(site.sidecar("one").workers(workers)).await;
        let (answered, dropped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let closed = Arc::new(AtomicBool::new(false));
        let callers: Vec<_> = (0..40)
            .map(|_| {
                let (path, closed) = (site.out.clone(), closed.clone());
                let (answered, dropped) = (answered.clone(), dropped.clone());
                tokio::spawn(async move {
                    while let Some(well) = call(&path).await {
                        let count = if well { &answered } else { &dropped };
                        count.fetch_add(1, Relaxed);
                    }
                    closed.store(true, Relaxed);
                })
            })
            .collect();
        eventually(DEADLINE, "traffic flows", async || (answered.load(Relaxed) >= 200).then_some(())).await;
        let mut tunnel = UnixStream::connect(&site.db).await.unwrap();
        tunnel.write_all(b"x").await.unwrap();
        tunnel.read_u8().await.unwrap();
        assert!(!closed.load(Relaxed));
        shop.terminate();
        for caller in callers {
            caller.await.unwrap();
        }
        // What was there before goes on.
        tunnel.write_all(b"y").await.unwrap();
        assert_eq!(tunnel.read_u8().await.unwrap(), b'y');
        drop(tunnel);
        assert_eq!(shop.ended(DEADLINE).await.code(), Some(0), "{workers} workers");
        assert_eq!(dropped.load(Relaxed), 0, "of {} calls, {workers} workers", answered.load(Relaxed));
    }
}
