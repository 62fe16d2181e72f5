use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::layout;
use outrigger_snapshot::record::Index;

use super::*;
use crate::write::verify::VERIFY_EVERY_MS;

/// The paths of all objects in the store.
async fn objects(store: &Store) -> Vec<String> {
    store.list(layout::OBJECTS, None).await.unwrap()
}

async fn publish_at(
    publisher: &mut Publisher,
    content: &Compiled,
    revision: Serial,
    now_ms: u64,
) -> Published {
    publisher.publish(content, revision, 1, now_ms).await.unwrap()
}

#[tokio::test]
async fn lost_objects_of_the_newest_release_are_stored_again() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, revision) = mesh(&store, &key).await;
    let (content, revision) = (compiled("one", "facts"), revision.serial);
    assert!(matches!(publish_at(&mut publisher, &content, revision, NOW).await, Published::Identical(_)));
    for lost in [&objects(&store).await[..1], &objects(&store).await[..]] {
        for path in lost {
            store.delete(path).await.unwrap();
        }
        // Not at every turn, and at the first one after a while.
        let soon = publisher.verified.unwrap().1 + VERIFY_EVERY_MS - 1;
        let outcome = publish_at(&mut publisher, &content, revision, soon).await;
        assert!(matches!(outcome, Published::Identical(_)), "{outcome:?}");
        let outcome = publish_at(&mut publisher, &content, revision, soon + 1).await;
        let Published::Restored(release, count) = outcome else { panic!("{outcome:?}") };
        assert_eq!((release.serial.n, count), (1, lost.len()));
        assert_eq!(policy(&mut reader(&store, &key)).await.as_deref(), Some(r#"{"policy":"one"}"#));
    }
}

#[tokio::test]
async fn a_new_publisher_looks_at_once_and_mends_what_was_cut_short() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (_, revision) = mesh(&store, &key).await;
    let path = objects(&store).await.remove(0);
    let whole = store.read(&path, usize::MAX).await.unwrap().unwrap();
    store.overwrite(&path, whole.slice(..whole.len() - 1)).await.unwrap();
    let mut other = publisher(&store, &key);
    let outcome = publish_at(&mut other, &compiled("one", "facts"), revision.serial, NOW).await;
    assert!(matches!(outcome, Published::Restored(_, 1)), "{outcome:?}");
    assert_eq!(store.read(&path, usize::MAX).await.unwrap().unwrap(), whole);
}

#[tokio::test]
async fn lost_shards_are_stored_again() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, _) = mesh(&store, &key).await;
    let revision = push(&mut publisher, 1, "many").await.serial;
    let scope = |number: usize| {
        let content = ScopeContent {
            policy: format!("{{\"policy\":\"{number}\"}}").into_bytes(),
            facts: b"{\"facts\":\"all\"}".to_vec(),
        };
        (format!("shop/s{number}").parse().unwrap(), content)
    };
    let many = Compiled::new(1, (0..300).map(scope).collect());
    let outcome = publish_at(&mut publisher, &many, revision, NOW).await;
    let Published::Released(release) = outcome else { panic!("{outcome:?}") };
    let Some(Index::Shards(shards)) = release.contents.get(&1) else { panic!("{release:?}") };
    store.delete(&layout::object(shards[0].object)).await.unwrap();
    let outcome = publish_at(&mut publisher, &many, revision, NOW).await;
    assert!(matches!(outcome, Published::Restored(_, 1)), "{outcome:?}");
}

#[tokio::test]
async fn what_another_version_compressed_is_published_anew_once_it_is_lost() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, revision) = mesh(&store, &key).await;
    let (content, revision) = (compiled("one", "facts"), revision.serial);
    // The same meaning under another digest of stored bytes, whose object is gone.
    let elsewhere = Digest::of(b"other bytes");
    publisher
        .amend(NOW, |release| {
            let Some(Index::Inline(scopes)) = release.contents.get_mut(&1) else { panic!("{release:?}") };
            scopes.values_mut().for_each(|entry| entry.facts.object = elsewhere);
        })
        .await
        .unwrap();
    let outcome = publish_at(&mut publisher, &content, revision, NOW).await;
    let Published::Released(release) = outcome else { panic!("{outcome:?}") };
    assert_eq!((release.serial.n, release.revision), (3, 1));
    publisher.heartbeat(NOW).await.unwrap();
    assert_eq!(policy(&mut reader(&store, &key)).await.as_deref(), Some(r#"{"policy":"one"}"#));
}
