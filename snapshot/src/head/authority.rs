//! Host and port of a request (RFC 9110 §7.2, RFC 3986 §3.2).

use http::header::HeaderValue;

/// Why a text is no authority that a request may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// There is no host in it.
    #[error("the host is empty")]
    Empty,
    /// It has `user@`, which has no meaning in HTTP (RFC 9110 §4.2.4) and misleads people and programs.
    #[error("it has user information")]
    Userinfo,
    /// The host is no name, IPv4 address or bracketed IPv6 address.
    #[error("the host has a character that no host has, or several dots at its end")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("the port is no number from 1 to 65535")]
    Port,
    /// Longer than a DNS name and a port can be.
    #[error("it is longer than {AUTHORITY_BYTES_MAX} bytes")]
    TooLong,
}

/// A DNS name's 253 bytes, a dot, a colon and five digits.
pub(super) const AUTHORITY_BYTES_MAX: usize = 260;

/// Host and port, checked: the host in lower case, without a trailing dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// `host` or `host:port`. Shares the bytes that were received wherever they were in this form already.
    value: HeaderValue,
    host_bytes: u16,
    port: Option<u16>,
}

impl Authority {
    /// Checks and normalises what a request names. Copies only if something must change.
    pub fn parse(value: &HeaderValue) -> Result<Self, AuthorityError> {
        let bytes = value.as_bytes();
        if bytes.len() > AUTHORITY_BYTES_MAX {
            return Err(AuthorityError::TooLong);
        }
        let host_end = host_end(bytes)?;
        let host = &bytes[..host_end];
        let port = parse_port(&bytes[host_end..])?;
        let dotless = host.strip_suffix(b".").unwrap_or(host);
        if dotless.is_empty() {
            return Err(AuthorityError::Empty);
        }
        if dotless.ends_with(b".") {
            return Err(AuthorityError::Host);
        }
        let keeps_form = dotless.len() == host.len()
            && !host.iter().any(u8::is_ascii_uppercase)
            && (port.is_some() || host_end == bytes.len());
        if keeps_form {
            return Ok(Self { value: value.clone(), host_bytes: host_end as u16, port });
        }
        let mut text = dotless.to_ascii_lowercase();
        let host_bytes = text.len() as u16;
        if let Some(port) = port {
            text.extend_from_slice(format!(":{port}").as_bytes());
        }
        let value = HeaderValue::from_bytes(&text).map_err(|_| AuthorityError::Host)?;
        Ok(Self { value, host_bytes, port })
    }

    /// The host: lower case, without brackets' removal, without a trailing dot.
    pub fn host(&self) -> &str {
        let host = &self.value.as_bytes()[..usize::from(self.host_bytes)];
        // Checked to be ASCII when it was parsed; an empty host matches nothing.
        std::str::from_utf8(host).unwrap_or_default()
    }

    /// The port, if one was named.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// As a `Host` field or an `:authority` says it.
    pub fn as_header(&self) -> &HeaderValue {
        &self.value
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.value.to_str().unwrap_or_default()
    }

    /// The same host with another port, or without one.
    pub fn with_port(&self, port: Option<u16>) -> Self {
        let host = self.host();
        let text = match port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        match HeaderValue::from_str(&text) {
            Ok(value) => Self { value, host_bytes: self.host_bytes, port },
            Err(_) => self.clone(),
        }
    }
}

impl std::str::FromStr for Authority {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, AuthorityError> {
        Self::parse(&HeaderValue::from_str(text).map_err(|_| AuthorityError::Host)?)
    }
}

/// Where the host ends and `:port`, if any, begins.
fn host_end(bytes: &[u8]) -> Result<usize, AuthorityError> {
    let Some(first) = bytes.first() else {
        return Err(AuthorityError::Empty);
    };
    if *first == b'[' {
        let end = bytes.iter().position(|byte| *byte == b']').ok_or(AuthorityError::Host)?;
        let literal = std::str::from_utf8(&bytes[1..end]).map_err(|_| AuthorityError::Host)?;
        literal.parse::<std::net::Ipv6Addr>().map_err(|_| AuthorityError::Host)?;
        return Ok(end + 1);
    }
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {}
            b':' if bytes[index..].contains(&b'@') => return Err(AuthorityError::Userinfo),
            b':' if index == 0 => return Err(AuthorityError::Empty),
            b':' => return Ok(index),
            b'@' => return Err(AuthorityError::Userinfo),
            _ => return Err(AuthorityError::Host),
        }
    }
    Ok(bytes.len())
}

/// `rest` is empty, `:` (RFC 3986 §3.2.3 allows an empty port) or `:digits`.
fn parse_port(rest: &[u8]) -> Result<Option<u16>, AuthorityError> {
    match rest {
        [] | b":" => Ok(None),
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
            let number = digits.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
            u16::try_from(number).ok().filter(|port| *port != 0).map(Some).ok_or(AuthorityError::Port)
        }
        [b':', ..] => Err(AuthorityError::Port),
        _ => Err(AuthorityError::Host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_forms_are_normalised() {
        for (text, host, port, written) in [
            ("cart", "cart", None, "cart"),
            ("Cart.Shop:80", "cart.shop", Some(80), "cart.shop:80"),
            ("cart.:8080", "cart", Some(8080), "cart:8080"),
            ("cart:", "cart", None, "cart"),
            ("127.0.0.1:9", "127.0.0.1", Some(9), "127.0.0.1:9"),
            ("[::1]:443", "[::1]", Some(443), "[::1]:443"),
        ] {
            let authority: Authority = text.parse().unwrap();
            assert_eq!(
                (authority.host(), authority.port(), authority.as_str()),
                (host, port, written),
                "{text}"
            );
        }
    }

    #[test]
    fn other_forms_are_refused() {
        use AuthorityError::*;
        let long = "a".repeat(AUTHORITY_BYTES_MAX + 1);
        for (text, error) in [
            ("", Empty),
            (".", Empty),
            (":80", Empty),
            ("user@cart", Userinfo),
            ("user:secret@cart", Userinfo),
            ("ca rt", Host),
            ("cart/b", Host),
            ("cart?d", Host),
            ("cart,cart2", Host),
            ("cart..", Host),
            ("cart..:80", Host),
            ("..", Host),
            ("[::1", Host),
            ("[::g]", Host),
            ("[::1]x", Host),
            ("cart:x", Port),
            ("cart:0", Port),
            ("cart:65536", Port),
            ("cart:+80", Port),
            (&long, TooLong),
        ] {
            assert_eq!(text.parse::<Authority>(), Err(error), "{text:?}");
        }
    }
}
