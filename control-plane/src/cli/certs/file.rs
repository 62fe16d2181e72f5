//! What authorities and certificates are kept in.

use std::io;
use std::path::{Path, PathBuf};

use outrigger_store::write::whole_file::{self, Readers};

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// There is one.
    #[error("{} exists already and is not overwritten", .0.display())]
    Exists(PathBuf),
    /// The system refuses.
    #[error("can't write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// Makes a file that is not there yet.
pub(super) fn create(path: &Path, text: &str, readers: Readers) -> Result<(), FileError> {
    named(path, whole_file::create(path, text.as_bytes(), readers))
}

/// Makes a file, in place of one that may be there.
pub(super) fn replace(path: &Path, text: &str, readers: Readers) -> Result<(), FileError> {
    named(path, whole_file::replace(path, text.as_bytes(), readers))
}

fn named(path: &Path, written: io::Result<()>) -> Result<(), FileError> {
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists(path.to_owned()),
        _ => FileError::Io { path: path.to_owned(), error },
    })
}
