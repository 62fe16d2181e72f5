//! A request body that can be sent again: what passes is kept while it is small. Nobody waits for room; what does not fit is not kept, and the
//! request is then sent once only.
//!
//! What is kept is copied: a piece of a body as it was read holds on to the whole buffer that it was read into, thousands of times its size.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::body::{BodyError, DownstreamBody, Progress};
use crate::telemetry::metrics::WorkerStats;

/// Kept of all request bodies of one worker, in bytes.
pub const POOL_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What is kept is copied into blocks of this, in bytes: of one size, so that what one body gives back serves the next.
const BLOCK_BYTES: usize = 4 * 1024;

/// Bytes kept by all bodies of one worker; who has the worker's counters sees how many.
#[derive(Debug, Clone)]
pub struct ReplayPool(Arc<WorkerStats>);

impl ReplayPool {
    /// Of the worker that these are the counters of.
    pub fn new(stats: Arc<WorkerStats>) -> Self {
        Self(stats)
    }
}

/// Whoever may send the body again.
#[derive(Debug)]
pub struct Replay(Rc<RefCell<State>>);

/// The body of one try. Only the latest try's gives anything, and its twin's.
#[derive(Debug)]
pub struct ReplayBody {
    state: Rc<RefCell<State>>,
    generation: u32,
    /// Blocks given so far.
    blocks: usize,
    /// Whether the trailers have been given.
    trailed: bool,
}

#[derive(Debug)]
struct State {
    source: DownstreamBody,
    data: Vec<Vec<u8>>,
    /// Of the data.
    bytes: usize,
    trailers: Option<HeaderMap>,
    bytes_max: usize,
    /// Whether everything so far is kept, and what comes next will be if it fits.
    whole: bool,
    ended: bool,
    generation: u32,
    /// Taken from the pool.
    taken: usize,
    pool: ReplayPool,
}

impl Replay {
    /// Keeps up to `bytes_max` of a body.
    pub fn new(source: DownstreamBody, bytes_max: usize, pool: ReplayPool) -> Self {
        Self(Rc::new(RefCell::new(State {
            source,
            data: Vec::new(),
            bytes: 0,
            trailers: None,
            bytes_max,
            whole: true,
            ended: false,
            generation: 0,
            taken: 0,
            pool,
        })))
    }

    /// The body from its beginning, for the next try; the one of the last try is cut off.
    pub fn body(&self) -> ReplayBody {
        let mut state = self.0.borrow_mut();
        state.generation += 1;
        ReplayBody { state: self.0.clone(), generation: state.generation, blocks: 0, trailed: false }
    }

    /// The body from its beginning once more, beside that of the last try; `None` unless all of it has come and is kept.
    pub fn twin(&self) -> Option<ReplayBody> {
        let state = self.0.borrow();
        let twin =
            || ReplayBody { state: self.0.clone(), generation: state.generation, blocks: 0, trailed: false };
        (state.whole && state.ended).then(twin)
    }

    /// Whether all that was sent of it is still here.
    pub fn is_whole(&self) -> bool {
        self.0.borrow().whole
    }
}

impl Drop for Replay {
    /// There will be no other try.
    fn drop(&mut self) {
        if let Ok(mut state) = self.0.try_borrow_mut() {
            state.whole = false;
        }
    }
}

impl State {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let kept = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => self.keep_data(data),
            (None, Some(trailers)) => self.keep_trailers(trailers),
            (None, None) => true,
        };
        if !kept {
            self.whole = false;
            self.forget();
        }
    }

    /// Whether there was room.
    fn keep_data(&mut self, data: &Bytes) -> bool {
        let bytes = self.bytes + data.len();
        if bytes > self.bytes_max {
            return false;
        }
        let spare = self.data.last().map_or(0, |last| last.capacity() - last.len());
        let (first, mut rest) = data.split_at(data.len().min(spare));
        if let Some(last) = self.data.last_mut() {
            last.extend_from_slice(first);
        }
        while !rest.is_empty() {
            // Most bodies are small and come in one piece.
            let room = if self.data.is_empty() { rest.len().min(BLOCK_BYTES) } else { BLOCK_BYTES };
            if !self.take(room) {
                return false;
            }
            let (part, more) = rest.split_at(rest.len().min(room));
            let mut block = Vec::with_capacity(room);
            block.extend_from_slice(part);
            self.data.push(block);
            rest = more;
        }
        self.bytes = bytes;
        true
    }

    fn keep_trailers(&mut self, trailers: &HeaderMap) -> bool {
        let bytes = trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let fits = self.take(bytes);
        self.trailers = fits.then(|| trailers.clone());
        fits
    }

    /// Takes so many bytes from the pool, if there are so many.
    fn take(&mut self, bytes: usize) -> bool {
        let kept = &self.pool.0.replay_bytes;
        let fits = kept.value() + bytes as u64 <= POOL_BYTES_MAX;
        if fits {
            kept.add(bytes as u64);
            self.taken += bytes;
        }
        fits
    }

    fn forget(&mut self) {
        (self.data, self.bytes, self.trailers) = (Vec::new(), 0, None);
        self.pool.0.replay_bytes.subtract(self.taken as u64);
        self.taken = 0;
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.forget();
    }
}

impl ReplayBody {
    /// How far the client's body has come.
    pub fn progress(&self) -> Rc<Progress> {
        self.state.borrow().source.progress()
    }

    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.state.borrow_mut();
        if state.generation != self.generation {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(block) = state.data.get(self.blocks) {
            self.blocks += 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(block)))));
        }
        if let Some(trailers) = state.trailers.as_ref().filter(|_| !self.trailed) {
            self.trailed = true;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        let polled = state.source.poll(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                state.ended = state.source.is_end_stream();
                if state.whole {
                    state.keep(frame);
                } else if state.taken > 0 {
                    // Everything kept has been read, and nobody will ask for it again.
                    state.forget();
                }
                self.blocks = state.data.len();
                self.trailed |= frame.is_trailers();
            }
            Poll::Ready(None) => state.ended = true,
            // What was kept is not what the client will have sent.
            Poll::Ready(Some(Err(_))) => state.whole = false,
            Poll::Pending => {}
        }
        polled
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.state.borrow();
        let all = self.blocks >= state.data.len() && (self.trailed || state.trailers.is_none());
        all && (state.ended || state.source.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let state = self.state.borrow();
        let again: u64 = state.data.iter().skip(self.blocks).map(|block| block.len() as u64).sum();
        let rest = if state.ended { SizeHint::with_exact(0) } else { state.source.size_hint() };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + again);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + again);
        }
        hint
    }
}
