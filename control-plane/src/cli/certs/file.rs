//! Files that are there whole or not at all, secrets for their owner's eyes only.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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
pub(super) fn create(path: &Path, text: &str, secret: bool) -> Result<(), FileError> {
    put(path, text, secret, |staged| std::fs::hard_link(staged, path))
}

/// Makes a file, in place of one that may be there.
pub(super) fn replace(path: &Path, text: &str, secret: bool) -> Result<(), FileError> {
    put(path, text, secret, |staged| std::fs::rename(staged, path))
}

/// Written under another name first: a crash leaves no half of it.
fn put(
    path: &Path,
    text: &str,
    secret: bool,
    name: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), FileError> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(format!(".{}.new", std::process::id()));
    let staged = PathBuf::from(staged);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mode = if secret { 0o600 } else { 0o644 };
    let write = || {
        parent.map_or(Ok(()), std::fs::create_dir_all)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&staged)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        name(&staged)?;
        parent.map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    let written = write();
    // After a rename there is none.
    let _ = std::fs::remove_file(&staged);
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists(path.to_owned()),
        _ => FileError::Io { path: path.to_owned(), error },
    })
}
