//! `GET /certs`: certificates that are shown to others, and those that others are believed by. Of keys, nothing.

use outrigger_certs::inspect::Facts;
use serde::Serialize;

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertsView {
    /// Who this proxy has proved to be.
    pub identity: Option<String>,
    /// Whose word counts, and of whom; `None`: there is no mutual TLS in the mesh.
    pub trust_domain: Option<String>,
    /// Its own certificate first, then those between it and the root, then the roots that are believed.
    pub certificates: Vec<CertView>,
    /// What clients and servers outside the mesh are shown.
    pub shown: Vec<ShownCerts>,
}

/// What a folder of `--certificates` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownCerts {
    /// As resources name it.
    pub name: String,
    /// The chain, the leaf first; empty: there is none that can be used.
    pub certificates: Vec<CertView>,
    /// Why what is there now is not used, a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<&'static str>,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertView {
    /// `leaf`, `intermediate` or `root`.
    pub role: &'static str,
    /// Whose it is, by its own words.
    pub subject: String,
    /// Further names of its own.
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

impl CertView {
    /// Of one with this role.
    pub fn of(role: &'static str, facts: &Facts) -> Self {
        let Facts { subject, names, issuer, serial, not_before_unix, not_after_unix } = facts.clone();
        Self { role, subject, names, issuer, serial, not_before_unix, not_after_unix }
    }
}
