//! One way between two connections. Few bytes are copied, through a buffer that all connections of the thread share; where there are many,
//! and both ends are plain sockets, the kernel moves them.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{Interest, ReadBuf};

use super::Ended;
use super::batches::Batches;
use super::end::End;
use super::pipe::{Pipe, Pipes};
use crate::error::Side;
use crate::transport::Socket;

/// Copied at once, in bytes.
const COPY_BYTES: usize = 16 * 1024;

/// A way that has moved so many bytes is moved by the kernel when there is more than is copied at once.
const SPLICE_AFTER_BYTES: u64 = 256 * 1024;

/// Moves in one turn of the task: others want theirs.
const MOVES_MAX: usize = 16;

thread_local! {
    /// An idle connection holds no buffer of its own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; COPY_BYTES].into());
}

/// See the module.
#[derive(Debug)]
pub(super) struct Flow {
    stage: Stage,
    /// Taken and not yet handed on, in this order: bytes, then those in the pipe.
    held: Bytes,
    pipe: Option<Pipe>,
    unflushed: bool,
    /// The last move took all there was room for.
    full: bool,
    moved: u64,
    batches: Batches,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The source has said everything.
    Ending,
    /// The target knows.
    Over,
}

/// Which end of a way broke.
#[derive(Debug)]
pub(super) enum Fault {
    /// The one that is read.
    Source(io::Error),
    /// The one that is written.
    Target(io::Error),
}

impl Fault {
    /// What it means on a way from one side to the other.
    pub(super) fn between(self, source: Side, target: Side) -> Ended {
        match self {
            Self::Source(error) => Ended::Broken(source, error),
            Self::Target(error) => Ended::Broken(target, error),
        }
    }
}

impl Flow {
    pub(super) fn new(ahead: Bytes) -> Self {
        let moved = ahead.len() as u64;
        Self {
            stage: Stage::Open,
            held: ahead,
            pipe: None,
            unflushed: false,
            full: false,
            moved,
            batches: Batches::default(),
        }
    }

    /// Bytes taken so far.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Whether bytes were taken that the target has not.
    pub(super) fn is_stuck(&self) -> bool {
        !self.held.is_empty() || self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0) || self.unflushed
    }

    /// Moves what there is. Ready once the source's end has been passed on.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &mut impl End,
        to: &mut impl End,
        pipes: &Pipes,
    ) -> Poll<Result<(), Fault>> {
        for _ in 0..MOVES_MAX {
            if self.stage == Stage::Over {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_hand_on(context, to)).map_err(Fault::Target)?;
            if self.stage == Stage::Ending {
                ready!(poll_end(context, to)).map_err(Fault::Target)?;
                self.stage = Stage::Over;
                continue;
            }
            match self.poll_take(context, from, to, pipes)? {
                Poll::Ready(0) => self.stage = Stage::Ending,
                Poll::Ready(count) => self.moved += count as u64,
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(to).poll_flush(context)).map_err(Fault::Target)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands on everything that was taken.
    fn poll_hand_on(&mut self, context: &mut Context<'_>, to: &mut impl End) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            match ready!(Pin::new(&mut *to).poll_write(context, &self.held))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.held.advance(count),
            }
            self.unflushed = true;
        }
        // What was all is let go with the buffer that it was part of.
        self.held = Bytes::new();
        if let (Some(pipe), Some(socket)) = (&mut self.pipe, to.plain()) {
            while pipe.held() > 0 {
                ready!(poll_io(context, socket, Interest::WRITABLE, || pipe.empty(socket)))?;
            }
            self.pipe = None;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_take(
        &mut self,
        context: &mut Context<'_>,
        from: &mut impl End,
        to: &mut impl End,
        pipes: &Pipes,
    ) -> Poll<Result<usize, Fault>> {
        if self.full
            && self.moved >= SPLICE_AFTER_BYTES
            && let (Some(socket), Some(_)) = (from.plain(), to.plain())
            && let Some(mut pipe) = pipes.take()
        {
            let taken = ready!(self.poll_fill(context, socket, &mut pipe));
            match taken {
                Ok(count) => {
                    self.batches.moved(count);
                    self.full = count >= COPY_BYTES;
                    self.pipe = Some(pipe);
                    return Poll::Ready(Ok(count));
                }
                // Not for these sockets, or not on this system.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.full = false,
                Err(error) => return Poll::Ready(Err(Fault::Source(error))),
            }
        }
        if let Some(socket) = from.plain() {
            self.batches.end(socket).map_err(Fault::Source)?;
        }
        self.poll_copy(context, from, to)
    }

    fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        socket: &Socket,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Poll::Ready(filled) = poll_io(context, socket, Interest::READABLE, || pipe.fill(socket)) {
                return Poll::Ready(filled);
            }
            ready!(self.batches.poll_pause(context, socket))?;
            // Less than was waited for does not make the socket readable.
            match pipe.fill(socket) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                filled => return Poll::Ready(filled),
            }
        }
    }

    fn poll_copy(
        &mut self,
        context: &mut Context<'_>,
        from: &mut impl End,
        to: &mut impl End,
    ) -> Poll<Result<usize, Fault>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(from).poll_read(context, &mut buffer)).map_err(Fault::Source)?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                return Poll::Ready(Ok(0));
            }
            self.full = bytes.len() == COPY_BYTES;
            let written = match Pin::new(to).poll_write(context, bytes).map_err(Fault::Target)? {
                Poll::Ready(0) => return Poll::Ready(Err(Fault::Target(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(count) => count,
                Poll::Pending => 0,
            };
            self.unflushed |= written > 0;
            if written < bytes.len() {
                self.held = Bytes::copy_from_slice(&bytes[written..]);
            }
            Poll::Ready(Ok(bytes.len()))
        })
    }
}

/// An operation on a socket that says by itself when it would have to wait.
fn poll_io(
    context: &mut Context<'_>,
    socket: &Socket,
    interest: Interest,
    mut operation: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        match interest.is_readable() {
            true => ready!(socket.poll_read_ready(context))?,
            false => ready!(socket.poll_write_ready(context))?,
        }
        match socket.try_io(interest, &mut operation) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            done => return Poll::Ready(done),
        }
    }
}

fn poll_end(context: &mut Context<'_>, to: &mut impl End) -> Poll<io::Result<()>> {
    match ready!(Pin::new(to).poll_shutdown(context)) {
        // It has left meanwhile, and was told nothing it would have wanted to know.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
        ended => Poll::Ready(ended),
    }
}
