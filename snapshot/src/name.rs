//! Validated names. Every resource is named by (namespace, name); both are DNS labels (RFC 1123 §2.1), so that a name can
//! stand in a host, a SPIFFE ID and an object path without escaping.

use std::fmt;
use std::str::FromStr;

use crate::text_form::text_form;

/// The namespace of a resource that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Longest DNS label, in bytes (RFC 1035 §2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A label is empty, too long, or has a character outside `a-z 0-9 -`, or starts or ends with `-`.
    #[error(
        "{0:?} is not a DNS label: expected 1 to {LABEL_BYTES_MAX} of a-z, 0-9 and '-', starting and ending with a letter or digit"
    )]
    Label(String),
    /// More than one `/`, or none where one is needed.
    #[error("{0:?} is not a service name: expected NAME or NAMESPACE/NAME")]
    Service(String),
    /// No port, or one outside 1 to 65535.
    #[error("{0:?} is not a cluster name: expected NAMESPACE/NAME:PORT with a port from 1 to 65535")]
    Cluster(String),
}

/// Checks that `text` is a DNS label.
pub fn check_label(text: &str) -> Result<(), NameError> {
    let bytes = text.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let valid = !bytes.is_empty()
        && bytes.len() <= LABEL_BYTES_MAX
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric);
    if valid { Ok(()) } else { Err(NameError::Label(text.to_owned())) }
}

/// A `Service`, by namespace and name. Written `NAMESPACE/NAME`; it also names the scope of the sidecars beside that service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    namespace: Box<str>,
    name: Box<str>,
}

impl ServiceName {
    /// A name from its two labels.
    pub fn new(namespace: &str, name: &str) -> Result<Self, NameError> {
        check_label(namespace)?;
        check_label(name)?;
        Ok(Self { namespace: namespace.into(), name: name.into() })
    }

    /// The namespace label.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster behind one port of this service.
    pub fn cluster(&self, port: u16) -> ClusterName {
        ClusterName { service: self.clone(), port }
    }
}

impl FromStr for ServiceName {
    type Err = NameError;

    /// `NAME` is short for `default/NAME`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            None => Self::new(DEFAULT_NAMESPACE, text),
            Some((_, name)) if name.contains('/') => Err(NameError::Service(text.to_owned())),
            Some((namespace, name)) => Self::new(namespace, name),
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// A group of interchangeable endpoints: one port of one service. Written `NAMESPACE/NAME:PORT`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName {
    /// The service.
    pub service: ServiceName,
    /// Its port, as callers name it.
    pub port: u16,
}

impl FromStr for ClusterName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let unreadable = || NameError::Cluster(text.to_owned());
        let (service, port) = text.rsplit_once(':').ok_or_else(unreadable)?;
        let port: u16 = port.parse().ok().filter(|port| *port != 0).ok_or_else(unreadable)?;
        Ok(Self { service: service.parse()?, port })
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.service, self.port)
    }
}

text_form!(ServiceName);
text_form!(ClusterName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_default_their_namespace() {
        for (text, written) in [("cart", "default/cart"), ("shop/cart-2", "shop/cart-2")] {
            assert_eq!(text.parse::<ServiceName>().unwrap().to_string(), written);
        }
        assert_eq!("shop/cart:80".parse::<ClusterName>().unwrap().to_string(), "shop/cart:80");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "/", "a/", "/a", "a/b/c", "Cart", "-a", "a-", "a.b", "a b", &"a".repeat(64)] {
            assert!(text.parse::<ServiceName>().is_err(), "{text:?}");
        }
        for text in ["a", "a:", "a:0", "a:65536", "a:x", "a/b/c:80"] {
            assert!(text.parse::<ClusterName>().is_err(), "{text:?}");
        }
    }
}
