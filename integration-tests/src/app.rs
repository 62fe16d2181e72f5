//! Applications that do as the path says.
//!
//! | path | answer |
//! |---|---|
//! | `/slow/MS` | after that many milliseconds |
//! | `/status/N` | with that status |
//! | `/bytes/N` | N bytes of known length |
//! | `/chunked/N` | N chunks of 1 KiB, of unknown length |
//! | `/drip/N` | N bytes, one every 50 ms |
//! | `/trailers` | a body and a trailer `x-sum: 42` |
//! | `/flaky/N` | every Nth with 500 |
//! | `/half` | half of them, in no order, with 503 |
//! | `/later/N` | the application's first N with 503 |
//! | `/never` | never |
//! | `/hang/N` | the application's first N never |
//! | `/stall` | a head, some bytes, and then nothing |
//! | `/broken` | a head, some bytes, and then a broken connection |
//! | `/upgrade` | 101 to any upgrade, then echoes bytes |
//! | `/health` | 200, or 503 while [`App::sicken`] says so; not counted among the requests |
//! | any other | what it was asked, as JSON |
//!
//! Every answer names the application in `x-app`. What no HTTP library can be made to do is in [`raw`].

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub mod bench;
pub mod burner;
pub mod calls;
pub mod faulty;
pub mod raw;
pub mod relay;
pub mod slots;

/// Of a chunk of `/chunked`.
const CHUNK_BYTES: usize = 1024;
/// Between two bytes of `/drip`.
const DRIP: Duration = Duration::from_millis(50);
/// So long `/broken` goes on, for its head to arrive.
const BROKEN_AFTER: Duration = Duration::from_millis(100);
/// A body that is echoed back in the JSON at most; of longer ones only the length is.
const ECHO_BYTES_MAX: usize = 4096;

/// Any free port.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A running application. Dropped, it resets its connections and stops listening.
#[derive(Debug)]
pub struct App {
    /// Where it listens.
    pub addr: SocketAddr,
    seen: Arc<Seen>,
    _serving: Serving,
}

/// What has happened to an application.
#[derive(Debug)]
struct Seen {
    name: String,
    requests: AtomicU64,
    connections: AtomicU64,
    sick: AtomicBool,
    half: AtomicBool,
    last: Mutex<Option<http::request::Parts>>,
}

impl App {
    /// Starts one on a free port. It speaks HTTP/1.1 and HTTP/2.
    pub async fn start(name: &str) -> Self {
        Self::start_at(name, ANY).await
    }

    /// Starts one on this very address.
    pub async fn start_at(name: &str, addr: SocketAddr) -> Self {
        let seen = Arc::new(Seen {
            name: name.to_owned(),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            sick: AtomicBool::new(false),
            half: AtomicBool::new(false),
            last: Mutex::new(None),
        });
        let (addr, serving) = listen(addr, {
            let seen = Arc::clone(&seen);
            move |stream| converse(stream, Arc::clone(&seen))
        })
        .await;
        Self { addr, seen, _serving: serving }
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::Relaxed)
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// Makes its health page fail, or not.
    pub fn sicken(&self, sick: bool) {
        self.seen.sick.store(sick, Ordering::Relaxed);
    }

    /// Makes it answer half of its requests with 503, in no order, or not.
    pub fn fail_half(&self, fail: bool) {
        self.seen.half.store(fail, Ordering::Relaxed);
    }

    /// Head of the last request, if there was one.
    pub fn last(&self) -> Option<http::request::Parts> {
        self.seen.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A listener at work. Dropped, it stops, and its connections go.
#[derive(Debug)]
struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens on `addr` and has each connection looked after by `converse`.
async fn listen<F: Future<Output = ()> + Send + 'static>(
    addr: SocketAddr,
    converse: impl Fn(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, Serving) {
    let listener = TcpListener::bind(addr).await.expect("the application's address is free");
    let addr = listener.local_addr().expect("a bound socket has an address");
    (addr, Serving(tokio::spawn(serve(listener, converse))))
}

/// Accepts for as long as it can, and has each connection looked after by a task of its own.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    converse: impl Fn(TcpStream) -> F,
) {
    // Dropped together with this task, so that the connections go when the application does.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let _ = stream.set_nodelay(true);
        connections.spawn(converse(stream));
    }
}

async fn converse(stream: TcpStream, seen: Arc<Seen>) {
    seen.connections.fetch_add(1, Ordering::Relaxed);
    let answer = service_fn(move |request| {
        let seen = Arc::clone(&seen);
        async move { Ok::<_, Infallible>(answer(request, &seen).await) }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    // How a connection ends is the business of the test that ended it.
    let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), answer).await;
}

async fn answer(request: Request<Incoming>, seen: &Seen) -> Response<Body> {
    if request.uri().path() == "/health" {
        let mut response = Response::new(full(Vec::new()));
        if seen.sick.load(Ordering::Relaxed) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        return response;
    }
    let number = seen.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let (head, body) = request.into_parts();
    *seen.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(head.clone());
    let path = head.uri.path().to_owned();
    let mut steps = path.split('/').skip(1);
    let verb = steps.next().unwrap_or_default();
    let count: u64 = steps.next().and_then(|text| text.parse().ok()).unwrap_or_default();
    let mut response = match verb {
        "never" => std::future::pending().await,
        "hang" if number <= count => std::future::pending().await,
        "upgrade" => upgrade(Request::from_parts(head, body)),
        "bytes" => Response::new(full(vec![b'x'; count as usize])),
        "chunked" => Response::new(chunks(count as usize)),
        "drip" => Response::new(drip(count as usize)),
        "trailers" => Response::new(with_trailers()),
        "stall" => Response::new(unfinished(None)),
        "broken" => Response::new(unfinished(Some(BROKEN_AFTER))),
        _ => {
            if verb == "slow" {
                tokio::time::sleep(Duration::from_millis(count)).await;
            }
            echo(head, body, &seen.name).await
        }
    };
    let status = match verb {
        "status" => u16::try_from(count).ok().and_then(|count| StatusCode::from_u16(count).ok()),
        _ if (verb == "half" || seen.half.load(Ordering::Relaxed))
            && fastrand::Rng::with_seed(number).bool() =>
        {
            Some(StatusCode::SERVICE_UNAVAILABLE)
        }
        "later" if number <= count => Some(StatusCode::SERVICE_UNAVAILABLE),
        "flaky" if count > 0 && number.is_multiple_of(count) => Some(StatusCode::INTERNAL_SERVER_ERROR),
        _ => None,
    };
    if let Some(status) = status {
        *response.status_mut() = status;
    }
    let name = HeaderValue::from_str(&seen.name).expect("an application's name can stand in a header");
    response.headers_mut().insert("x-app", name);
    response
}

async fn echo(head: http::request::Parts, body: Incoming, app: &str) -> Response<Body> {
    let (bytes, trailers) = match body.collect().await {
        Ok(whole) => {
            let trailers = whole.trailers().cloned();
            (whole.to_bytes(), trailers)
        }
        Err(error) => return Response::new(full(format!("the request broke: {error}").into_bytes())),
    };
    let text = (bytes.len() <= ECHO_BYTES_MAX).then(|| String::from_utf8_lossy(&bytes).into_owned());
    let told = json!({
        "app": app,
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "version": format!("{:?}", head.version),
        "headers": pairs(&head.headers),
        "trailers": trailers.as_ref().map(pairs),
        "body": text,
        "body_bytes": bytes.len(),
    });
    let mut response = Response::new(full(told.to_string().into_bytes()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

fn upgrade(request: Request<Incoming>) -> Response<Body> {
    let asked = request.headers().get(header::UPGRADE).cloned();
    let mut response = Response::new(full(Vec::new()));
    let Some(asked) = asked else {
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return response;
    };
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else {
            return;
        };
        let mut stream = TokioIo::new(upgraded);
        let mut part = [0; 8192];
        while let Ok(count) = stream.read(&mut part).await {
            if count == 0 || stream.write_all(&part[..count]).await.is_err() {
                break;
            }
        }
        let _ = stream.shutdown().await;
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, asked);
    response
}

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
}

fn chunks(count: usize) -> Body {
    let frames = (0..count).map(|_| Ok(Frame::data(Bytes::from(vec![b'x'; CHUNK_BYTES]))));
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

fn drip(count: usize) -> Body {
    let bytes = stream::iter(0..count).then(|_| async {
        tokio::time::sleep(DRIP).await;
        Ok(Frame::data(Bytes::from_static(b"x")))
    });
    StreamBody::new(bytes).boxed_unsync()
}

fn with_trailers() -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("42"));
    let frames = [Ok(Frame::data(Bytes::from_static(b"summed up"))), Ok(Frame::trailers(trailers))];
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

/// Some bytes, and then an error or silence.
fn unfinished(breaks_after: Option<Duration>) -> Body {
    let begin = stream::iter([Ok(Frame::data(Bytes::from_static(b"so far, so good")))]);
    let end = stream::once(async move {
        match breaks_after {
            Some(wait) => tokio::time::sleep(wait).await,
            None => std::future::pending().await,
        }
        Err(io::Error::other("broken on purpose"))
    });
    StreamBody::new(begin.chain(end)).boxed_unsync()
}
