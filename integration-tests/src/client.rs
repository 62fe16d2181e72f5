//! A client that tells apart all the ways in which a request can fail.

use std::convert::Infallible;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// After this long without an answer a request has failed.
pub const ANSWER_MAX: Duration = Duration::from_secs(20);

/// A request body, of known or unknown length.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A whole response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, to the end.
    pub body: Bytes,
    /// Its trailers, empty if there were none.
    pub trailers: HeaderMap,
}

impl Answer {
    /// A header's first value, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Why the proxy wrote or altered this response, empty if it did not.
    pub fn reason(&self) -> &str {
        self.header("outrigger-reason")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, null if it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Why there is no whole response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens there.
    Refused,
    /// The connection was reset.
    Reset,
    /// The connection ended before the response did.
    Closed,
    /// Nothing came in [`ANSWER_MAX`].
    Timeout,
    /// Anything else, in the words of the codec.
    Other(String),
}

impl Failure {
    /// Finds the input/output error at the bottom.
    fn from_codec(error: &hyper::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return Self::from_io(io);
            }
            cause = error.source();
        }
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            return Self::Closed;
        }
        Self::Other(format!("{error:?}"))
    }

    fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::UnexpectedEof | ErrorKind::NotConnected => Self::Closed,
            ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    sender: Sender,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Connection {
    /// Connects with HTTP/1.1, or HTTP/2 by prior knowledge.
    ///
    /// # Errors
    /// When nobody listens, or the handshake fails.
    pub async fn open(addr: SocketAddr, version: Version) -> Result<Self, Failure> {
        let stream = TcpStream::connect(addr).await.map_err(|error| Failure::from_io(&error))?;
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(stream);
        let sender = if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(|error| Failure::from_codec(&error))?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) =
                http1::handshake(io).await.map_err(|error| Failure::from_codec(&error))?;
            tokio::spawn(connection.with_upgrades());
            Sender::Http1(sender)
        };
        Ok(Self { sender })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the answer is not whole.
    pub async fn send(&mut self, request: Request<Body>) -> Result<Answer, Failure> {
        tokio::time::timeout(ANSWER_MAX, self.exchange(request)).await.unwrap_or(Err(Failure::Timeout))
    }

    /// Whether another request can go over it.
    pub fn is_open(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => !sender.is_closed(),
            Sender::Http2(sender) => !sender.is_closed(),
        }
    }

    /// Sends a request and reads the head of the answer; the rest stays to be read.
    ///
    /// # Errors
    /// When the head is not whole.
    pub async fn begin(&mut self, request: Request<Body>) -> Result<Response<Incoming>, Failure> {
        let sent = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await.map_err(|error| Failure::from_codec(&error))?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await.map_err(|error| Failure::from_codec(&error))?;
                sender.send_request(request).await
            }
        };
        sent.map_err(|error| Failure::from_codec(&error))
    }

    async fn exchange(&mut self, request: Request<Body>) -> Result<Answer, Failure> {
        let (head, body) = self.begin(request).await?.into_parts();
        let whole = body.collect().await.map_err(|error| Failure::from_codec(&error))?;
        let trailers = whole.trailers().cloned().unwrap_or_default();
        Ok(Answer {
            status: head.status,
            version: head.version,
            headers: head.headers,
            body: whole.to_bytes(),
            trailers,
        })
    }
}

/// One request on a connection of its own, HTTP/1.1 in origin form unless it says otherwise.
///
/// # Errors
/// When there is no whole answer.
pub async fn send(addr: SocketAddr, request: Request<Body>) -> Result<Answer, Failure> {
    Connection::open(addr, request.version()).await?.send(request).await
}

/// `GET path` with that `Host`.
///
/// # Errors
/// When there is no whole answer.
pub async fn fetch(addr: SocketAddr, host: &str, path: &str) -> Result<Answer, Failure> {
    send(addr, request(Method::GET, host, path, "")).await
}

/// `GET path` of an admin or metrics page.
///
/// # Errors
/// When there is no whole answer.
pub async fn page(addr: SocketAddr, path: &str) -> Result<Answer, Failure> {
    fetch(addr, &addr.to_string(), path).await
}

/// A request in origin form.
pub fn request(method: Method, host: &str, path: &str, body: impl Into<Bytes>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, host)
        .body(Full::new(body.into()).boxed_unsync())
        .expect("tests write valid requests")
}

/// The same over HTTP/2.
pub fn request2(method: Method, host: &str, path: &str, body: impl Into<Bytes>) -> Request<Body> {
    Request::builder()
        .method(method)
        .version(Version::HTTP_2)
        .uri(format!("http://{host}{path}"))
        .body(Full::new(body.into()).boxed_unsync())
        .expect("tests write valid requests")
}

/// A body of unknown length, in these pieces, with these trailers if there are any.
pub fn pieces(pieces: &[&'static str], trailers: Option<HeaderMap>) -> Body {
    let data = pieces.iter().map(|piece| Frame::data(Bytes::from_static(piece.as_bytes())));
    let frames: Vec<_> = data.chain(trailers.map(Frame::trailers)).map(Ok).collect();
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

/// Sends these very bytes and reads until the other side closes, resets, or is silent for `patience`.
///
/// # Errors
/// When nobody listens.
pub async fn raw(addr: SocketAddr, bytes: &[u8], patience: Duration) -> Result<Vec<u8>, Failure> {
    let mut stream = TcpStream::connect(addr).await.map_err(|error| Failure::from_io(&error))?;
    // The other side may refuse and close before it has read everything: what it said still counts.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut part = [0; 8192];
    while let Ok(Ok(count)) = tokio::time::timeout(patience, stream.read(&mut part)).await {
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&part[..count]);
    }
    Ok(answer)
}
