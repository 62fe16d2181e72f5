//! What a power failure leaves, for every moment of a writer's life.
//!
//! A writer runs under strace. For each prefix of its system calls the disk is put together again with only what was
//! synced by then, and has to hold the promise: what was acknowledged is whole, and everything else whole or absent.

mod calls;
mod disk;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use calls::Call;
use disk::{Disk, Unsynced};
use outrigger_snapshot::keys::{SigningKey, TrustedKeys};
use outrigger_store::Store;
use outrigger_store::write::{Publisher, keyfile};

use crate::whole::{Acknowledged, check};

const ROUNDS: &str = "3";

struct Recording {
    _scratch: tempfile::TempDir,
    root: PathBuf,
    trusted: TrustedKeys,
    calls: Vec<Call>,
}

#[test]
fn every_prefix_of_a_new_mesh_keeps_the_promise() {
    let recording = record(false);
    let prefixes = replay(&recording, &recording.calls, false).unwrap();
    assert!(prefixes > 100, "only {prefixes} calls were recorded");
}

#[test]
fn directories_that_a_dead_process_left_unsynced_are_synced() {
    let recording = record(true);
    replay(&recording, &recording.calls, true).unwrap();
}

#[test]
fn without_file_syncs_the_promise_is_broken() {
    let recording = record(false);
    let calls = without(&recording.calls, |call| matches!(call, Call::SyncEnd { directory: false, .. }));
    let broken = replay(&recording, &calls, false).unwrap_err();
    assert!(broken.contains("torn"), "{broken}");
}

#[test]
fn without_directory_syncs_the_promise_is_broken() {
    let recording = record(false);
    let calls = without(&recording.calls, |call| matches!(call, Call::SyncEnd { directory: true, .. }));
    let broken = replay(&recording, &calls, false).unwrap_err();
    assert!(broken.contains("lost"), "{broken}");
}

fn without(calls: &[Call], dropped: impl Fn(&Call) -> bool) -> Vec<Call> {
    let kept: Vec<Call> = calls.iter().filter(|call| !dropped(call)).cloned().collect();
    assert!(kept.len() < calls.len(), "there was nothing to drop");
    kept
}

/// Runs a writer under strace, on a new store or on one that is there already.
fn record(inherited: bool) -> Recording {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("store");
    let key_file = scratch.path().join("key");
    let key = keyfile::create(&key_file).unwrap();
    let trusted = key.public().into();
    if inherited {
        inherit(&root, key);
    }
    let log = scratch.path().join("trace");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-y", "-s", "200", "-e", "signal=none", "-e", "status=successful", "-e"])
        .arg(format!("trace={}", calls::TRACED.join(",")))
        .arg("-o")
        .arg(&log)
        .arg(env!("CARGO_BIN_EXE_store-writer"))
        .arg("push")
        .args([&root, &key_file])
        .arg(ROUNDS)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("strace is installed (.ci/run does it)");
    assert!(status.success(), "the traced writer failed");
    let calls = calls::parse(&fs::read_to_string(&log).unwrap(), &root);
    Recording { _scratch: scratch, root, trusted, calls }
}

/// A mesh with its folders, made by someone else.
fn inherit(root: &Path, key: SigningKey) {
    let store = Store::open(root.to_str().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let epoch = runtime.block_on(async {
        Publisher::new(store, vec![key], [], None).unwrap().init(1_700_000_000_000).await.unwrap()
    });
    for folder in [
        "objects".to_owned(),
        format!("revisions/{:020}", epoch.epoch),
        format!("releases/{:020}", epoch.epoch),
    ] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
}

/// The number of prefixes, or the first broken promise.
fn replay(recording: &Recording, calls: &[Call], inherited: bool) -> Result<usize, String> {
    let mut disk = Disk::new(&recording.root);
    if inherited {
        disk.inherit();
    }
    let mut acknowledged = Acknowledged::default();
    for (position, call) in calls.iter().enumerate() {
        if let Call::Said(line) = call {
            acknowledged.hear(line);
        } else {
            disk.apply(call);
        }
        for unsynced in [Unsynced::Dropped, Unsynced::EntriesKept] {
            let after = tempfile::tempdir().unwrap();
            disk.after_power_failure(unsynced, after.path());
            check(after.path(), &recording.trusted, &acknowledged)
                .map_err(|broken| format!("after call {position} ({call:?}), {unsynced:?}: {broken}"))?;
        }
    }
    assert_eq!(acknowledged.revisions.len().to_string(), ROUNDS);
    Ok(calls.len())
}
