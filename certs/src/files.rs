//! Keys and certificates in files that something else renews: a secret that Kubernetes mounts, cert-manager, Vault, a script.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use outrigger_snapshot::identity::SpiffeId;
use outrigger_snapshot::name::ServiceName;
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
    /// It proves another service.
    #[error("{} is for {found}, and this is {service}", file.display())]
    Misnamed {
        /// The chain.
        file: PathBuf,
        /// Whom it proves.
        found: SpiffeId,
        /// Whom it should.
        service: ServiceName,
    },
}

impl FilesError {
    /// Its word in metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Pem(error) => error.code(),
            Self::Unusable { problem, .. } => problem.code(),
            Self::Misnamed { .. } => Problem::WrongName.code(),
        }
    }

    /// What only time has to mend.
    fn untimely(&self) -> Option<Problem> {
        match self {
            Self::Unusable { problem: problem @ (Problem::NotYetValid | Problem::Expired), .. } => {
                Some(*problem)
            }
            _ => None,
        }
    }
}

/// Whether others than its owner may read a file.
pub fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

/// What the last look found: the same is told once. Where only time stands in the way, each look tries again: a certificate may be put there
/// before its time, and a clock may be set right.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    content: Option<u64>,
    untimely: Option<Problem>,
}

impl Looked {
    /// What becomes of this content, if that is news.
    pub(crate) fn news<T>(
        &mut self,
        content: u64,
        become_of: impl FnOnce() -> Result<T, FilesError>,
    ) -> Option<Result<T, FilesError>> {
        let changed = self.content.replace(content) != Some(content);
        if !changed && self.untimely.is_none() {
            return None;
        }
        let found = become_of();
        let untimely = found.as_ref().err().and_then(FilesError::untimely);
        let before = std::mem::replace(&mut self.untimely, untimely);
        (changed || before != untimely).then_some(found)
    }
}

/// Files that are looked at again and again. By content: whether they were renamed, linked anew or written in place does not matter, and a
/// pair of which only one half is there yet is a mismatch that the next look finds mended.
#[derive(Debug)]
pub struct Watched {
    files: Files,
    service: ServiceName,
    looked: Looked,
}

impl Watched {
    /// Nothing has been read yet. What proves another service than this cannot be used.
    pub fn new(files: Files, service: ServiceName) -> Self {
        Self { files, service, looked: Looked::default() }
    }

    /// Reads what is new; `None`: nothing is. What cannot be used is told once, and what is not valid yet comes when it is.
    pub fn look(&mut self, now: UnixTime) -> Option<Result<Svid, FilesError>> {
        let texts = pem::read(&self.files.certificate, "certificate")
            .and_then(|chain| pem::read(&self.files.key, "private key").map(|key| (chain, key)));
        let mut hasher = DefaultHasher::new();
        match &texts {
            Ok((chain, key)) => [chain, key].into_iter().for_each(|text| hasher.write(text)),
            Err(error) => hasher.write(error.to_string().as_bytes()),
        }
        let Self { files, service, looked } = self;
        let found = || {
            texts.map_err(FilesError::from).and_then(|(chain, key)| svid(files, service, &chain, &key, now))
        };
        looked.news(hasher.finish(), found)
    }
}

fn svid(
    files: &Files,
    service: &ServiceName,
    chain: &[u8],
    key: &[u8],
    now: UnixTime,
) -> Result<Svid, FilesError> {
    let chain = pem::chain(chain, &files.certificate.display().to_string())?;
    let key = pem::key(key, &files.key.display().to_string())?;
    let unusable = |problem| FilesError::Unusable { files: files.clone(), problem };
    let svid = Svid::new(chain, &key, now).map_err(unusable)?;
    if svid.id().service().as_ref() == Some(service) {
        return Ok(svid);
    }
    let (file, found) = (files.certificate.clone(), svid.id().clone());
    Err(FilesError::Misnamed { file, found, service: service.clone() })
}
