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
    /// Puts a connection back, or closes it if enough are idle.
    pub(super) fn put(pool: &Rc<EndpointPool>, sender: SendRequest<Body>, switch: Switch, now_ns: u64) {
        if sender.is_closed() || pool.idle.borrow().len() >= IDLE_MAX {
            return;
        }
        pool.idle.borrow_mut().push(Self { sender, switch, since_ns: now_ns });
        pool.notify_free();
    }

    pub(super) fn usable_since(&self, oldest_ns: u64) -> bool {
        self.since_ns >= oldest_ns && !self.sender.is_closed()
    }
}

/// The connection that was used last, if one is ready. One that is closed or was idle too long is dropped; one whose last exchange hyper has not quite
/// wound up stays for the next request.
pub(super) fn take(pool: &Rc<EndpointPool>, oldest_ns: u64) -> Option<Lease> {
    let mut idle = pool.idle.borrow_mut();
    let mut index = idle.len();
    while index > 0 {
        index -= 1;
        if !idle[index].usable_since(oldest_ns) {
            idle.remove(index);
        } else if idle[index].sender.is_ready() {
            let Idle { sender, switch, .. } = idle.remove(index);
            return Some(Lease::Http1 { pool: pool.clone(), sender, switch });
        }
    }
    None
}
