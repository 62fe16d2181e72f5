//! Where the certificate comes from that proves who this proxy is.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use outrigger_certs::files::Files;
use outrigger_snapshot::join_token::{TOKEN_BYTES_MAX, TokenError, TokenText};
use spiffe::transport::Endpoint;

use super::target::ReportUrl;
use super::{ConfigError, flags::Flags};

/// Port of `--ca` where the URL names none.
const CA_PORT: u16 = 15_301;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityFrom {
    /// Files that something else renews.
    Files(Files),
    /// The mesh's own authority.
    Ca(CertificateAuthority),
    /// An agent on this machine that speaks the SPIFFE Workload API, such as SPIRE's.
    WorkloadApi(WorkloadSocket),
}

/// Where the SPIFFE Workload API is served: `unix:PATH`, as `SPIFFE_ENDPOINT_SOCKET` spells it (SPIFFE Workload Endpoint, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadSocket(PathBuf);

impl WorkloadSocket {
    /// As the client wants it.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.0.clone())
    }
}

impl fmt::Display for WorkloadSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "unix:{}", self.0.display())
    }
}

impl std::str::FromStr for WorkloadSocket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Endpoint::parse(text) {
            Ok(Endpoint::Unix(path)) => Ok(Self(path)),
            _ => Err(format!(
                "{text:?} is no socket of a SPIFFE Workload API; expected unix:PATH, such as unix:/run/spire/agent/public/api.sock"
            )),
        }
    }
}

/// A control plane that makes certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateAuthority {
    /// Host name or address, without port and brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What lets this proxy in at first, if it was given any.
    pub token: Option<TokenFrom>,
}

/// Where a join token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenFrom {
    /// In a file, which is read anew for each try, so that it can be replaced.
    File(PathBuf),
    /// Here.
    Text(TokenText),
}

/// Why there is no join token where one should be.
#[derive(Debug, thiserror::Error)]
pub enum TokenFromError {
    /// The file can't be read.
    #[error("can't read the join token in {} (--join-token-file)", .0.display())]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// It holds something else.
    #[error("{} (--join-token-file)", .0.display())]
    NoToken(PathBuf, #[source] TokenError),
}

impl CertificateAuthority {
    /// The join token as of now.
    pub fn token(&self) -> Result<Option<TokenText>, TokenFromError> {
        let path = match &self.token {
            None => return Ok(None),
            Some(TokenFrom::Text(text)) => return Ok(Some(text.clone())),
            Some(TokenFrom::File(path)) => path,
        };
        let unreadable = |error| TokenFromError::Unreadable(path.clone(), error);
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        file.take(TOKEN_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
        TokenText::read(&text).map(Some).map_err(|error| TokenFromError::NoToken(path.clone(), error))
    }
}

impl fmt::Display for CertificateAuthority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            write!(formatter, "[{host}]:{port}")
        } else {
            write!(formatter, "{host}:{port}")
        }
    }
}

/// `--join-token` as it is typed: a secret, of which nothing is printed.
#[derive(Clone)]
pub(super) struct TypedToken(String);

impl From<String> for TypedToken {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for TypedToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Which of several it is, for the tests of precedence.
        write!(formatter, "TypedToken({} bytes)", self.0.len())
    }
}

pub(super) fn identity(flags: &Flags) -> Result<Option<IdentityFrom>, ConfigError> {
    let wrong = |text: &str| Err(ConfigError::Combination(text.to_owned()));
    let typed = flags.join_token.as_ref().filter(|typed| !typed.0.is_empty());
    let has_token = flags.join_token_file.is_some() || typed.is_some();
    if let Some(socket) = flags.workload_api.clone() {
        let others =
            [flags.identity_cert.is_some(), flags.identity_key.is_some(), flags.ca.is_some(), has_token];
        return match others {
            [false, false, false, false] => Ok(Some(IdentityFrom::WorkloadApi(socket))),
            _ => wrong(
                "--workload-api says where this sidecar's identity comes from: leave --ca and its join token, --identity-cert and --identity-key",
            ),
        };
    }
    match (flags.identity_cert.clone(), flags.identity_key.clone(), flags.ca.clone()) {
        (None, None, None) if has_token => wrong(
            "a join token (--join-token-file) is for a control plane that makes certificates: name it with --ca",
        ),
        (None, None, None) => Ok(None),
        (None, None, Some(_)) if flags.join_token_file.is_some() && typed.is_some() => {
            wrong("--join-token-file and --join-token are two join tokens: give one")
        }
        (None, None, Some(url)) => {
            let text = typed.map(|typed| TokenText::read(&typed.0)).transpose();
            let text = text.map_err(|error| ConfigError::Combination(format!("--join-token: {error}")))?;
            let file = flags.join_token_file.clone().map(TokenFrom::File);
            let token = file.or(text.map(TokenFrom::Text));
            Ok(Some(IdentityFrom::Ca(CertificateAuthority { token, ..url.0 })))
        }
        (Some(certificate), Some(key), None) if !has_token => {
            Ok(Some(IdentityFrom::Files(Files { certificate, key })))
        }
        (Some(_), None, None) | (None, Some(_), None) => wrong(
            "--identity-cert and --identity-key go together: a certificate proves nothing without its key",
        ),
        _ => wrong(
            "--ca and its join token, and --identity-cert with --identity-key, are two ways to one identity: give one of them",
        ),
    }
}

/// `--ca` as it is typed.
#[derive(Debug, Clone)]
pub(super) struct CaUrl(CertificateAuthority);

impl std::str::FromStr for CaUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("{text:?} is no control plane that makes certificates; expected https://HOST[:PORT]");
        let Ok(ReportUrl::ControlPlane { tls: true, host, port, prefix }) = text.parse() else {
            return Err(expected());
        };
        if !prefix.is_empty() {
            return Err(expected());
        }
        let named = text.parse::<http::Uri>().ok().and_then(|uri| uri.port_u16()).is_some();
        Ok(Self(CertificateAuthority { host, port: if named { port } else { CA_PORT }, token: None }))
    }
}
