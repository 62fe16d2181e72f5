//! The two servers as they are typed: for tests that start them in every wrong way.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use outrigger_integration_tests::mesh::program;
use outrigger_integration_tests::process::finished;
use outrigger_integration_tests::{Mesh, binaries, enrol};

/// A process that can't do its work ends well within this time.
const END_MAX: Duration = Duration::from_secs(20);

/// One of the two programs that listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Proxy,
    ControlPlane,
}

impl Server {
    pub(crate) const ALL: [Self; 2] = [Self::Proxy, Self::ControlPlane];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Proxy => "outrigger-proxy",
            Self::ControlPlane => "outrigger-control-plane",
        }
    }

    /// Its flags that say where it listens.
    pub(crate) fn listeners(self) -> &'static [&'static str] {
        match self {
            Self::Proxy => &["--outbound", "--inbound", "--admin", "--metrics"],
            Self::ControlPlane => &["--listen", "--enrol", "--metrics"],
        }
    }

    /// The bare program.
    pub(crate) fn program(self) -> Command {
        let path: PathBuf = match self {
            Self::Proxy => binaries::proxy(),
            Self::ControlPlane => binaries::control_plane(),
        };
        program(path)
    }

    /// On the mesh's store with a state folder `state`, every listener on any free port but those that `arguments` name.
    pub(crate) fn on(self, mesh: &Mesh, state: &str, arguments: &[&str]) -> Command {
        let mut command = self.program();
        command.arg("--store").arg(mesh.store()).arg("--state-dir").arg(mesh.state(state));
        match self {
            Self::Proxy => {
                command.args(["--service", "shop", "--app", "127.0.0.1:9", "--poll", "100ms"]);
                command.args(["--drain-grace", "100ms"])
            }
            Self::ControlPlane => {
                let authority = mesh.folder().join(enrol::FOLDER);
                if !authority.exists() {
                    enrol::init(mesh, enrol::FOLDER, "Disabled");
                }
                command.args(["--interval", "100ms", "--ca"]).arg(authority)
            }
        };
        for flag in self.listeners() {
            if !arguments.contains(flag) {
                command.args([flag, "127.0.0.1:0"]);
            }
        }
        command.args(arguments);
        command
    }
}

/// The exit code of `command` and all that it said.
pub(crate) async fn ended(command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = finished(command, END_MAX).await;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout) + &text(stderr))
}

/// The long flags that `--help` of a program lists, each with its value's name if it takes one.
pub(crate) async fn flags(server: Server) -> Vec<(String, Option<String>)> {
    let mut command = server.program();
    command.arg("--help");
    let (code, help) = ended(command).await;
    assert_eq!(code, Some(0), "{help}");
    let flag = |line: &str| {
        let (_, rest) = line.split_once("--")?;
        let before = line.split_once("--")?.0.trim();
        let is_flag = before.is_empty() || (before.len() == 3 && before.starts_with('-'));
        let mut words = rest.split_whitespace();
        let name = words.next()?.to_owned();
        let value = words.next().and_then(|word| word.strip_prefix('<')?.strip_suffix('>'));
        is_flag.then(|| (name, value.map(str::to_owned)))
    };
    let options = help.split_once("\nOptions:\n").expect("there are options").1;
    let options = options.split("\nEach flag").next().unwrap_or_default();
    let found: Vec<_> = options.lines().filter_map(flag).collect();
    assert!(found.len() > 8, "the help is not read as it is written: {help}");
    found
}
