//! Version 2: bytes.

use std::net::{IpAddr, SocketAddr};

use super::{Header, HeaderError, Pair};

/// Longest header. The addresses take at most 232 bytes; the rest is for what proxies add to them.
pub const V2_BYTES_MAX: usize = 4 * 1024;

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;
const VERSION: u8 = 2;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;
/// Family and transport.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// Addresses of two internet sockets, and of two unix sockets.
const V4_BYTES: usize = 12;
const V6_BYTES: usize = 36;
const UNIX_BYTES: usize = 216;
/// The type of the field that has a checksum of the whole header, itself taken as zeroes (CRC-32C, RFC 9260 appendix A).
const CHECKSUM: u8 = 3;
const CHECKSUM_BYTES: usize = 4;

pub(super) fn read(first: &[u8]) -> Result<Option<(Header, usize)>, HeaderError> {
    let [version_command, family, high, low, ..] = *first.get(SIGNATURE.len()..).unwrap_or_default() else {
        return Ok(None);
    };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    let (version, command) = (version_command >> 4, version_command & 0x0f);
    if version != VERSION || command > PROXY || family >> 4 > 3 || family & 0x0f > 2 {
        return Err(HeaderError::Unassigned);
    }
    if length > V2_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    let Some(header) = first.get(..length) else { return Ok(None) };
    // What else such a header says is to be skipped.
    if command == LOCAL {
        return Ok(Some((Header::Local, length)));
    }
    let content = &header[FIXED_BYTES..];
    let addresses_bytes = match (family >> 4, family & 0x0f) {
        (0, _) | (_, 0) => return Ok(Some((Header::Unknown, length))),
        (1, _) => V4_BYTES,
        (2, _) => V6_BYTES,
        _ => UNIX_BYTES,
    };
    let (addresses, fields) = content.split_at_checked(addresses_bytes).ok_or(HeaderError::Length)?;
    check_fields(header, fields)?;
    let read = match family {
        TCP4 => proxied::<4>(addresses),
        TCP6 => proxied::<16>(addresses),
        _ => Some(Header::Unknown),
    };
    Ok(Some((read.ok_or(HeaderError::Length)?, length)))
}

/// Two addresses of `BYTES` bytes, then two ports.
fn proxied<const BYTES: usize>(addresses: &[u8]) -> Option<Header>
where
    [u8; BYTES]: Into<IpAddr>,
{
    let (source, rest) = addresses.split_first_chunk::<BYTES>()?;
    let (destination, rest) = rest.split_first_chunk::<BYTES>()?;
    let [source_high, source_low, destination_high, destination_low] = *rest else { return None };
    Some(Header::Proxied {
        source: SocketAddr::new((*source).into(), u16::from_be_bytes([source_high, source_low])),
        destination: SocketAddr::new(
            (*destination).into(),
            u16::from_be_bytes([destination_high, destination_low]),
        ),
    })
}

/// What follows the addresses: its lengths must fit, its checksum must be right, all else is skipped.
fn check_fields(header: &[u8], mut fields: &[u8]) -> Result<(), HeaderError> {
    while !fields.is_empty() {
        let [kind, high, low, rest @ ..] = fields else { return Err(HeaderError::Length) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = rest.split_at_checked(length).ok_or(HeaderError::Length)?;
        if *kind == CHECKSUM {
            let expected = <[u8; CHECKSUM_BYTES]>::try_from(value).map_err(|_| HeaderError::Length)?;
            let at = header.len() - rest.len();
            let before = crc32c(!0, &header[..at]);
            let zeroes = crc32c(before, &[0; CHECKSUM_BYTES]);
            if !crc32c(zeroes, next) != u32::from_be_bytes(expected) {
                return Err(HeaderError::Checksum);
            }
        }
        fields = next;
    }
    Ok(())
}

/// The Castagnoli polynomial, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const CRC_OF_BYTE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Goes on with a CRC-32C, which begins with all ones and is inverted at the end.
pub(super) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| (crc >> 8) ^ CRC_OF_BYTE[usize::from(crc as u8 ^ byte)])
}

pub(super) fn write(header: &Header, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(SIGNATURE);
    let (source, destination) = match header {
        Header::Local => return bytes.extend_from_slice(&[VERSION << 4 | LOCAL, 0, 0, 0]),
        Header::Unknown => return bytes.extend_from_slice(&[VERSION << 4 | PROXY, 0, 0, 0]),
        Header::Proxied { source, destination } => (*source, *destination),
    };
    match Pair::new(source, destination) {
        Pair::V4([source, destination]) => {
            bytes.extend_from_slice(&[VERSION << 4 | PROXY, TCP4, 0, V4_BYTES as u8]);
            bytes.extend_from_slice(&[source.ip().octets(), destination.ip().octets()].concat());
        }
        Pair::V6([source, destination]) => {
            bytes.extend_from_slice(&[VERSION << 4 | PROXY, TCP6, 0, V6_BYTES as u8]);
            bytes.extend_from_slice(&[source.0.octets(), destination.0.octets()].concat());
        }
    }
    bytes.extend_from_slice(&source.port().to_be_bytes());
    bytes.extend_from_slice(&destination.port().to_be_bytes());
}
