//! A connection in the clear, as the system has it: over TCP, or through a socket of the machine (unix(7)).

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};

/// See the module.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Through a socket of the machine.
    Unix(UnixStream),
}

/// One that no runtime looks after, on its way from one thread to another.
#[derive(Debug)]
pub enum Detached {
    /// Over TCP.
    Tcp(StdTcpStream),
    /// Through a socket of the machine.
    Unix(StdUnixStream),
}

impl Detached {
    /// Has the runtime of this thread look after it.
    pub fn attach(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(stream) => Socket::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Socket::Unix(UnixStream::from_std(stream)?),
        })
    }
}

/// Does the same with whichever it is.
macro_rules! each {
    ($socket:expr, $stream:ident => $does:expr) => {
        match $socket {
            Socket::Tcp($stream) => $does,
            Socket::Unix($stream) => $does,
        }
    };
}

impl Socket {
    /// Where it was accepted, or comes from, if it is of a network.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Takes it from the runtime of this thread.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Tcp(stream) => Detached::Tcp(stream.into_std()?),
            Self::Unix(stream) => Detached::Unix(stream.into_std()?),
        })
    }

    /// Waits until there may be bytes, or an end.
    pub fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read_ready(context))
    }

    /// Waits until there may be room.
    pub fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_write_ready(context))
    }

    /// Does what says by itself when it would have to wait.
    pub fn try_io<T>(&self, interest: Interest, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        each!(self, stream => stream.try_io(interest, operation))
    }

    /// Looks at bytes without taking them, once there are more than `seen`: how many there are. As many as `seen`: no more will come, or
    /// `bytes` has no room for them. Once it has waited for more than it had seen, the socket must be [renewed](Self::renew) before it is
    /// read.
    pub fn poll_peek(
        &self,
        context: &mut Context<'_>,
        bytes: &mut [u8],
        seen: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_read_ready(context))?;
            let peeked = self.try_io(Interest::READABLE, || {
                let (_, count) = recv(self, &mut *bytes, RecvFlags::PEEK)?;
                let is_news = count != seen || count == 0 || count == bytes.len() || self.has_ended();
                // The same bytes would make the socket readable again at once, and for good.
                if is_news { Ok(count) } else { Err(io::ErrorKind::WouldBlock.into()) }
            });
            match peeked {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Whether the other side has said its last, as far as the runtime has heard.
    fn has_ended(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let ready: Poll<io::Result<Ready>> =
            each!(self, stream => pin!(stream.ready(Interest::READABLE)).poll(&mut context));
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    /// Has the runtime ask the system anew what there is to be read: bytes that were only looked at would not be told again.
    pub fn renew(&mut self) -> io::Result<()> {
        let same = self.as_fd().try_clone_to_owned()?;
        let same = match self {
            Self::Tcp(_) => Detached::Tcp(same.into()),
            Self::Unix(_) => Detached::Unix(same.into()),
        };
        *self = same.attach()?;
        Ok(())
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(self, stream => stream.as_fd())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests;
