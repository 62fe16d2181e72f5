//! Signing keys in files: PEM, for the owner's eyes only.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use outrigger_snapshot::keys::{KeyError, SigningKey};
use zeroize::Zeroizing;

use super::whole_file::{self, Readers};

/// Largest key file that is read, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 4096;
/// Permissions that let others than the owner sign. The group may read: secrets are mounted so for processes of another user.
const EXPOSING: u32 = 0o027;

/// Why a key file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is one already; it is never overwritten.
    #[error("{0:?} exists already and is not overwritten; a lost signing key can't be made again")]
    Exists(PathBuf),
    /// There is none.
    #[error("there is no signing key at {0:?}; make one with `outrigger keys new`, or correct --signing-key")]
    Absent(PathBuf),
    /// The file can't be read or written.
    #[error("the signing key {path:?} can't be {action}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file holds no key.
    #[error("{path:?} holds no signing key")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
}

/// The key beside a folder store: `<store>.key`.
pub fn beside(folder: &Path) -> PathBuf {
    let mut path = folder.as_os_str().to_owned();
    path.push(".key");
    path.into()
}

/// Makes a key and keeps it at `path`, mode 0600, durably.
///
/// # Errors
/// [`KeyFileError::Exists`] rather than overwriting one.
pub fn create(path: &Path) -> Result<SigningKey, KeyFileError> {
    let broken = |source| KeyFileError::Key { path: path.to_owned(), source };
    let key = SigningKey::generate().map_err(broken)?;
    let text = Zeroizing::new(key.to_pem().map_err(broken)?);
    whole_file::create(path, text.as_bytes(), Readers::Owner).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
        _ => KeyFileError::Io { path: path.to_owned(), action: "written", source },
    })?;
    Ok(key)
}

/// Reads the key at `path`.
///
/// # Errors
/// [`KeyFileError`].
pub fn read(path: &Path) -> Result<SigningKey, KeyFileError> {
    let mut text = Zeroizing::new(String::new());
    File::open(path).and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text)).map_err(
        |source| match source.kind() {
            io::ErrorKind::NotFound => KeyFileError::Absent(path.to_owned()),
            _ => KeyFileError::Io { path: path.to_owned(), action: "read", source },
        },
    )?;
    SigningKey::from_pem(&text).map_err(|source| KeyFileError::Key { path: path.to_owned(), source })
}

/// What is wrong with the permissions of the key at `path`, in a sentence, if anything is.
pub fn exposure(path: &Path) -> Option<String> {
    let file = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mode = file.permissions().mode() & 0o7777;
    (mode & EXPOSING != 0).then(|| {
        format!(
            "others can use the signing key {} (its mode is {mode:o}), and so decide what every proxy runs: chmod 600 it, and make \
             another one if it was read",
            path.display()
        )
    })
}
