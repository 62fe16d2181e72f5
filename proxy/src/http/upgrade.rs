//! Switching protocols (RFC 9110 §7.8): after a 101 both connections give up their sockets, and bytes are copied until both sides are done.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::passage::{Passage, Record};

/// Copy buffer per direction, in bytes.
const COPY_BYTES: usize = 16 * 1024;

/// A socket that HTTP has left, and what was read of it beyond HTTP.
#[derive(Debug)]
pub struct Socket {
    /// The socket.
    pub stream: TcpStream,
    /// Read already.
    pub read: Bytes,
}

/// Where an upstream connection leaves its socket.
#[derive(Debug, Clone, Default)]
pub struct Switch(Rc<SwitchState>);

#[derive(Debug, Default)]
struct SwitchState {
    wanted: Cell<bool>,
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
}

/// Copies both ways until both ends are done. The record ends with the tunnel.
pub async fn tunnel(
    mut downstream: Socket,
    upgraded: Upgraded,
    _record: Option<Record>,
) -> std::io::Result<()> {
    let Upgraded { mut upstream, passage: _passage } = upgraded;
    upstream.stream.write_all(&downstream.read).await?;
    downstream.stream.write_all(&upstream.read).await?;
    copy_bidirectional_with_sizes(&mut downstream.stream, &mut upstream.stream, COPY_BYTES, COPY_BYTES)
        .await?;
    Ok(())
}
