//! Keys and certificates in files that something else renews: a secret that Kubernetes mounts, cert-manager, Vault, a script.

use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;

use rustls_pki_types::UnixTime;

use crate::pem::{self, PemError};
use crate::problem::Problem;
use crate::svid::Svid;

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The chain, the leaf first.
    pub certificate: PathBuf,
    /// The leaf's key; may be the same file.
    pub key: PathBuf,
}

/// Why files are no identity.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// One of them.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// What is in them.
    #[error("{} and {} cannot be used", files.certificate.display(), files.key.display())]
    Unusable {
        /// Which.
        files: Files,
        /// Why not.
        #[source]
        problem: Problem,
    },
}

/// Files that are looked at again and again. By content: whether they were renamed, linked anew or written in place does not matter, and a
/// pair of which only one half is there yet is a mismatch that the next look finds mended.
#[derive(Debug)]
pub struct Watched {
    files: Files,
    seen: Option<u64>,
}

impl Watched {
    /// Nothing has been read yet.
    pub fn new(files: Files) -> Self {
        Self { files, seen: None }
    }

    /// Reads what is new; `None`: nothing is. What cannot be used is told once.
    pub fn look(&mut self, now: UnixTime) -> Option<Result<Svid, FilesError>> {
        let texts = pem::read(&self.files.certificate, "certificate")
            .and_then(|chain| pem::read(&self.files.key, "private key").map(|key| (chain, key)));
        let mut hasher = DefaultHasher::new();
        match &texts {
            Ok((chain, key)) => [chain, key].into_iter().for_each(|text| hasher.write(text)),
            Err(error) => hasher.write(error.to_string().as_bytes()),
        }
        if self.seen.replace(hasher.finish()) == Some(hasher.finish()) {
            return None;
        }
        Some(texts.map_err(FilesError::from).and_then(|(chain, key)| self.svid(&chain, &key, now)))
    }

    fn svid(&self, chain: &[u8], key: &[u8], now: UnixTime) -> Result<Svid, FilesError> {
        let chain = pem::chain(chain, &self.files.certificate.display().to_string())?;
        let key = pem::key(key, &self.files.key.display().to_string())?;
        let unusable = |problem| FilesError::Unusable { files: self.files.clone(), problem };
        Svid::new(chain, &key, now).map_err(unusable)
    }
}
