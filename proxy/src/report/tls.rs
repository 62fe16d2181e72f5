//! TLS towards a control plane.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Where systems keep the certificates that they trust; `SSL_CERT_FILE` names another place.
const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why TLS does not come about.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificates to trust.
    #[error(
        "the system has no certificates to trust: install them, or name a file in SSL_CERT_FILE (for reports alone: --report-ca-file)"
    )]
    NoRoots,
    /// The file with them can't be read.
    #[error("can't read the certificates in {}", .0.display())]
    Unreadable(PathBuf, #[source] rustls_pki_types::pem::Error),
    /// None of them can be used.
    #[error("no certificate in {} can be used", .0.display())]
    Unusable(PathBuf),
    /// The library refuses the settings.
    #[error("TLS can't be set up")]
    Setup(#[source] tokio_rustls::rustls::Error),
    /// The host in the URL is no name that a certificate can have.
    #[error("{0:?} is no name that a certificate can have")]
    Name(String),
    /// The other side failed to prove who it is, or does not speak TLS.
    #[error("the handshake failed")]
    Handshake(#[source] std::io::Error),
}

/// Trusts the authorities in `file`, or those of the system. Read anew each time, so that they can be replaced.
pub(crate) fn connector(file: Option<&Path>) -> Result<TlsConnector, TlsError> {
    let path = match file {
        Some(path) => path.to_owned(),
        None => system_file().ok_or(TlsError::NoRoots)?,
    };
    let unreadable = |error| TlsError::Unreadable(path.clone(), error);
    let certificates = CertificateDer::pem_file_iter(&path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable)?;
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err(TlsError::Unusable(path));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The authorities that the system trusts.
pub(crate) fn system_roots() -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = system_file().ok_or(TlsError::NoRoots)?;
    let certificates = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect);
    certificates.map_err(|error| TlsError::Unreadable(path, error))
}

/// The file with the certificates that the system trusts.
pub(crate) fn system_file() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(SYSTEM_FILES.map(PathBuf::from)).find(|path| path.is_file())
}
