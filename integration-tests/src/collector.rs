//! A collector of traces and logs that speaks OTLP, by gRPC and over HTTP, and keeps what it is told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::pki::Authority;

/// A span, as the collector has got it. Ids are hexadecimal; an empty parent is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// `service.namespace/service.name` of who tells.
    pub by: String,
    /// The trace.
    pub trace: String,
    /// Its id.
    pub span: String,
    /// The span above it.
    pub parent: String,
    /// What it is called.
    pub name: String,
    /// `SpanKind`: 2 is SERVER, 3 CLIENT.
    pub kind: i32,
    /// All attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether its status is an error.
    pub failed: bool,
    /// Names of its events.
    pub events: Vec<String>,
    /// When it began and ended, in nanoseconds since 1970.
    pub time_ns: (u64, u64),
}

impl Told {
    /// An attribute; empty if there is none.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// A log record, as the collector has got it. Ids are hexadecimal; an empty one is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// `service.namespace/service.name` of who tells.
    pub by: String,
    /// What kind of record it is.
    pub event: String,
    /// The trace that its request is of.
    pub trace: String,
    /// The span of that.
    pub span: String,
    /// `INFO`, `ERROR`.
    pub severity: String,
    /// The same as a number: 9, 17.
    pub severity_number: i32,
    /// In words.
    pub body: String,
    /// All attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// When it happened, and when it was seen, in nanoseconds since 1970.
    pub time_ns: (u64, u64),
}

impl Logged {
    /// An attribute; empty if there is none.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

#[derive(Debug, Default)]
struct Seen {
    spans: Mutex<Vec<Told>>,
    records: Mutex<Vec<Logged>>,
    /// The most records that one export had.
    largest: AtomicU64,
    exports: AtomicU64,
    /// What the last export said of who sends it.
    authorization: Mutex<String>,
    hangs: AtomicBool,
}

/// See the module. Dropped, it resets its connections and stops listening.
#[derive(Debug)]
pub struct Collector {
    /// Where it listens.
    pub addr: SocketAddr,
    scheme: &'static str,
    seen: Arc<Seen>,
    serving: JoinHandle<()>,
}

impl Collector {
    /// Starts one.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start() -> Self {
        Self::serving(None).await
    }

    /// Starts one that speaks TLS alone: its certificate is for 127.0.0.1, by `authority`, and so must be those of its clients.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start_tls(authority: &Authority) -> Self {
        let config = authority.server(&["127.0.0.1"]);
        Self::serving(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serving(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (seen, scheme) = (Arc::<Seen>::default(), if tls.is_some() { "https" } else { "http" });
        let serving = tokio::spawn(serve(listener, tls, seen.clone()));
        Self { addr, scheme, seen, serving }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }

    /// Takes everything from now on, and answers nothing.
    pub fn hang(&self) {
        self.seen.hangs.store(true, SeqCst);
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Told> {
        self.seen.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All log records so far.
    pub fn records(&self) -> Vec<Logged> {
        self.seen.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The most log records that came at a time.
    pub fn largest(&self) -> u64 {
        self.seen.largest.load(SeqCst)
    }

    /// How often something was exported to it, answered or not.
    pub fn exports(&self) -> u64 {
        self.seen.exports.load(SeqCst)
    }

    /// `authorization` of the last export.
    pub fn authorization(&self) -> String {
        self.seen.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (seen, tls) = (seen.clone(), tls.clone());
        connections.spawn(async move {
            match tls {
                None => converse(stream, seen).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        converse(stream, seen).await;
                    }
                }
            }
        });
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, seen: Arc<Seen>) {
    let service = service_fn(move |request| answer(request, seen.clone()));
    // The end of a connection is its client's.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Seen>,
) -> Result<Response<tonic::body::Body>, Infallible> {
    let said =
        request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    *seen.authorization.lock().unwrap_or_else(PoisonError::into_inner) = said.to_owned();
    let path = request.uri().path().to_owned();
    if path.starts_with("/opentelemetry.proto.collector.logs.") {
        let grpc = TowerToHyperService::new(LogsServiceServer::new(Service(seen)));
        return hyper::service::Service::call(&grpc, request).await;
    }
    if !path.starts_with("/v1/") {
        let grpc = TowerToHyperService::new(TraceServiceServer::new(Service(seen)));
        return hyper::service::Service::call(&grpc, request).await;
    }
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let status = if path == "/v1/traces" {
        match ExportTraceServiceRequest::decode(body) {
            Ok(request) => {
                seen.take(request).await;
                200
            }
            Err(_) => 400,
        }
    } else if path == "/v1/logs" {
        match ExportLogsServiceRequest::decode(body) {
            Ok(request) => {
                seen.take_logs(request).await;
                200
            }
            Err(_) => 400,
        }
    } else {
        404
    };
    let mut response = Response::new(tonic::body::Body::new(Full::new(Bytes::new())));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/x-protobuf"));
    Ok(response)
}

struct Service(Arc<Seen>);

#[async_trait::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.take(request.into_inner()).await;
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[async_trait::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, tonic::Status> {
        self.0.take_logs(request.into_inner()).await;
        Ok(tonic::Response::new(ExportLogsServiceResponse::default()))
    }
}

impl Seen {
    async fn comes(&self) {
        self.exports.fetch_add(1, SeqCst);
        if self.hangs.load(SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    async fn take(&self, request: ExportTraceServiceRequest) {
        self.comes().await;
        let mut all = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for of_resource in request.resource_spans {
            let by = name(of_resource.resource);
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            all.extend(spans.map(|span| told(&by, span)));
        }
    }

    async fn take_logs(&self, request: ExportLogsServiceRequest) {
        self.comes().await;
        let mut all = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.len();
        for of_resource in request.resource_logs {
            let by = name(of_resource.resource);
            let records = of_resource.scope_logs.into_iter().flat_map(|scope| scope.log_records);
            all.extend(records.map(|record| logged(&by, record)));
        }
        self.largest.fetch_max((all.len() - before) as u64, SeqCst);
    }
}

fn name(resource: Option<Resource>) -> String {
    let resource = attributes(&resource.unwrap_or_default().attributes);
    let part = |name: &str| resource.get(name).cloned().unwrap_or_default();
    format!("{}/{}", part("service.namespace"), part("service.name"))
}

fn logged(by: &str, record: LogRecord) -> Logged {
    Logged {
        by: by.to_owned(),
        event: record.event_name,
        trace: hex(&record.trace_id),
        span: hex(&record.span_id),
        severity: record.severity_text,
        severity_number: record.severity_number,
        body: record.body.and_then(|body| body.value.as_ref().map(text)).unwrap_or_default(),
        attributes: attributes(&record.attributes),
        time_ns: (record.time_unix_nano, record.observed_time_unix_nano),
    }
}

fn told(by: &str, span: Span) -> Told {
    Told {
        by: by.to_owned(),
        trace: hex(&span.trace_id),
        span: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name,
        kind: span.kind,
        attributes: attributes(&span.attributes),
        failed: span.status.is_some_and(|status| status.code == 2),
        events: span.events.into_iter().map(|event| event.name).collect(),
        time_ns: (span.start_time_unix_nano, span.end_time_unix_nano),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let value = |pair: &KeyValue| pair.value.as_ref()?.value.as_ref().map(text);
    all.iter().filter_map(|pair| Some((pair.key.clone(), value(pair)?))).collect()
}

fn text(value: &any_value::Value) -> String {
    match value {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::DoubleValue(number) => number.to_string(),
        any_value::Value::BoolValue(value) => value.to_string(),
        other => format!("{other:?}"),
    }
}
