//! What a connection must be to be carried.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::transport::Transport;

/// One of the two.
pub trait End: AsyncRead + AsyncWrite + Unpin {
    /// The socket, if the bytes that it carries are those that are meant: then the kernel can move them by itself.
    fn plain(&self) -> Option<&TcpStream>;

    /// Makes its close a break (RFC 9293 §3.10.5), where there is such a thing.
    fn abort(&self);
}

impl End for TcpStream {
    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn abort(&self) {
        // Fails only on a connection that is gone already.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl End for Transport {
    fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Unix(_) | Self::Tls(_) => None,
        }
    }

    fn abort(&self) {
        match self {
            Self::Plain(stream) => stream.abort(),
            Self::Unix(stream) => stream.abort(),
            Self::Tls(stream) => stream.get_ref().0.abort(),
        }
    }
}

impl End for UnixStream {
    fn plain(&self) -> Option<&TcpStream> {
        None
    }

    /// A socket of the machine knows no breaks.
    fn abort(&self) {}
}
