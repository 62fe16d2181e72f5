//! TLS over a connection, by the library's state machine, with buffers of our own.
//!
//! The library's other interface keeps a buffer of 4 KiB in each connection for as long as it is open, and reads into it four times for one
//! full record. Here all connections of a thread share what records are read into and written from (`scratch`); a connection keeps
//! what has not come or not left as a whole, and nothing while it is at rest.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use outrigger_certs::mesh::Mesh;
use outrigger_certs::problem::Problem;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::Error;

use self::scratch::{READ_BYTES_MAX, Scratch};
use self::session::{Outlet, Session, Stand};
use crate::identity::Identity;
use crate::identity::peers::Peer;

pub use greeting::{Greeting, call};

mod greeting;
mod scratch;
mod session;

#[cfg(test)]
mod tests;

/// A connection inside TLS, in its handshake or after it.
pub struct TlsStream<T> {
    io: T,
    session: Session,
    /// Came, and is not a whole record yet, or nobody has asked for it.
    incoming: Vec<u8>,
    /// Deciphered, and not taken: the first so many are taken already.
    plain: Vec<u8>,
    taken: usize,
    /// To be sent, and not taken by the system: the first so many are taken already.
    outgoing: Vec<u8>,
    sent: usize,
    /// The other side has said that nothing more comes.
    ended: bool,
    /// We have said so.
    shut: bool,
    /// Who the other side is, if it is of the mesh.
    peer: Option<Arc<Peer>>,
}

impl<T> fmt::Debug for TlsStream<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl<T> TlsStream<T> {
    /// One whose other side has said `incoming` so far.
    fn new(io: T, session: Session, incoming: Vec<u8>) -> Self {
        let (plain, outgoing) = (Vec::new(), Vec::new());
        Self {
            io,
            session,
            incoming,
            plain,
            taken: 0,
            outgoing,
            sent: 0,
            ended: false,
            shut: false,
            peer: None,
        }
    }

    /// What it goes over.
    pub fn io(&self) -> &T {
        &self.io
    }

    /// What was agreed to speak inside.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.session.common().alpn_protocol()
    }

    /// What the other side has shown, its own certificate first.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.session.common().peer_certificates()
    }

    /// Enters the other side, which has proved itself to those who believe what `mesh` does, among the peers.
    ///
    /// # Errors
    /// What is wrong with its certificate by now.
    pub fn admit(&mut self, identity: &Identity, mesh: &Mesh) -> Result<Arc<Peer>, Problem> {
        let peer = identity.admit(self.peer_certificates().unwrap_or_default(), mesh)?;
        Ok(self.peer.insert(peer).clone())
    }

    /// Who the other side is, if it is of the mesh.
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        self.peer.as_ref()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> TlsStream<T> {
    /// Goes through the handshake as far as this side has a part in it.
    fn poll_shake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let stand = self.decipher(None);
            // What the other side is to know of a failure, too.
            let sent = self.poll_send(context);
            let stand = stand?;
            if !self.session.common().is_handshaking() {
                return sent;
            }
            // The other side may read nothing before it has said what it has to say: that is read, whatever has not left yet.
            if let Poll::Ready(Err(error)) = sent {
                return Poll::Ready(Err(error));
            }
            if stand == Stand::Ended || ready!(self.poll_receive(context, None))? == 0 {
                let error =
                    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended in the handshake");
                return Poll::Ready(Err(error));
            }
        }
    }

    /// Ready when there is something to be taken, with `false` at the end. Nothing is taken.
    pub fn poll_filled(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if self.taken < self.plain.len() {
                return Poll::Ready(Ok(true));
            }
            if self.ended {
                return Poll::Ready(Ok(false));
            }
            if self.decipher(None)? == Stand::Thirsty {
                ready!(self.poll_more(context, None))?;
            }
        }
    }

    /// Deciphers what has come, into `buffer` as far as there is room, and beside it what has none.
    fn decipher(&mut self, buffer: Option<&mut ReadBuf<'_>>) -> io::Result<Stand> {
        let Self { session, incoming, plain, outgoing, ended, .. } = self;
        let (used, stand) = session.advance(incoming, &mut Outlet { buffer, plain, outgoing, ended });
        keep(incoming, used);
        stand.map_err(of_library)
    }

    /// Reads once, and deciphers it; an end without a farewell is an error (RFC 8446 §6.1: it may be somebody else's).
    fn poll_more(
        &mut self,
        context: &mut Context<'_>,
        buffer: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(match ready!(self.poll_receive(context, buffer))? {
            0 => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended without close_notify"))
            }
            _ => Ok(()),
        })
    }

    /// Reads once, and deciphers it; how many bytes came.
    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<usize>> {
        let received = self.poll_records(context, buffer);
        // An answer to what was read, such as why it is wrong. No reader waits until it has left.
        let _ = self.poll_send(context);
        received
    }

    fn poll_records(
        &mut self,
        context: &mut Context<'_>,
        buffer: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<usize>> {
        Scratch::with(|scratch| {
            let Self { io, session, incoming, plain, outgoing, ended, .. } = self;
            let before = incoming.len();
            let Some(room) = scratch.incoming.get_mut(before..).filter(|room| !room.is_empty()) else {
                let error =
                    io::Error::new(io::ErrorKind::InvalidData, "a message of a handshake is too long");
                return Poll::Ready(Err(error));
            };
            let most = room.len().min(READ_BYTES_MAX);
            let mut read = ReadBuf::new(&mut room[..most]);
            ready!(Pin::new(io).poll_read(context, &mut read))?;
            let count = read.filled().len();
            if count > 0 {
                let all = &mut scratch.incoming[..before + count];
                all[..before].copy_from_slice(incoming);
                let (used, stand) = session.advance(all, &mut Outlet { buffer, plain, outgoing, ended });
                incoming.clear();
                incoming.extend_from_slice(&all[used..]);
                release(incoming);
                stand.map_err(of_library)?;
            }
            Poll::Ready(Ok(count))
        })
    }

    /// Sends what waits to be sent.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outgoing.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.sent < self.outgoing.len() {
            let rest = &self.outgoing[self.sent..];
            match ready!(Pin::new(&mut self.io).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        self.sent = 0;
        self.outgoing = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// Enciphers `data`, sends what the system takes at once, and keeps the rest; how many bytes of `data` that were.
    fn encipher(&mut self, context: &mut Context<'_>, data: &[u8], records: &mut [u8]) -> io::Result<usize> {
        let Self { session, incoming, plain, outgoing, ended, .. } = self;
        let outlet = &mut Outlet { buffer: None, plain, outgoing, ended };
        let (used, length) = session.encipher(incoming, outlet, data, records);
        keep(incoming, used);
        self.send_now(context, &records[..length.map_err(of_library)?])?;
        Ok(data.len())
    }

    /// Sends what the system takes at once, after what waits already, and keeps the rest.
    fn send_now(&mut self, context: &mut Context<'_>, mut records: &[u8]) -> io::Result<()> {
        while self.outgoing.is_empty() && !records.is_empty() {
            match Pin::new(&mut self.io).poll_write(context, records)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => records = &records[count..],
                Poll::Pending => break,
            }
        }
        self.outgoing.extend_from_slice(records);
        Ok(())
    }
}

fn of_library(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Lets go of what was used of `incoming`.
fn keep(incoming: &mut Vec<u8>, used: usize) {
    incoming.drain(..used);
    release(incoming);
}

/// A connection at rest keeps no buffer.
fn release(incoming: &mut Vec<u8>) {
    if incoming.is_empty() {
        *incoming = Vec::new();
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        loop {
            if this.taken < this.plain.len() {
                let rest = &this.plain[this.taken..];
                let count = rest.len().min(buffer.remaining());
                buffer.put_slice(&rest[..count]);
                this.taken += count;
                if this.taken == this.plain.len() {
                    (this.plain, this.taken) = (Vec::new(), 0);
                }
            }
            if buffer.filled().len() > before || buffer.remaining() == 0 || this.ended {
                return Poll::Ready(Ok(()));
            }
            if this.decipher(Some(buffer))? == Stand::Thirsty && buffer.filled().len() == before {
                ready!(this.poll_more(context, Some(buffer)))?;
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // Else there would be no end to what waits.
        ready!(this.poll_send(context))?;
        Scratch::with(|scratch| {
            let Scratch { gathered, outgoing, .. } = scratch;
            let plain = scratch::gather(slices, gathered);
            if plain.is_empty() {
                return Poll::Ready(Ok(0));
            }
            Poll::Ready(this.encipher(context, plain, outgoing))
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            self.shut = true;
            let Self { session, incoming, plain, outgoing, ended, .. } = &mut *self;
            let used = session.farewell(incoming, &mut Outlet { buffer: None, plain, outgoing, ended });
            keep(incoming, used);
        }
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
