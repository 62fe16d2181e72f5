//! A request body that can be sent again: what passes is kept while it is small. Nobody waits for room; what does not fit is not kept, and the
//! request is then sent once only.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::body::{BodyError, DownstreamBody, Progress};

/// Kept of all request bodies of one worker, in bytes.
pub const POOL_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Pieces kept of one body: a body of very small pieces costs more than its bytes.
const PIECES_MAX: usize = 1_024;

/// Bytes kept by all bodies of one worker.
#[derive(Debug, Clone, Default)]
pub struct ReplayPool(Rc<Cell<usize>>);

/// Whoever may send the body again.
#[derive(Debug)]
pub struct Replay(Rc<RefCell<State>>);

/// The body of one try. Only the latest try's gives anything.
#[derive(Debug)]
pub struct ReplayBody {
    state: Rc<RefCell<State>>,
    generation: u32,
    next: usize,
}

#[derive(Debug)]
struct State {
    source: DownstreamBody,
    kept: Vec<Piece>,
    bytes: usize,
    bytes_max: usize,
    /// Whether every piece so far is kept, and the next will be if it fits.
    whole: bool,
    ended: bool,
    generation: u32,
    pool: ReplayPool,
}

#[derive(Debug, Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Replay {
    /// Keeps up to `bytes_max` of a body.
    pub fn new(source: DownstreamBody, bytes_max: usize, pool: ReplayPool) -> Self {
        let (kept, bytes) = (Vec::new(), 0);
        let state = State { source, kept, bytes, bytes_max, whole: true, ended: false, generation: 0, pool };
        Self(Rc::new(RefCell::new(state)))
    }

    /// The body from its beginning, for the next try; the one of the last try is cut off.
    pub fn body(&self) -> ReplayBody {
        let mut state = self.0.borrow_mut();
        state.generation += 1;
        ReplayBody { state: self.0.clone(), generation: state.generation, next: 0 }
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
        let piece = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Piece::Data(data.clone()),
            (None, Some(trailers)) => Piece::Trailers(trailers.clone()),
            (None, None) => return,
        };
        let bytes = if let Piece::Data(data) = &piece { data.len() } else { 0 };
        let fits = self.bytes + bytes <= self.bytes_max && self.pool.0.get() + bytes <= POOL_BYTES_MAX;
        if !fits || self.kept.len() >= PIECES_MAX {
            self.whole = false;
            self.forget();
            return;
        }
        self.bytes += bytes;
        self.pool.0.set(self.pool.0.get() + bytes);
        self.kept.push(piece);
    }

    fn forget(&mut self) {
        self.kept = Vec::new();
        self.pool.0.set(self.pool.0.get() - self.bytes);
        self.bytes = 0;
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
        if let Some(piece) = state.kept.get(self.next).cloned() {
            self.next += 1;
            let frame = match piece {
                Piece::Data(data) => Frame::data(data),
                Piece::Trailers(trailers) => Frame::trailers(trailers),
            };
            return Poll::Ready(Some(Ok(frame)));
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
                } else if !state.kept.is_empty() {
                    // Everything kept has been read, and nobody will ask for it again.
                    state.forget();
                }
                self.next = state.kept.len();
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
        self.next >= state.kept.len() && (state.ended || state.source.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let state = self.state.borrow();
        let again: u64 = state.kept.iter().skip(self.next).map(Piece::bytes).sum();
        let rest = if state.ended { SizeHint::with_exact(0) } else { state.source.size_hint() };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + again);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + again);
        }
        hint
    }
}

impl Piece {
    fn bytes(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }
}
