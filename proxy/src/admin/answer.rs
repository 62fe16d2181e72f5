//! An answer of an admin endpoint: a status, and a body in pieces that are all there already.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;

use super::lines::Lines;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    content_type: &'static str,
    allow: Option<&'static str>,
    pieces: Pieces,
    lines: Option<Box<Lines>>,
}

/// What is sent.
#[derive(Debug)]
pub(super) enum Sent {
    Pieces(Pieces),
    Lines(Box<Lines>),
}

/// A body whose length is known.
#[derive(Debug, Default)]
pub(super) struct Pieces(VecDeque<Bytes>);

impl Answer {
    pub(super) fn of(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let pieces = Pieces::default();
        Self { status, content_type, allow: None, pieces, lines: None }.and(body)
    }

    pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::of(status, TEXT, body)
    }

    pub(super) fn json(status: StatusCode) -> Self {
        Self::of(status, JSON, Bytes::new())
    }

    pub(super) fn serialized(value: &impl Serialize) -> Self {
        match serde_json::to_string_pretty(value) {
            Ok(body) => Self::json(StatusCode::OK).and(body).and("\n"),
            Err(error) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }

    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        let body = format!("expected {allow}\n");
        Self { allow: Some(allow), ..Self::text(StatusCode::METHOD_NOT_ALLOWED, body) }
    }

    /// Lines without end.
    pub(super) fn lines(lines: Lines) -> Self {
        Self { lines: Some(Box::new(lines)), ..Self::of(StatusCode::OK, LINES, Bytes::new()) }
    }

    pub(super) fn and(mut self, piece: impl Into<Bytes>) -> Self {
        let piece = piece.into();
        if !piece.is_empty() {
            self.pieces.0.push_back(piece);
        }
        self
    }

    /// Adds bytes that someone else holds, without copying them.
    pub(super) fn and_shared(self, piece: Arc<[u8]>) -> Self {
        self.and(Bytes::from_owner(piece))
    }

    pub(super) fn into_response(self) -> Response<Sent> {
        let streams = self.lines.is_some();
        let mut response = Response::new(self.lines.map_or(Sent::Pieces(self.pieces), Sent::Lines));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if streams {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Pieces(pieces) => Pin::new(pieces).poll_frame(context),
            Self::Lines(lines) => Pin::new(&mut **lines).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Pieces(pieces) => pieces.is_end_stream(),
            Self::Lines(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Pieces(pieces) => pieces.size_hint(),
            Self::Lines(_) => SizeHint::default(),
        }
    }
}
