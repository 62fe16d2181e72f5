//! The thread that makes spans and gives them to a collector, by OTLP. It has a runtime of its own: however slow the collector is, no request
//! waits, and no page of the control thread.

use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

use super::handing::{Handing, Loss};
use super::kept::Kept;
use super::span::Spans;
use super::{Choice, Shared};
use crate::config::Traces;
use crate::otlp::collector::Collector;
use crate::otlp::wire::Envelope;
use crate::otlp::{OtlpError, Teller};

/// For so long the end of the process waits for what has been kept and not exported.
const LAST_EXPORT_MAX: Duration = Duration::from_secs(1);
/// No request is added to an export that has so many bytes: collectors take gRPC messages of up to 4 MiB, and one request takes a few hundred KiB at
/// most.
const EXPORT_BYTES_MAX: usize = 2 * 1024 * 1024;
const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The thread, as those see it who started it.
#[derive(Debug)]
pub struct Export {
    choice: Choice,
    handing: Arc<Handing>,
    over: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Export {
    /// Starts it.
    pub fn start(settings: &Traces, teller: Teller) -> Result<Self, OtlpError> {
        let (handing, taken) = Handing::new(settings.queue, settings.batch);
        let handing = Arc::new(handing);
        let (over, ends) = watch::channel(false);
        let (starting, started) = std::sync::mpsc::sync_channel(1);
        let (own, of_thread) = (settings.clone(), handing.clone());
        let life = move || {
            let (runtime, collector) = match Collector::with_runtime(&own.to, METHOD) {
                Ok(ready) => ready,
                Err(error) => return drop(starting.send(Err(error))),
            };
            let _ = starting.send(Ok(()));
            let (envelope, spans) = (teller.envelope(&own.to), Spans::new(teller.gateway));
            let exporting =
                Exporting { settings: own, handing: of_thread, collector, envelope, spans, refused: false };
            runtime.block_on(exporting.run(taken, ends));
        };
        let thread = std::thread::Builder::new().name("traces".to_owned()).spawn(life)?;
        started.recv().map_err(std::io::Error::other)??;
        Ok(Self { choice: settings.choice.clone(), handing, over, thread })
    }

    /// What workers need.
    pub fn shared(&self) -> Shared {
        Shared { choice: self.choice.clone(), handing: self.handing.clone() }
    }

    /// Exports what is left, as far as that takes no longer than `LAST_EXPORT_MAX`. Whether the thread ended well.
    pub fn end(self) -> bool {
        self.handing.end();
        self.over.send_replace(true);
        self.thread.join().is_ok()
    }
}

struct Exporting {
    settings: Traces,
    handing: Arc<Handing>,
    collector: Collector,
    envelope: Envelope,
    spans: Spans,
    /// The collector did not take the last ones.
    refused: bool,
}

impl Exporting {
    async fn run(mut self, mut taken: Receiver<Box<Kept>>, mut ends: watch::Receiver<bool>) {
        let over = async {
            // An error means that nobody is there any more to end it.
            let _ = ends.wait_for(|ends| *ends).await;
            tokio::time::sleep(LAST_EXPORT_MAX).await;
        };
        let mut over = pin!(over);
        loop {
            self.handing.begins().await;
            if !self.handing.ends() {
                let _ = tokio::time::timeout(self.settings.delay, self.handing.fills()).await;
            }
            let ends = self.handing.ends();
            self.handing.taken();
            tokio::select! {
                biased;
                () = self.export_all(&mut taken) => {}
                () = &mut over => {
                    let rest = std::iter::from_fn(|| taken.try_recv().ok()).count();
                    return self.handing.lost(Loss::Export, rest);
                }
            }
            if ends {
                return;
            }
        }
    }

    async fn export_all(&mut self, taken: &mut Receiver<Box<Kept>>) {
        self.spans.tick();
        let mut spans = Vec::new();
        loop {
            spans.clear();
            let mut count = 0;
            while count < self.settings.batch
                && spans.len() < EXPORT_BYTES_MAX
                && let Ok(kept) = taken.try_recv()
            {
                self.spans.add(&kept, &mut spans);
                count += 1;
            }
            if count == 0 {
                return;
            }
            // Counted as lost until it is not: the end of the process may cut it short.
            let unsaid = Unsaid { handing: &self.handing, count };
            match self.collector.tell(self.envelope.around(&spans)).await {
                Ok(()) => {
                    unsaid.exported();
                    if std::mem::take(&mut self.refused) {
                        tracing::info!("the collector takes traces again");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.refused, true) {
                        tracing::warn!(
                            "the collector does not take traces; they are dropped until it does: {error}"
                        );
                    }
                }
            }
        }
    }
}

/// Requests that are on their way to the collector; lost, unless it takes them.
struct Unsaid<'a> {
    handing: &'a Handing,
    count: usize,
}

impl Unsaid<'_> {
    fn exported(mut self) {
        self.handing.exported(std::mem::take(&mut self.count));
    }
}

impl Drop for Unsaid<'_> {
    fn drop(&mut self) {
        if self.count > 0 {
            self.handing.lost(Loss::Export, self.count);
        }
    }
}
