//! Version 1: a line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Header, HeaderError, Pair};

/// Longest line, its end included.
pub const V1_BYTES_MAX: usize = 107;

pub(super) const SIGNATURE: &[u8] = b"PROXY";

const END: &[u8] = b"\r\n";

pub(super) fn read(first: &[u8]) -> Result<Option<(Header, usize)>, HeaderError> {
    let within = &first[..first.len().min(V1_BYTES_MAX)];
    let Some(length) = within.windows(END.len()).position(|window| window == END) else {
        return if within.len() < V1_BYTES_MAX { Ok(None) } else { Err(HeaderError::LineTooLong) };
    };
    let line = std::str::from_utf8(&within[SIGNATURE.len()..length]).map_err(|_| HeaderError::Line)?;
    let header = header(line).ok_or(HeaderError::Line)?;
    Ok(Some((header, length + END.len())))
}

fn header(line: &str) -> Option<Header> {
    let mut words = line.split(' ');
    // Before the first blank there is nothing.
    if words.next() != Some("") {
        return None;
    }
    let is_v4 = match words.next()? {
        // What else it says does not count.
        "UNKNOWN" => return Some(Header::Unknown),
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let mut address = || if is_v4 { ip::<Ipv4Addr>(words.next()?) } else { ip::<Ipv6Addr>(words.next()?) };
    let (source, destination) = (address()?, address()?);
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then(|| Header::Proxied {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn ip<A: FromStr + Into<IpAddr>>(word: &str) -> Option<IpAddr> {
    word.parse::<A>().ok().map(Into::into)
}

/// Decimal digits without a zero before them.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    plain.then(|| word.parse().ok()).flatten()
}

pub(super) fn write(header: &Header, bytes: &mut Vec<u8>) {
    let line = match header {
        // There is no word for a connection of one's own.
        Header::Local | Header::Unknown => "PROXY UNKNOWN\r\n".to_owned(),
        Header::Proxied { source, destination } => match Pair::new(*source, *destination) {
            Pair::V4([source, destination]) => format!(
                "PROXY TCP4 {} {} {} {}\r\n",
                source.ip(),
                destination.ip(),
                source.port(),
                destination.port()
            ),
            Pair::V6([source, destination]) => {
                format!("PROXY TCP6 {} {} {} {}\r\n", source.0, destination.0, source.1, destination.1)
            }
        },
    };
    bytes.extend_from_slice(line.as_bytes());
}
