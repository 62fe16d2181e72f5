//! The thread that makes spans and gives them to a collector, by OTLP. It has a runtime of its own: however slow the collector is, no request
//! waits, and no page of the control thread.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::SpanExporter as _;
use outrigger_snapshot::name::ServiceName;
use tokio::runtime::Builder;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

use super::handing::{Handing, Loss};
use super::kept::Kept;
use super::span::Spans;
use super::{Choice, Shared};
use crate::config::{Otlp, Traces};
use crate::report::system_file;

/// For so long the end of the process waits for what has been kept and not exported.
const LAST_EXPORT_MAX: Duration = Duration::from_secs(1);

/// Why no traces can be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The settings.
    #[error("the collector of traces cannot be used as it is set (--otlp, OTEL_EXPORTER_OTLP_*)")]
    Exporter(#[from] ExporterBuildError),
    /// The certificates of its authorities.
    #[error("can't read the certificates in {} (OTEL_EXPORTER_OTLP_CERTIFICATE)", .0.display())]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// HTTP.
    #[error("HTTP cannot be set up")]
    Http(#[from] reqwest::Error),
    /// The system.
    #[error("the system refused a thread")]
    Thread(#[from] std::io::Error),
}

/// Who tells.
#[derive(Debug, Clone)]
pub struct Teller {
    /// The service beside which this proxy runs, or the gateway that it is.
    pub service: ServiceName,
    /// What it is called among its like.
    pub node: String,
    /// Its zone.
    pub zone: Option<String>,
    /// Whether it is a gateway.
    pub gateway: bool,
}

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
    pub fn start(settings: &Traces, teller: Teller) -> Result<Self, ExportError> {
        let (handing, taken) = Handing::new(settings.queue, settings.batch);
        let handing = Arc::new(handing);
        let (over, ends) = watch::channel(false);
        let (starting, started) = std::sync::mpsc::sync_channel(1);
        let (own, of_thread) = (settings.clone(), handing.clone());
        let life = move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(starting.send(Err(error.into()))),
            };
            // The exporter finds the runtime that it will run on.
            let entered = runtime.enter();
            let exporter = match exporter(&own, &teller) {
                Ok(exporter) => exporter,
                Err(error) => return drop(starting.send(Err(error))),
            };
            let _ = starting.send(Ok(()));
            drop(entered);
            let spans = Spans::new(teller.gateway);
            let exporting = Exporting { settings: own, handing: of_thread, exporter, spans };
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
    exporter: SpanExporter,
    spans: Spans,
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
        loop {
            let mut batch = Vec::new();
            let mut count = 0;
            while count < self.settings.batch
                && let Ok(kept) = taken.try_recv()
            {
                self.spans.add(&kept, &mut batch);
                count += 1;
            }
            if count == 0 {
                return;
            }
            // Counted as lost until it is not: the end of the process may cut it short.
            let unsaid = Unsaid { handing: &self.handing, count };
            match self.exporter.export(batch).await {
                Ok(()) => unsaid.exported(),
                Err(error) => {
                    tracing::warn!(requests = count, "the collector of traces did not take them: {error}")
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

fn exporter(settings: &Traces, teller: &Teller) -> Result<SpanExporter, ExportError> {
    let (endpoint, secure) = (settings.endpoint.as_str(), settings.endpoint.starts_with("https:"));
    let timeout = settings.timeout;
    let mut exporter = match settings.protocol {
        Otlp::Grpc => {
            let mut builder =
                SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(timeout);
            if secure {
                builder = builder.with_tls_config(roots(settings.ca_file.as_deref())?);
            }
            builder.build()?
        }
        Otlp::Http => {
            // Where the collector is, the operator says; what an application is told of proxies is not for this one.
            let mut client = reqwest::Client::builder().no_proxy().timeout(timeout);
            if let Some(path) = settings.ca_file.as_deref().filter(|_| secure) {
                let roots = reqwest::Certificate::from_pem_bundle(&read(path)?)?;
                client = client.tls_certs_only(roots);
            }
            SpanExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(endpoint)
                .with_timeout(timeout)
                .with_http_client(client.build()?)
                .build()?
        }
    };
    exporter.set_resource(&resource(settings, teller));
    Ok(exporter)
}

/// The authorities that may have signed the collector's certificate: those of a file, or the system's.
fn roots(file: Option<&Path>) -> Result<ClientTlsConfig, ExportError> {
    let tls = ClientTlsConfig::new();
    let path = file.map(Path::to_owned).or_else(system_file);
    path.map_or(Ok(tls.clone()), |path| Ok(tls.ca_certificate(Certificate::from_pem(read(&path)?))))
}

fn read(path: &Path) -> Result<Vec<u8>, ExportError> {
    std::fs::read(path).map_err(|error| ExportError::Unreadable(path.to_owned(), error))
}

/// Who tells; what `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say comes first.
fn resource(settings: &Traces, teller: &Teller) -> Resource {
    let Teller { service, node, zone, .. } = teller;
    let own = [
        KeyValue::new("service.name", service.name().to_owned()),
        KeyValue::new("service.namespace", service.namespace().to_owned()),
        KeyValue::new("service.instance.id", node.clone()),
        KeyValue::new("telemetry.sdk.name", "opentelemetry"),
        KeyValue::new("telemetry.sdk.language", "rust"),
    ];
    let zone = zone.clone().map(|zone| KeyValue::new("cloud.availability_zone", zone));
    let resource = Resource::builder_empty().with_attributes(own.into_iter().chain(zone));
    let resource = resource.with_detector(Box::new(EnvResourceDetector::new()));
    let name = settings.service_name.clone().map(|name| KeyValue::new("service.name", name));
    resource.with_attributes(name).build()
}
