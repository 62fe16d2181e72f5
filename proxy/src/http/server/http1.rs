//! HTTP/1.1, and what is left of it while nobody says anything: a connection at rest has its socket and no codec, whose buffers are ten
//! times as large.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::AsyncWrite as _;
use tower_service::Service;

use super::guard::{Guard, Verdict};
use super::{Downstream, FIELDS_MAX, HEAD_BYTES_MAX, READ_BYTES_MAX, Tunnel};
use crate::clock;
use crate::error::ProxyError;
use crate::exchange::{Exchange, Reply};
use crate::http::io::FlatIo;
use crate::http::upgrade::{Socket, tunnel};
use crate::passage::Activity;
use crate::transport::Transport;

/// Serves HTTP/1.1 until the connection ends.
pub async fn serve_http1<S>(stream: Transport, downstream: Rc<Downstream>, stack: S)
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
{
    let mut guard = Guard::new(&downstream, false);
    // In the clear, something has been said.
    let mut at_rest = matches!(stream, Transport::Tls(_));
    let mut socket = Socket { stream, read: Bytes::new() };
    loop {
        if at_rest && !is_spoken_to(&mut socket.stream, &mut guard).await {
            return;
        }
        match Box::pin(converse(socket, &mut guard, &downstream, &stack)).await {
            Pause::Rest(resting) => {
                downstream.worker.rests();
                socket = resting;
            }
            Pause::Switched(switched) => {
                let (socket, (upgraded, record)) = *switched;
                return Box::pin(tunnel(socket, upgraded, record, &downstream.worker.means())).await;
            }
            Pause::Over => return,
        }
        at_rest = socket.read.is_empty();
    }
}

/// Why a connection is without a codec.
enum Pause {
    /// Nothing was said for a while.
    Rest(Socket),
    /// It speaks something else from now on.
    Switched(Box<(Socket, Tunnel)>),
    /// It has ended.
    Over,
}

/// Waits until something is said; false if the connection is over.
async fn is_spoken_to(stream: &mut Transport, guard: &mut Guard) -> bool {
    guard.rest();
    let spoken = poll_fn(|context| {
        if let Poll::Ready(spoken) = stream.poll_spoken(context) {
            return Poll::Ready(spoken);
        }
        match guard.poll(context) {
            Verdict::Stay | Verdict::Rest => Poll::Pending,
            Verdict::Finish | Verdict::Cut => Poll::Ready(false),
        }
    })
    .await;
    if !spoken {
        // Inside TLS, it says so as far as there is room to.
        poll_fn(|context| {
            let _ = Pin::new(&mut *stream).poll_shutdown(context);
            Poll::Ready(())
        })
        .await;
    }
    spoken
}

/// Answers requests, one after the other, until there are none for a while.
async fn converse<S>(socket: Socket, guard: &mut Guard, downstream: &Rc<Downstream>, stack: &S) -> Pause
where
    S: Service<Exchange, Response = Reply, Error = ProxyError> + Clone + 'static,
{
    let (shared, stack) = (downstream.clone(), stack.clone());
    let service = service_fn(move |request| {
        let (downstream, stack) = (shared.clone(), stack.clone());
        async move {
            // In the turn that read the request.
            let started_ns = downstream.worker.stats.turns.began_ns();
            downstream.answer(&stack, request, downstream.cut_at.clone(), started_ns).await
        }
    });
    let activity = downstream.activity.clone();
    let io = Watch { io: FlatIo::new(socket.stream), ahead: socket.read, activity };
    let mut connection = http1::Builder::new()
        .auto_date_header(false)
        .max_buf_size(READ_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(FIELDS_MAX)
        .serve_connection(io, service);
    guard.converse();
    let mut rests = false;
    let ended = poll_fn(|context| {
        downstream.worker.stats.turns.next(clock::now_ns());
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(context) {
            return Poll::Ready(Some(ended));
        }
        match guard.poll(context) {
            Verdict::Stay => Poll::Pending,
            Verdict::Cut => Poll::Ready(None),
            Verdict::Rest => {
                rests = true;
                Poll::Ready(None)
            }
            Verdict::Finish => {
                Pin::new(&mut connection).graceful_shutdown();
                Pin::new(&mut connection).poll(context).map(Some)
            }
        }
    })
    .await;
    let switched = downstream.tunnel.borrow_mut().take();
    let socket = || {
        let parts = connection.into_parts();
        let Watch { io, ahead, .. } = parts.io;
        debug_assert!(ahead.is_empty(), "whoever reads less than there is has no room, and is not at rest");
        // What is empty is let go with the buffer that it was part of.
        let read = if parts.read_buf.is_empty() { Bytes::new() } else { parts.read_buf };
        Socket { stream: io.into_inner(), read }
    };
    match (ended, switched) {
        (Some(Ok(())), Some(switched)) => Pause::Switched(Box::new((socket(), *switched))),
        (None, _) if rests => Pause::Rest(socket()),
        _ => Pause::Over,
    }
}

/// Notices the first bytes of a request head, and whether all that was written has left.
#[derive(Debug)]
struct Watch {
    io: FlatIo,
    /// Read before.
    ahead: Bytes,
    activity: Rc<Activity>,
}

impl hyper::rt::Read for Watch {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
            self.activity.bytes_came();
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if read.is_ready() {
            self.activity.bytes_came();
        }
        read
    }
}

impl hyper::rt::Write for Watch {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.activity.is_flushed(false);
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(context))?;
        self.activity.is_flushed(true);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.is_flushed(false);
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}
