//! Offers to switch protocols.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};

use super::connection_options;
use crate::error::Malformed;

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// RFC 9110 §7.8: only with the connection option, only over HTTP/1.1; ignored elsewhere.
pub(super) fn take(
    headers: &mut HeaderMap,
    method: &Method,
    version: Version,
) -> Result<Option<HeaderValue>, Malformed> {
    let upgrade = headers.remove(header::UPGRADE);
    headers.remove(HTTP2_SETTINGS);
    if version != Version::HTTP_11
        || !connection_options(headers).any(|option| option.eq_ignore_ascii_case(b"upgrade"))
    {
        return Ok(None);
    }
    let upgrade = upgrade.and_then(without_requests);
    if upgrade.is_some() && *method != Method::GET {
        return Err(Malformed::Upgrade);
    }
    Ok(upgrade)
}

/// What is left of an offer without the protocols that carry requests themselves, which would go around every rule: they are not ours to
/// accept nor the upstream's to see.
fn without_requests(offer: HeaderValue) -> Option<HeaderValue> {
    let text = offer.to_str().ok()?;
    let carries = |protocol: &str| {
        let name = protocol.split('/').next().unwrap_or_default().trim();
        ["h2c", "h2", "http", "tls"].iter().any(|known| name.eq_ignore_ascii_case(known))
    };
    if !text.split(',').any(carries) {
        return Some(offer);
    }
    let left: Vec<&str> = text.split(',').map(str::trim).filter(|protocol| !carries(protocol)).collect();
    let left = HeaderValue::from_str(&left.join(", ")).ok()?;
    (!left.is_empty()).then_some(left)
}
