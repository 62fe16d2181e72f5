//! The API over TLS.

use std::path::PathBuf;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::bootstrap::TlsFiles;

/// Why the API can't be served over TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that isn't readable PEM of the right kind.
    #[error("can't read {what} from {} ({flag})", path.display())]
    File {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The flag that names the file.
        flag: &'static str,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The file has no certificate.
    #[error("{} (--tls-cert) has no certificate: expected a PEM chain, the server's own first", .0.display())]
    NoCertificate(PathBuf),
    /// Certificate and key don't fit, or are of a kind that isn't supported.
    #[error("can't serve with the certificate of --tls-cert and the key of --tls-key")]
    Unusable(#[source] rustls::Error),
}

/// A server's side of TLS from PEM files: TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2.
pub(super) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let wrong = |source| TlsError::File {
        what: "a certificate chain",
        path: files.certificate.clone(),
        flag: "--tls-cert",
        source,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(|certificates| certificates.collect())
        .map_err(wrong)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(files.certificate.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::File {
        what: "a private key",
        path: files.key.clone(),
        flag: "--tls-key",
        source,
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
