//! A mesh in a temporary folder: store, state, configuration, and the processes that run on them.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

pub use self::sidecar::Sidecar;
use crate::process::Process;
use crate::wait::eventually;
use crate::{binaries, client, port};

mod sidecar;

/// How often proxies look and the control plane publishes: short, so that tests are.
const INTERVAL: &str = "100ms";
/// Until what was pushed has come to a sidecar.
const EFFECT_MAX: Duration = Duration::from_secs(20);
/// Until a sidecar has written down what it is to remember.
const REMEMBER_MAX: Duration = Duration::from_secs(60);
/// How long a draining sidecar still takes connections: short, so that tests are.
const DRAIN_GRACE: &str = "300ms";
/// Until a terminated process has drained.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// One mesh and its folder, which goes when this is dropped.
#[derive(Debug)]
pub struct Mesh {
    folder: TempDir,
    files: AtomicU32,
}

impl Mesh {
    /// An empty folder: no store yet.
    #[expect(clippy::new_without_default, reason = "a mesh makes a folder; nobody should get one by default")]
    pub fn new() -> Self {
        let folder = TempDir::with_prefix("outrigger-").expect("a temporary folder can be made");
        Self { folder, files: AtomicU32::new(0) }
    }

    /// Where everything of this mesh lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder store.
    pub fn store(&self) -> PathBuf {
        self.folder().join("store")
    }

    /// State of a process across its restarts.
    pub fn state(&self, name: &str) -> PathBuf {
        self.folder().join("state").join(name.replace('/', "_"))
    }

    /// Writes a configuration file and says where.
    pub fn file(&self, text: &str) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.folder().join(format!("config-{number}.yaml"));
        std::fs::write(&path, text).expect("the mesh's folder can be written");
        path
    }

    /// Runs `outrigger` to its end.
    pub fn outrigger<I: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Output {
        let mut command = program(binaries::outrigger());
        command.args(arguments).current_dir(self.folder());
        command.output().expect("outrigger is built")
    }

    /// `outrigger publish`: compiles, signs and publishes once, with no control plane.
    pub fn publish(&self, yaml: &str) {
        let out = self.try_publish(yaml);
        assert!(out.status.success(), "publish: {}", said(&out));
    }

    /// The same, where most of what was there is to go.
    pub fn publish_shrunk(&self, yaml: &str) {
        let out = self.run_publish(yaml, &["--allow-shrink"]);
        assert!(out.status.success(), "publish: {}", said(&out));
    }

    /// Publishes these resources, whatever comes of it.
    pub fn try_publish(&self, yaml: &str) -> Output {
        self.run_publish(yaml, &[])
    }

    fn run_publish(&self, yaml: &str, arguments: &[&str]) -> Output {
        let file = self.file(yaml);
        let mut command = program(binaries::outrigger());
        command.args(["publish", "--store"]).arg(self.store()).arg("-f").arg(file).args(arguments);
        command.output().expect("outrigger is built")
    }

    /// Waits until something has been published: a sidecar without a memory refuses to start on an empty store.
    pub async fn published(&self) {
        let heartbeat = self.store().join("heartbeat");
        eventually(EFFECT_MAX, "something is published", async || heartbeat.exists().then_some(())).await;
    }

    /// A control plane of this mesh's store, with a state folder of its name.
    pub async fn control_plane(&self, name: &str) -> ControlPlane {
        ControlPlane::start(self, name, &[]).await
    }

    /// A sidecar beside `service`, outbound only.
    pub async fn proxy(&self, service: &str) -> Proxy {
        Proxy::start(self, Sidecar::beside(service)).await
    }
}

/// All that a finished program printed.
pub fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Whether a file below `folder` contains `text`. Objects are compressed; what a sidecar remembers may be, too.
fn holds(folder: &Path, text: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(text)
    })
}

fn spawn(name: &str, words: &[OsString], variables: &[(String, String)]) -> Process {
    let (first, arguments) = words.split_first().expect("a command begins with its program");
    let mut command = program(first.into());
    command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
    Process::start(&format!("proxy {name}"), &mut command)
}

/// A program under test, without what the environment of the test would tell it.
pub fn program(path: PathBuf) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("OUTRIGGER_")
            || text.starts_with("OTEL_")
            || text.eq_ignore_ascii_case("http_proxy")
        {
            command.env_remove(&name);
        }
    }
    command
}

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    /// Its process.
    pub process: Process,
    /// Where its API listens.
    pub api: SocketAddr,
}

impl ControlPlane {
    /// Starts one with further arguments.
    pub async fn start(mesh: &Mesh, name: &str, arguments: &[&str]) -> Self {
        let mut command = program(binaries::control_plane());
        command.arg("--store").arg(mesh.store()).arg("--state-dir").arg(mesh.state(name));
        command
            .args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--interval", INTERVAL])
            .args(arguments);
        let mut process = Process::start(&format!("control plane {name}"), &mut command);
        let api = process.listening("--listen").await;
        Self { process, api }
    }

    /// `outrigger VERB --server … ARGUMENTS`, to its end.
    pub fn outrigger(&self, mesh: &Mesh, verb: &str, arguments: &[&str]) -> Output {
        let server = format!("http://{}", self.api);
        mesh.outrigger([&[verb, "--server", &server], arguments].concat())
    }

    /// Applies resources.
    pub fn apply(&self, mesh: &Mesh, yaml: &str) {
        let out = self.try_apply(mesh, yaml);
        assert!(out.status.success(), "apply: {}", said(&out));
    }

    /// The same, whatever comes of it.
    pub fn try_apply(&self, mesh: &Mesh, yaml: &str) -> Output {
        let file = mesh.file(yaml);
        self.outrigger(mesh, "apply", &["-f", &file.to_string_lossy()])
    }
}

/// A running sidecar.
#[derive(Debug)]
pub struct Proxy {
    /// Its process.
    pub process: Process,
    /// Where the application's calls go.
    pub outbound: SocketAddr,
    /// Where calls to the application go, if it takes them.
    pub inbound: Option<SocketAddr>,
    /// `/ready`, `/config_dump` and their like.
    pub admin: SocketAddr,
    /// `/metrics`.
    pub metrics: SocketAddr,
    command: Vec<OsString>,
    variables: Vec<(String, String)>,
    name: String,
    state: PathBuf,
}

impl Proxy {
    /// Starts one on ports that it can come back to, and waits until it listens.
    pub async fn start(mesh: &Mesh, sidecar: Sidecar) -> Self {
        let inbound = sidecar.app.as_ref().map(|_| port::free());
        Self::start_on(mesh, sidecar, inbound).await
    }

    /// Starts one whose calls to the application come in at `inbound`.
    pub async fn start_inbound(mesh: &Mesh, sidecar: Sidecar, inbound: SocketAddr) -> Self {
        Self::start_on(mesh, sidecar, Some(inbound)).await
    }

    async fn start_on(mesh: &Mesh, sidecar: Sidecar, inbound: Option<SocketAddr>) -> Self {
        let (outbound, admin, metrics) = (port::free(), port::free(), port::free());
        let mut command = sidecar.command(mesh);
        let listeners = [
            ("--outbound", Some(outbound)),
            ("--admin", Some(admin)),
            ("--metrics", Some(metrics)),
            ("--inbound", inbound),
        ];
        for (flag, addr) in listeners {
            if let Some(addr) = addr {
                command.extend([flag.into(), addr.to_string().into()]);
            }
        }
        let name = sidecar.name().to_owned();
        let process = spawn(&name, &command, &sidecar.variables);
        let state = mesh.state(&name);
        let mut proxy = Self {
            process,
            outbound,
            inbound,
            admin,
            metrics,
            command,
            variables: sidecar.variables,
            name,
            state,
        };
        proxy.listens().await;
        proxy
    }

    /// Starts one that is not expected to get far. What the sidecar's arguments do not say is left to chance: port 0.
    pub fn start_unchecked(mesh: &Mesh, sidecar: Sidecar) -> Process {
        let mut command = sidecar.command(mesh);
        for flag in ["--outbound", "--admin", "--metrics"] {
            if !sidecar.arguments.iter().any(|argument| argument == flag) {
                command.extend([flag.into(), "127.0.0.1:0".into()]);
            }
        }
        spawn(sidecar.name(), &command, &sidecar.variables)
    }

    /// Starts again, on the same ports and state, after its process has ended.
    pub async fn restart(&mut self) {
        assert!(!self.process.is_running(), "{} is still running", self.name);
        self.process = spawn(&self.name, &self.command, &self.variables);
        self.listens().await;
    }

    /// Waits until it has a plan.
    pub async fn ready(&self) {
        let what = format!("{} is ready; so far:\n{}", self.name, self.process.log());
        eventually(EFFECT_MAX, &what, async || {
            let page = client::page(self.admin, "/ready").await.ok()?;
            (page.status == http::StatusCode::OK).then_some(())
        })
        .await;
    }

    /// Waits until its state folder holds this address, or whatever else is written there.
    pub async fn remembers(&self, text: &str) {
        let what = format!("{} has written {text} into {}", self.name, self.state.display());
        eventually(REMEMBER_MAX, &what, async || holds(&self.state, text).then_some(())).await;
    }

    /// SIGTERM, and waits until it has drained.
    pub async fn drain(&mut self) -> std::process::ExitStatus {
        self.process.terminate();
        self.process.ended(DRAIN_MAX).await
    }

    async fn listens(&mut self) {
        self.process.listening("--outbound").await;
        self.process.listening("--metrics").await;
        self.process.listening("--admin").await;
        if self.inbound.is_some() {
            self.process.listening("--inbound").await;
        }
    }
}
