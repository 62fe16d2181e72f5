use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use outrigger_snapshot::keys::SigningKey;
use outrigger_snapshot::record::{MeshId, Revision, Serial};
use serde_json::json;

use super::*;
use crate::reader::{Held, Poll, Reader, Subscriber, Trust};

mod collecting;
mod counting;
mod faults;
pub(crate) mod interposed;
mod publishing;
mod recovery;
mod rotation;
mod tokens;
mod verifying;

pub(crate) const NOW: u64 = 1_700_000_000_000;
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

pub(crate) fn memory() -> Store {
    Store::on_bucket("memory".to_owned(), Path::from("mesh"), Arc::new(InMemory::new()))
}

pub(crate) fn folder(root: &std::path::Path) -> Store {
    Store::open(root.to_str().unwrap()).unwrap()
}

pub(crate) fn same(key: &SigningKey) -> SigningKey {
    SigningKey::from_pem(&key.to_pem().unwrap()).unwrap()
}

pub(crate) fn publisher(store: &Store, key: &SigningKey) -> Publisher {
    Publisher::new(store.clone(), vec![same(key)], [], None).unwrap()
}

pub(crate) fn draft(word: &str) -> Draft {
    Draft { resources: vec![json!({"word": word})], author: "ann".to_owned(), ..Draft::default() }
}

/// One scope whose content is made of two words.
pub(crate) fn compiled(policy: &str, facts: &str) -> Compiled {
    let content = ScopeContent {
        policy: format!("{{\"policy\":\"{policy}\"}}").into_bytes(),
        facts: format!("{{\"facts\":\"{facts}\"}}").into_bytes(),
    };
    Compiled::new(1, BTreeMap::from([("cart".parse().unwrap(), content)]))
}

/// A mesh with one revision, released.
pub(crate) async fn mesh(store: &Store, key: &SigningKey) -> (Publisher, Revision) {
    let mut publisher = publisher(store, key);
    publisher.init(NOW).await.unwrap();
    let revision = push(&mut publisher, 0, "one").await;
    release(&mut publisher, revision.serial, "one").await;
    (publisher, revision)
}

pub(crate) async fn push(publisher: &mut Publisher, base: u64, word: &str) -> Revision {
    publisher.push_revision(base, draft(word), NOW).await.unwrap()
}

pub(crate) async fn release(publisher: &mut Publisher, revision: Serial, word: &str) -> Published {
    let published = publisher.publish(&compiled(word, "facts"), revision, 1, NOW).await.unwrap();
    publisher.heartbeat(NOW).await.unwrap();
    published
}

pub(crate) fn reader(store: &Store, key: &SigningKey) -> Reader {
    Reader::new(store.clone(), Trust::Keys(key.public().into()), subscriber(), None)
}

pub(crate) fn subscriber() -> Subscriber {
    Subscriber { scope: "cart".parse().unwrap(), node: "node-1".to_owned(), schema: 1 }
}

/// The policy that a reader finds, as text.
pub(crate) async fn policy(reader: &mut Reader) -> Option<String> {
    match reader.poll(&Held::default()).await.unwrap() {
        Poll::New(snapshot) => Some(String::from_utf8(snapshot.policy.content.unwrap()).unwrap()),
        Poll::Unchanged | Poll::ScopeMissing(_) => None,
    }
}

#[tokio::test]
async fn a_push_is_read_where_it_was_published() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, revision) = mesh(&store, &key).await;
    assert_eq!(revision.serial.n, 1);
    let mut reader = reader(&store, &key);
    assert_eq!(policy(&mut reader).await.as_deref(), Some(r#"{"policy":"one"}"#));
    assert_eq!(policy(&mut reader).await, None);
    let second = push(&mut publisher, 1, "two").await;
    release(&mut publisher, second.serial, "two").await;
    assert_eq!(policy(&mut reader).await.as_deref(), Some(r#"{"policy":"two"}"#));
    assert_eq!(reader.position().unwrap().release, Serial { n: 2, ..second.serial });
    assert_eq!(reader.heartbeat().unwrap().time_ms, NOW);
}

#[tokio::test]
async fn a_push_on_an_old_base_names_who_was_first() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut first, _) = mesh(&store, &key).await;
    let mut second = publisher(&store, &key);
    push(&mut second, 1, "two").await;
    let refused = first.push_revision(1, draft("other"), NOW).await.unwrap_err();
    let PushError::Conflict { base: 1, newest: 2, author } = refused else { panic!("{refused}") };
    assert_eq!(author, "ann");
    assert_eq!(first.revision(2).await.unwrap().resources, [json!({"word": "two"})]);
    let history = first.history(10).await.unwrap();
    assert_eq!(history.iter().map(|revision| revision.serial.n).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(first.history(1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_has_one_mesh_however_many_make_it() {
    let key = SigningKey::generate().unwrap();
    for _ in 0..20 {
        let store = memory();
        let made = futures_util::future::join_all((0..8).map(|offset| {
            let mut publisher = publisher(&store, &key);
            async move { publisher.init(NOW + offset % 3).await }
        }))
        .await;
        let meshes: Vec<MeshId> = made.iter().flatten().map(|epoch| epoch.mesh).collect();
        assert_eq!(meshes.len(), 1, "{made:?}");
        assert_eq!(publisher(&store, &key).head().await.unwrap().epoch.mesh, meshes[0]);
    }
}

#[tokio::test]
async fn a_store_without_a_mesh_says_so() {
    let key = SigningKey::generate().unwrap();
    let refused = publisher(&memory(), &key).head().await.unwrap_err();
    assert!(matches!(refused, WriteError::NoMesh(_)), "{refused}");
}

#[tokio::test]
async fn a_missing_folder_is_told_from_an_empty_one_and_never_made_by_reading() {
    let key = SigningKey::generate().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("not/there");
    let store = folder(&root);
    let refused = reader(&store, &key).poll(&Held::default()).await.unwrap_err();
    assert!(
        matches!(refused, crate::reader::ReadError::Store(crate::StoreError::FolderMissing(_))),
        "{refused}"
    );
    assert!(publisher(&store, &key).heartbeat(NOW).await.is_err());
    assert!(!root.exists());
    std::fs::create_dir_all(&root).unwrap();
    let refused = reader(&store, &key).poll(&Held::default()).await.unwrap_err();
    assert!(matches!(refused, crate::reader::ReadError::Empty(_)), "{refused}");
    let (_, _) = mesh(&store, &key).await;
    assert!(policy(&mut reader(&store, &key)).await.is_some());
}

/// For the few tests whose store has a clock of its own.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}
