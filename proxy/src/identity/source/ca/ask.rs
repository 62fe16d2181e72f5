//! `POST /v1/certificates` at the control plane, on a connection of its own each time: a certificate is asked for a few times in its life.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use outrigger_certs::enrol::{self, Trust};
use outrigger_certs::problem::Problem;
use outrigger_certs::svid::Svid;
use outrigger_snapshot::join_token::TokenText;
use rustls_pki_types::ServerName;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls;

use crate::config::CertificateAuthority;
use crate::report::{PostError, answered};

/// Until the answer is there, from the name's resolution on.
const DEADLINE: Duration = Duration::from_secs(10);
/// Of what a refusing control plane says, what is passed on, in characters.
const SAID_CHARACTERS_MAX: usize = 400;
/// Longest of its words, in bytes.
const WORD_BYTES_MAX: usize = 40;

/// How this proxy proves who it is.
pub(super) enum Proof {
    /// By the certificate that it has.
    Certificate(Svid),
    /// By a join token.
    Token(TokenText),
}

/// What the control plane answers.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// In PEM, the own certificate first.
    pub(super) chain: String,
    /// By whom the mesh is believed, in PEM.
    pub(super) roots: String,
}

/// Why it does not.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No connection.
    #[error("can't connect to {0} (--ca)")]
    Connect(String, #[source] io::Error),
    /// Somebody else's, or one that this proxy can't believe.
    #[error("what answers at {0} (--ca) does not prove that it is the control plane of this mesh: {1}")]
    Stranger(String, Problem),
    /// No TLS.
    #[error("can't speak TLS with {0} (--ca)")]
    Tls(String, #[source] io::Error),
    /// TLS can't be set up here.
    #[error("TLS can't be set up")]
    Setup(#[from] rustls::Error),
    /// The connection broke.
    #[error(transparent)]
    Exchange(#[from] PostError),
    /// It took too long.
    #[error("{0} (--ca) has not answered in {seconds} s", seconds = DEADLINE.as_secs())]
    Late(String),
    /// It says no.
    #[error("the control plane refuses ({code}): {message}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// Its word for why.
        code: String,
        /// Its sentence.
        message: String,
        /// Before this it looks at nothing, by its `Retry-After`.
        held_off: Option<Duration>,
    },
    /// It says something else.
    #[error("what {0} (--ca) answers is no certificate")]
    Unreadable(String),
}

impl AskError {
    /// Whether another proof may help.
    pub(super) fn is_about_the_proof(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN))
    }

    /// Whether nothing was looked at, for what has failed before.
    pub(super) fn is_held_off(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::TOO_MANY_REQUESTS, .. })
    }

    /// For how long nothing will be looked at, if the control plane has said so.
    pub(super) fn held_off(&self) -> Option<Duration> {
        match self {
            Self::Refused { held_off, .. } => *held_off,
            _ => None,
        }
    }

    /// Its word in metrics.
    pub(super) fn reason(&self) -> String {
        let word = match self {
            Self::Connect(..) => "unreachable",
            Self::Stranger(_, problem) => return format!("control_plane_{}", problem.code()),
            Self::Tls(..) | Self::Setup(_) => "tls",
            Self::Exchange(_) => "broken",
            Self::Late(_) => "late",
            Self::Refused { code, .. } if is_word(code) => code.as_str(),
            Self::Refused { .. } | Self::Unreadable(_) => "unreadable_answer",
        };
        word.to_owned()
    }
}

/// What another process says does not get into metrics as it is.
fn is_word(code: &str) -> bool {
    (1..=WORD_BYTES_MAX).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[derive(Deserialize)]
struct Failure {
    code: String,
    message: String,
}

/// Asks once.
pub(super) async fn ask(
    authority: &CertificateAuthority,
    trust: Trust,
    proof: &Proof,
    request: String,
) -> Result<Answer, AskError> {
    let asked = exchange(authority, trust, proof, request);
    let late = || AskError::Late(authority.to_string());
    tokio::time::timeout(DEADLINE, asked).await.unwrap_or_else(|_| Err(late()))
}

async fn exchange(
    authority: &CertificateAuthority,
    trust: Trust,
    proof: &Proof,
    request: String,
) -> Result<Answer, AskError> {
    let place = authority.to_string();
    let connect = |error| AskError::Connect(place.clone(), error);
    let invalid = || connect(io::Error::other("its URL can't be sent"));
    let mut post = Request::new(Full::new(Bytes::from(request)));
    *post.method_mut() = Method::POST;
    *post.uri_mut() = http::Uri::from_static("/v1/certificates");
    let headers = post.headers_mut();
    headers.insert(HOST, HeaderValue::try_from(&place).map_err(|_| invalid())?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-pem-file"));
    let svid = match proof {
        Proof::Certificate(svid) => Some(svid),
        Proof::Token(token) => {
            let bearer = format!("Bearer {}", token.reveal());
            let mut value = HeaderValue::try_from(bearer).map_err(|_| invalid())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
            None
        }
    };
    let connector = TlsConnector::from(Arc::new(enrol::client(trust, svid)?));
    let name = ServerName::try_from(authority.host.clone()).map_err(|_| invalid())?;
    let stream = TcpStream::connect((authority.host.as_str(), authority.port)).await.map_err(connect)?;
    let stream = connector.connect(name, stream).await.map_err(|error| match problem(&error) {
        Some(problem) => AskError::Stranger(place.clone(), problem),
        None => AskError::Tls(place.clone(), error),
    })?;
    let answer = answered(stream, post).await?;
    if answer.status().is_success() {
        return serde_json::from_slice(answer.body()).map_err(|_| AskError::Unreadable(place));
    }
    Err(refusal(&answer))
}

fn refusal(answer: &Response<Bytes>) -> AskError {
    let cut = |text: String| text.chars().take(SAID_CHARACTERS_MAX).collect();
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let held_off = seconds.map(Duration::from_secs);
    let status = answer.status();
    match serde_json::from_slice::<Failure>(answer.body()) {
        Ok(Failure { code, message }) => {
            AskError::Refused { status, code: cut(code), message: cut(message), held_off }
        }
        Err(_) => {
            let message = cut(String::from_utf8_lossy(answer.body()).into_owned());
            AskError::Refused { status, code: status.as_str().to_owned(), message, held_off }
        }
    }
}

/// What is wrong with the other side's certificate, if that is what is wrong.
fn problem(error: &io::Error) -> Option<Problem> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Problem::of(tls)
}
