//! Child processes with a log file each. Dropped, they are killed.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

/// A sidecar that was told to end must have drained by then.
const DRAIN_MAX: Duration = Duration::from_secs(40);

/// Finds and starts the programs of this build.
#[derive(Debug)]
pub(super) struct Programs {
    binaries: PathBuf,
    logs: PathBuf,
}

/// One that was started.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Programs {
    /// The programs that lie beside this one.
    pub(super) fn new(logs: &Path) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| format!("can't find my own folder: {error}"))?;
        let binaries = own.parent().ok_or("can't find my own folder")?.to_owned();
        Ok(Self { binaries, logs: logs.to_owned() })
    }

    /// A command line of one of them, without what the environment would add to it.
    pub(super) fn command<I: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = I>,
    ) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OUTRIGGER_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).env_remove("http_proxy").stdin(Stdio::null());
        command
    }

    /// Starts one; what it says goes into the file NAME.log.
    pub(super) fn start(&self, name: &str, mut command: Command) -> Result<Program, String> {
        let log = self.logs.join(format!("{name}.log"));
        let to_log = || File::options().create(true).append(true).open(&log).map(Stdio::from);
        let logs = to_log().and_then(|out| Ok((out, to_log()?)));
        let (out, err) = logs.map_err(|error| format!("{}: {error}", log.display()))?;
        command.stdout(out).stderr(err).kill_on_drop(true);
        let child = command.spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        Ok(Program { name: name.to_owned(), log, child })
    }

    /// Runs one to its end; fails with what it said if it does.
    pub(super) async fn run(&self, mut command: Command) -> Result<String, String> {
        let out = command.output().await.map_err(|error| format!("outrigger does not start: {error}"))?;
        let said =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        if out.status.success() { Ok(said) } else { Err(said) }
    }
}

impl Program {
    /// The end without warning: SIGKILL.
    pub(super) async fn kill(mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill().await;
    }

    /// The polite end: SIGTERM, then as long as it takes to finish what is in flight.
    pub(super) async fn terminate(mut self) -> Result<(), String> {
        let pid = self.child.id().map(|id| id.to_string()).unwrap_or_default();
        let told = Command::new("kill").args(["-TERM", &pid]).status().await;
        told.map_err(|error| format!("can't signal {}: {error}", self.name))?;
        match tokio::time::timeout(DRAIN_MAX, self.child.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("{} has not ended {DRAIN_MAX:?} after SIGTERM", self.name)),
        }
    }

    /// Fails, with the end of its log, if it has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                Err(format!("{} has ended:\n{}", self.name, last.join("\n")))
            }
        }
    }
}
