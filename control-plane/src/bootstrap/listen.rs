//! Where the API may listen: whoever reaches it can change all routing of the mesh.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Shortest accepted bearer token, in bytes.
const TOKEN_BYTES_MIN: usize = 16;

/// Largest accepted token file, in bytes.
const TOKEN_BYTES_MAX: usize = 4_096;

/// An address at which the API may be served, and how.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Port 0 picks a free one.
    pub address: SocketAddr,
    /// Served over TLS with these.
    pub tls: Option<TlsFiles>,
    /// What each request must carry.
    pub token: Option<Token>,
}

/// The files of a TLS server.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// A bearer token; never printed.
#[derive(Clone)]
pub struct Token(String);

/// Why the API can't be served there.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Reachable by others without TLS or without a token.
    #[error(
        "refusing to serve the API on {address} (--listen) without {missing}: whoever reaches it could re-route the mesh; \
         give --tls-cert, --tls-key and --token-file, or listen on 127.0.0.1"
    )]
    Exposed {
        /// The address.
        address: SocketAddr,
        /// What is missing.
        missing: &'static str,
    },
    /// The token file can't be read.
    #[error("can't read the token file {} (--token-file)", path.display())]
    TokenUnreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The token can't be sent in a header, or could be guessed.
    #[error(
        "the token in {} (--token-file) is unusable: expected one line of {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII \
         characters, for example from `openssl rand -hex 32`", path.display()
    )]
    TokenUnusable {
        /// Which file.
        path: PathBuf,
    },
}

impl Listen {
    /// Checks that others than local processes get in only over TLS and with a token.
    pub fn new(
        address: SocketAddr,
        tls: Option<TlsFiles>,
        token_file: Option<&Path>,
    ) -> Result<Self, ListenError> {
        let token = token_file.map(Token::read).transpose()?;
        let missing = match (&tls, &token) {
            (None, None) => Some("TLS and a bearer token"),
            (None, Some(_)) => Some("TLS"),
            (Some(_), None) => Some("a bearer token"),
            (Some(_), Some(_)) => None,
        };
        match missing {
            Some(missing) if !address.ip().is_loopback() => Err(ListenError::Exposed { address, missing }),
            _ => Ok(Self { address, tls, token }),
        }
    }
}

impl Token {
    /// The token in a file: its one line, without white space around it.
    pub fn read(path: &Path) -> Result<Self, ListenError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ListenError::TokenUnreadable { path: path.to_owned(), source })?;
        let token = text.trim();
        let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len()) {
            Ok(Self(token.to_owned()))
        } else {
            Err(ListenError::TokenUnusable { path: path.to_owned() })
        }
    }

    /// Whether `presented` is this token. Takes as long for a nearly right one as for a wrong one of the same length.
    pub fn admits(&self, presented: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differing = own.iter().zip(presented).fold(0_u8, |all, (one, other)| all | (one ^ other));
        own.len() == presented.len() && differing == 0
    }

    /// For a client to send.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(redacted)")
    }
}
