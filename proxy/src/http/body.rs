//! The one body type of the proxy. It keeps sizes and the end of stream visible, so that a `Content-Length` survives the hop.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

pub use hyper::body::Incoming;

use super::replay::ReplayBody;
use super::stream::CutAt;
use crate::clock;
use crate::cluster::endpoint::Outcome;
use crate::grpc;
use crate::http::normalize::normalize_trailers;
use crate::local_reply::{RESPONSE_BROKEN, RESPONSE_OVERDUE, RESPONSE_STALLED};
use crate::passage::Passage;
use crate::sweep::Timer;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client's side.
    #[error("the request body broke off")]
    Downstream(#[source] hyper::Error),
    /// The upstream's side.
    #[error("the response body broke off")]
    Upstream(#[source] hyper::Error),
    /// Nothing came for too long.
    #[error("the body stalled")]
    Stalled,
    /// The request's time is over.
    #[error("the request's deadline passed")]
    Deadline,
    /// The request is being sent again elsewhere.
    #[error("another try has taken over")]
    Superseded,
}

/// A body in either direction.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// All of it.
    Full(Bytes),
    /// From the client.
    Downstream(DownstreamBody),
    /// From the client, kept to be sent again.
    Replay(ReplayBody),
    /// From the upstream.
    Upstream(Box<UpstreamBody>),
}

/// How far a request body has come; the request's timers look at it.
#[derive(Debug)]
pub struct Progress {
    /// Since when it has been as it is: when a piece of it last came or was asked for.
    pub since_ns: Cell<u64>,
    /// Whether the upstream would take more, and the client has not sent it.
    pub wanted: Cell<bool>,
    /// Whether it has ended.
    pub ended: Cell<bool>,
    /// How much of it has come.
    pub bytes: Cell<u64>,
}

/// A request body.
#[derive(Debug)]
pub struct DownstreamBody {
    incoming: Incoming,
    progress: Rc<Progress>,
}

impl DownstreamBody {
    /// Wraps what hyper receives.
    pub fn new(incoming: Incoming, now_ns: u64) -> Self {
        let since_ns = Cell::new(now_ns);
        let (wanted, ended, bytes) = Default::default();
        let progress = Rc::new(Progress { since_ns, wanted, ended, bytes });
        Self { incoming, progress }
    }

    /// How far it has come.
    pub fn progress(&self) -> Rc<Progress> {
        self.progress.clone()
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// Its length, as far as the client has said.
    pub fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        let wanted = polled.is_pending();
        if !wanted || !self.progress.wanted.replace(wanted) {
            self.progress.since_ns.set(clock::now_ns());
        }
        if !wanted {
            self.progress.wanted.set(false);
            self.progress.ended.set(self.incoming.is_end_stream() || matches!(polled, Poll::Ready(None)));
            self.progress.bytes.set(self.progress.bytes.get() + length(&polled));
        }
        polled.map_ok(normalized).map_err(BodyError::Downstream)
    }
}

/// A response body, with everything that ends when it does.
#[derive(Debug)]
pub struct UpstreamBody {
    incoming: Incoming,
    /// Taken from it already, to see what it is.
    ahead: Option<Result<Frame<Bytes>, hyper::Error>>,
    passage: Option<Passage>,
    /// Whether it is a gRPC call's, whose status stands in the trailers.
    grpc: bool,
    timer: Timer,
    /// After which the body is cut, however it moves.
    deadline_ns: u64,
    stall_ns: Option<u64>,
    cut_at: Option<CutAt>,
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        self.cut_at.iter().for_each(CutAt::clear);
        self.passage.iter().for_each(|passage| passage.given_up(clock::now_ns()));
    }
}

impl UpstreamBody {
    /// Wraps what hyper receives. `timer` is woken for whichever comes first, the deadline or a stall.
    pub fn new(
        incoming: Incoming,
        passage: Passage,
        grpc: bool,
        timer: Timer,
        deadline_ns: u64,
        stall_ns: Option<u64>,
    ) -> Self {
        let (ahead, passage, cut_at) = (None, Some(passage), None);
        Self { incoming, ahead, passage, grpc, timer, deadline_ns, stall_ns, cut_at }
    }

    /// Puts a frame in front of the rest, from where it was taken.
    pub fn put_back(&mut self, frame: Frame<Bytes>) {
        self.ahead = Some(Ok(frame));
    }

    /// What a gRPC call comes to, if what has come of the body says it. Nobody waits for that.
    pub fn glance(&mut self, context: &mut Context<'_>) -> Option<Outcome> {
        if self.ahead.is_none()
            && let Poll::Ready(Some(first)) = self.poll_incoming(context)
        {
            self.ahead = Some(first);
        }
        let trailers = self.ahead.as_ref()?.as_ref().ok()?.trailers_ref()?;
        grpc::outcome(trailers)
    }

    /// The passage, while it lasts.
    pub fn passage(&mut self) -> Option<&mut Passage> {
        self.passage.as_mut()
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.incoming.size_hint();
        let ahead = self.ahead.as_ref().and_then(|ahead| ahead.as_ref().ok());
        let Some(data) = ahead.and_then(Frame::data_ref) else { return rest };
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + data.len() as u64);
        }
        hint.set_lower(rest.lower() + data.len() as u64);
        hint
    }

    /// Brings the deadline forward.
    pub fn shorten(&mut self, deadline_ns: u64) {
        self.deadline_ns = self.deadline_ns.min(deadline_ns);
    }

    /// Says where it is watched for, whether its client takes it: while that takes nothing, nobody polls the body.
    pub fn watch(&mut self, cut_at: CutAt, now_ns: u64) {
        self.cut_at = Some(cut_at);
        self.await_client(now_ns);
    }

    /// The next move is the client's.
    fn await_client(&self, now_ns: u64) {
        if let Some(cut_at) = &self.cut_at {
            let stall_ns = self.stall_ns.map_or(u64::MAX, |stall_ns| now_ns.saturating_add(stall_ns));
            cut_at.set(stall_ns.min(self.deadline_ns));
        }
    }

    /// The next frame, from where it comes; a gRPC call's says how the call goes.
    fn poll_incoming(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        if let (true, Poll::Ready(Some(Ok(frame))), Some(passage)) = (self.grpc, &polled, &mut self.passage) {
            let outcome = match frame.trailers_ref() {
                Some(trailers) => grpc::outcome(trailers).unwrap_or(Outcome::Success),
                None => Outcome::Success,
            };
            // Once there was a message, only a failure says more.
            passage.attempt.answered(outcome, clock::now_ns());
            if let (Outcome::Failure, Some(record), Some(trailers)) =
                (outcome, &passage.record, frame.trailers_ref())
            {
                record.story().call_fails(trailers, clock::now_ns());
            }
        }
        polled
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = match self.ahead.take() {
            // Whoever took it has looked at it.
            Some(ahead) => Poll::Ready(Some(ahead)),
            None => self.poll_incoming(context),
        };
        let end = match polled {
            Poll::Pending => {
                self.cut_at.iter().for_each(CutAt::clear);
                return self.poll_timer(context);
            }
            Poll::Ready(Some(Ok(frame))) => {
                if self.timer.armed() {
                    self.timer.disarm();
                }
                if let (true, Some(trailers), Some(passage)) =
                    (self.grpc, frame.trailers_ref(), &mut self.passage)
                {
                    passage.record.iter_mut().for_each(|record| record.called(grpc::status(trailers)));
                }
                if let (Some(data), Some(passage)) = (frame.data_ref(), &self.passage) {
                    passage.sends(data.len());
                }
                if !self.incoming.is_end_stream() {
                    self.await_client(clock::now_ns());
                } else if let Some(passage) = self.passage.take() {
                    passage.complete();
                }
                return Poll::Ready(Some(Ok(normalized(frame))));
            }
            Poll::Ready(Some(Err(error))) => Err(BodyError::Upstream(error)),
            Poll::Ready(None) => Ok(()),
        };
        match (self.passage.take(), &end) {
            (Some(passage), Ok(())) => passage.complete(),
            (Some(passage), Err(_)) => passage.fail(RESPONSE_BROKEN),
            (None, _) => {}
        }
        Poll::Ready(end.err().map(Err))
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let now_ns = clock::now_ns();
        if self.timer.fired() {
            let late = now_ns >= self.deadline_ns;
            if let Some(passage) = self.passage.take() {
                passage.given_up(now_ns);
                passage.fail(if late { RESPONSE_OVERDUE } else { RESPONSE_STALLED });
            }
            return Poll::Ready(Some(Err(if late { BodyError::Deadline } else { BodyError::Stalled })));
        }
        let stall_ns = self.stall_ns.map_or(u64::MAX, |stall_ns| now_ns.saturating_add(stall_ns));
        let at_ns = stall_ns.min(self.deadline_ns);
        if at_ns != u64::MAX {
            self.timer.arm(at_ns, context.waker());
        }
        Poll::Pending
    }
}

/// How many bytes have come.
fn length<E>(polled: &Poll<Option<Result<Frame<Bytes>, E>>>) -> u64 {
    match polled {
        Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, |data| data.len() as u64),
        _ => 0,
    }
}

/// Data as it is, trailers without what may not stand there.
fn normalized(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        normalize_trailers(trailers);
    }
    frame
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = self.get_mut();
        match body {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *body = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Downstream(downstream) => downstream.poll(context),
            Self::Replay(replay) => replay.poll(context),
            Self::Upstream(upstream) => upstream.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Downstream(downstream) => downstream.is_end_stream(),
            Self::Replay(replay) => replay.is_end_stream(),
            Self::Upstream(upstream) => upstream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Downstream(downstream) => downstream.size_hint(),
            Self::Replay(replay) => replay.size_hint(),
            Self::Upstream(upstream) => upstream.size_hint(),
        }
    }
}
