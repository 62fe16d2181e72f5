//! The ClientHello that a TLS connection begins with (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2), as far as one needs it to tell where the
//! connection goes. A function of the first bytes: it keeps no state, takes nothing off the connection, and answers the same however the
//! bytes were cut on their way.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use self::reader::{Ends, Reader};

mod reader;

/// Most bytes that a ClientHello may take, its record headers included. One with a post-quantum key share has about 1,800; the rest is
/// for session tickets.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// Longest host name, in bytes (RFC 1035 §2.3.4, without the root's dot).
const HOST_BYTES_MAX: usize = 253;

/// Longest label of a host name, in bytes (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;

const RECORD_HANDSHAKE: u8 = 22;
const RECORD_HEADER_BYTES: usize = 5;
/// Of a record's plaintext (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;
const CLIENT_HELLO: u8 = 1;
/// Type and length of a handshake message.
const MESSAGE_HEADER_BYTES: usize = 4;
const RANDOM_BYTES: usize = 32;
const SESSION_ID_BYTES_MAX: usize = 32;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// Too few to tell.
    NeedMore,
    /// Not the beginning of TLS.
    NotTls,
    /// A ClientHello.
    Hello(ClientHello),
    /// TLS by its first bytes, but not well formed.
    Malformed(HelloError),
}

/// What a client says before anything is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The host that it wants, in lower case (RFC 6066 §3).
    pub server_name: Option<Box<str>>,
    /// The protocols that it offers.
    pub alpn: Alpn,
    /// The highest version that it speaks, as on the wire: 0x0304 is TLS 1.3.
    pub version_max: u16,
}

/// Protocols that a client offers (RFC 7301 §3.1), in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alpn(Box<[u8]>);

impl Alpn {
    /// Each of them.
    pub fn protocols(&self) -> impl Iterator<Item = &[u8]> {
        let mut reader = Reader::new(&self.0);
        std::iter::from_fn(move || reader.vector8().ok())
    }

    /// Whether `protocol` is among them.
    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.protocols().any(|offered| offered == protocol)
    }
}

/// Why a ClientHello cannot be read. The client is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Beyond [`HELLO_BYTES_MAX`].
    #[error("the ClientHello is longer than {HELLO_BYTES_MAX} bytes")]
    TooLong,
    /// A record that does not go on with the message, is empty, or is too long.
    #[error("the ClientHello is interrupted by a record that does not belong to it")]
    Record,
    /// A length leads past the end, or bytes are left over.
    #[error("the lengths in the ClientHello contradict one another")]
    Length,
    /// An extension came twice: which of them counts is not for us to say.
    #[error("the ClientHello has an extension twice")]
    Twice,
    /// The name is no host name: empty, too long, an address, or of characters that no host name has.
    #[error("the ClientHello asks for a host whose name is none")]
    ServerName,
}

impl From<Ends> for HelloError {
    fn from(_: Ends) -> Self {
        Self::Length
    }
}

/// Reads the first bytes of a connection. What follows the ClientHello is not looked at.
pub fn read(first: &[u8]) -> Opening {
    let within = &first[..first.len().min(HELLO_BYTES_MAX)];
    let message = match message(within) {
        Ok(message) => message,
        Err(Opening::NeedMore) if within.len() == HELLO_BYTES_MAX => {
            return Opening::Malformed(HelloError::TooLong);
        }
        Err(opening) => return opening,
    };
    match hello(&message) {
        Ok(hello) => Opening::Hello(hello),
        Err(error) => Opening::Malformed(error),
    }
}

/// The message, header and all, put together from its records.
fn message(first: &[u8]) -> Result<Cow<'_, [u8]>, Opening> {
    let mut rest = first;
    let mut gathered = Cow::Borrowed(&[][..]);
    loop {
        let (fragment, after) = record(rest, gathered.is_empty())?;
        if gathered.is_empty() {
            gathered = Cow::Borrowed(fragment);
        } else {
            gathered.to_mut().extend_from_slice(fragment);
        }
        if let Some(bytes) = message_bytes(&gathered)?
            && bytes <= gathered.len()
        {
            return Ok(match gathered {
                Cow::Borrowed(whole) => Cow::Borrowed(&whole[..bytes]),
                Cow::Owned(mut whole) => {
                    whole.truncate(bytes);
                    Cow::Owned(whole)
                }
            });
        }
        rest = after.ok_or(Opening::NeedMore)?;
    }
}

/// What is there of a record's content, and what follows the record if it is complete.
fn record(bytes: &[u8], is_first: bool) -> Result<(&[u8], Option<&[u8]>), Opening> {
    let strange = if is_first { Opening::NotTls } else { Opening::Malformed(HelloError::Record) };
    // Byte by byte: what can be told from the first must not wait for the fifth.
    match bytes {
        [kind, ..] if *kind != RECORD_HANDSHAKE => return Err(strange),
        [_, major, ..] if *major != 3 => return Err(strange),
        _ => {}
    }
    let [_, _, _, high, low, content @ ..] = bytes else { return Err(Opening::NeedMore) };
    match usize::from(u16::from_be_bytes([*high, *low])) {
        0 => Err(strange),
        length if length > RECORD_BYTES_MAX => Err(strange),
        length if length > content.len() => Ok((content, None)),
        length => Ok((&content[..length], Some(&content[length..]))),
    }
}

/// How long the message is, header and all, once that is known.
fn message_bytes(gathered: &[u8]) -> Result<Option<usize>, Opening> {
    if gathered.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(Opening::NotTls);
    }
    let [_, high, middle, low, ..] = gathered else { return Ok(None) };
    let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
    if length > HELLO_BYTES_MAX - MESSAGE_HEADER_BYTES - RECORD_HEADER_BYTES {
        return Err(Opening::Malformed(HelloError::TooLong));
    }
    Ok(Some(MESSAGE_HEADER_BYTES + length))
}

fn hello(message: &[u8]) -> Result<ClientHello, HelloError> {
    let mut reader = Reader::new(message);
    reader.take(MESSAGE_HEADER_BYTES)?;
    let mut hello = ClientHello { server_name: None, alpn: Alpn::default(), version_max: reader.number16()? };
    reader.take(RANDOM_BYTES)?;
    let session_id = reader.vector8()?;
    let ciphers = reader.vector16()?;
    let compressions = reader.vector8()?;
    let odd = ciphers.is_empty() || ciphers.len() % 2 != 0;
    if session_id.len() > SESSION_ID_BYTES_MAX || odd || compressions.is_empty() {
        return Err(HelloError::Length);
    }
    // TLS 1.2 and before may end here.
    if !reader.is_empty() {
        let extensions = reader.vector16()?;
        if !reader.is_empty() {
            return Err(HelloError::Length);
        }
        read_extensions(extensions, &mut hello)?;
    }
    Ok(hello)
}

fn read_extensions(extensions: &[u8], hello: &mut ClientHello) -> Result<(), HelloError> {
    let mut reader = Reader::new(extensions);
    let mut seen = [false; 3];
    while !reader.is_empty() {
        let (kind, content) = (reader.number16()?, reader.vector16()?);
        let place = match kind {
            SERVER_NAME => 0,
            ALPN => 1,
            SUPPORTED_VERSIONS => 2,
            // Those that we do not look at, and those that mean nothing at all (RFC 8701).
            _ => continue,
        };
        if std::mem::replace(&mut seen[place], true) {
            return Err(HelloError::Twice);
        }
        match kind {
            SERVER_NAME => hello.server_name = Some(server_name(content)?),
            ALPN => hello.alpn = alpn(content)?,
            _ => hello.version_max = version_max(content)?,
        }
    }
    Ok(())
}

/// A list, of which only host names have ever been defined, and of those at most one is allowed (RFC 6066 §3).
fn server_name(content: &[u8]) -> Result<Box<str>, HelloError> {
    let mut reader = Reader::new(content);
    let mut names = Reader::new(reader.vector16()?);
    let (kind, name) = (names.number8()?, names.vector16()?);
    if !reader.is_empty() || !names.is_empty() {
        return Err(HelloError::Length);
    }
    let name = std::str::from_utf8(name).map_err(|_| HelloError::ServerName)?;
    if kind != 0 || !is_host_name(name) {
        return Err(HelloError::ServerName);
    }
    Ok(name.to_ascii_lowercase().into_boxed_str())
}

fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let fits = (1..=LABEL_BYTES_MAX).contains(&label.len());
        fits && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= HOST_BYTES_MAX && name.split('.').all(is_label) && name.parse::<Ipv4Addr>().is_err()
}

fn alpn(content: &[u8]) -> Result<Alpn, HelloError> {
    let mut reader = Reader::new(content);
    let list = reader.vector16()?;
    let mut protocols = Reader::new(list);
    if !reader.is_empty() || list.is_empty() {
        return Err(HelloError::Length);
    }
    while !protocols.is_empty() {
        if protocols.vector8()?.is_empty() {
            return Err(HelloError::Length);
        }
    }
    Ok(Alpn(list.into()))
}

/// The highest of the versions that have a meaning; a client may offer some that have none (RFC 8701).
fn version_max(content: &[u8]) -> Result<u16, HelloError> {
    let mut reader = Reader::new(content);
    let mut versions = Reader::new(reader.vector8()?);
    if !reader.is_empty() || versions.is_empty() {
        return Err(HelloError::Length);
    }
    let mut highest = 0;
    while !versions.is_empty() {
        let version = versions.number16()?;
        if version & 0x0f0f != 0x0a0a {
            highest = version.max(highest);
        }
    }
    Ok(highest)
}

#[cfg(test)]
mod tests;
