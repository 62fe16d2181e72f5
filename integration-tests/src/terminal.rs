//! A terminal for programs that draw: a pseudo-terminal, at whose other end a test looks and presses keys.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::mesh::program;

/// Runs a program as a shell does, and says how it ended and whether the terminal takes keys as it did before. The shell itself outlives Ctrl-C: with the
/// end of who began the session, the system would put the terminal right.
const SHELL: &str = r#"
trap : INT
before=$(stty -g)
"$@"
code=$?
if [ "$before" = "$(stty -g)" ]; then keys=same; else keys=other; fi
echo "ended $code $keys"
"#;

/// See the module. Dropped, its program is killed.
#[derive(Debug)]
pub struct Terminal {
    ours: File,
    shell: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a program in a terminal of so many columns and rows.
    ///
    /// # Panics
    /// If the system has no terminal to give, or `setsid` and `sh` are not there.
    pub fn start(path: impl AsRef<Path>, arguments: &[&str], size: (u16, u16)) -> Self {
        let ours =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        unlockpt(&ours).expect("it is new");
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let theirs = ioctl_tiocgptpeer(&ours, flags).expect("its other end");
        let ours = File::from(ours);
        resize(&ours, size);
        let side = || Stdio::from(theirs.try_clone().expect("a descriptor"));
        let mut command = program("setsid".into());
        command.args(["--ctty", "sh", "-c", SHELL, "sh"]).arg(path.as_ref()).args(arguments);
        command.env("TERM", "xterm").stdin(side()).stdout(side()).stderr(side());
        let shell = command.spawn().expect("setsid is installed");
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let (mut reader, saying) = (ours.try_clone().expect("a descriptor"), said.clone());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                saying.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..count]);
            }
        });
        Self { ours, shell, said }
    }

    /// It has so many columns and rows from now on.
    pub fn resize(&self, size: (u16, u16)) {
        resize(&self.ours, size);
    }

    /// Presses keys.
    ///
    /// # Panics
    /// If nobody is at the other end.
    pub fn press(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).expect("the shell is there");
    }

    /// All that was written to it.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// What was drawn from the first row to the last one, each time that all of it was, as lines.
    pub fn frames(&self) -> Vec<Vec<String>> {
        let said = self.said();
        let whole = said.split("\x1b[H").skip(1).filter_map(|drawn| Some(drawn.split_once("\x1b[J")?.0));
        // The terminal has put a carriage return before each end of a line, as it does.
        let text = |line: &str| line.trim_end_matches('\r').replace("\x1b[K", "");
        whole.map(|drawn| drawn.lines().map(text).collect()).collect()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // What is left of the session is told by the system that its terminal has gone.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
        if thread::panicking() {
            eprintln!("---- terminal ----\n{}\n----", self.said().escape_debug());
        }
    }
}

fn resize(ours: &File, (columns, rows): (u16, u16)) {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(ours, size).expect("it is a terminal");
}
