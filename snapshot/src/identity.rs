//! Who a peer is: SPIFFE IDs and patterns of them (SPIFFE-ID, §2).

use std::fmt;
use std::str::FromStr;

use crate::name::ServiceName;
use crate::text_form::text_form;

/// Longest SPIFFE ID, in bytes (SPIFFE-ID §2.3).
pub const ID_BYTES_MAX: usize = 2_048;

/// Longest trust domain, in bytes: it ends every server name of the mesh, which is a DNS name of at most 253, behind a port and two labels.
pub const DOMAIN_BYTES_MAX: usize = 100;

const SCHEME: &str = "spiffe://";

/// Why a text is no trust domain, SPIFFE ID or pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The trust domain.
    #[error(
        "{0:?} is not a trust domain: expected a DNS name in lower case of at most {DOMAIN_BYTES_MAX} characters, like example.org"
    )]
    Domain(String),
    /// The ID.
    #[error(
        "{0:?} is not a SPIFFE ID: expected spiffe://TRUST-DOMAIN/PATH, its elements of a-z, A-Z, 0-9, '.', '-' and '_'"
    )]
    Id(String),
    /// The pattern.
    #[error(
        "{0:?} is not a pattern of SPIFFE IDs: expected spiffe://TRUST-DOMAIN/PATH in which '*' stands for one whole element and a last '**' for all \
         that follow"
    )]
    Pattern(String),
}

/// The name of all that one authority vouches for. A DNS name in lower case, which SPIFFE allows and server names need.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Box<str>);

impl TrustDomain {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let valid = text.len() <= DOMAIN_BYTES_MAX
            && text.split('.').all(|label| crate::name::check_label(label).is_ok());
        if valid { Ok(Self(text.into())) } else { Err(IdentityError::Domain(text.to_owned())) }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Who somebody is, once a certificate has proved it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// The whole text: it is written far more often than taken apart.
    text: Box<str>,
    /// Where the path begins, with its slash.
    path_at: usize,
}

impl SpiffeId {
    /// That of a service's sidecars.
    pub fn of_service(domain: &TrustDomain, service: &ServiceName) -> Self {
        let text = format!("{SCHEME}{domain}/ns/{}/svc/{}", service.namespace(), service.name());
        Self { text: text.into(), path_at: SCHEME.len() + domain.as_str().len() }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Who vouches for it.
    pub fn domain(&self) -> &str {
        &self.text[SCHEME.len()..self.path_at]
    }

    /// The service that it is about, if it has the form of [`SpiffeId::of_service`].
    pub fn service(&self) -> Option<ServiceName> {
        let mut elements = self.path().strip_prefix('/')?.split('/');
        let (kind, namespace) = (elements.next()?, elements.next()?);
        let (what, name) = (elements.next()?, elements.next()?);
        let whole = kind == "ns" && what == "svc" && elements.next().is_none();
        if whole { ServiceName::new(namespace, name).ok() } else { None }
    }

    fn path(&self) -> &str {
        &self.text[self.path_at..]
    }
}

impl FromStr for SpiffeId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let wrong = || IdentityError::Id(text.to_owned());
        let path_at = split(text).ok_or_else(wrong)?;
        let valid = path_at < text.len() && text[path_at + 1..].split('/').all(is_element);
        if valid { Ok(Self { text: text.into(), path_at }) } else { Err(wrong()) }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// SPIFFE IDs of one trust domain. `*` stands for one whole element of the path, a last `**` for one or more.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffePattern {
    text: Box<str>,
    path_at: usize,
}

impl SpiffePattern {
    /// Who vouches for those that it matches.
    pub fn domain(&self) -> &str {
        &self.text[SCHEME.len()..self.path_at]
    }

    /// Whether `id` is one of them.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        self.text[..self.path_at] == id.text[..id.path_at]
            && matches_path(&self.text[self.path_at..], id.path())
    }
}

fn matches_path(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) | (Some("**"), Some(_)) => return true,
            (Some(wanted), Some(element)) if wanted == "*" || wanted == element => {}
            _ => return false,
        }
    }
}

impl FromStr for SpiffePattern {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let wrong = || IdentityError::Pattern(text.to_owned());
        let path_at = split(text).filter(|path_at| *path_at < text.len()).ok_or_else(wrong)?;
        let path = &text[path_at + 1..];
        let (elements, last) = path.rsplit_once('/').map_or((None, path), |(rest, last)| (Some(rest), last));
        let one = |element: &str| element == "*" || is_element(element);
        let valid =
            (last == "**" || one(last)) && elements.is_none_or(|elements| elements.split('/').all(one));
        if valid { Ok(Self { text: text.into(), path_at }) } else { Err(wrong()) }
    }
}

impl fmt::Display for SpiffePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Where the path begins, if everything before it is right.
fn split(text: &str) -> Option<usize> {
    let rest = text.strip_prefix(SCHEME).filter(|_| text.len() <= ID_BYTES_MAX)?;
    let domain = rest.split('/').next()?;
    domain.parse::<TrustDomain>().ok()?;
    Some(SCHEME.len() + domain.len())
}

/// SPIFFE-ID §2.2.
fn is_element(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !matches!(text, "" | "." | "..") && text.bytes().all(allowed)
}

/// What callers of a port of a service ask for in TLS: `p<port>.<name>.<namespace>.<trust domain>`. It says which port a connection is for, and
/// whose certificate is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName {
    /// Whose.
    pub service: ServiceName,
    /// The port, as callers name it.
    pub port: u16,
}

impl ServerName {
    /// Reads one of this trust domain; `None`: it is not of the mesh.
    pub fn read(text: &str, domain: &TrustDomain) -> Option<Self> {
        let labels = text.strip_suffix(domain.as_str())?.strip_suffix('.')?;
        let (port, service) = labels.strip_prefix('p')?.split_once('.')?;
        let (name, namespace) = service.split_once('.')?;
        let port: u16 = port.parse().ok().filter(|number: &u16| number.to_string() == port)?;
        Some(Self { service: ServiceName::new(namespace, name).ok()?, port }).filter(|name| name.port != 0)
    }

    /// As it is sent.
    pub fn text(&self, domain: &TrustDomain) -> String {
        format!("p{}.{}.{}.{domain}", self.port, self.service.name(), self.service.namespace())
    }
}

text_form!(TrustDomain);
text_form!(SpiffeId);
text_form!(SpiffePattern);

#[cfg(test)]
mod tests;
