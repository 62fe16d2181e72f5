//! Whom the first request of an HTTP/1 connection asks for, by bytes that stay where they are. Whether the request is well-formed is for the
//! codec to say that reads it after this.

use http::header::HeaderValue;
use outrigger_snapshot::head::Authority;

/// Longest beginning of a request that is looked through.
pub const ASKED_BYTES_MAX: usize = 16 * 1024;

/// What it says.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// The bytes end before it does.
    NeedMore,
    /// This host.
    For(Authority),
    /// Nobody, or none whose name can be read.
    Nobody,
}

/// Reads the target, which counts where it names a host (RFC 9112 §3.2.2), and then fields until `Host`.
pub fn asked(first: &[u8]) -> Asked {
    let mut lines = first.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n"));
    let Some(Some(request)) = lines.next() else { return Asked::NeedMore };
    let target = request.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    if let Some(authority) = of_absolute(target) {
        return read(authority);
    }
    for line in lines {
        let Some(line) = line else { return Asked::NeedMore };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Asked::Nobody;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Asked::Nobody };
        if line[..colon].eq_ignore_ascii_case(b"host") {
            return read(line[colon + 1..].trim_ascii());
        }
    }
    Asked::NeedMore
}

fn of_absolute(target: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"http://";
    let (scheme, rest) = target.split_at_checked(SCHEME.len())?;
    let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    scheme.eq_ignore_ascii_case(SCHEME).then(|| &rest[..end])
}

fn read(authority: &[u8]) -> Asked {
    let value = HeaderValue::from_bytes(authority).ok();
    value.and_then(|value| Authority::parse(&value).ok()).map_or(Asked::Nobody, Asked::For)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn the_host_of_a_first_request_is_read() {
        for (first, host) in [
            (&b"GET / HTTP/1.1\r\nHost: cart\r\n"[..], Some("cart")),
            (b"GET / HTTP/1.1\nAccept: */*\nhOST:\t Cart.Shop:8080 \r\n\r\n", Some("cart.shop:8080")),
            (b"GET http://cart/x?http://other HTTP/1.1\r\nHost: other\r\n\r\n", Some("cart")),
            (b"GET HTTP://cart HTTP/1.1\r\n", Some("cart")),
            (b"CONNECT other:443 HTTP/1.1\r\nHost: cart\r\n", Some("cart")),
            (b"GET / HTTP/1.0\r\n\r\nHost: cart\r\n", None),
            (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", None),
            (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", None),
            (b"GET / HTTP/1.1\r\nno field\r\nHost: cart\r\n\r\n", None),
        ] {
            match (asked(first), host) {
                (Asked::For(authority), Some(host)) => assert_eq!(authority.as_header(), host),
                (Asked::Nobody, None) => {}
                (asked, _) => panic!("{asked:?} of {first:?}"),
            }
        }
        for first in [&b""[..], b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: ca"] {
            assert_eq!(asked(first), Asked::NeedMore, "{first:?}");
        }
    }

    proptest! {
        /// What is known once stays, however the bytes come.
        #[test]
        fn more_bytes_change_nothing(first in vec(any::<u8>(), 0..80), cut in 0usize..80) {
            let whole = [b"GET / HTTP/1.1\r\nA: b\r\n", &first[..]].concat();
            let before = asked(&whole[..cut.min(whole.len())]);
            assert!(before == Asked::NeedMore || before == asked(&whole));
        }
    }
}
