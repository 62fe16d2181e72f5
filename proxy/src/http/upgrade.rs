//! Switching protocols (RFC 9110 §7.8): after a 101 both connections give up their sockets, and bytes are copied until both sides are done.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes};
use tokio::sync::Notify;

use crate::passage::{Passage, Record};
use crate::transport::Transport;

/// Copy buffer per direction, in bytes.
const COPY_BYTES: usize = 16 * 1024;

/// A socket that HTTP has left, and what was read of it beyond HTTP.
#[derive(Debug)]
pub struct Socket {
    /// The socket.
    pub stream: Transport,
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
    /// The tunnel ends when nothing has moved for this long, and before twice that; `None`: it does not.
    pub idle: Option<Duration>,
}

/// A socket that notes whether anything moves.
struct Moving<'a> {
    stream: Transport,
    moved: &'a Cell<bool>,
}

impl AsyncRead for Moving<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            self.moved.set(true);
        }
        polled
    }
}

impl AsyncWrite for Moving<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if polled.is_ready() {
            self.moved.set(true);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Ends when nothing has moved for `idle`.
async fn stillness(moved: &Cell<bool>, idle: Option<Duration>) {
    let Some(idle) = idle else { return std::future::pending().await };
    loop {
        moved.set(false);
        tokio::time::sleep(idle).await;
        if !moved.get() {
            return;
        }
    }
}

/// Copies both ways until both ends are done, or nothing has moved for too long. The record ends with the tunnel.
pub async fn tunnel(mut downstream: Socket, upgraded: Upgraded, _record: Option<Record>) -> io::Result<()> {
    let Upgraded { mut upstream, passage: _passage, idle } = upgraded;
    upstream.stream.write_all(&downstream.read).await?;
    downstream.stream.write_all(&upstream.read).await?;
    let moved = Cell::new(false);
    let mut downstream = Moving { stream: downstream.stream, moved: &moved };
    let mut upstream = Moving { stream: upstream.stream, moved: &moved };
    let copying = copy_bidirectional_with_sizes(&mut downstream, &mut upstream, COPY_BYTES, COPY_BYTES);
    tokio::select! {
        copied = copying => copied.map(drop),
        () = stillness(&moved, idle) => Ok(()),
    }
}
