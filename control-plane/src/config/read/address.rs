//! Addresses of endpoints.

use std::net::{IpAddr, SocketAddr};

/// An IP address and, if it was written, a port. The error is the message and what is expected.
pub(super) fn parse(text: &str) -> Result<(IpAddr, Option<u16>), (String, &'static str)> {
    const EXPECTED: &str = "an IP address like 10.0.0.1, 10.0.0.1:8080, fd00::1 or [fd00::1]:8080";
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    // A zone index (RFC 4007 §11) means something on one machine only.
    let (address, port) = if let Ok(address) = text.parse::<SocketAddr>()
        && !text.contains('%')
    {
        (address.ip(), Some(address.port()))
    } else if let Ok(address) = bracketed.unwrap_or(text).parse::<IpAddr>() {
        (address, None)
    } else if is_name(text) {
        let message = format!("\"{}\" is a name, and `static` takes addresses", super::shortened(text));
        return Err((message, "an IP address, or `dns: {name: …}` in place of `static`"));
    } else {
        return Err((format!("\"{}\" is not an address", super::shortened(text)), EXPECTED));
    };
    if port == Some(0) {
        return Err((format!("\"{text}\" has port 0"), "a port from 1 to 65535"));
    }
    if address.is_unspecified() || address.is_multicast() {
        return Err((format!("\"{text}\" is the address of no endpoint"), "an address that can be dialled"));
    }
    Ok((address, port))
}

fn is_name(text: &str) -> bool {
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    host.contains(|character: char| character.is_ascii_alphabetic())
        && host.chars().all(|character| character.is_ascii_alphanumeric() || "-._".contains(character))
}
