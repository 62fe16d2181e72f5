//! The bytes of a connection: in the clear, or inside TLS.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use self::tls::TlsStream;
use crate::identity::peers::Peer;

pub use socket::{Detached, Socket};

mod socket;
pub mod tls;

/// See the module.
#[derive(Debug)]
pub enum Transport {
    /// In the clear.
    Plain(Socket),
    /// Inside TLS, after the handshake. Boxed: most of it is the state of the cipher.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// Where it was accepted, or comes from.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Plain(socket) => socket.local_address(),
            Self::Tls(stream) => stream.io().local_addr().ok(),
        }
    }

    /// Who the other side is, if it has proved to be of the mesh.
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.peer(),
        }
    }

    /// Ready when bytes have come, with `false` at the end of the connection. None are taken. In the clear, the end shows only when they are.
    pub fn poll_spoken(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(context).map(|ready| ready.is_ok()),
            Self::Tls(stream) => stream.poll_filled(context).map(|filled| filled.unwrap_or(false)),
        }
    }
}

impl From<Socket> for Transport {
    fn from(socket: Socket) -> Self {
        Self::Plain(socket)
    }
}

impl From<Box<TlsStream<TcpStream>>> for Transport {
    fn from(stream: Box<TlsStream<TcpStream>>) -> Self {
        Self::Tls(stream)
    }
}

impl From<TcpStream> for Transport {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream.into())
    }
}

/// Calls the same method of whichever it is.
macro_rules! either {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match $self.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Transport::Tls(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self.poll_read(context, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.poll_shutdown(context))
    }
}
