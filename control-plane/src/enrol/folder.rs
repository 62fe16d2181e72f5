//! The folder of an authority, as `outrigger certs init` makes it: `ca.crt` and `ca.key`, which make certificates, `root.crt`, by which they are
//! believed, and `mesh.yaml`, which names the trust domain. The root's key is not needed.

use std::path::{Path, PathBuf};

use outrigger_certs::authority::{Authority, IssueError};
use outrigger_certs::inspect::Facts;
use outrigger_certs::pem::{self, PemError};
use outrigger_certs::problem::Problem;
use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::identity::TrustDomain;
use rustls_pki_types::{CertificateDer, UnixTime};

/// Roots that `root.crt` may hold: they are shown to sidecars beside the chain.
const ROOTS_MAX: usize = 4;

/// Why a folder holds no authority.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// One of its files.
    #[error("can't use the authority (see `outrigger certs init`)")]
    Pem(#[from] PemError),
    /// What is in them.
    #[error("can't use the authority in {}", folder.display())]
    Authority {
        /// Which.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: IssueError,
    },
    /// The trust domain.
    #[error("{} {why}: expected the file that `outrigger certs init` made", path.display())]
    Domain {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// More roots than are shown.
    #[error("{} holds {count} certificates, at most {ROOTS_MAX} are shown to sidecars", path.display())]
    Roots {
        /// Which file.
        path: PathBuf,
        /// How many it holds.
        count: usize,
    },
}

/// An authority and what is around it.
#[derive(Debug)]
pub struct Folder {
    authority: Authority,
    domain: TrustDomain,
    roots: Vec<CertificateDer<'static>>,
    digest: Digest,
}

impl Folder {
    /// Reads all of it. An authority whose time is over, or has not come, is one all the same: it makes nothing.
    pub fn load(folder: &Path) -> Result<Self, FolderError> {
        let path = folder.join("root.crt");
        let text = pem::read(&path, "certificate")?;
        let roots = pem::roots(&text, &path.display().to_string())?;
        if roots.len() > ROOTS_MAX {
            return Err(FolderError::Roots { path, count: roots.len() });
        }
        let (authority, chain) = read_authority(folder)?;
        let domain = domain(folder)?;
        let digest = Digest::of(&[&text, chain.as_slice(), domain.as_str().as_bytes()].concat());
        Ok(Self { authority, domain, roots, digest })
    }

    /// What makes certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Whose identities it makes.
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// Whether what it makes would be believed at `now`, as far as time goes.
    pub fn check_time(&self, now: UnixTime) -> Result<(), Problem> {
        self.authority.check_time(now)?;
        let roots = self.roots.iter().map(|root| Facts::of(root)?.check_time(now));
        roots.reduce(Result::or).unwrap_or(Ok(()))
    }

    /// By whom they are believed.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Of all of it but the key, which another certificate would not fit.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }
}

/// The authority alone, which can make certificates now.
pub fn authority(folder: &Path, now: UnixTime) -> Result<Authority, FolderError> {
    let (authority, _) = read_authority(folder)?;
    let over = |problem| FolderError::Authority {
        folder: folder.to_owned(),
        source: IssueError::Authority(problem),
    };
    authority.check_time(now).map_err(over)?;
    Ok(authority)
}

fn read_authority(folder: &Path) -> Result<(Authority, Vec<u8>), FolderError> {
    let path = folder.join("ca.crt");
    let chain = pem::read(&path, "certificate")?;
    let key = pem::read(&folder.join("ca.key"), "private key")?;
    let authority = Authority::read(&chain, &key, &path.display().to_string())
        .map_err(|source| FolderError::Authority { folder: folder.to_owned(), source })?;
    Ok((authority, chain.to_vec()))
}

/// That which the `mesh.yaml` beside the authority names.
pub fn domain(folder: &Path) -> Result<TrustDomain, FolderError> {
    let path = folder.join("mesh.yaml");
    let text = std::fs::read_to_string(&path);
    let wrong = |why: String| FolderError::Domain { path, why };
    let text = match text {
        Ok(text) => text,
        Err(error) => return Err(wrong(format!("can't be read ({error})"))),
    };
    let line = text.lines().find_map(|line| line.trim().strip_prefix("trustDomain:"));
    let domain = line.and_then(|domain| domain.trim().parse().ok());
    domain.ok_or_else(|| wrong("names no trust domain".to_owned()))
}
