//! HTTP/1.1 connections: a stack of idle ones.

use std::rc::Rc;

use hyper::client::conn::http1::SendRequest;

use super::lease::Lease;
use super::{EndpointPool, IDLE_MAX};
use crate::http::body::Body;
use crate::http::upgrade::Switch;

/// A connection that waits for its next request.
#[derive(Debug)]
pub struct Idle {
    sender: SendRequest<Body>,
    switch: Switch,
    since_ns: u64,
}

impl Idle {
    /// Puts a connection back, or closes it if enough are idle or its place is wanted.
    pub(super) fn put(pool: &Rc<EndpointPool>, sender: SendRequest<Body>, switch: Switch, now_ns: u64) {
        if sender.is_closed() || switch.is_retired() || pool.idle.borrow().len() >= IDLE_MAX {
            return;
        }
        if pool.gives_up(pool.idle.borrow().len()) {
            return;
        }
        pool.idle.borrow_mut().push(Self { sender, switch, since_ns: now_ns });
        pool.notify_free();
    }

    /// Whether its peer is believed no more.
    pub(super) fn is_parted(&self) -> bool {
        self.switch.is_retired()
    }

    pub(super) fn usable_since(&self, oldest_ns: u64) -> bool {
        self.since_ns >= oldest_ns && !self.sender.is_closed()
    }
}

/// The connection that was used last, if one is ready. One that is closed or was idle too long is dropped; one whose last exchange hyper has not quite
/// wound up stays for the next request. Also for how long it has carried nothing.
pub(super) fn take(pool: &Rc<EndpointPool>, oldest_ns: u64, now_ns: u64) -> Option<(Lease, u64)> {
    let mut idle = pool.idle.borrow_mut();
    let mut index = idle.len();
    while index > 0 {
        index -= 1;
        if !idle[index].usable_since(oldest_ns) {
            idle.remove(index);
        } else if idle[index].sender.is_ready() {
            let Idle { sender, switch, since_ns } = idle.remove(index);
            let lease = Lease::Http1 { pool: pool.clone(), sender, switch };
            return Some((lease, now_ns.saturating_sub(since_ns)));
        }
    }
    None
}

/// Since when the one has been idle that was used least recently, if any is ready.
pub(super) fn idle_since(pool: &EndpointPool) -> Option<u64> {
    pool.idle.borrow().iter().find(|idle| idle.sender.is_ready()).map(|idle| idle.since_ns)
}

/// Closes that one.
pub(super) fn close_idle(pool: &EndpointPool) {
    let mut idle = pool.idle.borrow_mut();
    if let Some(index) = idle.iter().position(|idle| idle.sender.is_ready()) {
        idle.remove(index);
    }
}
