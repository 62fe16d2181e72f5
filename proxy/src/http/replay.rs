//! A request body that can be sent again: what passes is kept while it is small. Nobody waits for room; what does not fit is not kept, and the
//! request is then sent once only. Room is for all clusters together, but for none of them more than it leaves to the others.
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
use crate::cluster::ClusterLoad;
use crate::telemetry::metrics::WorkerStats;

/// Kept of all request bodies of one worker, in bytes.
pub const POOL_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What is kept is copied into blocks of this, in bytes: of one size, so that what one body gives back serves the next.
const BLOCK_BYTES: usize = 4 * 1024;

/// Bytes kept by all bodies of one worker; who has the worker's counters sees how many.
#[derive(Debug)]
pub struct ReplayPool {
    stats: Arc<WorkerStats>,
    worker: usize,
}

impl ReplayPool {
    /// Of the worker of this number, that these are the counters of.
    pub fn new(stats: Arc<WorkerStats>, worker: usize) -> Self {
        Self { stats, worker }
    }

    /// What there is of it for a body that goes to the cluster of this load.
    pub fn part(&self, load: &Arc<ClusterLoad>) -> ReplayPart {
        ReplayPart { stats: self.stats.clone(), load: load.clone(), worker: self.worker }
    }
}

/// A cluster's part of a [`ReplayPool`].
#[derive(Debug)]
pub struct ReplayPart {
    stats: Arc<WorkerStats>,
    load: Arc<ClusterLoad>,
    worker: usize,
}

impl ReplayPart {
    /// Takes so many bytes, if there are so many. A cluster has no more than what is free beside it (dynamic thresholds with α = 1,
    /// Choudhury and Hahne 1998): one that hogs has half of all, and the next finds a quarter, whoever came first.
    fn take(&self, bytes: u64) -> bool {
        let (all, own) = (&self.stats.replay_bytes, self.load.replays.of(self.worker));
        let free = POOL_BYTES_MAX.checked_sub(all.value() + bytes);
        let fits = free.is_some_and(|free| own.value() + bytes <= free);
        if fits {
            all.add(bytes);
            own.add(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: u64) {
        self.stats.replay_bytes.subtract(bytes);
        self.load.replays.of(self.worker).subtract(bytes);
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
    pool: ReplayPart,
}

impl Replay {
    /// Keeps up to `bytes_max` of a body.
    pub fn new(source: DownstreamBody, bytes_max: usize, pool: ReplayPart) -> Self {
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
        let fits = self.pool.take(bytes as u64);
        self.taken += if fits { bytes } else { 0 };
        fits
    }

    fn forget(&mut self) {
        (self.data, self.bytes, self.trailers) = (Vec::new(), 0, None);
        self.pool.give_back(self.taken as u64);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes blocks until there are no more; how many bytes those were.
    fn fill(part: &ReplayPart) -> u64 {
        let block = BLOCK_BYTES as u64;
        (0..).take_while(|_| part.take(block)).count() as u64 * block
    }

    #[test]
    fn a_cluster_has_no_more_than_it_leaves_to_the_others() {
        let pool = ReplayPool::new(Arc::default(), 0);
        let parts: Vec<_> = (0..3).map(|_| pool.part(&Arc::default())).collect();
        assert_eq!(fill(&parts[0]), POOL_BYTES_MAX / 2, "alone");
        assert_eq!(fill(&parts[1]), POOL_BYTES_MAX / 4, "beside one that has half of all");
        assert_eq!(fill(&parts[0]), 0);
        let third = fill(&parts[2]);
        assert!(third >= POOL_BYTES_MAX / 8 - BLOCK_BYTES as u64, "{third}");
        // As much as each of both has then: one leaves to the other what it gives back.
        parts[0].give_back(POOL_BYTES_MAX / 2);
        parts[2].give_back(third);
        let more = fill(&parts[1]);
        assert_eq!(more, POOL_BYTES_MAX / 4, "alone again");
        parts[1].give_back(POOL_BYTES_MAX / 2);
        assert_eq!((pool.stats.replay_bytes.value(), parts[0].load.replays.of(0).value()), (0, 0));
    }

    #[test]
    fn workers_have_pools_of_their_own() {
        let load = Arc::new(ClusterLoad::new(2));
        let parts = [0, 1].map(|worker| ReplayPool::new(Arc::default(), worker).part(&load));
        assert_eq!(parts.each_ref().map(fill), [POOL_BYTES_MAX / 2; 2]);
    }
}
