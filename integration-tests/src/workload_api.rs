//! An agent of the SPIFFE Workload API on a UNIX socket: gRPC over HTTP/2 as the specification has it (SPIFFE Workload API, section 5.2), so
//! far as X.509-SVIDs go. It tells each caller what it knows at once, and everything that it is told later.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// An identity, as an agent tells it.
#[derive(Debug, Clone)]
pub struct AgentSvid {
    /// The SPIFFE ID.
    pub id: String,
    /// The certificate, in DER.
    pub certificate: Vec<u8>,
    /// Its key, in DER (PKCS #8).
    pub key: Vec<u8>,
    /// Those that are believed about its trust domain, in DER, one after the other.
    pub authorities: Vec<u8>,
}

/// See the module. Gone when it is dropped, and its callers with it.
#[derive(Debug)]
pub struct Agent {
    path: PathBuf,
    told: watch::Sender<Vec<AgentSvid>>,
    _serve: JoinSet<()>,
}

impl Agent {
    /// One that listens below `folder` and knows nobody yet.
    pub fn start(folder: &Path) -> Self {
        let path = folder.join("agent.sock");
        // Of one that was there before.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket can be made in a temporary folder");
        let (told, knows) = watch::channel(Vec::new());
        let mut serve = JoinSet::new();
        serve.spawn(async move {
            let mut callers = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let knows = knows.clone();
                let answer = service_fn(move |request| {
                    let answer = answer(&request, knows.clone());
                    async { Ok::<_, Infallible>(answer) }
                });
                let served =
                    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer);
                callers.spawn(async {
                    let _ = served.await;
                });
            }
        });
        Self { path, told, _serve: serve }
    }

    /// As `--workload-api` takes it.
    pub fn socket(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Tells everyone, now and later.
    pub fn tell(&self, svids: &[AgentSvid]) {
        self.told.send_replace(svids.to_vec());
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn answer(request: &Request<Incoming>, knows: watch::Receiver<Vec<AgentSvid>>) -> Response<Body> {
    // Whoever is made to send a request by somebody else cannot set a header of its own choice.
    let meant = request.headers().get("workload.spiffe.io").is_some_and(|value| value == "true");
    let refused = if !meant {
        Some("3")
    } else if request.uri().path() != "/SpiffeWorkloadAPI/FetchX509SVID" {
        Some("12")
    } else if knows.borrow().is_empty() {
        Some("7")
    } else {
        None
    };
    let body = match refused {
        Some(status) => stream::iter([trailers(status)]).boxed(),
        None => stream::unfold((knows, true), async |(mut knows, first)| {
            if !first && knows.changed().await.is_err() {
                return None;
            }
            let message = message(&knows.borrow_and_update());
            Some((Frame::data(message), (knows, false)))
        })
        .boxed(),
    };
    let body = StreamBody::new(body.map(Ok::<_, Infallible>)).boxed_unsync();
    Response::builder().header("content-type", "application/grpc").body(body).expect("it is well-formed")
}

fn trailers(status: &'static str) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    Frame::trailers(trailers)
}

/// An `X509SVIDResponse` as one message of gRPC.
fn message(svids: &[AgentSvid]) -> Bytes {
    let mut response = Vec::new();
    for svid in svids {
        let mut one = Vec::new();
        let fields = [svid.id.as_bytes(), &svid.certificate, &svid.key, &svid.authorities];
        for (number, bytes) in (1..).zip(fields) {
            field(&mut one, number, bytes);
        }
        field(&mut response, 1, &one);
    }
    let mut message = vec![0];
    message.extend((response.len() as u32).to_be_bytes());
    message.extend(response);
    message.into()
}

/// A field of bytes, as Protocol Buffers write it.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
}
