//! Files that are there whole or not at all, secrets for their owner's eyes only.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Its owner: mode 0600.
    Owner,
    /// Everybody: mode 0644.
    All,
}

/// Makes a file that is not there yet, durably.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if there is one: it stays as it was.
pub fn create(path: &Path, text: &[u8], readers: Readers) -> io::Result<()> {
    put(path, text, readers, |staged| std::fs::hard_link(staged, path))
}

/// Makes a file, in place of one that may be there, durably.
///
/// # Errors
/// The system's; what was there stays as it was.
pub fn replace(path: &Path, text: &[u8], readers: Readers) -> io::Result<()> {
    put(path, text, readers, |staged| std::fs::rename(staged, path))
}

/// Written under another name first: a crash leaves no half of it.
fn put(
    path: &Path,
    text: &[u8],
    readers: Readers,
    name: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(format!(".{}.new", std::process::id()));
    let staged = PathBuf::from(staged);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or(Ok(()), std::fs::create_dir_all)?;
    // Of a process of this number that died in the middle. Removed, and not written into: its mode may be another.
    absent(std::fs::remove_file(&staged))?;
    let mode = if readers == Readers::Owner { 0o600 } else { 0o644 };
    let written =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&staged).and_then(|mut file| {
            file.write_all(text)?;
            file.sync_all()
        });
    let named = written.and_then(|()| name(&staged));
    // After a rename there is none.
    absent(std::fs::remove_file(&staged))?;
    named?;
    parent.map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_a_crash_left_behind_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/ca.key");
        let staged = folder.path().join(format!("new/ca.key.{}.new", std::process::id()));
        std::fs::create_dir(folder.path().join("new")).unwrap();
        std::fs::write(&staged, "half").unwrap();
        create(&path, b"whole", Readers::Owner).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!staged.exists());
        let again = create(&path, b"other", Readers::Owner).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        std::fs::write(&staged, "half").unwrap();
        replace(&path, b"other", Readers::All).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"other");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
