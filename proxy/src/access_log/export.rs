//! The thread that gives the access log to a collector, by OTLP. While the collector does not take it, lines wait where those of a file do: within
//! a bound, and not for long.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

use super::record::Record;
use super::writer::{Batch, Counts, Loss, Wishes};
use crate::config::OtlpLog;
use crate::otlp::collector::Collector;
use crate::otlp::times::Times;
use crate::otlp::wire::Envelope;
use crate::otlp::{OtlpError, Teller};

/// What is exported at a time, in bytes of memory: collectors take gRPC messages of up to 4 MiB.
const EXPORT_BYTES_MAX: usize = 512 * 1024;
const METHOD: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// What goes to a collector.
struct Exporting {
    settings: OtlpLog,
    collector: Collector,
    envelope: Envelope,
    counts: Arc<Counts>,
    wishes: Arc<Wishes>,
    /// The collector did not take the last ones.
    refused: bool,
}

/// Starts the thread. `ending` is told once all is exported.
pub(super) fn start(
    settings: OtlpLog,
    teller: Teller,
    batches: Receiver<Batch>,
    (counts, wishes): (Arc<Counts>, Arc<Wishes>),
    ending: SyncSender<()>,
) -> Result<(), OtlpError> {
    let (starting, started) = sync_channel(1);
    let life = move || {
        let (runtime, collector) = match Collector::with_runtime(&settings.to, METHOD) {
            Ok(ready) => ready,
            Err(error) => return drop(starting.send(Err(error))),
        };
        let _ = starting.send(Ok(()));
        let envelope = teller.envelope(&settings.to);
        let exporting = Exporting { settings, collector, envelope, counts, wishes, refused: false };
        runtime.block_on(exporting.run(batches));
        let _ = ending.send(());
    };
    std::thread::Builder::new().name("access-log".to_owned()).spawn(life)?;
    started.recv().map_err(std::io::Error::other)?
}

impl Exporting {
    async fn run(mut self, mut batches: Receiver<Batch>) {
        while let Some(batch) = batches.recv().await {
            let mut records = batch.records;
            self.gather(&mut batches, &mut records).await;
            let ends = self.wishes.end.load(SeqCst);
            if ends {
                records
                    .extend(std::iter::from_fn(|| batches.try_recv().ok()).flat_map(|batch| batch.records));
            }
            self.export_all(&records).await;
            if ends {
                return;
            }
        }
    }

    /// Waits for others, but not for long, and not for more than are exported at a time.
    async fn gather(&self, batches: &mut Receiver<Batch>, records: &mut Vec<Record>) {
        let until = Instant::now() + self.settings.delay;
        let bytes = |records: &[Record]| records.iter().map(Record::bytes).sum::<usize>();
        let mut held = bytes(records);
        let has_room = |count, held| (1..self.settings.batch).contains(&count) && held < EXPORT_BYTES_MAX;
        while has_room(records.len(), held) && !self.wishes.end.load(SeqCst) {
            match timeout_at(until, batches.recv()).await {
                Ok(Some(batch)) => {
                    held += bytes(&batch.records);
                    records.extend(batch.records);
                }
                Ok(None) | Err(_) => return,
            }
        }
    }

    async fn export_all(&mut self, mut records: &[Record]) {
        let times = Times::now();
        while !records.is_empty() {
            let (next, rest) = records.split_at(fitting(records, self.settings.batch));
            self.export(next, &times).await;
            records = rest;
        }
    }

    async fn export(&mut self, records: &[Record], times: &Times) {
        let count = records.len() as u64;
        let mut written = Vec::new();
        for record in records {
            record.write(times, &mut written);
        }
        match self.collector.tell(self.envelope.around(&written)).await {
            Ok(()) => {
                self.counts.written(count);
                if std::mem::take(&mut self.refused) {
                    tracing::info!("the collector takes the access log again");
                }
            }
            Err(error) => {
                self.counts.lost(Loss::Export, count);
                if !std::mem::replace(&mut self.refused, true) {
                    tracing::warn!(
                        "the collector does not take the access log; lines are dropped until it does: {error}"
                    );
                }
            }
        }
    }
}

/// How many of them are exported next: at least one, at most `batch`, and no more than there is room for.
fn fitting(records: &[Record], batch: usize) -> usize {
    let mut bytes = 0;
    let fit = records.iter().take(batch).take_while(|record| {
        bytes += record.bytes();
        bytes <= EXPORT_BYTES_MAX
    });
    fit.count().max(1)
}
