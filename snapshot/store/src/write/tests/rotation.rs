use outrigger_snapshot::keys::TrustedKeys;

use super::*;
use crate::reader::{Position, ReadError};

fn trust(keys: &[&SigningKey]) -> TrustedKeys {
    TrustedKeys::new(keys.iter().map(|key| key.public())).unwrap()
}

async fn signing(store: &Store, keys: &[&SigningKey], trusted: &[&SigningKey]) -> Publisher {
    let keys = keys.iter().map(|key| same(key)).collect();
    let trusted = trusted.iter().map(|key| key.public());
    Publisher::new(store.clone(), keys, trusted, None).unwrap()
}

#[tokio::test]
async fn keys_rotate_without_a_reader_being_told() {
    let (old, new) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let store = memory();
    let (mut publisher, _) = mesh(&store, &old).await;
    let mut follower = reader(&store, &old);
    assert!(policy(&mut follower).await.is_some());

    publisher.announce(trust(&[&old, &new]), NOW).await.unwrap();
    publisher.heartbeat(NOW).await.unwrap();
    assert!(policy(&mut follower).await.is_some());
    assert_eq!(follower.position().unwrap().trusted, trust(&[&old, &new]));

    let mut both = signing(&store, &[&new, &old], &[]).await;
    let second = push(&mut both, 1, "two").await.serial;
    release(&mut both, second, "two").await;
    both.announce(trust(&[&new]), NOW).await.unwrap();
    both.heartbeat(NOW).await.unwrap();
    assert_eq!(policy(&mut follower).await.as_deref(), Some(r#"{"policy":"two"}"#));
    assert_eq!(follower.position().unwrap().trusted, trust(&[&new]));

    // The old key is lost to a thief: what it signs is nothing to a reader that followed, restarted or not.
    let mut thief = signing(&store, &[&old], &[&new]).await;
    let third = push(&mut thief, 2, "stolen").await.serial;
    release(&mut thief, third, "stolen").await;
    let position = follower.position().cloned();
    let restarted = Reader::new(store.clone(), Trust::Keys(old.public().into()), subscriber(), position);
    for mut reader in [follower, restarted] {
        let refused = reader.poll(&Held::default()).await.unwrap_err();
        assert!(matches!(refused, ReadError::Refused(_)), "{refused}");
    }
}

#[tokio::test]
async fn a_reader_that_starts_after_the_rotation_needs_only_the_new_key() {
    let (old, new) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let store = memory();
    let (mut publisher, _) = mesh(&store, &old).await;
    publisher.announce(trust(&[&old, &new]), NOW).await.unwrap();
    let mut both = signing(&store, &[&new, &old], &[]).await;
    both.announce(trust(&[&new]), NOW).await.unwrap();
    let second = push(&mut both, 1, "two").await.serial;
    let mut alone = signing(&store, &[&new], &[]).await;
    release(&mut alone, second, "two").await;
    assert_eq!(policy(&mut reader(&store, &new)).await.as_deref(), Some(r#"{"policy":"two"}"#));
}

#[tokio::test]
async fn other_keys_given_by_the_operator_win_over_remembered_ones() {
    let (old, new) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let store = memory();
    mesh(&store, &new).await;
    let mut follower = reader(&store, &new);
    policy(&mut follower).await;
    let position = Position {
        trusted: old.public().into(),
        pinned: Some(old.public().into()),
        ..follower.position().unwrap().clone()
    };
    let remembered =
        Reader::new(store.clone(), Trust::Keys(old.public().into()), subscriber(), Some(position.clone()));
    let told = Reader::new(store.clone(), Trust::Keys(new.public().into()), subscriber(), Some(position));
    let mut publisher = publisher(&store, &new);
    let second = push(&mut publisher, 1, "two").await.serial;
    release(&mut publisher, second, "two").await;
    for (mut reader, believes) in [(remembered, false), (told, true)] {
        assert_eq!(matches!(reader.poll(&Held::default()).await, Ok(Poll::New(_))), believes);
    }
}

#[tokio::test]
async fn trust_on_first_use_believes_the_keys_of_the_store_once() {
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let store = memory();
    mesh(&store, &key).await;
    let mut first = Reader::new(store.clone(), Trust::FirstUse, subscriber(), None);
    assert!(policy(&mut first).await.is_some());
    let position = first.position().cloned();
    assert_eq!(position.as_ref().unwrap().trusted, key.public().into());

    // Later keys are not believed, also after a restart.
    let mut intruder = Publisher::new(store.clone(), vec![other], [key.public()], None).unwrap();
    intruder.offer_keys().await.unwrap();
    let second = push(&mut intruder, 1, "two").await.serial;
    release(&mut intruder, second, "two").await;
    let restarted = Reader::new(store.clone(), Trust::FirstUse, subscriber(), position);
    for mut reader in [first, restarted] {
        assert!(matches!(reader.poll(&Held::default()).await, Err(ReadError::Refused(_))));
    }
}

#[test]
fn key_files_are_private_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;

    use crate::write::keyfile::{self, KeyFileError};
    let scratch = tempfile::tempdir().unwrap();
    let path = keyfile::beside(&scratch.path().join("store"));
    assert!(path.ends_with("store.key"));
    assert!(matches!(keyfile::read(&path), Err(KeyFileError::Absent(_))));
    let made = keyfile::create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(keyfile::read(&path).unwrap().public(), made.public());
    assert!(matches!(keyfile::create(&path), Err(KeyFileError::Exists(_))));
    assert_eq!(keyfile::read(&path).unwrap().public(), made.public());
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing is left beside it");
    std::fs::write(&path, "nonsense").unwrap();
    assert!(matches!(keyfile::read(&path), Err(KeyFileError::Key { .. })));
}
