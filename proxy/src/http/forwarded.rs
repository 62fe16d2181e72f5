//! Fields that a proxy adds: who asked, for which host, and an id to find the request again.

use std::net::IpAddr;

use http::header::{HeaderName, HeaderValue};
use outrigger_snapshot::head::RequestHead;

use crate::caller::FORWARDED_CERTIFICATE;
use crate::digits::hex_pairs;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// How the client came.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Names a request across hops.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The address of a downstream peer as a field value.
pub fn peer_value(address: IpAddr) -> HeaderValue {
    // An IP address is made of digits, letters, dots and colons.
    HeaderValue::from_str(&address.to_canonical().to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

/// The address that a field value of [`peer_value`] is of.
pub fn address(peer: &HeaderValue) -> Option<IpAddr> {
    peer.to_str().ok()?.parse().ok()
}

/// Adds the peer to `x-forwarded-for`; sets `x-forwarded-host`, `x-forwarded-proto` and `x-request-id` where they are missing, an
/// id that is `made` of random bits.
pub fn add_forwarded(
    head: &mut RequestHead,
    peer: &HeaderValue,
    certificate: Certificate<'_>,
    made: [u64; 2],
) {
    let there = There::scan(head);
    if !there.chain {
        head.set_header(FORWARDED_FOR, peer.clone());
    } else if let Some(chain) = lengthened(head, peer) {
        head.set_header(FORWARDED_FOR, chain);
    }
    if !there.proto {
        head.set_header(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !there.host {
        head.set_header(FORWARDED_HOST, head.authority().as_header().clone());
    }
    match certificate {
        Certificate::Set(Some(certificate)) => head.set_header(FORWARDED_CERTIFICATE, certificate.clone()),
        Certificate::Set(None) if there.certificate => head.remove_header(&FORWARDED_CERTIFICATE),
        Certificate::Set(None) | Certificate::Keep => {}
    }
    if !there.id {
        head.set_header(REQUEST_ID, request_id(made));
    }
}

/// What becomes of [`FORWARDED_CERTIFICATE`].
#[derive(Debug, Clone, Copy)]
pub enum Certificate<'a> {
    /// It is this, or nothing.
    Set(Option<&'a HeaderValue>),
    /// It stays.
    Keep,
}

/// What a head brought along. One walk costs less than four look-ups.
#[derive(Debug, Default)]
struct There {
    chain: bool,
    proto: bool,
    host: bool,
    certificate: bool,
    id: bool,
}

impl There {
    fn scan(head: &RequestHead) -> Self {
        let mut there = Self::default();
        for name in head.header_names() {
            match name.as_str() {
                "x-forwarded-for" => there.chain = true,
                "x-forwarded-proto" => there.proto = true,
                "x-forwarded-host" => there.host = true,
                "x-forwarded-client-cert" => there.certificate = true,
                "x-request-id" => there.id = true,
                _ => {}
            }
        }
        there
    }
}

fn lengthened(head: &RequestHead, peer: &HeaderValue) -> Option<HeaderValue> {
    let mut chain = Vec::new();
    for value in head.headers_named(&FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.as_bytes());
    HeaderValue::from_bytes(&chain).ok()
}

/// An id of these as a field value.
pub fn request_id(random: [u64; 2]) -> HeaderValue {
    HeaderValue::from_bytes(&made_id(random)).unwrap_or(HeaderValue::from_static("unknown"))
}

/// A version 4 UUID (RFC 9562 §5.4).
pub fn made_id(random: [u64; 2]) -> [u8; 36] {
    let mut bytes = (u128::from(random[0]) << 64 | u128::from(random[1])).to_be_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let pairs = hex_pairs(bytes);
    let (digits, mut text) = (pairs.as_flattened(), [b'-'; 36]);
    text[..8].copy_from_slice(&digits[..8]);
    text[9..13].copy_from_slice(&digits[8..12]);
    text[14..18].copy_from_slice(&digits[12..16]);
    text[19..23].copy_from_slice(&digits[16..20]);
    text[24..].copy_from_slice(&digits[20..]);
    text
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    fn head(headers: &[(&'static str, &'static str)]) -> RequestHead {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        RequestHead::new(Method::GET, "cart:80".parse().unwrap(), "/".parse().unwrap(), map)
    }

    fn forwarded(headers: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let mut head = head(headers);
        let peer = peer_value("::ffff:10.0.0.9".parse().unwrap());
        add_forwarded(&mut head, &peer, Certificate::Set(None), [1, 2]);
        let (_, _, _, headers) = head.into_parts();
        let mut list: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        list.sort();
        list
    }

    #[test]
    fn what_is_missing_is_added() {
        let expected = [
            ("host", "cart:80"),
            ("x-forwarded-for", "10.0.0.9"),
            ("x-forwarded-host", "cart:80"),
            ("x-forwarded-proto", "http"),
            ("x-request-id", "00000000-0000-4001-8000-000000000002"),
        ];
        assert_eq!(forwarded(&[]), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn the_peer_joins_the_chain_and_the_rest_stays() {
        let list = forwarded(&[
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2"),
            ("x-forwarded-for", "3.3.3.3"),
            ("x-forwarded-host", "outer"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "mine"),
        ]);
        let values: Vec<_> = list.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["cart:80", "1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.9", "outer", "https", "mine"]);
    }
}
