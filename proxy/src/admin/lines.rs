//! `GET /debug/tap`: requests as they end, a line of JSON each, for as long as someone reads.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use serde::Serialize;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::clock;
use crate::failure::view::Clocks;
use crate::tap::{Summary, Watch};

/// How often it is told what was left out, and a reader that has gone away is noticed.
const BEAT: Duration = Duration::from_secs(1);
/// Bytes of lines that are sent at a time.
const FRAME_BYTES_MAX: usize = 32 << 10;
/// A reader that takes nothing for so long is cut off.
pub(super) const STALL_MAX: Duration = Duration::from_secs(60);

/// When something was last taken, on [`crate::clock`]; 0: the connection carries no stream.
pub(super) type Taken = Rc<Cell<u64>>;

/// The body of the answer; it has no end of its own.
#[derive(Debug)]
pub(super) struct Lines {
    watch: Watch,
    clocks: Clocks,
    beat: Interval,
    told: [u64; 2],
    taken: Taken,
}

#[derive(Serialize)]
struct Line<'a> {
    at_unix_ms: u64,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// What was left out since this was last said.
#[derive(Serialize)]
struct Omitted {
    omitted: Causes,
}

#[derive(Serialize)]
struct Causes {
    /// More than were asked for in a second.
    rate: u64,
    /// The reader was too slow.
    slow: u64,
}

impl Lines {
    pub(super) fn new(watch: Watch, clocks: Clocks, taken: Taken) -> Self {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        taken.set(clocks.now_ns.max(1));
        Self { watch, clocks, beat, told: [0; 2], taken }
    }

    fn line(&self, summary: &Summary, text: &mut Vec<u8>) {
        let Clocks { now_ns, now_unix_ms } = self.clocks;
        let at_unix_ms = now_unix_ms.saturating_add(summary.ended_ns.saturating_sub(now_ns) / 1_000_000);
        push(&Line { at_unix_ms, summary }, text);
    }

    /// What is said once in a while: what was left out, or nothing but a line's end.
    fn sign(&mut self, text: &mut Vec<u8>) {
        let omitted = self.watch.omitted();
        let [rate, slow] = [0, 1].map(|cause| omitted[cause] - self.told[cause]);
        if rate + slow > 0 {
            self.told = omitted;
            push(&Omitted { omitted: Causes { rate, slow } }, text);
        } else if text.is_empty() {
            text.push(b'\n');
        }
    }
}

fn push(value: &impl Serialize, text: &mut Vec<u8>) {
    // Plain data is written to memory.
    if serde_json::to_writer(&mut *text, value).is_ok() {
        text.push(b'\n');
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.taken.set(clock::now_ns());
        let mut text = Vec::new();
        while text.len() < FRAME_BYTES_MAX {
            let Poll::Ready(Some(summary)) = self.watch.summaries.poll_recv(context) else { break };
            self.line(&summary, &mut text);
        }
        if self.beat.poll_tick(context).is_ready() {
            self.sign(&mut text);
        }
        match text.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(Some(Ok(Frame::data(text.into())))),
        }
    }
}
