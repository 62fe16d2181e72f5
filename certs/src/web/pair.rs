//! A certificate to be shown, and its key: as Kubernetes mounts a secret of type `kubernetes.io/tls`.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::Unstapled;
use super::ocsp;
use crate::files::{Files, FilesError, Looked, is_open};
use crate::inspect::{Facts, parse};
use crate::pem::{self, PemError};
use crate::problem::Problem;
use crate::signed::Signed;

/// Longest OCSP response, in bytes: a TLS message has room for more, and no authority writes more.
const OCSP_BYTES_MAX: usize = 64 * 1024;

/// See the module. It was sound when it was made; only time can change that.
#[derive(Clone)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    /// The hosts that it is for, in lower case.
    names: Box<[Box<str>]>,
    leaf: Facts,
    /// Of what is shown below the leaf.
    above: Box<[Facts]>,
    /// Why its authority's response is not handed on, where there is one.
    unstapled: Option<Unstapled>,
    flaws: Flaws,
}

/// What clients take offence at, and a test set-up may have all the same.
#[derive(Debug, Clone, Copy)]
struct Flaws {
    /// Signed with SHA-1 or the like, at any place of the chain.
    weak: bool,
    /// An authority, posing as a server.
    authority: bool,
}

impl Pair {
    /// Of a chain, the leaf first, its key, and what its authority says of it (RFC 6960), which is handed on to clients if it says at `now` that all
    /// is well.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
        ocsp: Option<Vec<u8>>,
        now: UnixTime,
    ) -> Result<Self, Problem> {
        let leaf = chain.first().ok_or(Problem::Missing)?;
        let parsed = webpki::EndEntityCert::try_from(leaf).map_err(|_| Problem::Malformed)?;
        let names = parsed.valid_dns_names().map(|name| name.to_ascii_lowercase().into()).collect();
        let facts = chain.iter().map(|certificate| Facts::of(certificate)).collect::<Result<Vec<_>, _>>()?;
        facts.iter().try_for_each(|facts| facts.check_time(now))?;
        let unstapled = ocsp.as_deref().and_then(|response| ocsp::check(response, leaf, now).err());
        let flaws = Flaws {
            weak: !chain.iter().all(|shown| Signed::read(shown).is_ok_and(|signed| signed.is_accepted())),
            authority: parse(leaf)?.is_ca(),
        };
        let mut facts = facts.into_iter();
        let (leaf, above) = (facts.next().ok_or(Problem::Missing)?, facts.collect());
        let signing = any_supported_type(key).map_err(|_| Problem::UnusableKey)?;
        let mut certified = CertifiedKey::new(chain, signing);
        certified.keys_match().map_err(|_| Problem::KeyMismatch)?;
        certified.ocsp = ocsp.filter(|_| unstapled.is_none());
        Ok(Self { certified: Arc::new(certified), names, leaf, above, unstapled, flaws })
    }

    /// What makes it a worse one to show than another, which fits now: clients would not believe it, and they believe the other.
    pub fn worsens(&self, other: &Self, now: UnixTime) -> Option<Problem> {
        let is_over = |pair: &Self| pair.facts().any(|facts| facts.check_time(now).is_err());
        if is_over(other) {
            return None;
        }
        match () {
            () if self.flaws.weak && !other.flaws.weak => Some(Problem::WeakSignature),
            () if self.flaws.authority && !other.flaws.authority => Some(Problem::WrongKeyUsage),
            () if self.names.is_empty() && !other.names.is_empty() => Some(Problem::WrongName),
            () => None,
        }
    }

    fn facts(&self) -> impl Iterator<Item = &Facts> {
        std::iter::once(&self.leaf).chain(&self.above)
    }

    /// What the leaf says.
    pub fn leaf(&self) -> &Facts {
        &self.leaf
    }

    /// What the certificates between it and its root say.
    pub fn above(&self) -> &[Facts] {
        &self.above
    }

    /// Why what its authority says of it is not handed on; `None`: it is, or there is nothing.
    pub fn unstapled(&self) -> Option<Unstapled> {
        self.unstapled
    }

    /// For TLS.
    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// How well it fits a host: 2 by its name, 1 by a wildcard, which stands for one label (RFC 9525 §6.3), 0 not at all.
    pub(super) fn fits(&self, host: &str) -> u8 {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        let wild = |name: &str| name.strip_prefix("*.").is_some_and(|below| Some(below) == parent);
        match () {
            () if self.names.iter().any(|name| **name == *host) => 2,
            () if self.names.iter().any(|name| wild(name)) => 1,
            () => 0,
        }
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pair").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}

/// A folder with `tls.crt`, `tls.key` and maybe `tls.ocsp`, that is looked at again and again. By content, as
/// [`crate::files::Watched`].
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    looked: Looked,
}

/// What was read of a folder.
struct Texts {
    chain: zeroize::Zeroizing<Vec<u8>>,
    key: zeroize::Zeroizing<Vec<u8>>,
    ocsp: Option<Vec<u8>>,
}

impl Texts {
    fn unstapled(&self, now: UnixTime) -> Option<Unstapled> {
        let response = self.ocsp.as_deref()?;
        let chain = pem::chain(&self.chain, "").ok()?;
        ocsp::check(response, chain.first()?, now).err()
    }
}

impl Folder {
    /// Nothing has been read yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, looked: Looked::default() }
    }

    /// Reads what is new; `None`: nothing is. What cannot be used is told once, and what is not valid yet comes when it is.
    pub fn look(&mut self, now: UnixTime) -> Option<Result<Pair, FilesError>> {
        let texts = self.read();
        let mut hasher = DefaultHasher::new();
        match &texts {
            Ok(texts) => {
                let ocsp = texts.ocsp.as_deref().unwrap_or_default();
                [&texts.chain[..], &texts.key[..], ocsp].into_iter().for_each(|text| hasher.write(text));
                // A response that holds no more is news, too.
                texts.unstapled(now).hash(&mut hasher);
            }
            Err(error) => hasher.write(error.to_string().as_bytes()),
        }
        let files = self.files();
        self.looked.news(hasher.finish(), || {
            texts.map_err(FilesError::from).and_then(|texts| pair(files, texts, now))
        })
    }

    /// Whether others than its owner may read the key.
    pub fn is_key_open(&self) -> bool {
        is_open(&self.files().key)
    }

    fn files(&self) -> Files {
        Files { certificate: self.path.join("tls.crt"), key: self.path.join("tls.key") }
    }

    fn read(&self) -> Result<Texts, PemError> {
        let Files { certificate, key } = self.files();
        let ocsp = self.path.join("tls.ocsp");
        let ocsp = match pem::read(&ocsp, "OCSP response") {
            Ok(bytes) if bytes.len() > OCSP_BYTES_MAX => {
                return Err(PemError::Long { origin: ocsp.display().to_string(), what: "OCSP response" });
            }
            Ok(bytes) => Some(bytes.to_vec()).filter(|bytes| !bytes.is_empty()),
            Err(PemError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Texts {
            chain: pem::read(&certificate, "certificate")?,
            key: pem::read(&key, "private key")?,
            ocsp,
        })
    }
}

fn pair(files: Files, texts: Texts, now: UnixTime) -> Result<Pair, FilesError> {
    let chain = pem::chain(&texts.chain, &files.certificate.display().to_string())?;
    let key = pem::key(&texts.key, &files.key.display().to_string())?;
    let unusable = |problem| FilesError::Unusable { files, problem };
    Pair::new(chain, &key, texts.ocsp, now).map_err(unusable)
}
