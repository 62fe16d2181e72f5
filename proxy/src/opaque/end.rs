//! What a connection must be to be carried.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::identity::peers::Peer;
use crate::transport::{Socket, Transport};

/// One of the two.
pub trait End: AsyncRead + AsyncWrite + Unpin {
    /// The socket, if the bytes that it carries are those that are meant: then the kernel can move them by itself.
    fn plain(&self) -> Option<&Socket>;

    /// Makes its close a break (RFC 9293 §3.10.5), where there is such a thing.
    fn abort(&self);

    /// Who is there, if that was proved.
    fn peer(&self) -> Option<&Arc<Peer>> {
        None
    }

    /// Where that is.
    fn address(&self) -> Option<IpAddr> {
        None
    }
}

impl End for Socket {
    fn plain(&self) -> Option<&Socket> {
        Some(self)
    }

    fn abort(&self) {
        match self {
            Self::Tcp(stream) => abort(stream),
            // A socket of the machine knows no breaks.
            Self::Unix(_) => {}
        }
    }
}

impl End for Transport {
    fn plain(&self) -> Option<&Socket> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(_) => None,
        }
    }

    fn abort(&self) {
        match self {
            Self::Plain(socket) => socket.abort(),
            Self::Tls(stream) => abort(stream.io()),
        }
    }

    fn peer(&self) -> Option<&Arc<Peer>> {
        Self::peer(self)
    }

    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.io().peer_addr().ok().map(|address| address.ip()),
        }
    }
}

fn abort(stream: &TcpStream) {
    // Fails only on a connection that is gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
