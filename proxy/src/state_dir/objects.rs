//! Content of snapshots, each in a file that is named by its digest.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use outrigger_snapshot::digest::Digest;

use super::{Damage, StateDir, file};

/// Largest policy or facts object that is kept, in bytes of its uncompressed form.
pub const CONTENT_BYTES_MAX: usize = 64 << 20;

const FOLDER: &str = "objects";

pub(super) fn create(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder.join(FOLDER))
}

impl StateDir {
    /// Keeps `content` under its digest. Does nothing if it is there already.
    pub fn keep(&self, digest: Digest, content: &[u8]) -> std::io::Result<()> {
        let length = std::fs::metadata(self.object(digest)).map(|metadata| metadata.len());
        if length.is_ok_and(|length| length == content.len() as u64) {
            return Ok(());
        }
        file::replace(&self.objects(), &digest.to_string(), content)
    }

    /// The content with that digest; `None` if it was never kept.
    pub fn content(&self, digest: Digest) -> Result<Option<Vec<u8>>, Damage> {
        let Some(content) = file::read_bounded(&self.object(digest), CONTENT_BYTES_MAX)? else {
            return Ok(None);
        };
        if Digest::of(&content) == digest { Ok(Some(content)) } else { Err(Damage::Altered) }
    }

    /// Removes all content but that of `kept`. What can't be removed is left for the next time.
    pub fn collect(&self, kept: &BTreeSet<Digest>) {
        let Ok(entries) = std::fs::read_dir(self.objects()) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let digest = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            if digest.is_none_or(|digest: Digest| !kept.contains(&digest)) {
                // Only disk space is at stake, and the next collection tries again.
                let _ = std::fs::remove_file(&path);
            }
        }
    }

    fn objects(&self) -> PathBuf {
        self.path().join(FOLDER)
    }

    fn object(&self, digest: Digest) -> PathBuf {
        self.objects().join(digest.to_string())
    }
}
