//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): a header before the first byte of a connection that says
//! between whom it was when the proxy in front took it. Reading is a function of the first bytes, and says how many of them are the header.
//!
//! Only for peers that are trusted to tell the truth: anyone can write such a header.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use outrigger_snapshot::policy::{ProxyProtocol, ProxyVersion, ProxyWriter};

mod version1;
mod version2;

pub use version1::V1_BYTES_MAX;
pub use version2::V2_BYTES_MAX;

/// The versions, as a service is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

impl Version {
    /// The one that the application expects, if `writer` is to write it.
    pub fn written_by(writer: ProxyWriter, wanted: Option<ProxyProtocol>) -> Option<Self> {
        let ProxyProtocol { version, .. } = wanted.filter(|wanted| wanted.written_by == writer)?;
        Some(match version {
            ProxyVersion::V1 => Self::V1,
            ProxyVersion::V2 => Self::V2,
        })
    }
}

/// Between whom a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Between {
    /// Who opened it.
    pub source: SocketAddr,
    /// To what, if that is not where it was accepted.
    pub destination: Option<SocketAddr>,
}

impl From<SocketAddr> for Between {
    fn from(source: SocketAddr) -> Self {
        Self { source, destination: None }
    }
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The connection is the proxy's own, to see whether we are well: its addresses are those of the socket.
    Local,
    /// Between whom it was is not known, or was not over TCP and IP: the addresses are those of the socket.
    Unknown,
    /// The connection that is carried on.
    Proxied {
        /// Who opened it.
        source: SocketAddr,
        /// To what.
        destination: SocketAddr,
    },
}

impl Header {
    /// Who opened the connection, if the header says so.
    pub fn source(&self) -> Option<SocketAddr> {
        match self {
            Self::Local | Self::Unknown => None,
            Self::Proxied { source, .. } => Some(*source),
        }
    }
}

/// Why there is no header where one must be. The peer is at fault, or was not meant to send one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Other bytes.
    #[error(
        "the connection does not begin with a PROXY protocol header: does the proxy in front of it send one?"
    )]
    Absent,
    /// A line without an end.
    #[error("the PROXY protocol header is longer than {V1_BYTES_MAX} bytes")]
    LineTooLong,
    /// A line that says something else than it should.
    #[error("the PROXY protocol header (version 1) is not well formed")]
    Line,
    /// A version or a command that nobody has defined.
    #[error("the PROXY protocol header (version 2) has a version, a command or a family that is unknown")]
    Unassigned,
    /// More than we read.
    #[error("the PROXY protocol header (version 2) is longer than {V2_BYTES_MAX} bytes")]
    TooLong,
    /// The lengths do not fit.
    #[error("the lengths in the PROXY protocol header (version 2) contradict one another")]
    Length,
    /// It was damaged on its way.
    #[error("the checksum of the PROXY protocol header (version 2) is wrong")]
    Checksum,
}

/// Reads a header of either version from the first bytes of a connection: what it says and how long it is, or `None` while more must come.
pub fn read(first: &[u8]) -> Result<Option<(Header, usize)>, HeaderError> {
    let is_either = |signature: &[u8]| {
        let known = first.len().min(signature.len());
        first[..known] == signature[..known]
    };
    match (is_either(version1::SIGNATURE), is_either(version2::SIGNATURE)) {
        (false, false) => Err(HeaderError::Absent),
        (true, true) => Ok(None),
        (true, false) => version1::read(first),
        (false, true) => version2::read(first),
    }
}

/// Appends the header that goes before the first byte.
pub fn write(version: Version, header: &Header, bytes: &mut Vec<u8>) {
    match version {
        Version::V1 => version1::write(header, bytes),
        Version::V2 => version2::write(header, bytes),
    }
}

/// The addresses as they stand in a header, which has room for one family only.
enum Pair {
    V4([std::net::SocketAddrV4; 2]),
    V6([(Ipv6Addr, u16); 2]),
}

impl Pair {
    fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        match (source, destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => Self::V4([source, destination]),
            _ => Self::V6([source, destination].map(|address| match address.ip() {
                IpAddr::V4(mapped) => (mapped.to_ipv6_mapped(), address.port()),
                IpAddr::V6(own) => (own, address.port()),
            })),
        }
    }
}

#[cfg(test)]
mod tests;
