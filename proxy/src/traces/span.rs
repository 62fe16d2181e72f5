//! Spans of a request and its tries, with the attributes that OpenTelemetry's conventions for HTTP and RPC name.

use std::borrow::Cow;
use std::net::SocketAddr;

use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::kept::Kept;
use crate::otlp;
use crate::otlp::times::Times;
use crate::story::Attempted;
use crate::telemetry::metrics::Direction;

/// Methods that are told as they are (RFC 9110 §9, RFC 5789); others are anyone's invention.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// What makes spans.
#[derive(Debug)]
pub(super) struct Spans {
    scope: InstrumentationScope,
    /// What its clients call is what this proxy serves, be it a gateway's outbound side.
    serves: bool,
    times: Times,
}

impl Spans {
    pub(super) fn new(gateway: bool) -> Self {
        Self { scope: otlp::scope(), serves: gateway, times: Times::now() }
    }

    /// The clocks drift: what time it is, anew.
    pub(super) fn tick(&mut self) {
        self.times = Times::now();
    }

    /// Adds the span of a request and those of its tries.
    pub(super) fn add(&self, kept: &Kept, spans: &mut Vec<SpanData>) {
        let serves = self.serves || kept.direction == Direction::Inbound;
        let kind = if serves { SpanKind::Server } else { SpanKind::Client };
        let mut attributes = named(kept);
        attributes.extend(request(kept));
        let mut span = self.span(kept, kept.trace.span, kept.trace.parent, kind, attributes);
        span.parent_span_is_remote = kept.trace.parent != 0;
        if let Some((_, said)) = &kept.failure {
            span.status = Status::error(said.clone());
        }
        spans.push(span);
        for (number, attempted) in (0..).zip(&kept.tries) {
            spans.push(self.attempted(kept, number, attempted));
        }
    }

    fn attempted(&self, kept: &Kept, number: u16, attempted: &Attempted) -> SpanData {
        let mut attributes = named(kept);
        attributes.extend(tried(number, attempted));
        let id = kept.trace.of_try(number);
        let mut span = self.span(kept, id, kept.trace.span, SpanKind::Client, attributes);
        // A try that was given up has no end of its own: its request's is.
        let ended_ns = if attempted.ended_ns == 0 { kept.ended_ns } else { attempted.ended_ns };
        (span.start_time, span.end_time) = (self.times.of(attempted.started_ns), self.times.of(ended_ns));
        let milestones =
            [("connected", attempted.tcp_ns), ("tls", attempted.tls_ns), ("sent", attempted.ready_ns)];
        for (name, at_ns) in milestones.into_iter().filter(|(_, at_ns)| *at_ns != 0) {
            span.events.events.push(Event::new(name, self.times.of(at_ns), Vec::new(), 0));
        }
        if let Some(culprit) = &attempted.culprit {
            span.status = Status::error(culprit.said.clone());
        }
        span
    }

    fn span(&self, kept: &Kept, id: u64, parent: u64, kind: SpanKind, attributes: Vec<KeyValue>) -> SpanData {
        let trace = TraceId::from(kept.trace.id.0);
        let flags = TraceFlags::SAMPLED;
        SpanData {
            span_context: SpanContext::new(trace, SpanId::from(id), flags, false, TraceState::NONE),
            parent_span_id: SpanId::from(parent),
            parent_span_is_remote: false,
            span_kind: kind,
            name: name(kept),
            start_time: self.times.of(kept.started_ns),
            end_time: self.times.of(kept.ended_ns),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

/// Few names, whatever clients ask for: the method; of gRPC calls that of the remote procedure, which the workload declares.
fn name(kept: &Kept) -> Cow<'static, str> {
    match kept.text.path().strip_prefix('/') {
        Some(procedure) if kept.grpc => procedure.to_owned().into(),
        _ => method(&kept.text.method()).unwrap_or("HTTP").into(),
    }
}

fn method(said: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|method| *method == said)
}

/// What the spans of a request and of its tries have in common.
fn named(kept: &Kept) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(20);
    let said = kept.text.method();
    attributes.push(KeyValue::new("http.request.method", method(&said).unwrap_or("_OTHER")));
    if method(&said).is_none() {
        attributes.push(KeyValue::new("http.request.method_original", said.into_owned()));
    }
    let (name, port) = kept.text.server();
    attributes.push(KeyValue::new("server.address", name.to_owned()));
    attributes.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
    attributes.extend(kept.labels.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone())));
    attributes
}

/// What is known of a request as a whole.
fn request(kept: &Kept) -> impl Iterator<Item = KeyValue> {
    let text = |name: &'static str, text: &str| {
        (!text.is_empty()).then(|| KeyValue::new(name, Value::from(text.to_owned())))
    };
    let tries = kept.tries.len() as i64 + i64::from(kept.tries_omitted);
    let path = kept.text.path();
    let rpc = [
        kept.grpc.then(|| KeyValue::new("rpc.system.name", "grpc")),
        kept.grpc.then(|| KeyValue::new("rpc.method", path.trim_start_matches('/').to_owned())),
    ];
    let own = [
        text("url.path", &path),
        kept.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))),
        kept.failure.as_ref().map(|(reason, _)| KeyValue::new("error.type", *reason)),
        kept.source.map(|source| KeyValue::new("client.address", source.ip().to_canonical().to_string())),
        text("outrigger.request_id", &kept.text.id()),
        Some(KeyValue::new("outrigger.direction", kept.direction.as_str())),
        text("outrigger.rule", &kept.rule),
        text("outrigger.cluster", &kept.cluster),
        kept.identity.as_ref().map(|identity| KeyValue::new("outrigger.caller", identity.to_string())),
        (kept.release != 0).then(|| KeyValue::new("outrigger.release", kept.release as i64)),
        Some(KeyValue::new("outrigger.tries", tries)),
    ];
    own.into_iter().chain(rpc).chain(peer(kept.source)).flatten()
}

/// What is known of one try.
fn tried(number: u16, attempted: &Attempted) -> impl Iterator<Item = KeyValue> {
    let status = attempted.status;
    let culprit = attempted.culprit.as_deref();
    let own = [
        (number > 0).then(|| KeyValue::new("http.request.resend_count", i64::from(number))),
        (status != 0).then(|| KeyValue::new("http.response.status_code", i64::from(status))),
        culprit.map(|culprit| KeyValue::new("error.type", culprit.reason)),
        Some(KeyValue::new("outrigger.connection.reused", attempted.reused)),
        attempted.hedge.then(|| KeyValue::new("outrigger.hedge", true)),
        culprit.map(|culprit| KeyValue::new("outrigger.endpoint.health", culprit.endpoint.clone())),
        culprit.map(|culprit| KeyValue::new("outrigger.breaker", culprit.breaker)),
    ];
    own.into_iter().chain(peer(Some(attempted.address))).flatten()
}

fn peer(address: Option<SocketAddr>) -> [Option<KeyValue>; 2] {
    let ip = address.map(|address| address.ip().to_canonical().to_string());
    [
        ip.map(|ip| KeyValue::new("network.peer.address", ip)),
        address.map(|address| KeyValue::new("network.peer.port", i64::from(address.port()))),
    ]
}
