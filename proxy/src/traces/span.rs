//! Spans of a request and its tries, with the attributes that OpenTelemetry's conventions for HTTP and RPC name, as OTLP lays them out
//! (`opentelemetry.proto.trace.v1.Span`).

use std::net::SocketAddr;

use super::kept::Kept;
use crate::digits;
use crate::otlp::times::Times;
use crate::otlp::wire::{Envelope, Message, Value};
use crate::story::Attempted;
use crate::telemetry::metrics::Direction;

/// Methods that are told as they are (RFC 9110 §9, RFC 5789); others are anyone's invention.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
/// `SpanKind`.
const SERVER: u64 = 2;
const CLIENT: u64 = 3;
/// `Status.code`: an error.
const ERROR: u64 = 2;
/// `SpanFlags`: its trace is told of; it is known whether the span above it is another process's; it is.
const SAMPLED: u32 = 0x1;
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
/// The field of a span's attributes.
const ATTRIBUTE: u32 = 9;

/// What makes spans.
#[derive(Debug)]
pub(super) struct Spans {
    /// What its clients call is what this proxy serves, be it a gateway's outbound side.
    serves: bool,
    times: Times,
}

/// What makes one span unlike another of the same request.
struct Place {
    id: u64,
    parent: u64,
    /// Whether the parent is another process's.
    remote: bool,
    kind: u64,
    started_ns: u64,
    ended_ns: u64,
}

impl Spans {
    pub(super) fn new(gateway: bool) -> Self {
        Self { serves: gateway, times: Times::now() }
    }

    /// The clocks drift: what time it is, anew.
    pub(super) fn tick(&mut self) {
        self.times = Times::now();
    }

    /// Adds the span of a request and those of its tries.
    pub(super) fn add(&self, kept: &Kept, spans: &mut Vec<u8>) {
        let serves = self.serves || kept.direction == Direction::Inbound;
        let place = Place {
            id: kept.trace.span,
            parent: kept.trace.parent,
            remote: kept.trace.parent != 0,
            kind: if serves { SERVER } else { CLIENT },
            started_ns: kept.started_ns,
            ended_ns: kept.ended_ns,
        };
        self.span(kept, &place, spans, |span| {
            request(kept, span);
            if let Some((_, said)) = &kept.failure {
                failed(span, said);
            }
        });
        for (number, attempted) in (0..).zip(&kept.tries) {
            self.attempted(kept, number, attempted, spans);
        }
    }

    fn attempted(&self, kept: &Kept, number: u16, attempted: &Attempted, spans: &mut Vec<u8>) {
        let place = Place {
            id: kept.trace.of_try(number),
            parent: kept.trace.span,
            remote: false,
            kind: CLIENT,
            started_ns: attempted.started_ns,
            // A try that was given up has no end of its own: its request's is.
            ended_ns: if attempted.ended_ns == 0 { kept.ended_ns } else { attempted.ended_ns },
        };
        let milestones =
            [("connected", attempted.tcp_ns), ("tls", attempted.tls_ns), ("sent", attempted.ready_ns)];
        self.span(kept, &place, spans, |span| {
            tried(number, attempted, span);
            for (name, at_ns) in milestones.into_iter().filter(|(_, at_ns)| *at_ns != 0) {
                span.message(11, |event| {
                    event.fixed64(1, self.times.of(at_ns));
                    event.bytes(2, name.as_bytes());
                });
            }
            if let Some(culprit) = &attempted.culprit {
                failed(span, &culprit.said);
            }
        });
    }

    fn span(&self, kept: &Kept, place: &Place, spans: &mut Vec<u8>, rest: impl FnOnce(&mut Message<'_>)) {
        Message(spans).message(Envelope::ITEM, |span| {
            span.bytes(1, &kept.trace.id.0.to_be_bytes());
            span.bytes(2, &place.id.to_be_bytes());
            if place.parent != 0 {
                span.bytes(4, &place.parent.to_be_bytes());
            }
            name(kept, span);
            span.number(6, place.kind);
            span.fixed64(7, self.times.of(place.started_ns));
            span.fixed64(8, self.times.of(place.ended_ns));
            common(kept, span);
            rest(span);
            span.fixed32(16, SAMPLED | HAS_IS_REMOTE | if place.remote { IS_REMOTE } else { 0 });
        });
    }
}

/// Few names, whatever clients ask for: the method; of gRPC calls that of the remote procedure, which the workload declares.
fn name(kept: &Kept, span: &mut Message<'_>) {
    let path = kept.text.path();
    let name = match path.strip_prefix('/') {
        Some(procedure) if kept.grpc => procedure,
        _ => method(&kept.text.method()).unwrap_or("HTTP"),
    };
    span.bytes(5, name.as_bytes());
}

fn method(said: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|method| *method == said)
}

/// `Status`.
fn failed(span: &mut Message<'_>, said: &str) {
    span.message(15, |status| {
        status.bytes(2, said.as_bytes());
        status.number(3, ERROR);
    });
}

fn text(span: &mut Message<'_>, name: &str, value: &str) {
    if !value.is_empty() {
        span.attribute(ATTRIBUTE, name, Value::Text(value));
    }
}

fn number(span: &mut Message<'_>, name: &str, value: impl Into<i64>) {
    span.attribute(ATTRIBUTE, name, Value::Number(value.into()));
}

fn truth(span: &mut Message<'_>, name: &str, value: bool) {
    span.attribute(ATTRIBUTE, name, Value::Truth(value));
}

/// What the spans of a request and of its tries have in common.
fn common(kept: &Kept, span: &mut Message<'_>) {
    let said = kept.text.method();
    text(span, "http.request.method", method(&said).unwrap_or("_OTHER"));
    if method(&said).is_none() {
        text(span, "http.request.method_original", &said);
    }
    let (name, port) = kept.text.server();
    span.attribute(ATTRIBUTE, "server.address", Value::Text(name));
    if let Some(port) = port {
        number(span, "server.port", port);
    }
    for (name, value) in &kept.labels {
        span.attribute(ATTRIBUTE, name, Value::Text(value));
    }
}

/// What is known of a request as a whole.
fn request(kept: &Kept, span: &mut Message<'_>) {
    let path = kept.text.path();
    text(span, "url.path", &path);
    if let Some(status) = kept.status {
        number(span, "http.response.status_code", status);
    }
    if let Some((reason, _)) = &kept.failure {
        text(span, "error.type", reason);
    }
    if let Some(source) = kept.source {
        text(span, "client.address", &digits::of_address(source.ip()));
    }
    text(span, "outrigger.request_id", &kept.text.id());
    text(span, "outrigger.direction", kept.direction.as_str());
    text(span, "outrigger.rule", &kept.rule);
    text(span, "outrigger.cluster", &kept.cluster);
    if let Some(identity) = &kept.identity {
        text(span, "outrigger.caller", &identity.to_string());
    }
    if let Ok(release @ 1..) = i64::try_from(kept.release) {
        number(span, "outrigger.release", release);
    }
    number(span, "outrigger.tries", kept.tries.len() as i64 + i64::from(kept.tries_omitted));
    if kept.grpc {
        text(span, "rpc.system.name", "grpc");
        text(span, "rpc.method", path.trim_start_matches('/'));
    }
    if let Some(source) = kept.source {
        peer(source, span);
    }
}

/// What is known of one try.
fn tried(count: u16, attempted: &Attempted, span: &mut Message<'_>) {
    if count > 0 {
        number(span, "http.request.resend_count", count);
    }
    if attempted.status != 0 {
        number(span, "http.response.status_code", attempted.status);
    }
    truth(span, "outrigger.connection.reused", attempted.reused);
    if attempted.hedge {
        truth(span, "outrigger.hedge", true);
    }
    if let Some(culprit) = &attempted.culprit {
        text(span, "error.type", culprit.reason);
        text(span, "outrigger.endpoint.health", &culprit.endpoint);
        text(span, "outrigger.breaker", culprit.breaker);
    }
    peer(attempted.address, span);
}

fn peer(address: SocketAddr, span: &mut Message<'_>) {
    text(span, "network.peer.address", &digits::of_address(address.ip()));
    number(span, "network.peer.port", address.port());
}
