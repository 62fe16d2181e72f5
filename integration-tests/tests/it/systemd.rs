//! What a supervisor sees of the two servers: notifications and exit codes.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use http::StatusCode;
use outrigger_integration_tests::mesh::said;
use outrigger_integration_tests::{Mesh, Process, client, eventually, within};
use tokio::net::TcpListener;

use crate::config::service;
use crate::servers::{Server, ended};

const DEADLINE: Duration = Duration::from_secs(20);

/// A socket such as systemd listens on, and its path in `NOTIFY_SOCKET`.
struct Supervisor {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Supervisor {
    fn of(mesh: &Mesh) -> Self {
        let path = mesh.folder().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a short path");
        socket.set_nonblocking(true).expect("a socket of our own");
        Self { socket, path }
    }

    /// What was said and not asked for yet, a line each.
    fn heard(&self) -> Vec<String> {
        let (mut all, mut buffer) = (Vec::new(), [0; 4_096]);
        while let Ok(count) = self.socket.recv(&mut buffer) {
            all.extend(String::from_utf8_lossy(&buffer[..count]).lines().map(str::to_owned));
        }
        all
    }

    async fn hears(&self, line: &str) {
        eventually(DEADLINE, line, async || self.heard().iter().any(|heard| heard == line).then_some(()))
            .await;
    }

    fn start(&self, server: Server, mesh: &Mesh, arguments: &[&str]) -> Process {
        let mut command = server.on(mesh, server.name(), arguments);
        Process::start(server.name(), command.env("NOTIFY_SOCKET", &self.path))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_say_when_they_are_ready_and_when_they_stop() {
    for server in Server::ALL {
        let mesh = Mesh::new();
        mesh.publish(&service("shop", &[]));
        let supervisor = Supervisor::of(&mesh);
        let mut process = supervisor.start(server, &mesh, &[]);
        supervisor.hears("READY=1").await;
        let metrics = process.listening("--metrics").await;
        let live = client::page(metrics, "/live").await.unwrap();
        assert_eq!(live.status, StatusCode::OK, "{}", live.text());
        process.terminate();
        supervisor.hears("STOPPING=1").await;
        assert_eq!(process.ended(DEADLINE).await.code(), Some(0), "{}", process.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_is_not_ready_before_it_takes_traffic() {
    let mesh = Mesh::new();
    let out = mesh.outrigger(["store", "init", "--store", &mesh.store().to_string_lossy()]);
    assert!(out.status.success(), "{}", said(&out));
    let supervisor = Supervisor::of(&mesh);
    // It takes calls, and has nothing to answer them with: the mesh has no release yet.
    let mut process = supervisor.start(Server::Proxy, &mesh, &[]);
    let (outbound, metrics) = (process.listening("--outbound").await, process.listening("--metrics").await);
    eventually(DEADLINE, "calls are taken", async || client::fetch(outbound, "cart", "/").await.ok()).await;
    let page = client::page(metrics, "/ready").await.unwrap();
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{}", page.text());
    assert_eq!(supervisor.heard(), Vec::<String>::new());
    mesh.publish(&service("shop", &[]));
    supervisor.hears("READY=1").await;
    let page = client::page(metrics, "/ready").await.unwrap();
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    process.hang_up();
    supervisor.hears("RELOADING=1").await;
    assert!(process.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_waits_for_its_store_still_ends_in_order() {
    for server in Server::ALL {
        for signal in [Process::terminate, Process::interrupt] {
            let mesh = Mesh::new();
            let key = mesh.outrigger(["keys", "new", "mesh.key"]);
            let public = String::from_utf8_lossy(&key.stdout).trim().to_owned();
            // It takes connections and never answers.
            let bucket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = format!("http://{}", bucket.local_addr().unwrap());
            let key = mesh.folder().join("mesh.key").display().to_string();
            let more: &[&str] = match server {
                Server::Proxy => &["--store", "s3://bucket/mesh", "--trust-key", &public],
                Server::ControlPlane => &["--store", "s3://bucket/mesh", "--signing-key", &key],
            };
            let mut command = server.on(&mesh, "first", more);
            command
                .env("AWS_ENDPOINT", endpoint)
                .env("AWS_ALLOW_HTTP", "true")
                .env("AWS_REGION", "us-east-1");
            command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
            let mut process = Process::start(server.name(), &mut command);
            let asked = within(DEADLINE, "it asks its store", bucket.accept()).await;
            signal(&process);
            assert_eq!(process.ended(DEADLINE).await.code(), Some(0), "{}", process.log());
            drop(asked);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_has_its_exit_code() {
    let mesh = Mesh::new();
    mesh.publish(&service("shop", &[]));
    for server in Server::ALL {
        for signal in [Process::terminate, Process::interrupt] {
            let mut process = Process::start(server.name(), &mut server.on(&mesh, "first", &[]));
            process.listening("--metrics").await;
            let _ = process.listening(server.listeners()[0]).await;
            if server == Server::Proxy {
                let admin = process.listening("--admin").await;
                eventually(DEADLINE, "a plan runs", async || {
                    let ready = client::page(admin, "/ready").await.ok()?;
                    (ready.status == StatusCode::OK).then_some(())
                })
                .await;
            }
            signal(&process);
            assert_eq!(process.ended(DEADLINE).await.code(), Some(0), "{}", process.log());
        }
        for usage in [&["--nonsense"][..], &["--metrics", "here"]] {
            assert_eq!(ended(server.on(&mesh, "second", usage)).await.0, Some(2), "{server:?} {usage:?}");
        }
        let mut version = server.program();
        version.arg("--version");
        let (code, said) = ended(version).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.starts_with(server.name()), "{said}");
    }
    let (code, said) = ended(Server::Proxy.program()).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--store") && said.contains("OUTRIGGER_STORE"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_that_is_in_use_ends_a_second_process() {
    let mesh = Mesh::new();
    mesh.publish(&service("shop", &[]));
    for (server, expected) in [(Server::Proxy, 1), (Server::ControlPlane, 3)] {
        let mut process = Process::start(server.name(), &mut server.on(&mesh, server.name(), &[]));
        process.listening("--metrics").await;
        let (code, said) = ended(server.on(&mesh, server.name(), &[])).await;
        assert_eq!(code, Some(expected), "{said}");
        assert!(said.contains("--state-dir"), "{said}");
        process.terminate();
        let status: ExitStatus = process.ended(DEADLINE).await;
        assert_eq!(status.code(), Some(0), "{}", process.log());
    }
}
