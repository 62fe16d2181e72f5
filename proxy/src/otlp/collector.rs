//! The way to a collector, by gRPC or over HTTP.

use std::path::Path;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::header::{CONTENT_TYPE, LOCATION};
use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode};
use reqwest::redirect::Policy;
use tokio::runtime::{Builder, Runtime};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use super::OtlpError;
use crate::config::{Otlp, OtlpProtocol};
use crate::report::system_file;

/// Bytes of an answer that are read, so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The longest that what was not taken waits before it is told again; twice as long each further time.
const WAIT_FIRST: Duration = Duration::from_millis(200);
/// No longer than this.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Of where a collector sends, so much is told.
const LOCATION_CHARS_MAX: usize = 256;
const PROTOBUF: &str = "application/x-protobuf";

/// A collector, as one signal comes to it.
#[derive(Debug)]
pub struct Collector {
    way: Way,
    headers: HeaderMap,
    timeout: Duration,
}

#[derive(Debug)]
enum Way {
    Grpc(Grpc<Channel>, PathAndQuery),
    Http(reqwest::Client, String),
}

/// Why a collector has not taken something.
#[derive(Debug, thiserror::Error)]
pub enum Untold {
    /// Not in time.
    #[error("it has not answered within {0:?}")]
    Late(Duration),
    /// It cannot be reached by gRPC.
    #[error("it cannot be reached")]
    Unreached(#[from] tonic::transport::Error),
    /// It says no.
    #[error("{}: {}", .0.code().description(), .0.message())]
    Refused(#[from] Status),
    /// It cannot be reached over HTTP, or breaks off.
    #[error("it cannot be reached, or breaks off")]
    Broken(#[from] reqwest::Error),
    /// It wants someone else to be told.
    #[error("it answers with status {status} and sends to {to}; redirects are not followed: tell that one")]
    Redirected {
        /// What it answers.
        status: StatusCode,
        /// Where it sends, without what may be secret.
        to: String,
    },
    /// It answers with a status that is no success.
    #[error("it answers with status {0}")]
    Status(StatusCode),
}

impl Collector {
    /// One for a thread that does nothing but tell it, and the runtime that it runs on there.
    pub fn with_runtime(to: &Otlp, method: &'static str) -> Result<(Runtime, Self), OtlpError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let collector = Self::new(to, method)?;
        drop(entered);
        Ok((runtime, collector))
    }

    /// Sets the way up, on the runtime that it will run on; nothing is connected yet. `method` is what gRPC calls it.
    fn new(to: &Otlp, method: &'static str) -> Result<Self, OtlpError> {
        let way = match to.protocol {
            OtlpProtocol::Grpc => Way::Grpc(Grpc::new(channel(to)?), PathAndQuery::from_static(method)),
            OtlpProtocol::Http => Way::Http(client(to)?, to.endpoint.clone()),
        };
        Ok(Self { way, headers: to.headers.clone(), timeout: to.timeout })
    }

    /// Tells it, and again if it could not take it just then, within the time that the settings leave.
    pub async fn tell(&mut self, said: Vec<u8>) -> Result<(), Untold> {
        let (said, timeout) = (Bytes::from(said), self.timeout);
        let mut last = None;
        let telling = async {
            let mut wait = WAIT_FIRST;
            loop {
                match self.tell_once(said.clone()).await {
                    Err(untold) if untold.is_passing() => last = Some(untold),
                    ended => return ended,
                }
                tokio::time::sleep(wait.mul_f64(fastrand::f64())).await;
                wait = (2 * wait).min(WAIT_MAX);
            }
        };
        let told = tokio::time::timeout(timeout, telling).await;
        told.unwrap_or_else(|_| Err(last.unwrap_or(Untold::Late(timeout))))
    }

    async fn tell_once(&mut self, said: Bytes) -> Result<(), Untold> {
        let headers = self.headers.clone();
        match &mut self.way {
            Way::Grpc(client, method) => {
                client.ready().await?;
                let request =
                    Request::from_parts(MetadataMap::from_headers(headers), Default::default(), said);
                client.unary(request, method.clone(), AsItIs).await?;
                Ok(())
            }
            Way::Http(client, url) => {
                let request = client.post(url.as_str()).headers(headers).header(CONTENT_TYPE, PROTOBUF);
                let mut answer = request.body(said).send().await?;
                let mut read = 0;
                while read < ANSWER_BYTES_MAX
                    && let Some(chunk) = answer.chunk().await?
                {
                    read += chunk.len();
                }
                said_by(&answer)
            }
        }
    }
}

impl Untold {
    /// Whether the same may be taken a little later ("OpenTelemetry Protocol Specification", "Failures").
    fn is_passing(&self) -> bool {
        match self {
            Self::Unreached(_) | Self::Broken(_) => true,
            Self::Refused(status) => matches!(
                status.code(),
                Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Aborted
                    | Code::OutOfRange
                    | Code::Unavailable
                    | Code::DataLoss
            ),
            Self::Status(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Late(_) | Self::Redirected { .. } => false,
        }
    }
}

fn said_by(answer: &reqwest::Response) -> Result<(), Untold> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let to = answer.headers().get(LOCATION).filter(|_| status.is_redirection());
    match to.and_then(|to| answer.url().join(to.to_str().ok()?).ok()) {
        Some(to) => Err(Untold::Redirected { status, to: tellable(to) }),
        None => Err(Untold::Status(status)),
    }
}

/// Scheme, host and path: user, password, query and fragment may be secrets.
fn tellable(mut url: reqwest::Url) -> String {
    // Fails where there is no host, and then neither is there a user.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().chars().take(LOCATION_CHARS_MAX).collect()
}

fn channel(to: &Otlp) -> Result<Channel, OtlpError> {
    let mut endpoint = Endpoint::from_shared(to.endpoint.clone())?;
    if is_secure(to) {
        let mut tls = ClientTlsConfig::new();
        // Those that may have signed its certificate are the ones of a file, or the system's.
        if let Some(path) = to.ca_file.clone().or_else(system_file) {
            tls = tls.ca_certificate(Certificate::from_pem(read(&path, "CERTIFICATE")?));
        }
        if let Some(client) = &to.client {
            let certificate = read(&client.certificate, "CLIENT_CERTIFICATE")?;
            tls = tls.identity(Identity::from_pem(certificate, read(&client.key, "CLIENT_KEY")?));
        }
        endpoint = endpoint.tls_config(tls)?;
    }
    Ok(endpoint.connect_lazy())
}

fn client(to: &Otlp) -> Result<reqwest::Client, OtlpError> {
    // Where the collector is, the operator says; what an application is told of proxies is not for this one.
    // A redirect would take what is told, and the headers that let it in, to who was not named; or turn it into a GET that any page answers.
    let mut client = reqwest::Client::builder().no_proxy().redirect(Policy::none());
    if let Some(path) = to.ca_file.as_deref().filter(|_| is_secure(to)) {
        let roots = reqwest::Certificate::from_pem_bundle(&read(path, "CERTIFICATE")?)?;
        client = client.tls_certs_only(roots);
    }
    if let Some(files) = to.client.as_ref().filter(|_| is_secure(to)) {
        let mut both = read(&files.certificate, "CLIENT_CERTIFICATE")?;
        both.push(b'\n');
        both.extend(read(&files.key, "CLIENT_KEY")?);
        client = client.identity(reqwest::Identity::from_pem(&both)?);
    }
    Ok(client.build()?)
}

fn is_secure(to: &Otlp) -> bool {
    to.endpoint.starts_with("https:")
}

fn read(path: &Path, variable: &'static str) -> Result<Vec<u8>, OtlpError> {
    std::fs::read(path).map_err(|source| OtlpError::Unreadable { path: path.to_owned(), variable, source })
}

/// What is told is laid out before; of what is answered, that it is no error is enough.
#[derive(Debug, Clone, Copy)]
struct AsItIs;

impl Codec for AsItIs {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for AsItIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, said: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(said);
        Ok(())
    }
}

impl Decoder for AsItIs {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, answer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        answer.advance(answer.remaining());
        Ok(Some(()))
    }
}

#[cfg(test)]
mod tests;
