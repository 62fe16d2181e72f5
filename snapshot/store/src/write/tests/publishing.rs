use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::layout;
use outrigger_snapshot::record::{Index, Release};

use super::interposed::Interposed;
use super::*;
use crate::write::publish::{INLINE_BYTES_MAX, named};

#[tokio::test]
async fn identical_content_makes_no_new_release() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, revision) = mesh(&store, &key).await;
    for _ in 0..3 {
        assert!(matches!(release(&mut publisher, revision.serial, "one").await, Published::Identical(_)));
    }
    let second = push(&mut publisher, 1, "other words, same meaning").await.serial;
    assert!(matches!(release(&mut publisher, second, "one").await, Published::Identical(_)));
    assert_eq!(publisher.head().await.unwrap().release_number(), 1);
}

#[tokio::test]
async fn only_a_higher_revision_or_a_newer_compiler_publishes() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, first) = mesh(&store, &key).await;
    let first = first.serial;
    let second = push(&mut publisher, 1, "two").await.serial;
    let mut publish = async |revision, compiler, word| {
        publisher.publish(&compiled(word, "facts"), revision, compiler, NOW).await.unwrap()
    };
    assert!(
        matches!(publish(first, 1, "else").await, Published::Superseded(_)),
        "same revision, same compiler"
    );
    assert!(
        matches!(publish(first, 2, "else").await, Published::Released(_)),
        "same revision, newer compiler"
    );
    assert!(
        matches!(publish(first, 1, "one").await, Published::Superseded(_)),
        "same revision, older compiler"
    );
    assert!(matches!(publish(second, 1, "two").await, Published::Released(_)), "higher revision");
    assert!(matches!(publish(first, 9, "one").await, Published::Superseded(_)), "lower revision");
    assert!(publisher.publish(&compiled("x", "x"), second.next().unwrap(), 1, NOW).await.is_err());
    let over = Serial { epoch: 1, n: 1 };
    let outcome = publisher.publish(&compiled("x", "x"), over, 1, NOW).await.unwrap();
    assert_eq!(outcome, Published::EpochOver(first.epoch));
    assert_eq!(publisher.head().await.unwrap().release_number(), 3);
}

#[tokio::test]
async fn two_compiler_versions_make_at_most_one_release_more_than_one_would() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut old, first) = mesh(&store, &key).await;
    let mut new = publisher(&store, &key);
    for second in 0..60 {
        let now = NOW + second * 1000;
        let (mine, theirs) = (compiled("one", "facts"), compiled("one, better", "facts"));
        old.publish(&mine, first.serial, 1, now).await.unwrap();
        new.publish(&theirs, first.serial, 2, now).await.unwrap();
        old.heartbeat(now).await.unwrap();
        new.heartbeat(now).await.unwrap();
    }
    assert_eq!(old.head().await.unwrap().release_number(), 2);
}

#[tokio::test]
async fn every_release_names_the_one_before_it() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, revision) = mesh(&store, &key).await;
    let second = push(&mut publisher, 1, "two").await.serial;
    let Published::Released(made) = release(&mut publisher, second, "two").await else { panic!("released") };
    let first = layout::release(Serial { n: 1, ..revision.serial });
    let stored = store.read(&first, usize::MAX).await.unwrap().unwrap();
    assert_eq!(made.previous, Some(Digest::of(&stored)));
}

#[tokio::test]
async fn a_rejected_revision_is_never_published_again() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, _) = mesh(&store, &key).await;
    let second = push(&mut publisher, 1, "bad").await.serial;
    release(&mut publisher, second, "bad").await;
    let mut reader = reader(&store, &key);
    assert_eq!(policy(&mut reader).await.as_deref(), Some(r#"{"policy":"bad"}"#));
    publisher.reject(1, NOW).await.unwrap();
    publisher.heartbeat(NOW).await.unwrap();
    assert_eq!(policy(&mut reader).await.as_deref(), Some(r#"{"policy":"one"}"#));
    for compiler in [1, 2] {
        let outcome = publisher.publish(&compiled("bad", "facts"), second, compiler, NOW).await.unwrap();
        assert!(matches!(outcome, Published::Rejected(_)), "{outcome:?}");
    }
    let third = push(&mut publisher, 2, "good").await.serial;
    let Published::Released(made) = release(&mut publisher, third, "good").await else { panic!("released") };
    assert!(!made.rejected);
    assert!(matches!(publisher.reject(99, NOW).await, Err(WriteError::Absent(_))));
}

#[tokio::test]
async fn permission_to_shrink_reaches_readers_that_skip_the_release_it_was_given_for() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, _) = mesh(&store, &key).await;
    let mut reader = reader(&store, &key);
    let mut allowed = async || match reader.poll(&Held::default()).await.unwrap() {
        Poll::New(snapshot) => snapshot.release.allow_shrink,
        other => panic!("{other:?}"),
    };
    assert!(!allowed().await);
    let draft = Draft { allow_shrink: true, ..draft("small") };
    let second = publisher.push_revision(1, draft, NOW).await.unwrap().serial;
    release(&mut publisher, second, "small").await;
    let third = push(&mut publisher, 2, "same").await.serial;
    release(&mut publisher, third, "same").await;
    assert!(allowed().await, "release 2 was skipped, its permission was not");
    let fourth = push(&mut publisher, 3, "later").await.serial;
    release(&mut publisher, fourth, "later").await;
    assert!(!allowed().await);
    // Two revisions in one release: the permission of the first still counts.
    let draft = Draft { allow_shrink: true, ..super::draft("small") };
    publisher.push_revision(4, draft, NOW).await.unwrap();
    let sixth = push(&mut publisher, 5, "six").await.serial;
    release(&mut publisher, sixth, "six").await;
    assert!(allowed().await);
}

#[tokio::test]
async fn a_large_mesh_is_indexed_in_shards_and_a_reader_takes_one() {
    let key = SigningKey::generate().unwrap();
    let (watch, store) = Interposed::store();
    let mut publisher = publisher(&store, &key);
    publisher.init(NOW).await.unwrap();
    let revision = push(&mut publisher, 0, "many").await.serial;
    let scopes: BTreeMap<_, _> = (0..1000)
        .map(|scope| {
            let policy = format!("{{\"scope\":{scope}}}").into_bytes();
            let content = ScopeContent { policy, facts: b"{}".to_vec() };
            (format!("service-{scope}").parse().unwrap(), content.into())
        })
        .collect();
    let many = Compiled { contents: BTreeMap::from([(1, scopes.clone()), (2, scopes)]), peers: None };
    let Published::Released(made) = publisher.publish(&many, revision, 1, NOW).await.unwrap() else {
        panic!("released")
    };
    publisher.heartbeat(NOW).await.unwrap();
    let stored = store.read(&layout::release(made.serial), usize::MAX).await.unwrap().unwrap();
    assert!(stored.len() <= INLINE_BYTES_MAX, "{}", stored.len());
    assert!(matches!(made.contents.get(&2), Some(Index::Shards(shards)) if shards.len() == 16));
    for schema in [1, 2, 3] {
        let who = Subscriber { scope: "service-77".parse().unwrap(), node: String::new(), schema };
        let mut reader = Reader::new(store.clone(), Trust::Keys(key.public().into()), who, None);
        watch.forget();
        let found = policy(&mut reader).await;
        assert_eq!(found.as_deref(), Some(r#"{"scope":77}"#));
        assert_eq!(watch.reads_of("objects/"), 3, "one shard, one policy, one facts");
    }
    assert!(matches!(publisher.publish(&many, revision, 2, NOW).await, Ok(Published::Identical(_))));
}

#[tokio::test]
async fn equal_content_is_one_object() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let mut publisher = publisher(&store, &key);
    publisher.init(NOW).await.unwrap();
    let revision = push(&mut publisher, 0, "same").await.serial;
    let content = || ScopeContent { policy: b"{\"a\":1}".to_vec(), facts: b"{\"b\":2}".to_vec() };
    let scopes = (0..10).map(|scope| (format!("s{scope}").parse().unwrap(), content())).collect();
    publisher.publish(&Compiled::new(1, scopes), revision, 1, NOW).await.unwrap();
    assert_eq!(store.list(layout::OBJECTS, None).await.unwrap().len(), 2);
}

#[tokio::test]
async fn objects_older_than_a_day_are_written_again_before_they_are_named() {
    let key = SigningKey::generate().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let store = folder(scratch.path());
    let (mut first, _) = mesh(&store, &key).await;
    let now = now_ms();
    let age = |days: u64| std::time::SystemTime::now() - std::time::Duration::from_millis(days * DAY_MS);
    let paths = store.list(layout::OBJECTS, None).await.unwrap();
    for path in &paths {
        let file = std::fs::File::options().write(true).open(scratch.path().join(path)).unwrap();
        file.set_modified(age(2)).unwrap();
    }
    let second = push(&mut first, 1, "two").await.serial;
    // The facts stay, the policy changes.
    let mut restarted = publisher(&store, &key);
    restarted.publish(&compiled("two", "facts"), second, 1, now).await.unwrap();
    let release = restarted.head().await.unwrap().release.unwrap();
    let (objects, _) = named(&release);
    for object in objects {
        let written = store.written_ms(&layout::object(object)).await.unwrap().unwrap();
        assert!(now.saturating_sub(written) < DAY_MS, "object {object} would be collected");
    }
    let untouched = paths.iter().filter(|path| !release_names(&release, path)).count();
    assert_eq!(untouched, 1, "the old policy is nobody's any more");
}

#[tokio::test]
async fn the_pulse_goes_on_without_changes_and_starts_with_the_first_release() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let mut publisher = publisher(&store, &key);
    publisher.init(NOW).await.unwrap();
    publisher.heartbeat(NOW).await.unwrap();
    assert_eq!(store.read(layout::HEARTBEAT, 4096).await.unwrap(), None);
    let revision = push(&mut publisher, 0, "one").await.serial;
    release(&mut publisher, revision, "one").await;
    let mut reader = reader(&store, &key);
    for tick in 1..4 {
        publisher.heartbeat(NOW + tick).await.unwrap();
        policy(&mut reader).await;
        assert_eq!(reader.heartbeat().unwrap().time_ms, NOW + tick);
    }
}

#[tokio::test]
async fn a_revision_by_an_untrusted_key_is_not_compiled() {
    let (key, stranger) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let store = memory();
    let (mut own, _) = mesh(&store, &key).await;
    let mut foreign = Publisher::new(store.clone(), vec![stranger], [key.public()], None).unwrap();
    push(&mut foreign, 1, "intruder").await;
    let refused = own.newest_revision().await.unwrap_err();
    let WriteError::Read(crate::reader::ReadError::Refused(_)) = refused else { panic!("{refused}") };
}

fn release_names(release: &Release, path: &str) -> bool {
    let (objects, _) = named(release);
    objects.iter().any(|digest| layout::object(*digest) == path)
}
