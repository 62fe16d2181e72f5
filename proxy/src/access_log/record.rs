//! What is handed on of a request for a collector: all that a line says, and nothing that belongs to a worker.

use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_snapshot::identity::SpiffeId;

use crate::digits;
use crate::local_reply::UPSTREAM_STATUS;
use crate::otlp::times::Times;
use crate::otlp::wire::{Envelope, Message, Value};
use crate::story::{Text, Told, Trace};
use crate::telemetry::metrics::Direction;

/// What a record is called, so that it can be told from other logs.
const EVENT: &str = "outrigger.request";
/// `SeverityNumber`, and the same as text.
const INFO: (u64, &str) = (9, "INFO");
const ERROR: (u64, &str) = (17, "ERROR");
/// `LogRecordFlags`: its trace is told of.
const SAMPLED: u32 = 0x1;
/// The field of a record's attributes.
const ATTRIBUTE: u32 = 6;

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

    /// Adds it as OTLP lays it out (`opentelemetry.proto.logs.v1.LogRecord`), under the names that a line of JSON has.
    pub(super) fn write(&self, times: &Times, records: &mut Vec<u8>) {
        Message(records).message(Envelope::ITEM, |out| {
            out.fixed64(1, times.of(self.started_ns));
            let (severity, name) = if self.reason.is_some() { ERROR } else { INFO };
            out.number(2, severity);
            out.bytes(3, name.as_bytes());
            out.value(5, Value::Text(&self.words()));
            self.write_exchange(out);
            self.write_way(out);
            if let Some(trace) = &self.trace {
                if trace.span != 0 {
                    out.fixed32(8, SAMPLED);
                }
                out.bytes(9, &trace.id.0.to_be_bytes());
                if trace.span != 0 {
                    out.bytes(10, &trace.span.to_be_bytes());
                }
            }
            out.fixed64(11, times.of(self.ended_ns));
            out.bytes(12, EVENT.as_bytes());
        });
    }

    /// What was asked and answered.
    fn write_exchange(&self, out: &mut Message<'_>) {
        text(out, "outrigger.direction", self.direction.as_str());
        text(out, "http.request.method", &self.text.method());
        let (server, port) = self.text.server();
        text(out, "server.address", server);
        number(out, "server.port", port);
        text(out, "url.path", &self.text.path());
        number(out, "http.response.status_code", self.status);
        if let Some(reason) = self.reason {
            text(out, "error.type", reason);
        }
        let took_us = self.ended_ns.saturating_sub(self.started_ns) / 1_000;
        out.attribute(ATTRIBUTE, "duration_ms", Value::Real(took_us as f64 / 1_000.0));
        number(out, "http.request.body.size", Some(self.bytes_in));
        number(out, "http.response.body.size", Some(self.bytes_out));
        text(out, "outrigger.request_id", &self.text.id());
    }

    /// Where it came from and went.
    fn write_way(&self, out: &mut Message<'_>) {
        if let Some(source) = &self.source {
            text(out, "client.address", &digits::of_address(source.ip()));
        }
        if let Some(identity) = &self.identity {
            text(out, "outrigger.caller", &identity.to_string());
        }
        if let Some((rule, cluster)) = &self.rule {
            text(out, "outrigger.rule", rule);
            text(out, "outrigger.cluster", cluster);
        }
        number(out, "outrigger.tries", Some(self.tries));
        if let Some(endpoint) = &self.endpoint {
            text(out, "network.peer.address", &digits::of_address(endpoint.ip()));
            number(out, "network.peer.port", Some(endpoint.port()));
        }
        number(out, "outrigger.release", Some(self.release));
        for (name, value) in &self.labels {
            text(out, name, value);
        }
    }

    /// For those who look at logs without their attributes.
    fn words(&self) -> String {
        let status = self.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let reason = self.reason.map_or_else(String::new, |reason| format!(" {reason}"));
        format!("{} {} {} {status}{reason}", self.text.method(), self.text.host(), self.text.path())
    }
}

fn text(out: &mut Message<'_>, name: &str, value: &str) {
    out.attribute(ATTRIBUTE, name, Value::Text(value));
}

fn number(out: &mut Message<'_>, name: &str, value: Option<impl TryInto<i64>>) {
    // What is no `i64` has been counted for centuries.
    if let Some(value) = value.and_then(|value| value.try_into().ok()) {
        out.attribute(ATTRIBUTE, name, Value::Number(value));
    }
}
