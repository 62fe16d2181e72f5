use std::fs;
use std::path::Path as FilePath;

use super::*;
use crate::reader::{ReadError, Refusal};

struct Bench {
    scratch: tempfile::TempDir,
    key: SigningKey,
}

impl Bench {
    fn new() -> Self {
        Self { scratch: tempfile::tempdir().unwrap(), key: SigningKey::generate().unwrap() }
    }

    fn root(&self) -> std::path::PathBuf {
        self.scratch.path().join("store")
    }

    fn store(&self) -> Store {
        folder(&self.root())
    }

    /// A control plane, as it is after a restart.
    fn control_plane(&self) -> Publisher {
        let state = StateDir::open(&self.scratch.path().join("state")).unwrap();
        Publisher::new(self.store(), vec![same(&self.key)], [], Some(state)).unwrap()
    }

    async fn mesh(&self) -> Publisher {
        let mut publisher = self.control_plane();
        publisher.init(NOW).await.unwrap();
        let first = push(&mut publisher, 0, "one").await.serial;
        release(&mut publisher, first, "one").await;
        publisher
    }
}

fn copy(from: &FilePath, to: &FilePath) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_store_that_was_deleted_and_made_again_is_recovered_under_a_new_epoch() {
    let bench = Bench::new();
    let mut before = bench.mesh().await;
    let mut follower = reader(&bench.store(), &bench.key);
    assert!(policy(&mut follower).await.is_some());
    let second = push(&mut before, 1, "two").await.serial;
    release(&mut before, second, "two").await;
    assert!(policy(&mut follower).await.is_some());

    fs::remove_dir_all(bench.root()).unwrap();
    let gone = follower.poll(&Held::default()).await.unwrap_err();
    assert!(matches!(gone, ReadError::Store(crate::StoreError::FolderMissing(_))), "{gone}");
    assert!(before.head().await.is_err());
    assert!(!bench.root().exists(), "only init and recover make the folder");
    fs::create_dir(bench.root()).unwrap();
    for mut control_plane in [before, bench.control_plane()] {
        let refused = control_plane.head().await.unwrap_err();
        assert!(matches!(refused, WriteError::Emptied { .. }), "{refused}");
        let refused = control_plane.init(NOW).await.unwrap_err();
        assert!(matches!(refused, WriteError::Emptied { .. }), "{refused}");
        assert!(control_plane.publish(&compiled("x", "x"), second, 1, NOW).await.is_err());
    }
    let empty = follower.poll(&Held::default()).await.unwrap_err();
    assert!(matches!(empty, ReadError::Empty(_)), "{empty}");

    let mut after = bench.control_plane();
    let recovered = after.recover(NOW).await.unwrap();
    assert_eq!(recovered.resources, draft("two").resources);
    assert!(recovered.serial.epoch > second.epoch);
    assert!(matches!(after.recover(NOW).await, Err(WriteError::NothingLost(_))));
    release(&mut after, recovered.serial, "two").await;
    assert_eq!(policy(&mut follower).await.as_deref(), Some(r#"{"policy":"two"}"#));
    assert_eq!(follower.position().unwrap().release, Serial { n: 1, ..recovered.serial });
    let third = push(&mut after, 1, "three").await.serial;
    release(&mut after, third, "three").await;
    assert_eq!(policy(&mut follower).await.as_deref(), Some(r#"{"policy":"three"}"#));
}

#[tokio::test]
async fn a_store_restored_from_yesterday_is_noticed_by_both_sides() {
    let bench = Bench::new();
    let mut before = bench.mesh().await;
    let backup = bench.scratch.path().join("backup");
    copy(&bench.root(), &backup);
    let second = push(&mut before, 1, "two").await.serial;
    release(&mut before, second, "two").await;
    let mut follower = reader(&bench.store(), &bench.key);
    assert!(policy(&mut follower).await.is_some());

    fs::remove_dir_all(bench.root()).unwrap();
    copy(&backup, &bench.root());
    for mut control_plane in [before, bench.control_plane()] {
        let refused = control_plane.head().await.unwrap_err();
        assert!(matches!(refused, WriteError::Behind { .. }), "{refused}");
    }
    let behind = follower.poll(&Held::default()).await.unwrap_err();
    assert!(matches!(behind, ReadError::Behind { .. }), "{behind}");
    fs::remove_file(bench.root().join("heartbeat")).unwrap();
    let behind = follower.poll(&Held::default()).await.unwrap_err();
    assert!(matches!(behind, ReadError::Behind { .. }), "{behind}");

    let mut after = bench.control_plane();
    let recovered = after.recover(NOW).await.unwrap();
    release(&mut after, recovered.serial, "two").await;
    assert_eq!(policy(&mut follower).await.as_deref(), Some(r#"{"policy":"two"}"#));
}

#[tokio::test]
async fn a_wrong_folder_is_not_a_lost_store() {
    let bench = Bench::new();
    let mut before = bench.mesh().await;
    let mut follower = reader(&bench.store(), &bench.key);
    assert!(policy(&mut follower).await.is_some());
    fs::rename(bench.root(), bench.scratch.path().join("unmounted")).unwrap();
    let other = folder(&bench.root());
    let mut stranger = publisher(&other, &bench.key);
    stranger.init(NOW + 1).await.unwrap();
    let first = push(&mut stranger, 0, "other").await.serial;
    release(&mut stranger, first, "other").await;
    for control_plane in [&mut bench.control_plane(), &mut before] {
        let refused = control_plane.head().await.unwrap_err();
        assert!(matches!(refused, WriteError::OtherMesh { .. }), "{refused}");
        let refused = control_plane.recover(NOW).await.unwrap_err();
        assert!(matches!(refused, WriteError::OtherMesh { .. }), "{refused}");
    }
    let refused = follower.poll(&Held::default()).await.unwrap_err();
    assert!(matches!(refused, ReadError::Refused(Refusal::OtherMesh { .. })), "{refused}");
    fs::remove_file(bench.root().join("heartbeat")).unwrap();
    let refused = follower.poll(&Held::default()).await.unwrap_err();
    assert!(matches!(refused, ReadError::Refused(Refusal::OtherMesh { .. })), "{refused}");
}

#[tokio::test]
async fn without_a_memory_there_is_nothing_to_recover_from() {
    let bench = Bench::new();
    fs::create_dir(bench.root()).unwrap();
    let refused = bench.control_plane().recover(NOW).await.unwrap_err();
    assert!(matches!(refused, WriteError::NothingRemembered), "{refused}");
}

#[tokio::test]
async fn a_mesh_in_which_nothing_was_pushed_may_be_made_again() {
    let bench = Bench::new();
    bench.control_plane().init(NOW).await.unwrap();
    bench.control_plane().head().await.unwrap();
    fs::remove_dir_all(bench.root()).unwrap();
    bench.control_plane().init(NOW + 1).await.unwrap();
}

#[test]
fn the_memory_survives_and_damage_to_it_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let state = StateDir::open(scratch.path()).unwrap();
    assert_eq!(state.load().unwrap(), None);
    let seen = HighWater {
        mesh: MeshId::random().unwrap(),
        revision: Serial { epoch: 3, n: 4 },
        release: 5,
        revision_stored: b"\n{}\n\0".to_vec(),
    };
    state.save(&seen).unwrap();
    state.save(&seen).unwrap();
    assert_eq!(state.load().unwrap(), Some(seen));
    let path = scratch.path().join("high-water");
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(matches!(state.load(), Err(HighWaterError::Damaged(_))), "cut at {cut}");
    }
}
