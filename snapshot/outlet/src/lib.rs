//! Standard error, as the programs write it that run for long: by a thread of its own.
//!
//! Whoever reads it may be stuck: a collector of logs, a terminal that stands still. What is said waits within bounds then, and beyond them is left
//! out and counted; nobody who serves waits for it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Lines that wait to be written.
pub const LINES_MAX: usize = 4_096;
/// Bytes of them.
pub const BYTES_MAX: usize = 1024 * 1024;
/// For so long the end of a process waits for its last lines.
pub const LAST_LINES_MAX: Duration = Duration::from_secs(1);

/// Why a line is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
enum Loss {
    /// More is said than is read.
    Queue,
    /// It cannot be written.
    Write,
}

/// Every way to lose a line, as metrics spell it.
pub const LOSSES: [&str; 2] = ["queue", "write"];

static STDERR: OnceLock<Outlet> = OnceLock::new();

/// Lines on their way out.
#[derive(Debug)]
pub struct Outlet {
    /// Who speaks.
    name: &'static str,
    waiting: Mutex<Waiting>,
    /// There is a line.
    begun: Condvar,
    /// There is none, and none is being written.
    done: Condvar,
    lost: [AtomicU64; LOSSES.len()],
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    writing: bool,
}

/// Begins to write standard error by a thread, for the rest of the process; panics come out there, too. `name` begins what it says itself.
///
/// # Errors
/// When the system refuses a thread.
pub fn start(name: &'static str) -> io::Result<&'static Outlet> {
    if let Some(outlet) = STDERR.get() {
        return Ok(outlet);
    }
    let outlet = STDERR.get_or_init(|| Outlet::new(name));
    std::thread::Builder::new().name("log".to_owned()).spawn(|| outlet.write_out(&mut io::stderr()))?;
    std::panic::set_hook(Box::new(tell_panic));
    Ok(outlet)
}

/// Says a line on standard error: through the thread once that runs, and at once before.
pub fn say(text: &str) {
    match STDERR.get() {
        Some(outlet) => outlet.take(format!("{text}\n").as_bytes()),
        None => {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
}

/// Lines of standard error that are gone, by [`LOSSES`].
pub fn lost() -> [u64; LOSSES.len()] {
    STDERR.get().map_or([0; LOSSES.len()], Outlet::lost)
}

/// Waits until all that was said is written, but no longer than [`LAST_LINES_MAX`].
pub fn flush() {
    if let Some(outlet) = STDERR.get() {
        outlet.flush(LAST_LINES_MAX);
    }
}

/// A panic may be the end of the process: what it says has to come out before.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("?");
    match backtrace.status() {
        BacktraceStatus::Captured => say(&format!("thread '{name}' {panic}\n{backtrace}")),
        _ => say(&format!("thread '{name}' {panic}")),
    }
    flush();
}

impl Outlet {
    fn new(name: &'static str) -> Self {
        let lost = std::array::from_fn(|_| AtomicU64::new(0));
        Self { name, waiting: Mutex::default(), begun: Condvar::new(), done: Condvar::new(), lost }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a line on, if there is room. The lock is never held while something is written.
    fn take(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.lines.len() >= LINES_MAX || waiting.bytes + line.len() > BYTES_MAX {
            drop(waiting);
            self.lost[Loss::Queue as usize].fetch_add(1, Relaxed);
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.into());
        drop(waiting);
        self.begun.notify_one();
    }

    fn lost(&self) -> [u64; LOSSES.len()] {
        std::array::from_fn(|index| self.lost[index].load(Relaxed))
    }

    /// Whether all was written in time.
    fn flush(&self, max: Duration) -> bool {
        let busy = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        let waited = self.done.wait_timeout_while(self.waiting(), max, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn write_out(&self, out: &mut dyn Write) {
        let mut told = 0;
        loop {
            let line = self.next();
            let mut written = out.write_all(&line);
            let missing = self.lost[Loss::Queue as usize].load(Relaxed);
            if written.is_ok() && missing > told {
                let (name, count) = (self.name, missing - told);
                let missing =
                    format!("{name}: {count} lines of this log are gone: more was said than was read\n");
                written = out.write_all(missing.as_bytes());
                told += count;
            }
            if written.is_err() {
                self.lost[Loss::Write as usize].fetch_add(1, Relaxed);
            }
        }
    }

    /// The next line; the one before is written.
    fn next(&self) -> Box<[u8]> {
        let mut waiting = self.waiting();
        waiting.writing = false;
        if waiting.lines.is_empty() {
            self.done.notify_all();
        }
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.len();
                waiting.writing = true;
                return line;
            }
            waiting = self.begun.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What is written at once is a line.
impl Write for &Outlet {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
