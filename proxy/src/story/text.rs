//! What a request says of itself, as far as there is room: method, host, path and id, one after the other.

use std::borrow::Cow;

use http::header::{self, HeaderValue};
use http::request;

use crate::http::forwarded::made_id;

/// Bytes of a path that are kept; what is longer is cut.
pub(super) const PATH_BYTES_MAX: usize = 512;
/// The same of a host, which is no longer where it is valid (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 255;
/// The same of a request id.
pub(super) const ID_BYTES_MAX: usize = 128;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Text {
    bytes: Vec<u8>,
    /// Where the first three end.
    ends: [u16; 3],
    /// The port that it came for, where that is known without its host.
    port: Option<u16>,
    /// What the id is made of, where the client brought none.
    made: [u64; 2],
}

impl Text {
    /// The same room, without what stands there.
    pub(super) fn cleared(mut self) -> Self {
        self.bytes.clear();
        Self { bytes: self.bytes, ..Self::default() }
    }

    pub(super) fn arrives(&mut self, parts: &request::Parts, made: [u64; 2]) {
        self.made = made;
        self.bytes.extend_from_slice(parts.method.as_str().as_bytes());
        self.ends[0] = self.bytes.len() as u16;
        let named = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
        let host = named.or_else(|| parts.headers.get(header::HOST).map(|host| host.as_bytes()));
        self.bytes.extend(cut(host.unwrap_or_default(), HOST_BYTES_MAX));
        self.ends[1] = self.bytes.len() as u16;
        self.bytes.extend(cut(parts.uri.path().as_bytes(), PATH_BYTES_MAX));
        self.ends[2] = self.bytes.len() as u16;
    }

    /// It came for this port, whatever it says of that.
    pub(super) fn comes_for(&mut self, port: Option<u16>) {
        self.port = port;
    }

    /// Its client has named it.
    pub(super) fn is_named(&mut self, id: &HeaderValue) {
        self.bytes.truncate(self.ends[2].into());
        self.bytes.extend(cut(id.as_bytes(), ID_BYTES_MAX));
    }

    /// How long it is, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn made(&self) -> [u64; 2] {
        self.made
    }

    fn part(&self, from: u16, to: u16) -> &[u8] {
        self.bytes.get(from.into()..to.into()).unwrap_or_default()
    }

    /// The method.
    pub fn method(&self) -> Cow<'_, str> {
        lossy(self.part(0, self.ends[0]))
    }

    /// The host that it asks for, with the port if that was said.
    pub fn host(&self) -> Cow<'_, str> {
        lossy(self.part(self.ends[0], self.ends[1]))
    }

    /// The same in two: name or address, and the port that it came for.
    pub fn server(&self) -> (&str, Option<u16>) {
        let host = std::str::from_utf8(self.part(self.ends[0], self.ends[1])).unwrap_or_default();
        let (name, said) = match host.rsplit_once(':') {
            // What ends with a bracket is an IPv6 address.
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
            _ => (host, None),
        };
        (name, self.port.or(said))
    }

    /// The path without the query, which may hold what nobody should read; cut where it is long.
    pub fn path(&self) -> Cow<'_, str> {
        lossy(self.part(self.ends[1], self.ends[2]))
    }

    /// Its `x-request-id`, brought or made.
    pub fn id(&self) -> Cow<'_, str> {
        match self.brought() {
            Some(id) => lossy(id),
            None => lossy(&made_id(self.made)).into_owned().into(),
        }
    }

    /// The same, byte for byte.
    pub fn with_id<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        match self.brought() {
            Some(id) => look(id),
            None => look(&made_id(self.made)),
        }
    }

    /// Whether its client has named it.
    pub fn has_brought_id(&self) -> bool {
        self.brought().is_some()
    }

    fn brought(&self) -> Option<&[u8]> {
        self.bytes.get(self.ends[2].into()..).filter(|id| !id.is_empty())
    }
}

/// What clients wrote, as text. Nearly all of it is, which to find out takes a tenth of what it takes to look for what is not.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// The first bytes of `text`, as far as there is room.
fn cut(text: &[u8], room: usize) -> &[u8] {
    &text[..text.len().min(room)]
}
