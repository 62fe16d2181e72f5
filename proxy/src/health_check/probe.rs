//! One probe, on a connection of its own: that one can be opened is part of what is asked.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, TE, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use outrigger_certs::mesh::Spoken;
use outrigger_snapshot::policy::Probe;
use tokio::io::AsyncWriteExt;

use super::{Target, grpc};
use crate::connect::{self, TlsFailure};
use crate::error::ProxyError;
use crate::identity::Identity;
use crate::opaque::answer;
use crate::story::Milestones;
use crate::transport::Transport;

/// Answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 10;

/// What a probe says it is.
const AGENT: HeaderValue = HeaderValue::from_static("outrigger-health-check");

const GRPC_STATUS: &str = "grpc-status";

/// Why an endpoint is not well.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwell {
    /// No connection.
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    /// No TLS.
    #[error("{0}")]
    Tls(TlsFailure),
    /// Its sidecar carries no connection to it.
    #[error("its sidecar answers: {0:?}")]
    Turned(answer::Answer),
    /// The connection broke.
    #[error("no answer: {0}")]
    Exchange(hyper::Error),
    /// A status beyond 399.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// A gRPC status other than 0.
    #[error("it answered grpc-status {0:?}")]
    GrpcStatus(String),
    /// Another word than `SERVING`.
    #[error("it is not serving (status {0})")]
    NotServing(u64),
    /// Not what was asked for.
    #[error("its answer is not one of grpc.health.v1.Health/Check")]
    Strange,
    /// The check can't be sent as it is.
    #[error("the check's host or path can't be sent")]
    Unsendable,
    /// It took too long.
    #[error("no answer in {0} ms")]
    Late(u64),
}

/// Asks once.
pub(super) async fn probe(target: &Target, identity: &Identity) -> Result<(), Unwell> {
    let limit = std::time::Duration::from_millis(target.check.timeout_ms);
    let late = Unwell::Late(target.check.timeout_ms);
    tokio::time::timeout(limit, ask(target, identity)).await.unwrap_or(Err(late))
}

async fn ask(target: &Target, identity: &Identity) -> Result<(), Unwell> {
    let http2 = target.http2 || matches!(target.check.probe, Probe::Grpc { .. });
    let spoken = match http2 {
        _ if target.opaque => Spoken::Opaque,
        true => Spoken::Http2,
        false => Spoken::Http1,
    };
    let reached = connect::reach(&target.endpoint, identity, spoken, &Milestones::default()).await;
    let mut stream = reached.map_err(|error| match error {
        ProxyError::Tls { failure } => Unwell::Tls(failure),
        ProxyError::ConnectFailed { error, .. } => Unwell::Connect(error),
        other => Unwell::Connect(std::io::Error::other(other)),
    })?;
    if target.opaque {
        match answer::read(&mut stream, &target.endpoint.key().tls).await.map_err(Unwell::Connect)? {
            answer::Answer::Carried => {}
            turned => return Err(Unwell::Turned(turned)),
        }
    }
    match &target.check.probe {
        Probe::Tcp => {
            // It was opened, and that is all: the end is for the workload behind a sidecar.
            let _ = stream.shutdown().await;
            Ok(())
        }
        Probe::Http { path, host } => {
            let host = host.as_ref().unwrap_or(&target.host);
            let request = request(Method::GET, host, path, target.http2, Bytes::new())?;
            let response = exchange(stream, request, target.http2).await?;
            let status = response.status();
            let well = status.is_success() || status.is_redirection();
            if well { Ok(()) } else { Err(Unwell::Status(status)) }
        }
        Probe::Grpc { service } => {
            let question = Bytes::from(grpc::question(service));
            let mut request = request(Method::POST, &target.host, grpc::PATH, true, question)?;
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
            let response = exchange(stream, request, true).await?;
            serving(response)
        }
    }
}

/// An answer with all that is read of it.
type Answer = Response<(Bytes, HeaderMap)>;

fn serving(response: Answer) -> Result<(), Unwell> {
    if response.status() != StatusCode::OK {
        return Err(Unwell::Status(response.status()));
    }
    let (body, trailers) = response.body();
    let status = trailers.get(GRPC_STATUS).or_else(|| response.headers().get(GRPC_STATUS));
    match status.map(HeaderValue::as_bytes) {
        Some(b"0") => match grpc::answer(body) {
            Some(grpc::SERVING) => Ok(()),
            Some(other) => Err(Unwell::NotServing(other)),
            None => Err(Unwell::Strange),
        },
        Some(other) => Err(Unwell::GrpcStatus(String::from_utf8_lossy(other).into_owned())),
        None => Err(Unwell::Strange),
    }
}

fn request(
    method: Method,
    host: &str,
    path: &str,
    http2: bool,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Unwell> {
    let mut request = Request::new(Full::new(body));
    let mut parts = uri::Parts::default();
    parts.path_and_query = Some(path.parse().map_err(|_| Unwell::Unsendable)?);
    if http2 {
        parts.scheme = Some(uri::Scheme::HTTP);
        parts.authority = Some(host.parse().map_err(|_| Unwell::Unsendable)?);
    } else {
        let host = HeaderValue::try_from(host).map_err(|_| Unwell::Unsendable)?;
        request.headers_mut().insert(HOST, host);
    }
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Unwell::Unsendable)?;
    *request.method_mut() = method;
    request.headers_mut().insert(USER_AGENT, AGENT);
    Ok(request)
}

async fn exchange(stream: Transport, request: Request<Full<Bytes>>, http2: bool) -> Result<Answer, Unwell> {
    let io = TokioIo::new(stream);
    if http2 {
        let builder = http2::Builder::new(Local);
        let (mut sender, connection) = builder.handshake(io).await.map_err(Unwell::Exchange)?;
        let answered =
            async move { gathered(sender.send_request(request).await.map_err(Unwell::Exchange)?).await };
        driven(answered, connection).await
    } else {
        let (mut sender, connection) = http1::handshake(io).await.map_err(Unwell::Exchange)?;
        let answered =
            async move { gathered(sender.send_request(request).await.map_err(Unwell::Exchange)?).await };
        driven(answered, connection).await
    }
}

/// Waits for the answer while the connection is driven.
async fn driven(
    answered: impl Future<Output = Result<Answer, Unwell>>,
    connection: impl Future,
) -> Result<Answer, Unwell> {
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        answer = answered.as_mut() => answer,
        // The connection may end before the answer was looked at; the answer is there then.
        _ = connection => answered.await,
    }
}

/// The answer with its body, as far as that is read: whoever answers with more is well, but not a gRPC service.
async fn gathered(response: Response<Incoming>) -> Result<Answer, Unwell> {
    let (parts, body) = response.into_parts();
    let gathered = match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(body) => {
            let trailers = body.trailers().cloned().unwrap_or_default();
            (body.to_bytes(), trailers)
        }
        Err(_) => Default::default(),
    };
    Ok(Response::from_parts(parts, gathered))
}

/// Runs the tasks of an HTTP/2 connection on this thread.
#[derive(Debug, Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
