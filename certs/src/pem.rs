//! PEM files (RFC 7468), read with bounds.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

#[cfg(feature = "issue")]
use base64::prelude::{BASE64_STANDARD, Engine as _};
use rustix::fs::OFlags;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// Largest file, in bytes; a bundle with revocation lists may be long.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Certificates in a chain, the leaf among them.
pub const CHAIN_MAX: usize = 6;
/// Authorities in a trust bundle.
pub const ROOTS_MAX: usize = 64;
/// Revocation lists beside it.
pub const REVOCATIONS_MAX: usize = 64;

/// Why a text in PEM is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// Not there, or not to be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Far too long.
    #[error("{origin} is longer than {FILE_BYTES_MAX} bytes, which no {what} is")]
    Long {
        /// The file, or what else the text is from.
        origin: String,
        /// What was looked for.
        what: &'static str,
    },
    /// Damaged, such as cut short.
    #[error("{origin} is damaged ({why}): expected PEM, each {what} whole, from its BEGIN to its END line")]
    Damaged {
        /// The file, or what else the text is from.
        origin: String,
        /// What was looked for.
        what: &'static str,
        /// Where it went wrong.
        why: String,
    },
    /// Nothing of the kind in it.
    #[error("{origin} has no {what}: expected at least one, in PEM")]
    Absent {
        /// The file, or what else the text is from.
        origin: String,
        /// What was looked for.
        what: &'static str,
    },
    /// A key that only a pass phrase opens.
    #[error(
        "{origin} is encrypted: expected a private key without a pass phrase, in a file that only its owner may read"
    )]
    Encrypted {
        /// The file, or what else the text is from.
        origin: String,
    },
    /// Something else in it.
    #[error("{origin} has something else in it (\"{found}\"): expected {what} in PEM and nothing besides")]
    Stray {
        /// The file, or what else the text is from.
        origin: String,
        /// What may be in it.
        what: &'static str,
        /// What its BEGIN line says, and never more: it may be a key.
        found: String,
    },
    /// Too many in it.
    #[error("{origin} has more than {most} of: {what}")]
    Many {
        /// The file, or what else the text is from.
        origin: String,
        /// What was looked for.
        what: &'static str,
        /// How many are read.
        most: usize,
    },
}

impl PemError {
    /// Its word in metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "unreadable",
            Self::Long { .. } => "too_long",
            Self::Damaged { .. } => "damaged",
            Self::Absent { .. } => "absent",
            Self::Encrypted { .. } => "encrypted",
            Self::Stray { .. } => "stray",
            Self::Many { .. } => "too_many",
        }
    }
}

/// Reads a file that may hold a secret. To open a pipe in the usual way would be to wait for whoever writes to it, maybe for ever; and what is looked at
/// before it is opened may be another by then.
pub fn read(path: &Path, what: &'static str) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let wrong = |error| PemError::File { path: path.to_owned(), error };
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(wrong)?;
    if !file.metadata().map_err(wrong)?.is_file() {
        return Err(wrong(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
    }
    let mut text = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(wrong)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(PemError::Long { origin: path.display().to_string(), what });
    }
    Ok(text)
}

/// The chain of certificates in `text`, the leaf first. Whatever else is there, such as a key, is passed over.
pub fn chain(text: &[u8], origin: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    some(text, origin, "certificate", CHAIN_MAX)
}

/// The authorities in `text`.
pub fn roots(text: &[u8], origin: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    some(text, origin, "certificate", ROOTS_MAX)
}

/// The authorities in `text`; there may be none.
pub fn authorities(text: &[u8], origin: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    all(text, origin, "certificate", ROOTS_MAX)
}

/// The revocation lists in `text`; there may be none.
pub fn revocations(
    text: &[u8],
    origin: &str,
) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
    all(text, origin, "revocation list", REVOCATIONS_MAX)
}

/// Certificates, by their BEGIN line.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// A revocation list, by its BEGIN line.
pub const REVOCATION_LIST: &str = "X509 CRL";
/// Longest part of a BEGIN line that is told, in bytes.
const LABEL_BYTES_MAX: usize = 32;

/// Checks that there is nothing in `text`, which everybody may see, but what these BEGIN lines announce. Text around them is passed over, as
/// `openssl … -text` writes it.
pub fn check_only(text: &str, labels: &[&str], origin: &str, what: &'static str) -> Result<(), PemError> {
    for line in text.split(['\n', '\r']).map(str::trim) {
        let label = line.strip_prefix("-----BEGIN ").map(|label| label.trim_end_matches('-'));
        let found = match label {
            Some(label) if labels.contains(&label) => continue,
            Some(label) => label,
            // A BEGIN line that is damaged is none; what comes after it may be whole.
            None if line.contains("PRIVATE KEY") => "PRIVATE KEY",
            None => continue,
        };
        let is_plain = |text: &&str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b' ');
        let found = found.get(..LABEL_BYTES_MAX).unwrap_or(found);
        let found = Some(found).filter(is_plain).unwrap_or("not to be read").to_owned();
        return Err(PemError::Stray { origin: origin.to_owned(), what, found });
    }
    Ok(())
}

/// The first private key in `text`.
pub fn key(text: &[u8], origin: &str) -> Result<Zeroizing<PrivateKeyDer<'static>>, PemError> {
    let what = "private key";
    if is_encrypted(text) {
        return Err(PemError::Encrypted { origin: origin.to_owned() });
    }
    PrivateKeyDer::from_pem_slice(text).map(Zeroizing::new).map_err(|error| match error {
        pem::Error::NoItemsFound => PemError::Absent { origin: origin.to_owned(), what },
        error => damaged(origin, what, &error),
    })
}

/// Whether a key is such as only a pass phrase opens: PKCS #8 (RFC 5958 §3), or as OpenSSL wrote them before (RFC 1421 §4.6.1.1).
pub(crate) fn is_encrypted(text: &[u8]) -> bool {
    let mut lines = text.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY") || line.starts_with(b"Proc-Type: 4,ENCRYPTED")
    })
}

/// The library's words for what it misses are numbers.
fn damaged(origin: &str, what: &'static str, error: &pem::Error) -> PemError {
    let why = match error {
        pem::Error::MissingSectionEnd { .. } => "an END line is missing".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is not one".to_owned(),
        other => other.to_string(),
    };
    PemError::Damaged { origin: origin.to_owned(), what, why }
}

/// Bytes as PEM, in lines of 64 characters.
#[cfg(feature = "issue")]
pub fn written(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        lines.extend(line.iter().copied().map(char::from));
        lines.push('\n');
    }
    lines + &format!("-----END {label}-----\n")
}

fn some<T: PemObject>(
    text: &[u8],
    origin: &str,
    what: &'static str,
    most: usize,
) -> Result<Vec<T>, PemError> {
    let found = all(text, origin, what, most)?;
    if found.is_empty() { Err(PemError::Absent { origin: origin.to_owned(), what }) } else { Ok(found) }
}

fn all<T: PemObject>(text: &[u8], origin: &str, what: &'static str, most: usize) -> Result<Vec<T>, PemError> {
    let mut found = Vec::new();
    for object in T::pem_slice_iter(text) {
        if found.len() == most {
            return Err(PemError::Many { origin: origin.to_owned(), what, most });
        }
        found.push(object.map_err(|error| damaged(origin, what, &error))?);
    }
    Ok(found)
}
