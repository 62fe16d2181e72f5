//! The access log: a line for each request, or for some and for all that failed.
//!
//! A worker writes lines into a buffer of its own and hands that on when it is full, or after a tenth of a second, to a thread that writes it out, or
//! gives it to a collector. Whatever becomes of it there, no request waits: what finds no room is gone, and counted.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use outrigger_snapshot::policy::SHARE_WHOLE;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;

use self::line::Lines;
use self::record::{Record, Records};
use self::writer::{Batch, Counts, Loss};
use crate::story::Told;

mod export;
pub mod line;
pub mod metrics;
mod out;
pub mod record;
pub mod writer;

/// What is handed on at a time, in bytes; the last line of it may be cut off by no more than itself.
const BATCH_BYTES: usize = 32 * 1024;
/// How long a line waits for others.
const WAIT: Duration = Duration::from_millis(100);

/// Which requests have a line, and what it looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// How it is written.
    pub format: Format,
    /// Of [`SHARE_WHOLE`] requests that did not fail, so many have a line.
    pub share: u32,
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// An object of JSON, whose keys are those of OpenTelemetry's conventions.
    Json,
    /// Words, for people.
    Text,
    /// Not at all: a collector gets it as a record.
    #[value(skip)]
    Otlp,
}

/// What workers share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Which requests have a line.
    pub choice: Choice,
    /// Where they go.
    pub out: Sender<Batch>,
    /// What became of them.
    pub counts: Arc<Counts>,
}

/// What a worker has not handed on.
#[derive(Debug)]
enum Held {
    Lines(Lines),
    Records(Records),
}

impl Held {
    fn new(format: Format) -> Self {
        match format {
            Format::Json => Self::Lines(Lines::of_json()),
            Format::Text => Self::Lines(Lines::of_words()),
            Format::Otlp => Self::Records(Records::default()),
        }
    }

    /// One more request; how much there is now, in bytes.
    fn add(&mut self, told: &Told, failed: bool, status: Option<u16>, now_ns: u64) -> usize {
        match self {
            Self::Lines(lines) => {
                lines.add(told, failed, status, now_ns);
                lines.bytes()
            }
            Self::Records(records) => {
                records.add(Record::of(told, failed, status, now_ns));
                records.bytes()
            }
        }
    }

    fn take(&mut self, count: u64) -> Batch {
        match self {
            Self::Lines(lines) => Batch { text: lines.take(), count, ..Batch::default() },
            Self::Records(records) => Batch { records: records.take(), count, ..Batch::default() },
        }
    }
}

/// The access log of one worker.
#[derive(Debug)]
pub struct AccessLog {
    shared: Shared,
    held: RefCell<Held>,
    count: Cell<u64>,
    /// There is a line, and nobody waits for others yet.
    begun: Notify,
}

impl AccessLog {
    /// Of a worker that has written nothing.
    pub fn new(shared: Shared) -> Rc<Self> {
        let held = RefCell::new(Held::new(shared.choice.format));
        Rc::new(Self { shared, held, count: Cell::new(0), begun: Notify::new() })
    }

    /// A request is over at `now_ns`: writes a line, if it has one. `random` decides which have.
    pub fn over(&self, told: &Told, status: Option<u16>, now_ns: u64, random: impl FnOnce() -> u64) {
        let said = told.telemetry();
        if said.is_some_and(|said| said.access_log == Some(false)) {
            return;
        }
        let share = said.and_then(|said| said.access_log_share).unwrap_or(self.shared.choice.share);
        let drawn = || share >= SHARE_WHOLE || random() % u64::from(SHARE_WHOLE) < u64::from(share);
        let failed = told.is_failure(status);
        if !failed && !drawn() {
            return;
        }
        let full = self.held.borrow_mut().add(told, failed, status, now_ns) >= BATCH_BYTES;
        if self.count.replace(self.count.get() + 1) == 0 {
            self.begun.notify_one();
        }
        if full {
            self.hand_on();
        }
    }

    /// Hands on what is there after a while, for as long as the worker runs.
    pub async fn keep_going(&self) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(WAIT).await;
            self.hand_on();
        }
    }

    fn hand_on(&self) {
        let count = self.count.take();
        if count == 0 {
            return;
        }
        let batch = self.held.borrow_mut().take(count);
        // It is full, or the process ends.
        if self.shared.out.try_send(batch).is_err() {
            self.shared.counts.lost(Loss::Queue, count);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.hand_on();
    }
}

#[cfg(test)]
mod tests;
