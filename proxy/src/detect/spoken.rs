//! What a client speaks, by the first bytes that it sends. A function of these bytes: whoever waits for them decides for how long.

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest method that is taken for one; WebDAV has `VERSION-CONTROL`.
const METHOD_BYTES_MAX: usize = 24;

/// Most that is needed to tell: a method, a blank, and a scheme.
pub const FIRST_BYTES_MAX: usize = METHOD_BYTES_MAX + 1 + 8;

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// It could still be several of these.
    Undecided,
    /// HTTP/1 (RFC 9112 §3).
    Http1,
    /// HTTP/2 by prior knowledge (RFC 9113 §3.3).
    Http2,
    /// A handshake (RFC 8446 §5.1), by its first byte alone.
    Tls,
    /// Anything else.
    Opaque,
}

/// Tells by the first bytes; once it is decided, more of them change nothing. Where nothing but HTTP and TLS is `expected`, whatever is
/// neither HTTP/2 nor TLS is HTTP/1, if only to be told that it is malformed.
pub fn spoken(first: &[u8], expected: bool) -> Spoken {
    match first {
        [] => Spoken::Undecided,
        [0x16, ..] => Spoken::Tls,
        _ if first.starts_with(PREFACE) => Spoken::Http2,
        _ if PREFACE.starts_with(first) => Spoken::Undecided,
        _ if expected => Spoken::Http1,
        _ => http1(first),
    }
}

/// A method in capitals, a blank, and the beginning of a target in one of its forms (RFC 9112 §3.2). A line of SMTP or FTP has the first
/// two, and goes on otherwise; after `CONNECT` any target is one.
fn http1(first: &[u8]) -> Spoken {
    let in_method = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_');
    let Some(length) = first.iter().position(|byte| !in_method(byte)) else {
        return if first.len() <= METHOD_BYTES_MAX { Spoken::Undecided } else { Spoken::Opaque };
    };
    let (method, rest) = first.split_at(length);
    if !(1..=METHOD_BYTES_MAX).contains(&length) || rest[0] != b' ' {
        return Spoken::Opaque;
    }
    match &rest[1..] {
        [] => Spoken::Undecided,
        [b'/', ..] => Spoken::Http1,
        _ if method == b"CONNECT" => Spoken::Http1,
        [b'*'] => Spoken::Undecided,
        [b'*', b' ', ..] => Spoken::Http1,
        target => absolute(target),
    }
}

fn absolute(target: &[u8]) -> Spoken {
    let begins = |scheme: &[u8]| {
        let known = target.len().min(scheme.len());
        target[..known].eq_ignore_ascii_case(&scheme[..known])
    };
    let schemes: [&[u8]; 2] = [b"http://", b"https://"];
    match schemes.into_iter().find(|scheme| begins(scheme)) {
        Some(scheme) if target.len() >= scheme.len() => Spoken::Http1,
        Some(_) => Spoken::Undecided,
        None => Spoken::Opaque,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn protocols_are_told_by_their_first_bytes() {
        for (first, told) in [
            (&b""[..], Spoken::Undecided),
            (b"G", Spoken::Undecided),
            (b"GET", Spoken::Undecided),
            (b"GET ", Spoken::Undecided),
            (b"GET h", Spoken::Undecided),
            (b"GET https:/", Spoken::Undecided),
            (b"OPTIONS *", Spoken::Undecided),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Spoken::Undecided),
            (b"AAAAAAAAAAAAAAAAAAAAAAAA", Spoken::Undecided),
            (b"GET / HTTP/1.1\r\n", Spoken::Http1),
            (b"OPTIONS * HTTP/1.1\r\n", Spoken::Http1),
            (b"POST HTTP://a/ HTTP/1.1\r\n", Spoken::Http1),
            (b"GET https://a/ HTTP/1.1\r\n", Spoken::Http1),
            (b"CONNECT a:1 HTTP/1.1\r\n", Spoken::Http1),
            (b"VERSION-CONTROL /a", Spoken::Http1),
            (b"PRI /", Spoken::Http1),
            (b"PRI * HTTP/1.1\r\n", Spoken::Http1),
            (PREFACE, Spoken::Http2),
            (b"\x16", Spoken::Tls),
            (b"\x16\x03\x01\x02\x00\x01\x00", Spoken::Tls),
            (b"EHLO a.example\r\n", Spoken::Opaque),
            (b"USER anonymous\r\n", Spoken::Opaque),
            (b"PING\r\n", Spoken::Opaque),
            (b"*1\r\n$4\r\nPING\r\n", Spoken::Opaque),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Spoken::Opaque),
            (b"SSH-2.0-x\r\n", Spoken::Opaque),
            (b"get / HTTP/1.1", Spoken::Opaque),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAA", Spoken::Opaque),
            (b" / HTTP", Spoken::Opaque),
        ] {
            assert_eq!(spoken(first, false), told, "{first:?}");
        }
        for (first, told) in [
            (&b"P"[..], Spoken::Undecided),
            (b"G", Spoken::Http1),
            (b"PRI * HTTP/1.1\r\n", Spoken::Http1),
            (b"EHLO a.example\r\n", Spoken::Http1),
            (PREFACE, Spoken::Http2),
            (b"\x16", Spoken::Tls),
        ] {
            assert_eq!(spoken(first, true), told, "where only HTTP and TLS are expected, {first:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_decided_stays_so(bytes in vec(any::<u8>(), 0..60), text in "[A-Z]{1,26} [*/h]t{0,2}p?s?:?.{0,20}") {
            for bytes in [&bytes[..], text.as_bytes()] {
                let whole = spoken(bytes, false);
                let mut decided = false;
                for length in 0..=bytes.len() {
                    let told = spoken(&bytes[..length], false);
                    decided |= told != Spoken::Undecided;
                    assert_eq!(told, if decided { whole } else { Spoken::Undecided }, "{length} of {bytes:?}");
                }
                assert!(whole != Spoken::Undecided || bytes.len() < FIRST_BYTES_MAX);
            }
        }
    }
}
