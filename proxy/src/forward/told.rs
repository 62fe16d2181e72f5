//! What the story of a request has of its tries.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;

use super::Prepared;
use super::hedge::Sent;
use super::outgoing::Outgoing;
use crate::cluster::Cluster;
use crate::cluster::endpoint::{Endpoint, Outcome};
use crate::cluster::health::describe;
use crate::forward::answered::outcome;
use crate::grpc;
use crate::http::body::Body;
use crate::local_reply::{ROWS, UPSTREAM_GRPC_STATUS, UPSTREAM_STATUS, reason_of, row_index};
use crate::story::{Culprit, Milestones};
use crate::worker::Worker;

/// Of what an upstream says of a failure, so many bytes are kept.
const SAID_BYTES_MAX: usize = 256;

impl Outgoing {
    /// A try begins; its number.
    pub(super) fn begins(&self, address: SocketAddr, started_ns: u64, hedge: bool) -> u16 {
        let number = self.story.is_sent(address, started_ns, hedge);
        self.try_number.set(number);
        number
    }

    /// A connection for it was opened, or how far that has come.
    pub(super) fn connected(&self, milestones: &Milestones) {
        self.story.attempt(self.try_number.get(), |attempted| {
            (attempted.tcp_ns, attempted.tls_ns) = (milestones.tcp_ns.get(), milestones.tls_ns.get());
        });
    }

    /// Tells the upstream which try of a request this is, if its trace is told of.
    pub(super) fn tell_trace(&self, worker: &Worker, request: &mut Request<Body>) {
        if let Some(traces) = &worker.traces
            && let Some(trace) = self.story.traced()
        {
            traces.tell_try(&trace, self.try_number.get(), request.headers_mut());
        }
    }

    /// It has a connection.
    pub(super) fn ready(&self, now_ns: u64, reused: bool) {
        self.story.attempt(self.try_number.get(), |attempted| {
            (attempted.ready_ns, attempted.reused) = (now_ns, reused);
        });
    }

    /// The try of this number has ended at `now_ns`.
    pub(super) fn ended(
        &self,
        cluster: &Cluster,
        number: u16,
        sent: &Sent,
        endpoint: &Endpoint,
        now_ns: u64,
    ) {
        let status = sent.as_ref().map_or(0, |answer| answer.response.status().as_u16());
        let culprit = fault(sent, self.grpc).map(|(reason, said)| {
            Box::new(Culprit {
                reason,
                said,
                endpoint: describe(endpoint, now_ns, None),
                breaker: cluster.breaker.state().phase.name(),
                zone: zone(cluster, endpoint),
            })
        });
        self.story.attempt(number, |attempted| {
            (attempted.ended_ns, attempted.status, attempted.culprit) = (now_ns, status, culprit);
        });
    }
}

impl Prepared {
    /// The answer that is passed on is what the try of this number has come to; that may be a failure all the same.
    pub(super) fn settle(&self, number: u16, now_ns: u64) {
        self.course.outgoing.story.settles(number, now_ns);
    }
}

/// Why a try was no success: a code, and the same in words.
fn fault(sent: &Sent, grpc: bool) -> Option<(&'static str, String)> {
    let answer = match sent {
        Ok(answer) => answer,
        Err(failed) => {
            let row = &ROWS[row_index(&failed.error)];
            return Some((row.reason, with_sources(&failed.error)));
        }
    };
    let (status, headers) = (answer.response.status(), answer.response.headers());
    if status.is_server_error() {
        let said = match reason_of(headers).filter(|_| answer.believed) {
            Some(reason) => format!("the sidecar there answered {}: {reason}", status.as_u16()),
            None => format!("answered {}", status.as_u16()),
        };
        return Some((UPSTREAM_STATUS.reason, said));
    }
    if !grpc || !matches!(outcome(sent, grpc), Some(Outcome::Failure | Outcome::Overloaded)) {
        return None;
    }
    let trailers = answer.ahead.as_deref().and_then(|frame| frame.trailers_ref());
    Some((UPSTREAM_GRPC_STATUS.reason, grpc::said(trailers.unwrap_or(headers), SAID_BYTES_MAX)))
}

/// An error and what caused it, in one line.
fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn zone(cluster: &Cluster, endpoint: &Endpoint) -> Option<String> {
    let endpoints = cluster.endpoints.load();
    let entry = endpoints.entries().iter().find(|entry| std::ptr::eq(Arc::as_ptr(&entry.endpoint), endpoint));
    entry?.zone.as_deref().map(str::to_owned)
}
