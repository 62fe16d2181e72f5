//! How a session begins: a server reads the first message before it decides on whose behalf it answers.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::rustls::client::UnbufferedClientConnection;
use tokio_rustls::rustls::server::{Accepted, Acceptor, ClientHello, UnbufferedServerConnection};
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use super::scratch::{READ_BYTES_MAX, Scratch};
use super::{TlsStream, of_library};

/// A connection whose client has said what it wants (ClientHello, RFC 8446 §4.1.2).
#[derive(Debug)]
pub struct Greeting<T> {
    io: T,
    /// All that it has said.
    incoming: Vec<u8>,
    accepted: Accepted,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Greeting<T> {
    /// Waits for it.
    ///
    /// # Errors
    /// When the connection ends before, or says something else, of which the client is told.
    pub async fn read(mut io: T) -> io::Result<Self> {
        let (mut acceptor, mut incoming) = (Acceptor::default(), Vec::new());
        loop {
            let before = incoming.len();
            receive(&mut io, &mut incoming).await?;
            let mut new = &incoming[before..];
            while !new.is_empty() {
                acceptor.read_tls(&mut new)?;
                match acceptor.accept() {
                    Ok(None) => {}
                    Ok(Some(accepted)) => return Ok(Self { io, incoming, accepted }),
                    Err((error, mut alert)) => {
                        let mut said = Vec::new();
                        alert.write_all(&mut said)?;
                        // Whether it hears of that is its own affair.
                        let _ = io.write_all(&said).await;
                        return Err(of_library(error));
                    }
                }
            }
        }
    }

    /// What it wants.
    pub fn hello(&self) -> ClientHello<'_> {
        self.accepted.client_hello()
    }

    /// The connection, unanswered.
    pub fn into_io(self) -> T {
        self.io
    }

    /// Answers, and goes through the rest of the handshake.
    ///
    /// # Errors
    /// When it fails, with the library's error inside where it is not the connection's.
    pub async fn answer(self, config: Arc<ServerConfig>) -> io::Result<Box<TlsStream<T>>> {
        let Self { io, incoming, .. } = self;
        let session = UnbufferedServerConnection::new(config).map_err(of_library)?;
        shake(TlsStream::new(io, session.into(), incoming)).await
    }
}

/// Goes through the handshake as a client of `server`.
///
/// # Errors
/// As those of [`Greeting::answer`].
pub async fn call<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
) -> io::Result<Box<TlsStream<T>>> {
    let session = UnbufferedClientConnection::new(config, server).map_err(of_library)?;
    shake(TlsStream::new(io, session.into(), Vec::new())).await
}

/// Boxed from here on: it is a kilobyte, and is handed on often.
fn shake<T: AsyncRead + AsyncWrite + Unpin>(
    stream: TlsStream<T>,
) -> impl Future<Output = io::Result<Box<TlsStream<T>>>> {
    let mut stream = Some(Box::new(stream));
    poll_fn(move |context| {
        if let Some(shaking) = &mut stream {
            ready!(shaking.poll_shake(context))?;
        }
        // Polled to its end, it is not polled again.
        Poll::Ready(stream.take().ok_or_else(|| io::ErrorKind::Other.into()))
    })
}

/// Reads once. How much a message may come to is for the acceptor to say.
async fn receive(io: &mut (impl AsyncRead + Unpin), incoming: &mut Vec<u8>) -> io::Result<()> {
    poll_fn(|context| {
        Scratch::with(|scratch| {
            let mut read = ReadBuf::new(&mut scratch.incoming[..READ_BYTES_MAX]);
            ready!(Pin::new(&mut *io).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            incoming.extend_from_slice(read.filled());
            Poll::Ready(Ok(()))
        })
    })
    .await
}
