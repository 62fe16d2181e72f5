use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use outrigger_snapshot::digest::Digest;

use super::*;
use crate::quarantine::{Entry, Kind, Quarantine, Trial};

fn folder(path: &Path) -> StateFolder {
    StateFolder { path: path.to_owned(), persistent: true }
}

fn open(path: &Path) -> StateDir {
    StateDir::open(&folder(path), "cart-7 of shop/cart").unwrap()
}

fn quarantine(deaths: u32) -> Quarantine {
    let entry = Entry { digest: Digest::of(b"x"), kind: Kind::Policy, deaths, since_unix_ms: 1 };
    Quarantine { entries: vec![entry], ..Quarantine::default() }
}

#[test]
fn a_second_proxy_is_told_who_has_the_folder() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("deep/state");
    let first = open(&path);
    let message = StateDir::open(&folder(&path), "other").unwrap_err().to_string();
    assert!(message.contains("cart-7 of shop/cart") && message.contains("--state-dir"), "{message}");
    drop(first);
    open(&path);
}

#[test]
fn records_come_back_and_go() {
    let temporary = tempfile::tempdir().unwrap();
    let state = open(temporary.path());
    assert_eq!(state.read::<Quarantine>().unwrap(), None);
    state.write(&quarantine(2)).unwrap();
    state.write(&quarantine(3)).unwrap();
    assert_eq!(state.read::<Quarantine>().unwrap(), Some(quarantine(3)));
    state.remove::<Quarantine>().unwrap();
    state.remove::<Quarantine>().unwrap();
    assert_eq!(state.read::<Quarantine>().unwrap(), None);
}

#[test]
fn a_damaged_file_does_not_count_and_the_others_do() {
    let temporary = tempfile::tempdir().unwrap();
    let state = open(temporary.path());
    state.write(&Trial::default()).unwrap();
    state.write(&quarantine(2)).unwrap();
    let path = temporary.path().join("quarantine.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    let many = vec![quarantine(2).entries[0].clone(); 100];
    let cases = [
        ("truncated", whole[..whole.len() / 2].to_owned()),
        ("empty", String::new()),
        ("something else", "[1,2]".to_owned()),
        ("a later version", whole.replace("\"version\":1", "\"version\":2")),
        ("too many", serde_json::to_string(&Quarantine { entries: many, ..Quarantine::default() }).unwrap()),
        ("too large", " ".repeat(Quarantine::BYTES_MAX + 1)),
    ];
    for (what, text) in cases {
        assert_ne!(text, whole, "{what}");
        std::fs::write(&path, text).unwrap();
        assert!(state.read::<Quarantine>().is_err(), "{what}");
        assert_eq!(state.read_or_warn::<Quarantine>(), None, "{what}");
        assert_eq!(state.read::<Trial>().unwrap(), Some(Trial::default()), "{what}");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(state.read::<Quarantine>(), Err(Damage::Unreadable(_))));
}

#[test]
fn content_is_known_by_its_digest() {
    let temporary = tempfile::tempdir().unwrap();
    let state = open(temporary.path());
    let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
    state.keep(one, b"one").unwrap();
    state.keep(other, b"other").unwrap();
    assert_eq!(state.content(one).unwrap().as_deref(), Some(b"one".as_slice()));
    assert_eq!(state.content(Digest::of(b"third")).unwrap(), None);
    std::fs::write(temporary.path().join("objects").join(one.to_string()), b"two").unwrap();
    assert!(matches!(state.content(one), Err(Damage::Altered)));
    state.collect(&BTreeSet::from([other]));
    assert_eq!(state.content(one).unwrap(), None);
    assert_eq!(state.content(other).unwrap().as_deref(), Some(b"other".as_slice()));
}

#[test]
fn half_written_files_are_never_read() {
    let temporary = tempfile::tempdir().unwrap();
    let state = open(temporary.path());
    state.write(&quarantine(2)).unwrap();
    std::fs::write(temporary.path().join(".quarantine.json.new"), "{\"entr").unwrap();
    assert_eq!(state.read::<Quarantine>().unwrap(), Some(quarantine(2)));
    state.write(&quarantine(3)).unwrap();
    assert_eq!(state.read::<Quarantine>().unwrap(), Some(quarantine(3)));
}

#[test]
fn a_folder_in_a_shared_place_has_to_be_ours_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let shared = temporary.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let inside = StateFolder { path: shared.join("state"), persistent: false };
    StateDir::open(&inside, "x").unwrap();
    std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o777)).unwrap();
    assert!(matches!(StateDir::open(&inside, "x"), Err(StateDirError::Exposed { .. })));
    assert!(StateDir::open(&folder(&inside.path), "x").is_ok(), "who names a folder knows it");
}
