//! `unquarantine`: lets a proxy run again what it had died of.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::output::{self, Exit, Failed};

/// Largest record that is read, in bytes.
const BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Args)]
#[command(after_help = "The proxy reads its record at every poll; it need not run.\n\nExamples:\n  \
                        outrigger unquarantine --state-dir /var/lib/outrigger/cart\n  \
                        outrigger unquarantine --state-dir /var/lib/outrigger/cart 3f2a")]
pub(super) struct Unquarantine {
    /// The proxy's state folder
    #[arg(long, value_name = "DIR", env = "OUTRIGGER_STATE_DIR")]
    state_dir: PathBuf,
    /// The snapshot's digest, or how it starts [default: all that are in quarantine]
    #[arg(value_name = "DIGEST")]
    digest: Option<String>,
}

/// What a proxy writes: the fields that this command doesn't need are kept as they are.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    entries: Vec<Entry>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    digest: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Unquarantine {
    pub(super) fn run(self) -> Result<Exit, Failed> {
        let path = self.state_dir.join("quarantine.json");
        let Some(mut record) = read(&path)? else {
            if !self.state_dir.is_dir() {
                let text = format!("there is no folder {} (--state-dir)", self.state_dir.display());
                return Err(Failed::refused(text));
            }
            output::line("nothing is in quarantine");
            return Ok(Exit::Done);
        };
        let wanted = |entry: &Entry| {
            self.digest.as_ref().is_none_or(|digest| entry.digest.starts_with(digest.as_str()))
        };
        let (released, kept): (Vec<Entry>, Vec<Entry>) = record.entries.into_iter().partition(wanted);
        if let (true, Some(digest)) = (released.is_empty(), &self.digest) {
            let known: Vec<&str> = kept.iter().map(|entry| entry.digest.as_str()).collect();
            let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
            return Err(Failed::refused(format!("{digest} is not in quarantine; in quarantine: {known}")));
        }
        record.entries = kept;
        write(&path, &record)?;
        if released.is_empty() {
            output::line("nothing is in quarantine");
        }
        for entry in &released {
            output::line(&format!("released {}", entry.digest));
        }
        Ok(Exit::Done)
    }
}

fn read(path: &Path) -> Result<Option<Record>, Failed> {
    let what = format!("can't read {}", path.display());
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failed::problem(&what, &error)),
        Ok(found) if found.len() > BYTES_MAX => {
            return Err(Failed::refused(format!("{what}: it is over {BYTES_MAX} bytes")));
        }
        Ok(_) => {}
    }
    let bytes = std::fs::read(path).map_err(|error| Failed::problem(&what, &error))?;
    let hint = format!("{} is no quarantine record; remove it to start with an empty one", path.display());
    serde_json::from_slice(&bytes).map(Some).map_err(|error| Failed::problem(&hint, &error))
}

/// Replaces the record at once: a proxy that reads it meanwhile sees the old one or the new one.
fn write(path: &Path, record: &Record) -> Result<(), Failed> {
    let what = format!("can't write {}", path.display());
    let failed = |error: std::io::Error| Failed::problem(&what, &error);
    let bytes = serde_json::to_vec(record).map_err(|error| Failed::problem(&what, &error))?;
    let beside = path.with_extension("json.new");
    let mut file = std::fs::File::create(&beside).map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}
