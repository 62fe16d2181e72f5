//! What a control plane must never fall behind: the highest that it saw, and the last revision whole. With it a lost store
//! is noticed, and can be re-seeded.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use outrigger_snapshot::record::{Kind, MeshId, Serial};
use serde::{Deserialize, Serialize};

const FILE: &str = "high-water";
/// The JSON line before the revision's bytes.
const LINE_BYTES_MAX: usize = 4096;

/// The highest that was seen in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HighWater {
    /// The mesh.
    pub mesh: MeshId,
    /// The newest revision; number 0 before there is one.
    pub revision: Serial,
    /// The number of the newest release in the same epoch; 0 before there is one.
    pub release: u64,
    /// The stored bytes of that revision. Empty before there is one.
    pub revision_stored: Vec<u8>,
}

/// A folder that survives restarts. One process at a time uses it.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

/// Why the state can't be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum HighWaterError {
    /// The file can't be read or written.
    #[error("{path:?} can't be {action}; check --state-dir and its permissions")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not what this program wrote.
    #[error("{0:?} is damaged; if the store is known to be whole, delete the file")]
    Damaged(PathBuf),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    mesh: MeshId,
    revision: Serial,
    release: u64,
    bytes: usize,
}

impl StateDir {
    /// Uses `path`, which is made if it is absent.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn open(path: &Path) -> Result<Self, HighWaterError> {
        fs::create_dir_all(path).map_err(|source| failed(path, "made", source))?;
        Ok(Self(path.to_owned()))
    }

    /// What was kept last; `None` if nothing was.
    ///
    /// # Errors
    /// [`HighWaterError`]; a damaged file is an error, for to ignore it would be to forget.
    pub fn load(&self) -> Result<Option<HighWater>, HighWaterError> {
        let path = self.0.join(FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(&path, "read", source)),
        };
        let max = (LINE_BYTES_MAX + Kind::Revision.stored_bytes_max()) as u64;
        let mut kept = Vec::new();
        file.take(max + 1).read_to_end(&mut kept).map_err(|source| failed(&path, "read", source))?;
        parse(&kept).map(Some).ok_or(HighWaterError::Damaged(path))
    }

    /// Keeps `seen` in place of what was kept before: after a crash, one or the other.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self, seen: &HighWater) -> Result<(), HighWaterError> {
        let path = self.0.join(FILE);
        let staged = self.0.join(format!("{FILE}.new"));
        replace(&path, &staged, seen).map_err(|source| failed(&path, "written", source))
    }
}

fn parse(kept: &[u8]) -> Option<HighWater> {
    let end = kept.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n')?;
    let line: Line = serde_json::from_slice(&kept[..end]).ok()?;
    let stored = &kept[end + 1..];
    if stored.len() != line.bytes {
        return None;
    }
    Some(HighWater {
        mesh: line.mesh,
        revision: line.revision,
        release: line.release,
        revision_stored: stored.to_vec(),
    })
}

fn replace(path: &Path, staged: &Path, seen: &HighWater) -> io::Result<()> {
    let line = Line {
        mesh: seen.mesh,
        revision: seen.revision,
        release: seen.release,
        bytes: seen.revision_stored.len(),
    };
    let mut file = File::create(staged)?;
    serde_json::to_writer(&mut file, &line)?;
    file.write_all(b"\n")?;
    file.write_all(&seen.revision_stored)?;
    file.sync_all()?;
    fs::rename(staged, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn failed(path: &Path, action: &'static str, source: io::Error) -> HighWaterError {
    HighWaterError::Io { path: path.to_owned(), action, source }
}
