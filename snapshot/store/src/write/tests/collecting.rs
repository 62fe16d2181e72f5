use std::time::Duration;

use outrigger_snapshot::layout;

use super::interposed::Interposed;
use super::*;

/// A mesh with `count` releases of different content.
async fn long_mesh(store: &Store, key: &SigningKey, count: u64) -> Publisher {
    let (mut publisher, _) = mesh(store, key).await;
    for base in 1..count {
        let revision = push(&mut publisher, base, &base.to_string()).await.serial;
        release(&mut publisher, revision, &base.to_string()).await;
    }
    publisher
}

async fn count(store: &Store, folder: &str) -> usize {
    store.list(folder, None).await.unwrap().len()
}

#[tokio::test]
async fn fifty_releases_and_seven_days_are_kept() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let mut publisher = long_mesh(&store, &key, 60).await;
    let keep = Keep::default();
    let young = publisher.collect(keep, now_ms() + 6 * DAY_MS).await.unwrap();
    assert_eq!(young, Collected::default());
    let collected = publisher.collect(keep, now_ms() + 8 * DAY_MS).await.unwrap();
    assert_eq!((collected.releases, collected.objects), (10, 10), "ten policies; the facts are everybody's");
    assert_eq!(count(&store, layout::RELEASES).await, 50);
    assert_eq!(count(&store, layout::OBJECTS).await, 51);
    assert_eq!(count(&store, layout::REVISIONS).await, 60, "revisions are history and stay");
    assert!(policy(&mut reader(&store, &key)).await.is_some());
    let again = publisher.collect(keep, now_ms() + 8 * DAY_MS).await.unwrap();
    assert_eq!(again, Collected::default());
}

#[tokio::test]
async fn a_slow_reader_takes_the_newest_release_when_its_objects_are_collected() {
    let key = SigningKey::generate().unwrap();
    let (watch, store) = Interposed::store();
    let mut publisher = long_mesh(&store, &key, 3).await;
    let mut slow = reader(&store, &key);
    let keep = Keep { releases: 1, age: Duration::from_secs(1) };
    // While the reader goes for the object of release 3, release 4 is made and everything before it collected.
    watch.before_read("objects", async move {
        let revision = push(&mut publisher, 3, "four").await.serial;
        release(&mut publisher, revision, "four").await;
        let collected = publisher.collect(keep, now_ms() + DAY_MS).await.unwrap();
        assert!(collected.objects > 0);
    });
    assert_eq!(policy(&mut slow).await.as_deref(), Some(r#"{"policy":"four"}"#));
    assert_eq!(slow.position().unwrap().release.n, 4);
}

#[tokio::test]
async fn a_missing_object_without_a_newer_release_is_an_error_and_no_refusal() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, _) = mesh(&store, &key).await;
    for path in store.list(layout::OBJECTS, None).await.unwrap() {
        store.delete(&path).await.unwrap();
    }
    let mut reader = reader(&store, &key);
    let missing = reader.poll(&Held::default()).await.unwrap_err();
    assert!(matches!(missing, crate::reader::ReadError::ObjectMissing(_)), "{missing}");
    let second = push(&mut publisher, 1, "two").await.serial;
    // A publisher that stored an object lately does not look again; a restarted one does.
    let mut restarted = super::publisher(&store, &key);
    release(&mut restarted, second, "two").await;
    assert!(policy(&mut reader).await.is_some());
}

#[tokio::test]
async fn an_object_that_is_being_named_again_is_kept() {
    let key = SigningKey::generate().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let store = folder(scratch.path());
    let mut publisher = long_mesh(&store, &key, 3).await;
    let keep = Keep { releases: 1, age: Duration::from_millis(7 * DAY_MS) };
    let old = std::time::SystemTime::now() - Duration::from_millis(10 * DAY_MS);
    for folder in [layout::OBJECTS, layout::RELEASES] {
        for path in store.list(folder, None).await.unwrap() {
            let file = std::fs::File::options().write(true).open(scratch.path().join(path)).unwrap();
            file.set_modified(old).unwrap();
        }
    }
    // Content "1" is named again by a fourth release: written again first, so no collection takes it.
    let revision = push(&mut publisher, 3, "1").await.serial;
    let mut restarted = super::publisher(&store, &key);
    restarted.publish(&compiled("1", "facts"), revision, 1, now_ms()).await.unwrap();
    restarted.heartbeat(NOW).await.unwrap();
    restarted.collect(keep, now_ms()).await.unwrap();
    assert_eq!(policy(&mut reader(&store, &key)).await.as_deref(), Some(r#"{"policy":"1"}"#));
    assert_eq!(count(&store, layout::RELEASES).await, 1);
}

#[tokio::test]
async fn leftovers_of_dead_writers_are_removed() {
    let key = SigningKey::generate().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let store = folder(scratch.path());
    let (mut publisher, _) = mesh(&store, &key).await;
    let staged = ["heartbeat#1", "objects/0123#17"].map(|name| scratch.path().join(name));
    for path in &staged {
        std::fs::write(path, "half").unwrap();
    }
    let keep = Keep::default();
    publisher.collect(keep, now_ms()).await.unwrap();
    assert!(staged.iter().all(|path| path.exists()), "a writer may still be at it");
    let collected = publisher.collect(keep, now_ms() + 8 * DAY_MS).await.unwrap();
    assert_eq!(collected.leftovers, 2);
    assert!(!staged.iter().any(|path| path.exists()));
    assert!(policy(&mut reader(&store, &key)).await.is_some());
}

#[tokio::test]
async fn sharded_releases_keep_what_their_shards_name() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let mut publisher = publisher(&store, &key);
    publisher.init(NOW).await.unwrap();
    let revision = push(&mut publisher, 0, "many").await.serial;
    let scopes = (0..200).map(|scope| {
        let policy = format!("{{\"scope\":{scope}}}").into_bytes();
        (format!("s{scope}").parse().unwrap(), ScopeContent { policy, facts: b"{}".to_vec() })
    });
    let many = Compiled::new(1, scopes.collect());
    publisher.publish(&many, revision, 1, NOW).await.unwrap();
    let before = count(&store, layout::OBJECTS).await;
    let keep = Keep { releases: 1, age: Duration::from_secs(1) };
    let collected = publisher.collect(keep, now_ms() + 8 * DAY_MS).await.unwrap();
    assert_eq!(collected.objects, 0);
    assert_eq!(count(&store, layout::OBJECTS).await, before);
}

#[tokio::test]
async fn an_unreadable_release_stops_the_collection() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let mut publisher = long_mesh(&store, &key, 3).await;
    let second = layout::release(Serial { epoch: NOW, n: 2 });
    store.overwrite(&second, "{}".into()).await.unwrap();
    let before = count(&store, layout::OBJECTS).await;
    let keep = Keep { releases: 2, age: Duration::from_secs(1) };
    assert!(publisher.collect(keep, now_ms() + DAY_MS).await.is_err());
    assert_eq!(count(&store, layout::OBJECTS).await, before);
}

#[tokio::test]
async fn what_is_known_of_tokens_outlives_them_and_is_forgotten_then() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, _) = mesh(&store, &key).await;
    let tokens = Tokens::new(store.clone());
    let id = outrigger_snapshot::join_token::TokenId::random().unwrap();
    tokens.revoke(id, now_ms()).await.unwrap();
    let keep = Keep { age: Duration::from_secs(1), ..Keep::default() };
    publisher.collect(keep, now_ms() + 7 * DAY_MS).await.unwrap();
    assert!(tokens.is_revoked(id).await.unwrap(), "it may have been made a moment before");
    publisher.collect(keep, now_ms() + 8 * DAY_MS).await.unwrap();
    assert!(!tokens.is_revoked(id).await.unwrap());
}
