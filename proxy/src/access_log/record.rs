//! What is handed on of a request for a collector: all that a line says, and nothing that belongs to a worker.

use std::net::SocketAddr;
use std::sync::Arc;

use opentelemetry::logs::{AnyValue, LogRecord, Severity};
use opentelemetry::{SpanId, TraceFlags, TraceId};
use outrigger_snapshot::identity::SpiffeId;

use crate::local_reply::UPSTREAM_STATUS;
use crate::otlp::times::Times;
use crate::story::{Text, Told, Trace};
use crate::telemetry::metrics::Direction;

/// What a record is called, so that it can be told from other logs.
const EVENT: &str = "outrigger.request";

/// See the module. Times are on [`crate::clock`].
#[derive(Debug)]
pub struct Record {
    trace: Option<Trace>,
    text: Text,
    started_ns: u64,
    ended_ns: u64,
    direction: Direction,
    source: Option<SocketAddr>,
    identity: Option<Arc<SpiffeId>>,
    release: u64,
    /// The rule that it met, and where it was to go, if it met one.
    rule: Option<(Arc<str>, Arc<str>)>,
    labels: Vec<(Arc<str>, String)>,
    status: Option<u16>,
    reason: Option<&'static str>,
    tries: u64,
    /// Where the last try went.
    endpoint: Option<SocketAddr>,
    bytes_in: u64,
    bytes_out: u64,
}

/// Records, one after the other.
#[derive(Debug, Default)]
pub(super) struct Records {
    all: Vec<Record>,
    bytes: usize,
}

impl Records {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add(&mut self, record: Record) {
        self.bytes += record.bytes();
        self.all.push(record);
    }

    /// Gives all of them away.
    pub(super) fn take(&mut self) -> Vec<Record> {
        self.bytes = 0;
        let room = self.all.len();
        std::mem::replace(&mut self.all, Vec::with_capacity(room))
    }
}

impl Record {
    /// Of a request that was over at `ended_ns`.
    pub(super) fn of(told: &Told, failed: bool, status: Option<u16>, ended_ns: u64) -> Self {
        let labels = told.resolution.as_ref().map(|resolution| &resolution.stats().labels);
        let ending = told.ending.as_deref().map(|ending| ending.reason);
        Self {
            trace: told.trace,
            text: told.text.clone(),
            started_ns: told.started_ns,
            ended_ns,
            direction: told.direction,
            source: told.source,
            identity: told.caller.as_ref().map(|caller| caller.identity.clone()),
            release: told.release.0,
            rule: labels.map(|labels| (labels.rule.clone(), labels.cluster.clone())),
            labels: told.labels().map(|(name, value)| (name.clone(), value.into_owned())).collect(),
            status,
            reason: ending.or_else(|| failed.then_some(UPSTREAM_STATUS.reason)),
            tries: told.tries.len() as u64 + u64::from(told.tries_omitted),
            endpoint: told.tries.last().map(|last| last.address),
            bytes_in: told.bytes_in(),
            bytes_out: told.bytes_out,
        }
    }

    /// The memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let label = |(_, value): &(Arc<str>, String)| size_of::<(Arc<str>, String)>() + value.len();
        size_of::<Self>() + self.text.bytes() + self.labels.iter().map(label).sum::<usize>()
    }

    /// Writes it into one of OpenTelemetry's, under the names that a line of JSON has.
    pub(super) fn write(&self, times: &Times, out: &mut impl LogRecord) {
        out.set_event_name(EVENT);
        out.set_timestamp(times.of(self.started_ns));
        out.set_observed_timestamp(times.of(self.ended_ns));
        let severity = if self.reason.is_some() { Severity::Error } else { Severity::Info };
        out.set_severity_number(severity);
        out.set_severity_text(severity.name());
        out.set_body(self.words().into());
        if let Some(trace) = &self.trace {
            let flags = (trace.span != 0).then_some(TraceFlags::SAMPLED);
            out.set_trace_context(TraceId::from(trace.id.0), SpanId::from(trace.span), flags);
        }
        out.add_attribute("outrigger.direction", self.direction.as_str());
        out.add_attribute("http.request.method", self.text.method().into_owned());
        let (server, port) = self.text.server();
        out.add_attribute("server.address", server.to_owned());
        number(out, "server.port", port);
        out.add_attribute("url.path", self.text.path().into_owned());
        number(out, "http.response.status_code", self.status);
        if let Some(reason) = self.reason {
            out.add_attribute("error.type", reason);
        }
        let took_us = self.ended_ns.saturating_sub(self.started_ns) / 1_000;
        out.add_attribute("duration_ms", took_us as f64 / 1_000.0);
        number(out, "http.request.body.size", Some(self.bytes_in));
        number(out, "http.response.body.size", Some(self.bytes_out));
        out.add_attribute("outrigger.request_id", self.text.id().into_owned());
        self.write_way(out);
    }

    /// Where it came from and went.
    fn write_way(&self, out: &mut impl LogRecord) {
        let ip = |address: &SocketAddr| address.ip().to_canonical().to_string();
        if let Some(source) = &self.source {
            out.add_attribute("client.address", ip(source));
        }
        if let Some(identity) = &self.identity {
            out.add_attribute("outrigger.caller", identity.to_string());
        }
        if let Some((rule, cluster)) = &self.rule {
            out.add_attribute("outrigger.rule", rule.to_string());
            out.add_attribute("outrigger.cluster", cluster.to_string());
        }
        number(out, "outrigger.tries", Some(self.tries));
        if let Some(endpoint) = &self.endpoint {
            out.add_attribute("network.peer.address", ip(endpoint));
            number(out, "network.peer.port", Some(endpoint.port()));
        }
        number(out, "outrigger.release", Some(self.release));
        for (name, value) in &self.labels {
            out.add_attribute(name.clone(), value.clone());
        }
    }

    /// For those who look at logs without their attributes.
    fn words(&self) -> String {
        let status = self.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let reason = self.reason.map_or_else(String::new, |reason| format!(" {reason}"));
        format!("{} {} {} {status}{reason}", self.text.method(), self.text.host(), self.text.path())
    }
}

fn number(out: &mut impl LogRecord, name: &'static str, value: Option<impl TryInto<i64>>) {
    // What is no `i64` has been counted for centuries.
    if let Some(value) = value.and_then(|value| value.try_into().ok()) {
        out.add_attribute(name, AnyValue::Int(value));
    }
}
