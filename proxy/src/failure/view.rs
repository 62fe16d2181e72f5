//! A failure as people and programs get to see it: `GET /debug/failures`.

use serde::Serialize;

use super::Failure;
use crate::local_reply::look_up;
use crate::story::{Attempted, Culprit, Fired};

/// See the module.
#[derive(Debug, Serialize)]
pub struct FailureView {
    /// Its `x-request-id`.
    pub id: String,
    /// The trace that it was part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// When it was over, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// From its head to its end.
    pub took_ms: f64,
    /// The story in a sentence or two.
    pub sentence: String,
    /// The code of the reason.
    pub reason: &'static str,
    /// Whose fault it is.
    pub fault: &'static str,
    /// What that reason means, and what to do about it.
    pub next: &'static str,
    /// What its client got; `None`: nothing.
    pub status: Option<u16>,
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// Where it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Who its sender had proved to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The method.
    pub method: String,
    /// The host that it asked for.
    pub host: String,
    /// The path, without the query.
    pub path: String,
    /// Whether it was a gRPC call.
    pub grpc: bool,
    /// The rule that it met; empty: none.
    pub rule: String,
    /// Where it was to go; empty: nowhere.
    pub cluster: String,
    /// The release by which its way was found.
    pub release: u64,
    /// The revision of that.
    pub revision: u64,
    /// The limit that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Fired>,
    /// Retries that the budget of its cluster had left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_budget_left: Option<u64>,
    /// What was left of its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_left_ms: Option<u64>,
    /// Every time it was sent.
    pub tries: Vec<TryView>,
    /// Tries that are not among them.
    pub tries_omitted: u32,
}

/// One time that it was sent. Times are in milliseconds since the head of the request; what is missing did not happen.
#[derive(Debug, Serialize)]
pub struct TryView {
    /// The endpoint.
    pub address: String,
    /// When it began.
    pub at_ms: f64,
    /// Whether its connection had carried requests before.
    pub reused: bool,
    /// Whether it was sent beside another.
    pub hedge: bool,
    /// When the endpoint accepted a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_ms: Option<f64>,
    /// When that had its TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ms: Option<f64>,
    /// When it had a connection to be sent on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_ms: Option<f64>,
    /// When the head of the answer came, or it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<f64>,
    /// What was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was no success.
    #[serde(flatten)]
    pub culprit: Option<Culprit>,
}

/// What time it is, on the clock of this process and on everybody's.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// On [`crate::clock`].
    pub now_ns: u64,
    /// In milliseconds since 1970.
    pub now_unix_ms: u64,
}

impl FailureView {
    /// Of a failure, as of now.
    pub fn of(failure: &Failure, clocks: Clocks) -> Self {
        let ago_ms = clocks.now_ns.saturating_sub(failure.ended_ns) / 1_000_000;
        let started_ns = failure.started_ns;
        Self {
            id: failure.id.clone(),
            trace_id: failure.trace.clone(),
            at_unix_ms: clocks.now_unix_ms.saturating_sub(ago_ms),
            took_ms: ms(failure.ended_ns.saturating_sub(started_ns)),
            sentence: sentence(failure),
            reason: failure.reason,
            fault: failure.fault.as_str(),
            next: look_up(failure.reason).map_or("", |(_, _, meaning)| meaning),
            status: failure.status,
            direction: failure.direction.as_str(),
            source: failure.source.map(|source| source.to_string()),
            identity: failure.identity.clone(),
            method: failure.method.clone(),
            host: failure.host.clone(),
            path: failure.path.clone(),
            grpc: failure.grpc,
            rule: failure.rule.to_string(),
            cluster: failure.cluster.to_string(),
            release: failure.release.0,
            revision: failure.release.1,
            limit: failure.fired.clone(),
            retry_budget_left: failure.budget,
            deadline_left_ms: failure.left_ms,
            tries: failure.tries.iter().map(|attempted| TryView::of(attempted, started_ns)).collect(),
            tries_omitted: failure.tries_omitted,
        }
    }
}

impl TryView {
    fn of(attempted: &Attempted, started_ns: u64) -> Self {
        let at = |ns: u64| (ns != 0).then(|| ms(ns.saturating_sub(started_ns)));
        Self {
            address: attempted.address.to_string(),
            at_ms: ms(attempted.started_ns.saturating_sub(started_ns)),
            reused: attempted.reused,
            hedge: attempted.hedge,
            tcp_ms: at(attempted.tcp_ns),
            tls_ms: at(attempted.tls_ns),
            sent_ms: at(attempted.ready_ns),
            ended_ms: at(attempted.ended_ns),
            status: (attempted.status != 0).then_some(attempted.status),
            culprit: attempted.culprit.as_deref().cloned(),
        }
    }
}

/// Milliseconds, to the microsecond.
fn ms(ns: u64) -> f64 {
    (ns / 1_000) as f64 / 1_000.0
}

/// What happened, as one would tell it.
fn sentence(failure: &Failure) -> String {
    let mut text = match failure.status {
        Some(status) => format!("{} {}{} got {status}", failure.method, failure.host, failure.path),
        None => format!("{} {}{} got no answer", failure.method, failure.host, failure.path),
    };
    let why = match (failure.said.is_empty(), look_up(failure.reason)) {
        (false, _) => failure.said.clone(),
        (true, Some((_, _, meaning))) => first_clause(meaning),
        (true, None) => failure.reason.to_owned(),
    };
    text.push_str(&format!(": {why}."));
    if let Some(fired) = &failure.fired {
        let Fired { limit, configured, current, unit } = fired;
        let (taken, of) = if *unit == "ms" { ("It had taken", " ms") } else { ("There were", "") };
        text.push_str(&match current {
            Some(current) => format!(" {taken} {current} {unit}; {limit}: {configured}{of}."),
            None => format!(" Configured is {limit}: {configured}{of}."),
        });
    }
    if let Some((attempted, culprit)) = failure.culprit() {
        let tries = failure.tries.len() + failure.tries_omitted as usize;
        let times = if tries == 1 { "once".to_owned() } else { format!("{tries} times") };
        text.push_str(&format!(" It was sent {times}, last to {}: {}", attempted.address, culprit.said));
        text.push_str(&format!(" (endpoint {}, breaker {}).", culprit.endpoint, culprit.breaker));
    } else if let Some(last) = failure.tries.last() {
        let state = match (last.ready_ns, last.ended_ns) {
            (0, 0) => "was still being connected to",
            (_, 0) => "had not answered",
            _ => "had answered",
        };
        text.push_str(&format!(" {} {state}.", last.address));
    }
    text
}

/// Up to the first full stop or colon.
fn first_clause(text: &str) -> String {
    let end = text.find(['.', ':']).unwrap_or(text.len());
    text[..end].to_owned()
}
