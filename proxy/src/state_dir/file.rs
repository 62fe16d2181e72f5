//! Small versioned JSON files that are replaced as a whole.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// A kind of record that is kept in a file of its own.
pub trait StateFile: Serialize + DeserializeOwned {
    /// Name of the file.
    const NAME: &'static str;
    /// Version of its form; a file of another version is not read.
    const VERSION: u32;
    /// Largest file that is read, in bytes.
    const BYTES_MAX: usize;

    /// The version that it was written in.
    fn version(&self) -> u32;

    /// Whether it keeps to the bounds that the types can't state.
    fn is_bounded(&self) -> bool;
}

/// Why a file of the state folder does not count.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It is there, but can't be read.
    #[error("it can't be read")]
    Unreadable(#[source] std::io::Error),
    /// It is larger than anything that a proxy writes.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// It is not JSON of the expected form: truncated, altered, or of another version.
    #[error("it is not what a proxy of this version writes")]
    Shape(#[source] serde_json::Error),
    /// Another version of the proxy wrote it.
    #[error("its form has version {found}, this proxy reads version {known}")]
    Version {
        /// The file's.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// It lists more than a proxy keeps.
    #[error("it lists more than a proxy keeps")]
    Unbounded,
    /// Content whose digest is not that of its name.
    #[error("it was altered or truncated: its digest is another")]
    Altered,
}

/// Reads at most `bytes_max` bytes; `None` if there is no such file.
pub(super) fn read_bounded(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, Damage> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Damage::Unreadable(error)),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(Damage::Unreadable)?;
    if bytes.len() > bytes_max { Err(Damage::TooLarge(bytes_max)) } else { Ok(Some(bytes)) }
}

pub(super) fn read<T: StateFile>(folder: &Path) -> Result<Option<T>, Damage> {
    let Some(bytes) = read_bounded(&folder.join(T::NAME), T::BYTES_MAX)? else { return Ok(None) };
    // One kind holds a key.
    let bytes = Zeroizing::new(bytes);
    let record: T = serde_json::from_slice(&bytes).map_err(Damage::Shape)?;
    if record.version() != T::VERSION {
        return Err(Damage::Version { found: record.version(), known: T::VERSION });
    }
    if !record.is_bounded() {
        return Err(Damage::Unbounded);
    }
    Ok(Some(record))
}

pub(super) fn write<T: StateFile>(folder: &Path, record: &T) -> std::io::Result<()> {
    let bytes = Zeroizing::new(serde_json::to_vec(record)?);
    replace(folder, T::NAME, &bytes)
}

/// Puts `bytes` in the place of `name`. A crash leaves the old file or the new one, and after the return only the new one.
pub(super) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let beside = folder.join(format!(".{name}.new"));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// Removes a file, durably; that it is gone already is no error.
pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all()),
    }
}
