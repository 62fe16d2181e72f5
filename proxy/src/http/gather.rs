//! Gathered writes for HTTP/2. hyper flushes after every DATA frame of some size, one system call each; here a flush only marks the bytes,
//! and they leave in one write when the connection's task has done its turn.
//!
//! hyper spawns the client's connection task itself, so the end of a turn is seen by the executor it is given: [`GatherExecutor`] wraps
//! each future it spawns. The tasks of streams run through it too; they never touch the socket, which wakes one task only.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::Transport;

/// Bytes gathered before they are written without waiting for the end of the turn.
const GATHER_BYTES_MAX: usize = 256 * 1024;

/// A buffer above this is given back once it is empty.
const KEEP_BYTES_MAX: usize = 64 * 1024;

/// Read at once from the socket, in bytes.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// Shared by a worker's connections, so that an idle one holds no read buffer of its own.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
struct State {
    stream: RefCell<Transport>,
    gathered: RefCell<BytesMut>,
    /// Read of the socket and not yet by hyper, which asks for little at a time.
    ahead: RefCell<BytesMut>,
    /// Whether the task whose turn it is used the socket: then it is the connection's.
    used: Cell<bool>,
    /// A write that failed at the end of a turn, for the connection to find.
    failed: Cell<Option<io::ErrorKind>>,
}

impl State {
    /// Writes what was gathered, as far as the socket takes it.
    fn poll_write_out(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.failed.get() {
            return Poll::Ready(Err(kind.into()));
        }
        let mut gathered = self.gathered.borrow_mut();
        while !gathered.is_empty() {
            let mut stream = self.stream.borrow_mut();
            let written = match ready!(Pin::new(&mut *stream).poll_write(context, &gathered)) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                other => other,
            };
            match written {
                Ok(count) => gathered.advance(count),
                Err(error) => {
                    self.failed.set(Some(error.kind()));
                    return Poll::Ready(Err(error));
                }
            }
        }
        if gathered.capacity() > KEEP_BYTES_MAX {
            *gathered = BytesMut::new();
        }
        // TLS takes bytes that its socket does not take.
        Pin::new(&mut *self.stream.borrow_mut()).poll_flush(context)
    }

    fn poll_read_ahead(&self, context: &mut Context<'_>, ahead: &mut BytesMut) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(READ_BYTES, 0);
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(context, &mut buffer))?;
            ahead.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(()))
        })
    }
}

/// The io that hyper is given.
#[derive(Debug)]
pub struct GatherIo(Rc<State>);

/// Spawns a connection's futures on the worker's runtime and writes out after each of their turns.
#[derive(Debug, Clone)]
pub struct GatherExecutor(Rc<State>);

/// Splits a socket into what hyper reads and writes, and what makes the writes happen.
pub fn gather(stream: Transport) -> (GatherIo, GatherExecutor) {
    let state = Rc::new(State {
        stream: RefCell::new(stream),
        gathered: RefCell::new(BytesMut::new()),
        ahead: RefCell::new(BytesMut::new()),
        used: Cell::new(false),
        failed: Cell::new(None),
    });
    (GatherIo(state.clone()), GatherExecutor(state))
}

impl GatherExecutor {
    /// Writes out after each turn of `future`, if that is the connection's.
    pub fn wrap<F: Future>(&self, future: F) -> Gathering<F> {
        Gathering { future, state: self.0.clone() }
    }
}

impl<F> hyper::rt::Executor<F> for GatherExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(self.wrap(future));
    }
}

pin_project! {
    /// See [`GatherExecutor::wrap`].
    #[derive(Debug)]
    pub struct Gathering<F> {
        #[pin]
        future: F,
        state: Rc<State>,
    }
}

impl<F: Future> Future for Gathering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.state.used.set(false);
        let output = this.future.poll(context);
        if this.state.used.get() {
            // If the socket takes no more, this task is woken when it does; an error waits for its next turn.
            let _ = this.state.poll_write_out(context);
        }
        output
    }
}

impl AsyncRead for GatherIo {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.used.set(true);
        let mut ahead = self.0.ahead.borrow_mut();
        if ahead.is_empty() {
            if buffer.remaining() >= READ_BYTES {
                return Pin::new(&mut *self.0.stream.borrow_mut()).poll_read(context, buffer);
            }
            ready!(self.0.poll_read_ahead(context, &mut ahead))?;
        }
        let count = ahead.len().min(buffer.remaining());
        buffer.put_slice(&ahead.split_to(count));
        if ahead.is_empty() {
            *ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GatherIo {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.make_room(context).map_ok(|()| {
            self.0.gathered.borrow_mut().extend_from_slice(bytes);
            bytes.len()
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.make_room(context).map_ok(|()| {
            let mut gathered = self.0.gathered.borrow_mut();
            slices.iter().for_each(|slice| gathered.extend_from_slice(slice));
            slices.iter().map(|slice| slice.len()).sum()
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.used.set(true);
        match self.0.failed.get() {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_write_out(context))?;
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(context)
    }
}

impl GatherIo {
    fn make_room(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.used.set(true);
        if self.0.gathered.borrow().len() < GATHER_BYTES_MAX && self.0.failed.get().is_none() {
            return Poll::Ready(Ok(()));
        }
        self.0.poll_write_out(context)
    }
}
