//! The thread that writes the access log to a file. It may wait as long as that does: workers do not.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::sync::mpsc::{Sender, channel};

use super::out::Out;
use super::record::Record;
use super::{Choice, Shared, export};
use crate::config::OtlpLog;
use crate::otlp::{OtlpError, Teller};

/// Buffers that wait to be written: two mebibytes and a bit.
const WAITING_MAX: usize = 64;
/// For so long the end of the process waits for what has not been written.
const LAST_WRITE_MAX: Duration = Duration::from_secs(1);

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file, at whose end it is written.
    File(PathBuf),
    /// A collector.
    Otlp(Box<OtlpLog>),
}

/// Lines of a worker, written or not; where there are none, `Wishes` say what is to be done.
#[derive(Debug, Default)]
pub struct Batch {
    /// Those that are for a file.
    pub text: Vec<u8>,
    /// Those that are for a collector.
    pub records: Vec<Record>,
    /// How many.
    pub count: u64,
}

/// Why a line is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Loss {
    /// Requests come faster than they can be written.
    Queue,
    /// The file cannot be written.
    Write,
    /// The collector did not take it.
    Export,
}

/// Every [`Loss`] as metrics spell it.
pub const LOSSES: [&str; 3] = ["queue", "write", "export"];

/// What became of lines.
#[derive(Debug, Default)]
pub struct Counts {
    written: AtomicU64,
    lost: [AtomicU64; LOSSES.len()],
}

impl Counts {
    /// So many are where they were to go.
    pub(super) fn written(&self, count: u64) {
        self.written.fetch_add(count, Relaxed);
    }

    /// So many are gone.
    pub fn lost(&self, loss: Loss, count: u64) {
        self.lost[loss as usize].fetch_add(count, Relaxed);
    }

    /// Lines written.
    pub fn count_written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Lines that are gone, by [`Loss`].
    pub fn count_lost(&self) -> [u64; LOSSES.len()] {
        std::array::from_fn(|index| self.lost[index].load(Relaxed))
    }
}

/// Why there is no access log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file.
    #[error("cannot write the access log {} (--access-log)", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The collector.
    #[error("cannot tell a collector of requests (--access-log otlp)")]
    Collector(#[from] OtlpError),
    /// The system.
    #[error("the system refused a thread")]
    Thread(#[from] io::Error),
}

/// The thread, as those see it who started it.
#[derive(Debug)]
pub struct Writer {
    choice: Choice,
    reopener: Reopener,
    counts: Arc<Counts>,
    over: Receiver<()>,
}

/// What is to be done beside writing.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    reopen: AtomicBool,
    pub(super) end: AtomicBool,
}

impl Writer {
    /// Opens the file, if it is one, and starts the thread.
    pub fn start(target: Target, choice: Choice, teller: Teller) -> Result<Self, LogError> {
        let (out, mut batches) = channel(WAITING_MAX);
        let (ending, over) = sync_channel(1);
        let (counts, wishes) = (Arc::<Counts>::default(), Arc::<Wishes>::default());
        let reopener = Reopener { wishes: wishes.clone(), out };
        let writer = Self { choice, reopener, counts: counts.clone(), over };
        let out = match target {
            Target::Otlp(settings) => {
                export::start(*settings, teller, batches, (counts, wishes), ending)?;
                return Ok(writer);
            }
            Target::Stdout => Out::to_stdout(),
            Target::File(path) => Out::to(&path).map_err(|error| LogError::File(path, error))?,
        };
        let mut writing = Writing { out, counts, wishes };
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            while let Some(batch) = batches.blocking_recv() {
                writing.write(batch);
                if writing.wishes.end.load(SeqCst) {
                    std::iter::from_fn(|| batches.try_recv().ok()).for_each(|batch| writing.write(batch));
                    break;
                }
            }
            let _ = ending.send(());
        })?;
        Ok(writer)
    }

    /// What workers need.
    pub fn shared(&self) -> Shared {
        Shared { choice: self.choice, out: self.reopener.out.clone(), counts: self.counts.clone() }
    }

    /// What became of lines.
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// What opens the file anew.
    pub fn reopener(&self) -> Reopener {
        self.reopener.clone()
    }

    /// Waits until all has been written, but no longer than `LAST_WRITE_MAX`. The workers are gone.
    pub fn end(self) {
        self.reopener.wishes.end.store(true, SeqCst);
        self.reopener.nudge();
        if self.over.recv_timeout(LAST_WRITE_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the last lines of the access log could not be written in time");
        }
    }
}

/// Has the file opened anew, once someone has moved it away.
#[derive(Debug, Clone)]
pub struct Reopener {
    wishes: Arc<Wishes>,
    out: Sender<Batch>,
}

impl Reopener {
    /// Before the next line is written.
    pub fn reopen(&self) {
        self.wishes.reopen.store(true, SeqCst);
        self.nudge();
    }

    fn nudge(&self) {
        // Where there is no room, someone is about to write anyway.
        let _ = self.out.try_send(Batch::default());
    }
}

struct Writing {
    out: Out,
    counts: Arc<Counts>,
    wishes: Arc<Wishes>,
}

impl Writing {
    fn write(&mut self, batch: Batch) {
        if self.wishes.reopen.swap(false, SeqCst) {
            // The file is to be there for whoever asked.
            self.out.reopen();
        }
        if batch.text.is_empty() {
            return;
        }
        let whole = self.out.write(&batch.text).min(batch.count);
        self.counts.written(whole);
        self.counts.lost(Loss::Write, batch.count - whole);
    }
}
