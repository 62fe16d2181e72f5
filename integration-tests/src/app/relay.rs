//! An application in the middle of a chain: it answers each request by asking the next service, and says 503 when that fails.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{ANY, Serving, listen};
use crate::client::{Connection, request};

/// A running relay. Dropped, it stops listening.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    _serving: Serving,
}

#[derive(Debug)]
struct Shared {
    next: OnceLock<(SocketAddr, String)>,
    passes: Vec<&'static str>,
    idle: Mutex<Vec<Connection>>,
    last: Mutex<HeaderMap>,
}

impl Relay {
    /// Starts one that passes on these fields of a request, and nothing else of its head.
    pub async fn start(passes: &[&'static str]) -> Self {
        let shared = Arc::new(Shared {
            next: OnceLock::new(),
            passes: passes.to_vec(),
            idle: Mutex::default(),
            last: Mutex::default(),
        });
        let (addr, serving) = listen(ANY, {
            let shared = shared.clone();
            move |stream| converse(stream, shared.clone())
        })
        .await;
        Self { addr, shared, _serving: serving }
    }

    /// Has it ask `host`, through its sidecar.
    pub fn ask(&self, outbound: SocketAddr, host: &str) {
        self.shared.next.set((outbound, host.to_owned())).expect("it is told once whom to ask");
    }

    /// The fields of the last request.
    pub fn last(&self) -> HeaderMap {
        self.shared.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, path: &str, headers: &HeaderMap) -> Option<StatusCode> {
        let (outbound, host) = self.next.get()?;
        let mut onward = request(Method::GET, host, path, "");
        for name in &self.passes {
            if let Some(value) = headers.get(*name) {
                onward.headers_mut().insert(*name, value.clone());
            }
        }
        let kept = self.idle().pop().filter(Connection::is_open);
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open(*outbound, Version::HTTP_11).await.ok()?,
        };
        let answer = connection.send(onward).await.ok()?;
        self.idle().push(connection);
        Some(answer.status)
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let shared = shared.clone();
        async move {
            let path = request.uri().path().to_owned();
            *shared.last.lock().unwrap_or_else(PoisonError::into_inner) = request.headers().clone();
            let mut response = Response::new(Full::new(Bytes::new()));
            if shared.answer(&path, request.headers()).await != Some(StatusCode::OK) {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            Ok::<_, Infallible>(response)
        }
    });
    // How a connection ends is the business of whoever ended it.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}
