//! A program under test as a child process: its log, its signals, its end.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::wait::{eventually, within};

/// Until a started program listens.
const START_MAX: Duration = Duration::from_secs(20);

/// A running child. Dropped, it is killed; if the test is failing then, its log is printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reading: Arc<Reading>,
}

/// Whether anyone reads what it says.
#[derive(Debug, Default)]
struct Reading {
    stopped: Mutex<bool>,
    goes_on: Condvar,
}

impl Reading {
    fn set_stopped(&self, stopped: bool) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = stopped;
        self.goes_on.notify_all();
    }

    fn wait(&self) {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.goes_on.wait_while(stopped, |stopped| *stopped));
    }
}

impl Process {
    /// Starts `command` with nothing on its standard input and both outputs in the log.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        assert!(spawned.is_ok(), "{name} does not start: {:?}", spawned.err());
        let mut child = spawned.expect("checked one line above");
        let log = Arc::new(Mutex::new(Vec::new()));
        let reading = Arc::<Reading>::default();
        record(child.stdout.take().expect("piped above"), &log, &reading);
        record(child.stderr.take().expect("piped above"), &log, &reading);
        Self { name: name.to_owned(), child, log, reading }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All it has said so far.
    pub fn log(&self) -> String {
        lines(&self.log).join("\n")
    }

    /// The address it says it listens on for `flag`, as in `... listening on 127.0.0.1:4711 (--outbound)`.
    pub async fn listening(&mut self, flag: &str) -> SocketAddr {
        let ending = format!("({flag})");
        let what = format!("{} listens for {flag}", self.name);
        eventually(START_MAX, &what, async || {
            let found = lines(&self.log).iter().find_map(|line| {
                let before = line.strip_suffix(ending.as_str())?;
                before.rsplit_once("listening on ")?.1.trim().parse().ok()
            });
            let running = self.is_running();
            assert!(found.is_some() || running, "{} ended instead of listening:\n{}", self.name, self.log());
            found
        })
        .await
    }

    /// Waits until its log contains `text`.
    pub async fn says(&self, text: &str) {
        let what = format!("{} says {text:?}; so far:\n{}", self.name, self.log());
        eventually(START_MAX, &what, async || {
            lines(&self.log).iter().any(|line| line.contains(text)).then_some(())
        })
        .await;
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Reads no more of what it says, but for one buffer, so that its pipes fill.
    pub fn stop_reading(&self) {
        self.reading.set_stopped(true);
    }

    /// Reads on.
    pub fn read_on(&self) {
        self.reading.set_stopped(false);
    }

    /// No file that it writes may be larger from now on (`RLIMIT_FSIZE`).
    pub fn limit_files(&self, bytes: u64) {
        let limit = Rlimit { current: Some(bytes), maximum: None };
        prlimit(Some(self.pid()), Resource::Fsize, limit).expect("limits of a child can be set");
    }

    /// SIGTERM: the polite end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGUSR1: files are to be opened anew.
    pub fn user1(&self) {
        self.signal(Signal::USR1);
    }

    /// SIGINT: the quick end.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// SIGHUP: look again.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGSTOP: it stands still until [`Process::unfreeze`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn unfreeze(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        // Fails only if it has ended already, which is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it ended. All that it has said is in its log then.
    pub async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let status =
            eventually(deadline, &what, async || self.child.try_wait().expect("a child can be asked")).await;
        // Those who read its output hold the log, too, until they have come to the end.
        eventually(deadline, &what, async || (Arc::strong_count(&self.log) == 1).then_some(())).await;
        status
    }

    /// Resident memory in KiB, by `/proc`.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0)
    }

    /// Processor time that it has used, by `/proc`, in hundredths of a second.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // The name, in parentheses, may hold blanks; user and system time are the 12th and 13th field after it.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    fn pid(&self) -> Pid {
        i32::try_from(self.id()).ok().and_then(Pid::from_raw).expect("a child has a process id")
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal)
            .expect("a child that was not waited for can be signalled");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("---- log of {} ----\n{}\n----", self.name, self.log());
        }
    }
}

/// Runs `command` to its end, which must come within `deadline`; it is killed otherwise.
pub async fn finished(command: Command, deadline: Duration) -> Output {
    let what = format!("{command:?} ends by itself");
    let mut command = tokio::process::Command::from(command);
    let output = within(deadline, &what, command.stdin(Stdio::null()).kill_on_drop(true).output()).await;
    output.expect("the programs under test are built")
}

fn lines(log: &Mutex<Vec<String>>) -> Vec<String> {
    log.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The thread ends with the pipe.
fn record(pipe: impl Read + Send + 'static, log: &Arc<Mutex<Vec<String>>>, reading: &Arc<Reading>) {
    let (log, reading) = (Arc::clone(log), Arc::clone(reading));
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            reading.wait();
            let line = String::from_utf8_lossy(&line).into_owned();
            log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
}
