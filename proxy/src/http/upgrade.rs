//! Switching protocols (RFC 9110 §7.8): after a 101 both connections give up their sockets, and bytes are carried until both sides are done.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::opaque::{Carry, Means};
use crate::passage::{Passage, Record};
use crate::transport::Transport;

/// A socket that HTTP has left, and what was read of it beyond HTTP.
#[derive(Debug)]
pub struct Socket {
    /// The socket.
    pub stream: Transport,
    /// Read already.
    pub read: Bytes,
}

/// What an HTTP/1.1 connection to an upstream and its lease tell each other; where it leaves its socket, too.
#[derive(Debug, Clone, Default)]
pub struct Switch(Rc<SwitchState>);

#[derive(Debug, Default)]
struct SwitchState {
    wanted: Cell<bool>,
    retired: Cell<bool>,
    heard: Cell<bool>,
    socket: RefCell<Option<Socket>>,
    left: Notify,
}

impl Switch {
    /// Whether the connection is to leave its socket when HTTP is done with it.
    pub fn want(&self, wanted: bool) {
        self.0.wanted.set(wanted);
    }

    /// Waits for the socket that was wanted; `None` if the connection failed instead.
    pub async fn socket(&self) -> Option<Socket> {
        self.0.left.notified().await;
        self.0.socket.borrow_mut().take()
    }

    /// Whether it is.
    pub fn is_wanted(&self) -> bool {
        self.0.wanted.get()
    }

    /// The connection is to carry no more requests.
    pub fn retire(&self) {
        self.0.retired.set(true);
    }

    /// Whether that was said.
    pub fn is_retired(&self) -> bool {
        self.0.retired.get()
    }

    /// Whether anything has come since a request was sent.
    pub fn has_heard(&self) -> bool {
        self.0.heard.get()
    }

    /// Something has come, or nothing yet of what is asked for now.
    pub fn hears(&self, heard: bool) {
        self.0.heard.set(heard);
    }

    /// The connection is over.
    pub fn leave(&self, socket: Option<Socket>) {
        *self.0.socket.borrow_mut() = socket;
        self.0.left.notify_one();
    }
}

/// An upstream that has switched, waiting for the downstream to do so.
#[derive(Debug)]
pub struct Upgraded {
    /// The upstream's socket.
    pub upstream: Socket,
    /// What the tunnel occupies.
    pub passage: Passage,
    /// The tunnel ends when nothing has moved for this long; `None`: it does not.
    pub idle: Option<Duration>,
}

/// Carries bytes both ways until both ends are done, or nothing has moved for too long. The record ends with the tunnel.
pub async fn tunnel(downstream: Socket, upgraded: Upgraded, _record: Option<Record>, means: &Means) {
    let Upgraded { upstream, passage: _passage, idle } = upgraded;
    let idle_ns = idle.map(|idle| idle.as_nanos() as u64);
    let ahead = (downstream.read, upstream.read);
    // Either end may break off; there is no one to tell.
    let _ = Carry::new(means, downstream.stream, upstream.stream, ahead, idle_ns, |_, _| {}).await;
}
