//! Where things go that are not addresses of this proxy: the application, and reports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::place::{UNIX, socket};

/// The application beside this proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum App {
    /// At an address.
    At {
        /// Which.
        address: IpAddr,
        /// Its port; none: the target port of the service's port that was called.
        port: Option<u16>,
    },
    /// At a socket of the machine, by its path.
    Socket(PathBuf),
}

/// Where reports go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportTarget {
    /// A file of its own in this folder.
    Folder(PathBuf),
    /// A control plane.
    ControlPlane(Collector),
}

/// A control plane that collects reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// Whether it is called over TLS.
    pub tls: bool,
    /// Host name or address, without port and brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What comes before `/v1/reports`; empty or starting with a slash.
    pub prefix: String,
    /// File with the bearer token. Read anew for each report, so that it can be replaced.
    pub token_file: Option<PathBuf>,
    /// File with the certificates of the authorities to trust; none: the system's.
    pub ca_file: Option<PathBuf>,
}

/// `--report` as it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReportUrl {
    Folder(PathBuf),
    ControlPlane { tls: bool, host: String, port: u16, prefix: String },
}

/// A place in the file system, as opposed to a URL of something else.
pub(super) fn is_folder(store: &str) -> bool {
    folder(store).is_some()
}

/// The path in `text`, if it names a folder: a plain path or a `file://` URL.
pub(super) fn folder(text: &str) -> Option<&str> {
    match text.split_once("://") {
        None => Some(text),
        Some(("file", path)) => Some(path),
        Some(_) => None,
    }
}

impl FromStr for App {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "{text:?} is no address of the application; expected an IP address or localhost, with or without a port, such as \
                 127.0.0.1:8080, or unix:/PATH of a socket"
            )
        };
        if let Some(path) = text.strip_prefix(UNIX) {
            return socket(path).map(Self::Socket);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            let port = Some(address.port()).filter(|port| *port != 0);
            return port.map(|_| Self::At { address: address.ip(), port }).ok_or_else(expected);
        }
        if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(Self::At { address, port: None });
        }
        let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        let port =
            port.map(|port| port.parse().ok().filter(|port| *port != 0).ok_or_else(expected)).transpose()?;
        if host == "localhost" {
            Ok(Self::At { address: Ipv4Addr::LOCALHOST.into(), port })
        } else {
            Err(expected())
        }
    }
}

impl FromStr for ReportUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = folder(text).filter(|path| !path.is_empty()) {
            return Ok(Self::Folder(PathBuf::from(path)));
        }
        let expected = || {
            format!(
                "{text:?} is nowhere to report to; expected a folder, or http(s)://HOST[:PORT] of a control plane"
            )
        };
        let uri: http::Uri = text.parse().map_err(|_| expected())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(expected()),
        };
        let authority = uri.authority().ok_or_else(expected)?;
        let plain = !authority.as_str().contains('@') && uri.query().is_none();
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if !plain || host.is_empty() {
            return Err(expected());
        }
        Ok(Self::ControlPlane {
            tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}
