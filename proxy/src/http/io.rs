//! Sockets as hyper's HTTP/1.1 writes to them: a head with a small body leaves in one `send` of a flattened buffer, which is cheaper than a
//! `writev`; large pieces of a body are written where they lie.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::ReadBufCursor;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::transport::Transport;

/// Writes up to this are flattened, in bytes.
const FLAT_BYTES_MAX: usize = 16 * 1024;

thread_local! {
    static FLAT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A socket for hyper's HTTP/1.1.
#[derive(Debug)]
pub struct FlatIo<S = Transport>(TokioIo<S>);

impl<S> FlatIo<S> {
    /// Wraps a socket.
    pub fn new(stream: S) -> Self {
        Self(TokioIo::new(stream))
    }

    /// Gives the socket back.
    pub fn into_inner(self) -> S {
        self.0.into_inner()
    }
}

impl<S: AsyncRead + Unpin> hyper::rt::Read for FlatIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for FlatIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        match slices {
            [only] => Pin::new(&mut self.0).poll_write(context, only),
            _ if total > FLAT_BYTES_MAX => Pin::new(&mut self.0).poll_write_vectored(context, slices),
            _ => FLAT.with_borrow_mut(|flat| {
                flat.clear();
                slices.iter().for_each(|slice| flat.extend_from_slice(slice));
                Pin::new(&mut self.0).poll_write(context, flat)
            }),
        }
    }
}
