//! Where the application's connections are taken: at an address, or at a socket of the machine (unix(7)).

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest path of a socket, in bytes: that of `sockaddr_un`, with the zero at its end (unix(7)).
const SOCKET_BYTES_MAX: usize = 107;

/// What the path of a socket is typed after.
pub(super) const UNIX: &str = "unix:";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At an address.
    Address(SocketAddr),
    /// At a socket of the machine, by its path.
    Socket(PathBuf),
}

impl Place {
    /// The address, if it is one.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Socket(_) => None,
        }
    }

    /// Whether two listeners would get in each other's way here: port 0 is another one each time.
    pub(super) fn is_one(&self) -> bool {
        self.address().is_none_or(|address| address.port() != 0)
    }
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::Socket(path.to_owned())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::Socket(path) => write!(formatter, "{UNIX}{}", path.display()),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return socket(path).map(Self::Socket);
        }
        text.parse().map(Self::Address).map_err(|_| {
            "expected an IP address and a port, such as 127.0.0.1:15001, or unix:/PATH of a socket".to_owned()
        })
    }
}

/// The path of a socket.
pub(super) fn socket(path: &str) -> Result<PathBuf, String> {
    match path.len() {
        _ if !path.starts_with('/') => {
            Err(format!("unix:{path} is no absolute path of a socket; expected one like unix:/run/app.sock"))
        }
        0..=SOCKET_BYTES_MAX => Ok(path.into()),
        long => Err(format!(
            "the path of the socket has {long} bytes, and the system takes at most {SOCKET_BYTES_MAX}"
        )),
    }
}
