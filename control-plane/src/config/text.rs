//! Kinds of text that fields hold.

use outrigger_snapshot::head::Authority;
use outrigger_snapshot::identity::{DOMAIN_BYTES_MAX, ID_BYTES_MAX, SpiffePattern, TrustDomain};
use outrigger_snapshot::name::{LABEL_BYTES_MAX, check_label};
use outrigger_snapshot::policy::SHARE_WHOLE;
use outrigger_snapshot::validate::{TRUST_BYTES_MAX, network};

#[cfg(test)]
mod tests;

/// Longest host name in bytes (RFC 1035 §2.3.4, without the trailing dot).
const HOST_BYTES_MAX: usize = 253;
/// Longest address with a number of bits: an IPv4 address in IPv6 notation.
const NETWORK_BYTES_MAX: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128".len();
/// Longest header name in bytes (Gateway API v1).
const HEADER_NAME_BYTES_MAX: usize = 256;
/// Longest header value in bytes (Gateway API v1).
const HEADER_VALUE_BYTES_MAX: usize = 4_096;
/// Longest method in bytes.
const METHOD_BYTES_MAX: usize = 32;
/// Longest path, query value or regular expression in bytes (Gateway API v1).
pub(crate) const TEXT_BYTES_MAX: usize = 1_024;

/// A kind of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    /// Anything short. What it must be depends on a neighbour.
    Any,
    /// Exactly this.
    Only(&'static str),
    /// A DNS label.
    Label,
    /// DNS labels, joined by dots.
    Labels,
    /// A service, as NAME or NAMESPACE/NAME.
    Service,
    /// A host name, lower case, without port and wildcard.
    Host,
    /// A host name whose first label may be `*`.
    HostPattern,
    /// A name with DNS records; labels may start with `_`.
    DnsName,
    /// The name of a header or query parameter.
    HeaderName,
    /// The value of a header.
    HeaderValue,
    /// The name of a cookie (an RFC 9110 token).
    CookieName,
    /// A duration (GEP-2257).
    Duration,
    /// A part of a whole, to the hundredth of a per cent.
    Percent,
    /// An address with or without port.
    Address,
    /// An address or a network.
    Network,
    /// A method, in upper case.
    Method,
    /// A trust domain.
    TrustDomain,
    /// A pattern of SPIFFE IDs.
    SpiffePattern,
    /// Certificates or revocation lists in PEM.
    Pem,
}

impl Text {
    pub(crate) fn accepts(self, text: &str) -> bool {
        match self {
            Self::Any => text.len() <= TEXT_BYTES_MAX,
            Self::Only(only) => text == only,
            Self::Label => check_label(text).is_ok(),
            Self::Labels => {
                text.len() <= HOST_BYTES_MAX && text.split('.').all(|label| check_label(label).is_ok())
            }
            Self::Service => text.parse::<outrigger_snapshot::name::ServiceName>().is_ok(),
            Self::Host => is_host(text),
            Self::HostPattern => is_host(text.strip_prefix("*.").unwrap_or(text)),
            Self::DnsName => is_dns_name(text),
            Self::HeaderName | Self::CookieName => is_token(text) && text.len() <= HEADER_NAME_BYTES_MAX,
            Self::HeaderValue => is_header_value(text),
            Self::Duration => duration_ms(text).is_some(),
            Self::Percent => percent_share(text).is_some(),
            // Judged where the address is read, which can say more than yes or no.
            Self::Address => text.len() <= HOST_BYTES_MAX + ":65535".len(),
            Self::Network => text.len() <= NETWORK_BYTES_MAX && network(text).is_some(),
            Self::Method => {
                is_token(text)
                    && text.len() <= METHOD_BYTES_MAX
                    && !text.contains(|c: char| c.is_ascii_lowercase())
            }
            Self::TrustDomain => text.parse::<TrustDomain>().is_ok(),
            Self::SpiffePattern => text.parse::<SpiffePattern>().is_ok(),
            // What is in it is judged where it is read.
            Self::Pem => text.len() <= TRUST_BYTES_MAX,
        }
    }

    /// What is accepted, for a sentence.
    pub(crate) fn expected(self) -> String {
        match self {
            Self::Any => format!("at most {TEXT_BYTES_MAX} bytes"),
            Self::Only(only) => only.to_owned(),
            Self::Label => format!(
                "1 to {LABEL_BYTES_MAX} of a-z, 0-9 and '-', starting and ending with a letter or digit"
            ),
            Self::Labels => {
                "a-z, 0-9, '-' and '.', each part starting and ending with a letter or digit".to_owned()
            }
            Self::Service => "NAME or NAMESPACE/NAME of a Service".to_owned(),
            Self::Host => "a host name in lower case, without port and wildcard".to_owned(),
            Self::HostPattern => {
                "a host name in lower case, without port; the first label may be *".to_owned()
            }
            Self::DnsName => "a DNS name, like cart.internal".to_owned(),
            Self::HeaderName => "a header name (RFC 9110 token)".to_owned(),
            Self::CookieName => "a cookie name (RFC 9110 token)".to_owned(),
            Self::HeaderValue => {
                format!(
                    "a header value: visible ASCII, spaces and tabs inside, at most {HEADER_VALUE_BYTES_MAX} bytes"
                )
            }
            Self::Duration => "a duration like 10s, 1m30s or 250ms, without fractions".to_owned(),
            Self::Percent => "0% to 100%, with at most two digits after the point, like 0.5%".to_owned(),
            Self::Address => "ADDRESS or ADDRESS:PORT".to_owned(),
            Self::Network => "an address or a network, like 10.1.0.7, 10.1.0.0/16 or fd00::/8".to_owned(),
            Self::Method => "a method in upper case, like GET".to_owned(),
            Self::TrustDomain => format!("a DNS name in lower case of at most {DOMAIN_BYTES_MAX} bytes, like example.org"),
            Self::SpiffePattern => "spiffe://TRUST-DOMAIN/PATH, where '*' stands for one element of the path and a last '**' for all that follow".to_owned(),
            Self::Pem => format!("PEM, at most {TRUST_BYTES_MAX} bytes"),
        }
    }

    /// The accepted text that differs from `text` only in case or a trailing dot, if that is all.
    pub(crate) fn repaired(self, text: &str) -> Option<String> {
        if let Self::Only(only) = self {
            return super::nearest::nearest(text, [only]);
        }
        let repaired = text.trim().trim_end_matches('.').to_ascii_lowercase();
        (repaired != text && repaired.len() <= HOST_BYTES_MAX && self.accepts(&repaired)).then_some(repaired)
    }

    /// The pattern for editors, where a regular expression says it well.
    pub(crate) fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Label => Some("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"),
            Self::Labels => Some("^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
            Self::Service => {
                Some("^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
            }
            Self::Host => Some("^[^A-Z*:/ ]+$"),
            Self::HostPattern => Some("^(\\*\\.)?[^A-Z*:/ ]+$"),
            Self::HeaderName | Self::CookieName => Some("^[A-Za-z0-9!#$%&'*+\\-.^_`|~]+$"),
            Self::Duration => Some("^([0-9]{1,5}(h|m|s|ms)){1,4}$"),
            Self::Percent => Some("^[0-9]{1,3}(\\.[0-9]{1,2})?%$"),
            Self::Method => Some("^[A-Z0-9!#$%&'*+\\-.^_`|~]+$"),
            Self::TrustDomain => Some("^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
            Self::SpiffePattern => Some("^spiffe://[a-z0-9.-]+/.+$"),
            Self::Any
            | Self::Only(_)
            | Self::DnsName
            | Self::HeaderValue
            | Self::Address
            | Self::Network
            | Self::Pem => None,
        }
    }

    /// The most bytes that it has.
    pub(crate) fn bytes_max(self) -> Option<usize> {
        match self {
            Self::Any => Some(TEXT_BYTES_MAX),
            Self::Labels | Self::Host | Self::HostPattern | Self::DnsName => Some(HOST_BYTES_MAX),
            Self::HeaderName | Self::CookieName => Some(HEADER_NAME_BYTES_MAX),
            Self::HeaderValue => Some(HEADER_VALUE_BYTES_MAX),
            Self::Network => Some(NETWORK_BYTES_MAX),
            Self::Method => Some(METHOD_BYTES_MAX),
            Self::TrustDomain => Some(DOMAIN_BYTES_MAX),
            Self::SpiffePattern => Some(ID_BYTES_MAX),
            Self::Pem => Some(TRUST_BYTES_MAX),
            Self::Only(_) | Self::Label | Self::Service | Self::Duration | Self::Percent | Self::Address => {
                None
            }
        }
    }
}

/// Milliseconds of a GEP-2257 duration: one to four of digits and `h`, `m`, `s` or `ms`.
pub(crate) fn duration_ms(text: &str) -> Option<u64> {
    const PARTS_MAX: usize = 4;
    const DIGITS_MAX: usize = 5;
    let mut rest = text;
    let mut total: u64 = 0;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|first: char| first.is_ascii_digit()).len();
        if digits == 0 || digits > DIGITS_MAX || parts == PARTS_MAX {
            return None;
        }
        let (number, after) = rest.split_at(digits);
        let (unit_ms, after) = if let Some(after) = after.strip_prefix("ms") {
            (1, after)
        } else if let Some(after) = after.strip_prefix('s') {
            (1_000, after)
        } else if let Some(after) = after.strip_prefix('m') {
            (60_000, after)
        } else {
            (3_600_000, after.strip_prefix('h')?)
        };
        total += number.parse::<u64>().ok()? * unit_ms;
        rest = after;
        parts += 1;
    }
    (parts > 0).then_some(total)
}

/// Of [`SHARE_WHOLE`], what a percentage such as `0.5%` is.
pub(crate) fn percent_share(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits =
        |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole, 3) || !digits(part, 2) {
        return None;
    }
    let hundredths = part.parse::<u32>().ok()? * if part.len() == 1 { 10 } else { 1 };
    let share = whole.parse::<u32>().ok()? * 100 + hundredths;
    (share <= SHARE_WHOLE).then_some(share)
}

/// The inverse of [`percent_share`].
pub(crate) fn percent_text(share: u32) -> String {
    match (share / 100, share % 100) {
        (whole, 0) => format!("{whole}%"),
        (whole, part) if part % 10 == 0 => format!("{whole}.{}%", part / 10),
        (whole, part) => format!("{whole}.{part:02}%"),
    }
}

/// A duration as people write it; the inverse of [`duration_ms`].
pub(crate) fn duration_text(milliseconds: u64) -> String {
    match milliseconds {
        0 => "0s".to_owned(),
        whole if whole % 3_600_000 == 0 => format!("{}h", whole / 3_600_000),
        whole if whole % 60_000 == 0 => format!("{}m", whole / 60_000),
        whole if whole % 1_000 == 0 => format!("{}s", whole / 1_000),
        other => format!("{other}ms"),
    }
}

/// Whether `text` is a path that a rule can name: absolute, without query, and such that no normalised request path could
/// fail to meet it (Gateway API v1, `HTTPPathMatch`). The error says what is expected.
pub(crate) fn check_path(text: &str) -> Result<(), &'static str> {
    if !text.starts_with('/') {
        return Err("a path that starts with '/'");
    }
    if text.contains("//") {
        return Err("a path without '//'");
    }
    if text.split('/').any(|segment| segment == "." || segment == "..") {
        return Err("a path without the segments '.' and '..'");
    }
    if text.to_ascii_lowercase().contains("%2f") {
        return Err("a path without an escaped '/' (%2F)");
    }
    if !has_path_characters(text) {
        return Err(
            "a path of letters, digits, -._~!$&'()*+,;=:@/ and %XX escapes, without query and fragment",
        );
    }
    Ok(())
}

fn has_path_characters(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        let escaped = *byte == b'%'
            && bytes.get(index + 1..index + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        if escaped {
            index += 3;
        } else if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(byte) {
            index += 1;
        } else {
            return false;
        }
    }
    true
}

/// A host exactly as the router compares it.
fn is_host(text: &str) -> bool {
    text.len() <= HOST_BYTES_MAX
        && text
            .split('.')
            .all(|label| (1..=LABEL_BYTES_MAX).contains(&label.len()) && !label.starts_with('['))
        && text
            .parse::<Authority>()
            .is_ok_and(|authority| authority.as_str() == text && authority.port().is_none())
}

fn is_dns_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        check_label(&label.to_ascii_lowercase()).is_ok()
    };
    text.len() <= HOST_BYTES_MAX && text.split('.').all(is_label)
}

fn is_token(text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(valid)
}

fn is_header_value(text: &str) -> bool {
    let trimmed = text.trim_matches([' ', '\t']).len() == text.len();
    let valid = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
    trimmed && text.len() <= HEADER_VALUE_BYTES_MAX && text.bytes().all(valid)
}
