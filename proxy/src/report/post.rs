//! `POST /v1/reports`, on a connection of its own each time: reports are seldom, and an idle connection would cost both sides
//! memory.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::tls::{self, TlsError};
use crate::config::Collector;

/// Until a report has arrived, from the name's resolution to the answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Of what a refusing control plane says, what is passed on, in characters.
const SAID_CHARACTERS_MAX: usize = 200;
/// Largest token file, in bytes.
const TOKEN_BYTES_MAX: usize = 4 << 10;

/// Why a control plane did not get a report.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// No connection.
    #[error("can't connect to {0}")]
    Connect(String, #[source] std::io::Error),
    /// No TLS.
    #[error("can't speak TLS with {0}")]
    Tls(String, #[source] TlsError),
    /// The token can't be had.
    #[error("can't use the token in {} (--report-token-file): expected one line of visible ASCII characters", .0.display())]
    Token(PathBuf),
    /// The connection broke.
    #[error("the connection broke")]
    Exchange(#[source] hyper::Error),
    /// It took too long.
    #[error("no answer in {} s", DEADLINE.as_secs())]
    Late,
    /// It answered something else than success.
    #[error("it answered {status}: {said}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The beginning of the body.
        said: String,
    },
}

/// Sends `body` once.
pub(super) async fn post(collector: &Collector, body: Vec<u8>) -> Result<(), PostError> {
    tokio::time::timeout(DEADLINE, exchange(collector, body)).await.unwrap_or(Err(PostError::Late))
}

async fn exchange(collector: &Collector, body: Vec<u8>) -> Result<(), PostError> {
    let Collector { tls, host, port, prefix, .. } = collector;
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = http::Method::POST;
    let target = format!("{prefix}/v1/reports");
    let connect = |error| PostError::Connect(authority.clone(), error);
    let invalid = || connect(std::io::Error::other("its URL can't be sent"));
    *request.uri_mut() = target.parse().map_err(|_| invalid())?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::try_from(&authority).map_err(|_| invalid())?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(path) = &collector.token_file {
        headers.insert(AUTHORIZATION, token(path).ok_or_else(|| PostError::Token(path.clone()))?);
    }
    let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(connect)?;
    if !tls {
        return send(stream, request).await;
    }
    let failed = |error| PostError::Tls(authority.clone(), error);
    let connector = tls::connector(collector.ca_file.as_deref()).map_err(failed)?;
    let name = ServerName::try_from(host.clone()).map_err(|_| failed(TlsError::Name(host.clone())))?;
    let stream = connector.connect(name, stream).await.map_err(|error| failed(TlsError::Handshake(error)))?;
    send(stream, request).await
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<(), PostError> {
    let answer = answered(stream, request).await?;
    if answer.status().is_success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(answer.body()).chars().take(SAID_CHARACTERS_MAX).collect();
    Err(PostError::Refused { status: answer.status(), said })
}

/// What a control plane answers to one request, as far as it is read: 64 KiB.
pub(crate) async fn answered(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, PostError> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(PostError::Exchange)?;
    let answered = async move {
        let (head, body) = sender.send_request(request).await.map_err(PostError::Exchange)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        Ok(Response::from_parts(head, body.map(|body| body.to_bytes()).unwrap_or_default()))
    };
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        answer = answered.as_mut() => answer,
        // The connection may end before the answer was looked at; the answer is there then.
        _ = connection => answered.await,
    }
}

fn token(path: &std::path::Path) -> Option<HeaderValue> {
    let length = std::fs::metadata(path).ok()?.len();
    let text =
        if length <= TOKEN_BYTES_MAX as u64 { std::fs::read_to_string(path).ok()? } else { return None };
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}
