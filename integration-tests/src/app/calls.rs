//! An application that answers gRPC calls, all of them in one way. It speaks HTTP/2 and looks at no message.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{ANY, Serving, listen};

/// An empty message: neither compressed nor of any length.
pub const MESSAGE: &[u8] = &[0; 5];

/// How it answers.
#[derive(Debug, Clone, Copy)]
pub enum Manner {
    /// With a message, after so long.
    Well(Duration),
    /// With this status in the head, at once: "Trailers-Only".
    InHead(u16),
    /// With a head, and this status in the trailers, at once.
    InTrailers(u16),
    /// With a message, and then this status in the trailers.
    AfterMessage(u16),
    /// As a sidecar does that sheds: asked to come back after so many milliseconds.
    Shed(u16),
}

/// A running one. Dropped, it stops listening.
#[derive(Debug)]
pub struct Calls {
    /// Where it listens.
    pub addr: SocketAddr,
    seen: Arc<AtomicU64>,
    _serving: Serving,
}

impl Calls {
    /// Starts one on a free port.
    pub async fn start(manner: Manner) -> Self {
        let seen = Arc::<AtomicU64>::default();
        let counted = seen.clone();
        let (addr, serving) = listen(ANY, move |stream| converse(stream, manner, counted.clone())).await;
        Self { addr, seen, _serving: serving }
    }

    /// Calls so far.
    pub fn seen(&self) -> u64 {
        self.seen.load(Relaxed)
    }
}

async fn converse(stream: TcpStream, manner: Manner, seen: Arc<AtomicU64>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let _ = request.into_body().collect().await;
            seen.fetch_add(1, Relaxed);
            if let Manner::Well(after) = manner {
                tokio::time::sleep(after).await;
            }
            Ok::<_, Infallible>(answer(manner))
        }
    });
    // How a connection ends is the business of whoever ended it.
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
}

fn answer(manner: Manner) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let message = || Frame::data(Bytes::from_static(MESSAGE));
    let (head, frames) = match manner {
        Manner::Well(_) => (HeaderMap::new(), vec![message(), Frame::trailers(status(0))]),
        Manner::InHead(code) => (status(code), Vec::new()),
        Manner::InTrailers(code) => (HeaderMap::new(), vec![Frame::trailers(status(code))]),
        Manner::AfterMessage(code) => (HeaderMap::new(), vec![message(), Frame::trailers(status(code))]),
        Manner::Shed(wait_ms) => {
            let mut head = status(14);
            head.insert("outrigger-shed", HeaderValue::from_static("1"));
            head.insert("grpc-retry-pushback-ms", HeaderValue::from(wait_ms));
            (head, Vec::new())
        }
    };
    let body = StreamBody::new(stream::iter(frames.into_iter().map(Ok))).boxed_unsync();
    let mut response = Response::new(body);
    *response.headers_mut() = head;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn status(code: u16) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(code))])
}
