//! What a store folder promises after a crash, checked on the files themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::keys::TrustedKeys;
use outrigger_snapshot::layout;
use outrigger_snapshot::record::{Epoch, Index, Record, Release, Revision, Serial};
use outrigger_snapshot::signed;

/// What a writer was told is stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acknowledged {
    pub(crate) revisions: BTreeSet<Serial>,
    pub(crate) releases: BTreeSet<Serial>,
}

impl Acknowledged {
    /// Takes in one line of `store-writer`.
    pub(crate) fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["acknowledged", what, epoch, n] = words.as_slice() else { return };
        let serial = Serial { epoch: epoch.parse().unwrap(), n: n.parse().unwrap() };
        match *what {
            "revision" => self.revisions.insert(serial),
            "release" => self.releases.insert(serial),
            other => panic!("{other:?} is never acknowledged"),
        };
    }
}

/// Whether everything acknowledged is there, and everything that is there is whole. The error says what is not.
pub(crate) fn check(root: &Path, trusted: &TrustedKeys, acknowledged: &Acknowledged) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for path in files(&root.join(layout::EPOCHS)) {
        open::<Epoch>(&path, trusted)?;
    }
    for path in files(&root.join(layout::OBJECTS)) {
        let stored = fs::read(&path).unwrap();
        let named = layout::digest(path.to_str().unwrap()).ok_or_else(|| format!("{path:?} is no object"))?;
        if Digest::of(&stored) != named {
            return Err(format!("{path:?} is torn: {} bytes", stored.len()));
        }
    }
    for folder in folders(&root.join(layout::REVISIONS)) {
        for path in files(&folder) {
            seen.insert(layout::revision(open::<Revision>(&path, trusted)?.serial));
        }
    }
    for folder in folders(&root.join(layout::RELEASES)) {
        for path in files(&folder) {
            let release = open::<Release>(&path, trusted)?;
            seen.insert(layout::release(release.serial));
            stands(root, &release)?;
        }
    }
    let revisions = acknowledged.revisions.iter().map(|serial| layout::revision(*serial));
    let releases = acknowledged.releases.iter().map(|serial| layout::release(*serial));
    let lost: Vec<String> = revisions.chain(releases).filter(|path| !seen.contains(path)).collect();
    if lost.is_empty() { Ok(()) } else { Err(format!("acknowledged and lost: {lost:?}")) }
}

/// Whether everything that `release` rests on is there.
fn stands(root: &Path, release: &Release) -> Result<(), String> {
    let mut needed = vec![
        layout::epoch(release.serial.epoch),
        layout::revision(Serial { n: release.revision, ..release.serial }),
    ];
    for index in release.contents.values() {
        let Index::Inline(scopes) = index else { return Err("the writer makes no shards".to_owned()) };
        for entry in scopes.values() {
            needed.extend(
                entry.policies.iter().chain([&entry.facts]).map(|object| layout::object(object.object)),
            );
        }
    }
    match needed.iter().find(|path| !root.join(path).exists()) {
        Some(missing) => Err(format!("release {} rests on {missing}, which is missing", release.serial)),
        None => Ok(()),
    }
}

fn open<R: Record>(path: &Path, trusted: &TrustedKeys) -> Result<R, String> {
    let stored = fs::read(path).unwrap();
    signed::open(&stored, trusted)
        .map_err(|error| format!("{path:?} is torn ({} bytes): {error}", stored.len()))
}

/// The records of a folder: not what a writer was still staging.
fn files(folder: &Path) -> Vec<PathBuf> {
    entries(folder)
        .into_iter()
        .filter(|path| path.is_file() && !path.to_str().unwrap().contains('#'))
        .collect()
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    entries(folder).into_iter().filter(|path| path.is_dir()).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}
