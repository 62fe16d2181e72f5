//! A collector of traces that speaks OTLP, by gRPC and over HTTP, and keeps what it is told.

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
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

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

#[derive(Debug, Default)]
struct Seen {
    spans: Mutex<Vec<Told>>,
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
    seen: Arc<Seen>,
    serving: JoinHandle<()>,
}

impl Collector {
    /// Starts one.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let seen = Arc::<Seen>::default();
        let serving = tokio::spawn(serve(listener, seen.clone()));
        Self { addr, seen, serving }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Takes everything from now on, and answers nothing.
    pub fn hang(&self) {
        self.seen.hangs.store(true, SeqCst);
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Told> {
        self.seen.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

async fn serve(listener: TcpListener, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let seen = seen.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, seen.clone()));
            // The end of a connection is its client's.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Seen>,
) -> Result<Response<tonic::body::Body>, Infallible> {
    let said =
        request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    *seen.authorization.lock().unwrap_or_else(PoisonError::into_inner) = said.to_owned();
    if request.uri().path() != "/v1/traces" {
        let grpc = TowerToHyperService::new(TraceServiceServer::new(Service(seen)));
        return hyper::service::Service::call(&grpc, request).await;
    }
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let status = match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            seen.take(request).await;
            200
        }
        Err(_) => 400,
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

impl Seen {
    async fn take(&self, request: ExportTraceServiceRequest) {
        self.exports.fetch_add(1, SeqCst);
        if self.hangs.load(SeqCst) {
            return std::future::pending().await;
        }
        let mut all = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for of_resource in request.resource_spans {
            let resource = attributes(&of_resource.resource.unwrap_or_default().attributes);
            let part = |name: &str| resource.get(name).cloned().unwrap_or_default();
            let by = format!("{}/{}", part("service.namespace"), part("service.name"));
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            all.extend(spans.map(|span| told(&by, span)));
        }
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
    let text = |value: &any_value::Value| match value {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::BoolValue(value) => value.to_string(),
        other => format!("{other:?}"),
    };
    let value = |pair: &KeyValue| pair.value.as_ref()?.value.as_ref().map(text);
    all.iter().filter_map(|pair| Some((pair.key.clone(), value(pair)?))).collect()
}
