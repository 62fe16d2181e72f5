//! What hyper accepts and a proxy must not pass on (RFC 9110 §7.6, RFC 9112 §3 and §6, RFC 9113 §8).
//!
//! Requests and responses leave here with one authority, one framing and no field that belongs to a single connection.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Uri, Version, request};
use outrigger_snapshot::head::{Authority, RequestHead};

use crate::error::{Malformed, ProxyError};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What the names of fields begin with that proxies say something to each other by.
const OWN_FIELDS: &str = "outrigger-";
/// What the names of fields begin with by which proxies say who asked.
const FORWARDED_FIELDS: &str = "x-forwarded-";

/// Whether a field is one by which proxies say who asked, in one of two spellings (RFC 7239 is the other).
pub fn tells_who_asked(name: &str) -> bool {
    name.starts_with(FORWARDED_FIELDS) || name == "forwarded"
}

/// A request as the rest of the proxy sees it.
#[derive(Debug)]
pub struct Normalized {
    /// Its head.
    pub head: RequestHead,
    /// The protocol it wants to switch to (RFC 9110 §7.8).
    pub upgrade: Option<HeaderValue>,
    /// Whether the client takes trailers.
    pub trailers: bool,
    /// Whether the client speaks gRPC.
    pub grpc: bool,
    /// Whether it may say how long the client waits: `outrigger-deadline-ms` or `grpc-timeout` is there.
    pub timed: bool,
    /// Whether any `outrigger-*` field is there.
    pub marked: bool,
    /// Whether it brought an id, the name of a trace, or who is to be told of it.
    pub named: bool,
}

/// What a scan over the fields found; each is rare, and is dealt with only if it is there.
#[derive(Debug, Default)]
struct Seen {
    hosts: u32,
    transfer_encodings: u32,
    chunked: bool,
    connection: bool,
    hop_by_hop: bool,
    te: bool,
    upgrade: bool,
    expect: bool,
    content_type: bool,
    content_lengths: u32,
    length_list: bool,
    timed: bool,
    marked: bool,
    named: bool,
    underscored: bool,
    padded: bool,
}

impl Seen {
    fn scan(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "host" => seen.hosts += 1,
                "transfer-encoding" => {
                    seen.transfer_encodings += 1;
                    seen.chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
                }
                "connection" => seen.connection = true,
                "keep-alive" | "proxy-connection" => seen.hop_by_hop = true,
                "te" => seen.te = true,
                "upgrade" => seen.upgrade = true,
                "expect" => seen.expect = true,
                "content-type" => seen.content_type = true,
                "content-length" => {
                    seen.content_lengths += 1;
                    seen.length_list |= value.as_bytes().contains(&b',');
                }
                "x-request-id" | "traceparent" | "b3" | "x-b3-traceid" | "x-b3-sampled" | "x-b3-flags" => {
                    seen.named = true;
                }
                "grpc-timeout" => seen.timed = true,
                "outrigger-deadline-ms" => (seen.timed, seen.marked) = (true, true),
                name => {
                    seen.marked |= name.starts_with(OWN_FIELDS);
                    seen.underscored |= name.contains('_');
                }
            }
            let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
            seen.padded |= blank(value.as_bytes().first()) || blank(value.as_bytes().last());
        }
        seen
    }
}

/// Checks a request head and makes it fit to be forwarded.
pub fn normalize_request(parts: request::Parts) -> Result<Normalized, ProxyError> {
    let request::Parts { method, uri, version, mut headers, .. } = parts;
    if method == Method::CONNECT {
        return Err(ProxyError::Connect);
    }
    let seen = Seen::scan(&headers);
    if seen.padded {
        trim_values(&mut headers);
    }
    if seen.underscored {
        strip_lookalikes(&mut headers);
    }
    let authority = authority(&uri, version, &headers, &seen)?;
    let path_and_query = target(&method, uri)?;
    match seen.transfer_encodings {
        0 => {}
        1 if seen.chunked => {
            headers.remove(header::TRANSFER_ENCODING);
        }
        _ => return Err(Malformed::TransferEncoding.into()),
    }
    let upgrade = if seen.upgrade { upgrade::take(&mut headers, &method, version)? } else { None };
    let trailers = seen.te && takes_trailers(&headers);
    strip_connection(&mut headers, &seen);
    if seen.expect {
        // hyper answers the expectation itself as soon as the body is asked for, which is after routing and limits.
        headers.remove(header::EXPECT);
    }
    if version == Version::HTTP_2 {
        join_cookies(&mut headers);
    }
    let grpc = seen.content_type && is_grpc(&headers);
    Ok(Normalized {
        head: RequestHead::new(method, authority, path_and_query, headers),
        upgrade,
        trailers,
        grpc,
        timed: seen.timed,
        marked: seen.marked,
        named: seen.named,
    })
}

/// Takes away what applications that read fields as variables (RFC 3875 §4.1.18) would take for what proxies vouch for.
fn strip_lookalikes(headers: &mut HeaderMap) {
    let means = |name: &HeaderName| {
        let meant = name.as_str().replace('_', "-");
        name.as_str() != meant && (meant.starts_with(OWN_FIELDS) || tells_who_asked(&meant))
    };
    let names: Vec<HeaderName> = headers.keys().filter(|name| means(name)).cloned().collect();
    for name in names {
        headers.remove(&name);
    }
}

/// Takes away what a stranger says to proxies.
pub fn strip_own_fields(head: &mut RequestHead) {
    let own: Vec<HeaderName> =
        head.header_names().filter(|name| name.as_str().starts_with(OWN_FIELDS)).cloned().collect();
    for name in own {
        head.remove_header(&name);
    }
}

/// Which `outrigger-*` fields of an answer go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// All: proxies say so to proxies.
    Kept,
    /// What failed, alone: the rest is no stranger's business.
    Reason,
    /// None: whoever wrote them is no proxy of the mesh.
    Dropped,
}

impl Marks {
    /// What is made of the fields of somebody who is believed to be of the mesh or not, on their way to a stranger or not.
    pub fn of(believed: bool, to_stranger: bool) -> Self {
        match (believed, to_stranger) {
            (false, _) => Self::Dropped,
            (true, true) => Self::Reason,
            (true, false) => Self::Kept,
        }
    }

    fn strip(self, headers: &mut HeaderMap) {
        let kept = |name: &str| self == Self::Reason && name == "outrigger-reason";
        let dropped = |name: &&HeaderName| name.as_str().starts_with(OWN_FIELDS) && !kept(name.as_str());
        let names: Vec<HeaderName> = headers.keys().filter(dropped).cloned().collect();
        for name in names {
            headers.remove(&name);
        }
    }
}

/// Makes a response head fit to be passed on. The status and its framing rules are hyper's.
pub fn normalize_response(headers: &mut HeaderMap, marks: Marks) {
    let seen = Seen::scan(headers);
    if seen.marked && marks != Marks::Kept {
        marks.strip(headers);
    }
    if seen.transfer_encodings > 0 {
        // Both, and the server side would refuse the head (RFC 9112 §6.3: Transfer-Encoding wins).
        headers.remove(header::TRANSFER_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
    }
    if seen.upgrade {
        headers.remove(header::UPGRADE);
    }
    if seen.padded {
        trim_values(headers);
    }
    strip_connection(headers, &seen);
    if seen.content_lengths > 1 || seen.length_list {
        merge_content_length(headers);
    }
}

/// RFC 9113 §8.2.1: no value begins or ends with a blank. HTTP/1.1 drops them, so that a rule would see another value than the upstream.
fn trim_values(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        let trimmed = value.as_bytes().trim_ascii();
        if trimmed.len() < value.len()
            && let Ok(mut trimmed) = HeaderValue::from_bytes(trimmed)
        {
            trimmed.set_sensitive(value.is_sensitive());
            *value = trimmed;
        }
    }
}

/// `Content-Length: 2, 2` and repeated lines say one number (RFC 9110 §8.6); hyper has refused differing ones.
fn merge_content_length(headers: &mut HeaderMap) {
    let Some(first) = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let number = first.split_once(',').map_or(first, |(number, _)| number);
    if let Ok(number) = HeaderValue::from_str(number.trim()) {
        headers.insert(header::CONTENT_LENGTH, number);
    }
}

/// RFC 9112 §3.2: exactly one `Host` in HTTP/1.1; an absolute target replaces it. RFC 9113 §8.3.1: `:authority` and `Host` agree.
fn authority(uri: &Uri, version: Version, headers: &HeaderMap, seen: &Seen) -> Result<Authority, Malformed> {
    if seen.hosts > 1 {
        return Err(Malformed::HostTwice);
    }
    let host =
        headers.get(header::HOST).map(|host| Authority::parse(host).map_err(Malformed::Host)).transpose()?;
    let Some(target) = uri.authority() else { return host.ok_or(Malformed::HostMissing) };
    let target: Authority = target.as_str().parse().map_err(Malformed::Host)?;
    match host {
        None if version < Version::HTTP_2 && version != Version::HTTP_10 => Err(Malformed::HostMissing),
        Some(host) if version == Version::HTTP_2 && host != target => Err(Malformed::HostDiffers),
        _ => Ok(target),
    }
}

/// Origin form, whatever form the target had (RFC 9112 §3.2).
fn target(method: &Method, uri: Uri) -> Result<PathAndQuery, Malformed> {
    if uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(Malformed::Scheme);
    }
    let absolute = uri.authority().is_some();
    if absolute && uri.scheme().is_none() {
        return Err(Malformed::Target); // authority form, which is for CONNECT alone
    }
    let path_and_query = uri.into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    match path_and_query.path() {
        "*" if *method == Method::OPTIONS => Ok(path_and_query),
        // `OPTIONS http://host` means the server, not its root (RFC 9112 §3.2.4).
        "/" if absolute && *method == Method::OPTIONS && path_and_query.as_str() == "/" => Ok(path_and_query),
        path if !path.starts_with('/') => Err(Malformed::Target),
        path if path.as_bytes().contains(&b'%') && path.contains("%00") => Err(Malformed::Nul),
        path if has_dot_segment(path) => without_dot_segments(&path_and_query).ok_or(Malformed::Target),
        _ => Ok(path_and_query),
    }
}

/// The element at `rest`'s beginning, if it is `.` or `..`, spelled out or escaped: its dots and its bytes.
fn dots(element: &str) -> Option<usize> {
    let mut rest = element;
    let mut count = 0;
    while !rest.is_empty() {
        rest = rest
            .strip_prefix('.')
            .or_else(|| rest.strip_prefix("%2e"))
            .or_else(|| rest.strip_prefix("%2E"))?;
        count += 1;
    }
    (count == 1 || count == 2).then_some(count)
}

fn has_dot_segment(path: &str) -> bool {
    (path.contains("/.") || path.contains("/%2")) && path.split('/').any(|element| dots(element).is_some())
}

/// RFC 3986 §5.2.4. What reaches above the root stays at the root, so that no rule on a prefix can be walked around.
fn without_dot_segments(path_and_query: &PathAndQuery) -> Option<PathAndQuery> {
    let mut elements: Vec<&str> = Vec::new();
    let mut ends_in_dots = false;
    for element in path_and_query.path().split('/').skip(1) {
        let dots = dots(element);
        match dots {
            Some(1) => {}
            Some(_) => {
                elements.pop();
            }
            None => elements.push(element),
        }
        ends_in_dots = dots.is_some();
    }
    let mut text = String::with_capacity(path_and_query.as_str().len());
    for element in &elements {
        text.push('/');
        text.push_str(element);
    }
    if text.is_empty() || ends_in_dots {
        text.push('/');
    }
    if let Some(query) = path_and_query.query() {
        text.push('?');
        text.push_str(query);
    }
    text.parse().ok()
}

/// Bytes, since a line that is not all ASCII names fields, too.
fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::CONNECTION).into_iter().map(HeaderValue::as_bytes);
    lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TE).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// RFC 9110 §7.6.1: `Connection`, what it names, and what is of the connection by nature.
fn strip_connection(headers: &mut HeaderMap, seen: &Seen) {
    if seen.connection {
        let named: Vec<HeaderName> =
            connection_options(headers).filter_map(|option| HeaderName::from_bytes(option).ok()).collect();
        for name in named {
            // `Connection: host` or `: content-length` must not take the framing away.
            if !matches!(
                name.as_str(),
                "host" | "content-length" | "content-type" | "authorization" | "cookie"
            ) {
                headers.remove(name);
            }
        }
        headers.remove(header::CONNECTION);
    }
    if seen.hop_by_hop {
        headers.remove(KEEP_ALIVE);
        headers.remove(PROXY_CONNECTION);
    }
    if seen.te {
        headers.remove(header::TE);
    }
}

/// RFC 9113 §8.2.3: crumbs of a cookie are one field in HTTP/1.1.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        value.starts_with(b"application/grpc") && matches!(value.get(16), None | Some(b'+' | b';'))
    })
}

#[cfg(test)]
mod tests;
mod trailers;
mod upgrade;

pub use trailers::normalize_trailers;
