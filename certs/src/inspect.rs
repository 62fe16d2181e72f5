//! What a certificate says, for decisions that TLS does not make and for people.

use std::net::IpAddr;

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::identity::TrustDomain;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::FromDer;
use x509_parser::x509::AttributeTypeAndValue;

use crate::problem::Problem;

/// The number of a certificate, in hexadecimal.
pub fn serial(certificate: &[u8]) -> Result<String, Problem> {
    parse(certificate).map(|parsed| parsed.raw_serial_as_string())
}

/// Names of a certificate that people are told of.
pub const NAMES_MAX: usize = 100;

/// What people and metrics are told of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whose, as the certificate's subject says.
    pub subject: String,
    /// Further names of its own, as in `DNS:shop.example`; the first [`NAMES_MAX`].
    pub names: Vec<String>,
    /// Who vouches for it.
    pub issuer: String,
    /// Its number, in hexadecimal.
    pub serial: String,
    /// From when on, in seconds since 1970.
    pub not_before_unix: i64,
    /// Until when, in seconds since 1970.
    pub not_after_unix: i64,
}

impl Facts {
    /// Reads a certificate.
    pub fn of(certificate: &[u8]) -> Result<Self, Problem> {
        let parsed = parse(certificate)?;
        Ok(Self {
            subject: parsed.subject().to_string(),
            names: names(&parsed),
            issuer: parsed.issuer().to_string(),
            serial: parsed.raw_serial_as_string(),
            not_before_unix: parsed.validity().not_before.timestamp(),
            not_after_unix: parsed.validity().not_after.timestamp(),
        })
    }

    /// Whether the key with this `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7) is the certificate's.
    #[cfg(feature = "issue")]
    pub(crate) fn has_key(&self, certificate: &[u8], key: &[u8]) -> bool {
        parse(certificate).is_ok_and(|parsed| parsed.public_key().raw == key)
    }

    /// Whether `now` is within its time.
    pub fn check_time(&self, now: UnixTime) -> Result<(), Problem> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        match () {
            () if now < self.not_before_unix => Err(Problem::NotYetValid),
            () if now > self.not_after_unix => Err(Problem::Expired),
            () => Ok(()),
        }
    }
}

/// Parses a certificate; what follows it makes it malformed.
pub(crate) fn parse(certificate: &[u8]) -> Result<X509Certificate<'_>, Problem> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(Problem::Malformed),
    }
}

/// Whether it names itself as its issuer.
pub(crate) fn is_self_signed(certificate: &[u8]) -> bool {
    parse(certificate).is_ok_and(|parsed| parsed.subject().as_raw() == parsed.issuer().as_raw())
}

/// Whether it may sign other certificates.
pub(crate) fn is_authority(certificate: &[u8]) -> bool {
    parse(certificate).is_ok_and(|parsed| {
        let usage = parsed.key_usage().ok().flatten();
        parsed.is_ca() && usage.is_none_or(|usage| usage.value.key_cert_sign())
    })
}

/// What X509-SVID §4.3 asks of a leaf's key usage, and no authority may pose as a leaf (§4.1).
pub(crate) fn check_leaf_usage(parsed: &X509Certificate<'_>) -> Result<(), Problem> {
    let usage = parsed.key_usage().map_err(|_| Problem::Malformed)?;
    let usage = usage.is_none_or(|usage| {
        usage.value.digital_signature() && !usage.value.key_cert_sign() && !usage.value.crl_sign()
    });
    let purposes = parsed.extended_key_usage().map_err(|_| Problem::Malformed)?;
    let purposes = purposes.is_none_or(|purposes| {
        purposes.value.any || purposes.value.client_auth && purposes.value.server_auth
    });
    if usage && purposes && !parsed.is_ca() { Ok(()) } else { Err(Problem::WrongKeyUsage) }
}

/// What a workload is told of a certificate that a client has shown, as Envoy spells it in `x-forwarded-client-cert`.
pub fn forwarded(leaf: &CertificateDer<'_>) -> Result<String, Problem> {
    let parsed = parse(leaf)?;
    let mut text = format!("Hash={}", Digest::of(leaf));
    let subject = subject(&parsed);
    if !subject.is_empty() {
        text.push_str(&format!(";Subject={}", quoted(&subject)));
    }
    let names = EndEntityCert::try_from(leaf).map_err(|_| Problem::Malformed)?;
    for uri in names.valid_uri_names() {
        text.push_str(&format!(";URI={}", unambiguous(uri)));
    }
    for name in names.valid_dns_names() {
        text.push_str(&format!(";DNS={}", unambiguous(name)));
    }
    Ok(text)
}

/// Checks that a certificate names nobody of a trust domain, which is not for every authority to do.
pub fn check_outsider(leaf: &CertificateDer<'_>, domain: &TrustDomain) -> Result<(), Problem> {
    let names = EndEntityCert::try_from(leaf).map_err(|_| Problem::Malformed)?;
    let is_member = |uri: &str| {
        let uri = uri.to_ascii_lowercase();
        let host = uri.strip_prefix("spiffe://").and_then(|rest| rest.split(['/', '?', '#']).next());
        host == Some(domain.as_str())
    };
    if names.valid_uri_names().any(is_member) { Err(Problem::NameConstraint) } else { Ok(()) }
}

/// Its subject alternative names (RFC 5280 §4.2.1.6), the first of them; of one that cannot be read, none.
fn names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let names = parsed.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names).take(NAMES_MAX);
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => format!("DNS:{}", unambiguous(name)),
        GeneralName::URI(uri) => format!("URI:{}", unambiguous(uri)),
        GeneralName::RFC822Name(name) => format!("email:{}", unambiguous(name)),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(bytes), _) => format!("IP:{}", IpAddr::from(bytes)),
            (_, Ok(bytes)) => format!("IP:{}", IpAddr::from(bytes)),
            _ => "IP:?".to_owned(),
        },
        _ => "other".to_owned(),
    };
    names.map(text).collect()
}

/// The most specific part first (RFC 4514 §2.1).
fn subject(parsed: &X509Certificate<'_>) -> String {
    let part = |attribute: &AttributeTypeAndValue<'_>| {
        let kind = oid2abbrev(attribute.attr_type(), oid_registry());
        let kind = kind.map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
        format!("{kind}={}", escaped(attribute.as_str().unwrap_or_default()))
    };
    let mut parts: Vec<String> = parsed.subject().iter_attributes().map(part).collect();
    parts.reverse();
    parts.join(",")
}

/// RFC 4514 §2.4, as far as a part could be taken for several.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=') {
            escaped.push('\\');
        }
        escaped.push(if character.is_control() { '?' } else { character });
    }
    escaped
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What could be taken for more than one value is quoted.
pub(crate) fn unambiguous(text: &str) -> String {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'=' | b'"' | b'\\'));
    if plain { text.to_owned() } else { quoted(&escaped(text)) }
}
