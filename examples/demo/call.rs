//! Asking another service, as a plain HTTP/1.1 client does that honours `http_proxy`.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Connections kept for the next question.
const IDLE_MAX: usize = 64;
/// Headers that belong to the call as a whole, which a service copies from its caller: the trace goes on.
const COPIED: [&str; 3] = ["traceparent", "tracestate", "x-request-id"];

type Sender = http1::SendRequest<Empty<Bytes>>;

/// Another service.
#[derive(Debug)]
pub(super) struct Callee {
    url: Uri,
    /// Whom to connect to: the proxy, or the service itself.
    dial: String,
    through_proxy: bool,
    host: HeaderValue,
    idle: Mutex<Vec<Sender>>,
}

/// What it said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Nothing came back, for this reason.
#[derive(Debug)]
pub(super) struct NoAnswer(pub(super) &'static str);

impl Callee {
    /// The service at `url`, asked through the `http_proxy` given. Fails with a sentence for whoever set them.
    pub(super) fn new(url: Uri, http_proxy: Option<&str>) -> Result<Self, String> {
        let authority =
            url.authority().ok_or_else(|| format!("--calls {url}: there is no host in it"))?.as_str();
        let host = HeaderValue::from_str(authority).map_err(|error| format!("--calls {url}: {error}"))?;
        let dial = match http_proxy {
            Some(proxy) => {
                let proxy: Uri = proxy.parse().map_err(|error| format!("http_proxy={proxy}: {error}"))?;
                proxy.authority().map(ToString::to_string).ok_or("http_proxy: there is no host in it")?
            }
            None if url.port().is_some() => authority.to_owned(),
            None => format!("{authority}:80"),
        };
        Ok(Self { dial, through_proxy: http_proxy.is_some(), host, idle: Mutex::default(), url })
    }

    /// Asks it.
    pub(super) async fn ask(&self, caller: &HeaderMap) -> Result<Answer, NoAnswer> {
        // A kept connection may have been closed just now; asking twice does no harm here, so another one is taken.
        while let Some(mut sender) = self.take_idle() {
            if let Ok(answer) = self.exchange(&mut sender, caller).await {
                self.keep(sender);
                return Ok(answer);
            }
        }
        let stream = TcpStream::connect(&self.dial).await.map_err(|_| NoAnswer("refused"))?;
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| NoAnswer("closed"))?;
        tokio::spawn(connection);
        let answer = self.exchange(&mut sender, caller).await.map_err(|_| NoAnswer("closed"))?;
        self.keep(sender);
        Ok(answer)
    }

    async fn exchange(&self, sender: &mut Sender, caller: &HeaderMap) -> Result<Answer, hyper::Error> {
        sender.ready().await?;
        let mut request = Request::new(Empty::new());
        // To a proxy the whole URL is sent, to the service itself only the path.
        *request.uri_mut() = match self.url.path_and_query() {
            Some(path) if !self.through_proxy => Uri::from(path.clone()),
            _ => self.url.clone(),
        };
        request.headers_mut().insert(header::HOST, self.host.clone());
        for name in COPIED {
            if let Some(value) = caller.get(name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        idle.pop()
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(sender);
        }
    }
}
