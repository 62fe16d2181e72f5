//! One time that a request was sent, as its story has it.

use std::cell::Cell;
use std::net::SocketAddr;

use serde::Serialize;

/// See the module. Times are on [`crate::clock`]; 0: it did not come to that.
#[derive(Debug, Clone)]
pub struct Attempted {
    /// Where to.
    pub address: SocketAddr,
    /// When it began.
    pub started_ns: u64,
    /// When the endpoint accepted a connection for it; 0 over one that was there.
    pub tcp_ns: u64,
    /// When that had its TLS.
    pub tls_ns: u64,
    /// When it had a connection.
    pub ready_ns: u64,
    /// When the head of the answer came, or it failed.
    pub ended_ns: u64,
    /// What was answered; 0: nothing.
    pub status: u16,
    /// Whether its connection had carried requests before.
    pub reused: bool,
    /// Whether it was sent beside another.
    pub hedge: bool,
    /// Why it was no success. Boxed: few need it.
    pub culprit: Option<Box<Culprit>>,
}

/// What stood against a try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Culprit {
    /// The code, as in `docs/ERRORS.md`.
    pub reason: &'static str,
    /// The same in words.
    pub said: String,
    /// How the endpoint was thought of at that instant.
    pub endpoint: String,
    /// The phase of the cluster's breaker at that instant.
    pub breaker: &'static str,
    /// The zone of the endpoint, where it has one.
    pub zone: Option<String>,
}

impl Attempted {
    pub(super) fn new(address: SocketAddr, started_ns: u64, hedge: bool) -> Self {
        Self {
            address,
            started_ns,
            tcp_ns: 0,
            tls_ns: 0,
            ready_ns: 0,
            ended_ns: 0,
            status: 0,
            reused: false,
            hedge,
            culprit: None,
        }
    }
}

/// When a connection that is being opened came how far, on [`crate::clock`]; 0: not yet.
#[derive(Debug, Default)]
pub struct Milestones {
    /// The peer has accepted it.
    pub tcp_ns: Cell<u64>,
    /// TLS is there.
    pub tls_ns: Cell<u64>,
}
