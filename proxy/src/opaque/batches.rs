//! Fewer and larger moves for bulk transfers, as network cards moderate their interrupts: being woken costs more than moving what has come,
//! and a sender that never pauses does not mind if it is moved half a mebibyte at a time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::low_water;
use crate::transport::Socket;

/// What has moved so many bytes since it last paused is a bulk transfer.
const RUN_BYTES: u64 = 16 << 20;

/// Waited for at once, in bytes.
const BATCH_BYTES: u32 = 512 << 10;

/// A batch that takes longer is a pause, and the last bytes before a pause are late by as much: once in [`RUN_BYTES`].
const PATIENCE: Duration = Duration::from_millis(2);

/// What is known of one way.
#[derive(Debug, Default)]
pub(super) struct Batches {
    /// Moved since the last pause.
    run: u64,
    /// The source counts as readable only with a batch.
    begun: bool,
    /// When it will have paused, while it is waited for.
    pause: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Batches {
    /// So many bytes were moved.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.run += bytes as u64;
        self.waiting = false;
    }

    /// Nothing is there. Ready when what there is should be taken without waiting for more.
    pub(super) fn poll_pause(&mut self, context: &mut Context<'_>, source: &Socket) -> Poll<io::Result<()>> {
        if !self.begun {
            if self.run < RUN_BYTES {
                return Poll::Pending;
            }
            low_water::set(source, BATCH_BYTES)?;
            self.begun = true;
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        if !std::mem::replace(&mut self.waiting, true) {
            pause.as_mut().reset(Instant::now() + PATIENCE);
        }
        ready!(pause.as_mut().poll(context));
        Poll::Ready(self.end(source))
    }

    /// The next byte counts again.
    pub(super) fn end(&mut self, source: &Socket) -> io::Result<()> {
        if !std::mem::take(&mut self.begun) {
            return Ok(());
        }
        *self = Self::default();
        low_water::set(source, 1)
    }
}
