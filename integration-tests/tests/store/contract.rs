//! One suite for every kind of store: what the protocol needs of it, tried through the protocol.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use object_store::memory::InMemory;
use outrigger_snapshot::keys::SigningKey;
use outrigger_snapshot::record::Serial;
use outrigger_store::Store;
use outrigger_store::reader::{Held, Poll, Reader, Subscriber, Trust};
use outrigger_store::write::{
    Compiled, Draft, Keep, Published, Publisher, PushError, ScopeContent, WriteError,
};

use crate::emulators::{azurite, moto, s3rver};
use crate::gcs;

/// Writers that want the same number at once.
const RACERS: u64 = 16;
/// Races of each kind.
const ROUNDS: u64 = 4;
/// Scopes of a mesh that has to be indexed in shards.
const MANY: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("a folder/with spaces, ünicode & 100%");
    suite(&Store::open(root.to_str().unwrap()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    suite(&Store::on_bucket("memory".to_owned(), "mesh".into(), Arc::new(InMemory::new()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_blob_storage() {
    let emulator = azurite().await;
    suite(&emulator.store("a/mesh")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3() {
    let emulator = moto().await;
    suite(&emulator.store("a/mesh")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_cloud_storage() {
    let stub = gcs::start().await;
    suite(&stub.store("a/mesh")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_that_ignores_the_condition_is_caught_at_start() {
    let emulator = s3rver().await;
    let key = SigningKey::generate().unwrap();
    let caught = publisher(&emulator.store("mesh"), &key).probe().await.unwrap_err();
    assert!(matches!(caught, WriteError::ConditionIgnored(_)), "{caught:?}");
}

#[tokio::test]
async fn a_bucket_that_nobody_serves_is_unreachable_and_not_empty() {
    let gone = outrigger_integration_tests::port::free();
    let variables = [
        ("AWS_ENDPOINT", format!("http://{gone}")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_ACCESS_KEY_ID", "x".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "x".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let store = Store::open_with("s3://mesh", variables).unwrap();
    let key = SigningKey::generate().unwrap();
    let error = reader(&store, &key, "s0").poll(&Held::default()).await.unwrap_err();
    assert!(
        matches!(
            error,
            outrigger_store::reader::ReadError::Store(outrigger_store::StoreError::Unreachable { .. })
        ),
        "{error:?}"
    );
}

async fn suite(store: &Store) {
    let key = SigningKey::generate().unwrap();
    one_mesh_is_made(store, &key).await;
    publisher(store, &key).probe().await.unwrap();
    let last = one_push_wins(store, &key).await;
    one_release_is_made(store, &key, last).await;
    everything_is_read_back(store, &key).await;
    many_scopes_are_sharded(store, &key).await;
    collected_is_what_nobody_needs(store, &key).await;
}

async fn one_mesh_is_made(store: &Store, key: &SigningKey) {
    let now = now_ms();
    let made = race(async |racer| publisher(store, key).init(now + racer).await).await;
    let (made, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    let made: Vec<_> = made.into_iter().flatten().collect();
    assert_eq!(made.len(), 1, "{made:?} {refused:?}");
    assert_eq!(publisher(store, key).head().await.unwrap().epoch, made[0]);
}

async fn one_push_wins(store: &Store, key: &SigningKey) -> Serial {
    let mut last = None;
    for base in 0..ROUNDS {
        let pushed =
            race(async |racer| publisher(store, key).push_revision(base, draft(racer), now_ms()).await).await;
        let (won, lost): (Vec<_>, Vec<_>) = pushed.into_iter().partition(Result::is_ok);
        let won: Vec<_> = won.into_iter().flatten().collect();
        assert_eq!(won.len(), 1, "{won:?} {lost:?}");
        for lost in lost {
            assert!(
                matches!(lost, Err(PushError::Conflict { newest, .. }) if newest == base + 1),
                "{lost:?}"
            );
        }
        let stored = publisher(store, key).revision(base + 1).await.unwrap();
        assert_eq!(stored, won[0]);
        last = Some(stored.serial);
    }
    let history = publisher(store, key).history(100).await.unwrap();
    assert_eq!(history.len() as u64, ROUNDS);
    last.unwrap()
}

async fn one_release_is_made(store: &Store, key: &SigningKey, revision: Serial) {
    for round in 0..ROUNDS {
        // A newer compiler every round: something to publish for the same revision.
        let compiler = u32::try_from(round).unwrap() + 1;
        let content = content(1, &round.to_string());
        let outcomes =
            race(async |_| publisher(store, key).publish(&content, revision, compiler, now_ms()).await).await;
        let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
        let released = outcomes.iter().filter(|outcome| matches!(outcome, Published::Released(_))).count();
        assert_eq!(released, 1, "{outcomes:?}");
        for outcome in &outcomes {
            let (Published::Released(release) | Published::Identical(release)) = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(release.serial.n, round + 1);
        }
    }
}

async fn everything_is_read_back(store: &Store, key: &SigningKey) {
    let mut writer = publisher(store, key);
    let mut reader = reader(store, key, "s0");
    let listed = take(&mut reader).await;
    assert_eq!(listed, content(1, &(ROUNDS - 1).to_string()).contents[&1][&"s0".parse().unwrap()].policy);
    for round in 0..3 {
        let base = writer.head().await.unwrap().revision_number();
        let revision = writer.push_revision(base, draft(round), now_ms()).await.unwrap().serial;
        let news = content(1, &format!("news {round}"));
        writer.publish(&news, revision, 1, now_ms()).await.unwrap();
        let now = now_ms();
        writer.heartbeat(now).await.unwrap();
        assert_eq!(take(&mut reader).await, news.contents[&1][&"s0".parse().unwrap()].policy);
        assert_eq!(reader.heartbeat().unwrap().time_ms, now);
        assert!(matches!(reader.poll(&Held::default()).await, Ok(Poll::Unchanged)));
    }
}

async fn many_scopes_are_sharded(store: &Store, key: &SigningKey) {
    let mut writer = publisher(store, key);
    let base = writer.head().await.unwrap().revision_number();
    let revision = writer.push_revision(base, draft(0), now_ms()).await.unwrap().serial;
    let many = content(MANY, "many");
    writer.publish(&many, revision, 1, now_ms()).await.unwrap();
    writer.heartbeat(now_ms()).await.unwrap();
    for scope in ["s0", "s77", "s99"] {
        let found = take(&mut reader(store, key, scope)).await;
        assert_eq!(found, many.contents[&1][&scope.parse().unwrap()].policy);
    }
}

async fn collected_is_what_nobody_needs(store: &Store, key: &SigningKey) {
    let mut writer = publisher(store, key);
    // A day from now everything is a day old.
    let tomorrow = now_ms() + 24 * 60 * 60 * 1000;
    let keep = Keep { releases: 1, age: Duration::from_secs(60) };
    let collected = writer.collect(keep, tomorrow).await.unwrap();
    assert_eq!(collected.releases as u64, ROUNDS + 3);
    assert!(collected.objects > 0);
    assert!(!take(&mut reader(store, key, "s77")).await.is_empty());
    assert_eq!(writer.collect(keep, tomorrow).await.unwrap().releases, 0);
}

async fn race<T>(one: impl AsyncFn(u64) -> T) -> Vec<T> {
    join_all((0..RACERS).map(|racer| one(racer))).await
}

async fn take(reader: &mut Reader) -> Vec<u8> {
    match reader.poll(&Held::default()).await.unwrap() {
        Poll::New(snapshot) => snapshot.policy.content.unwrap(),
        other => panic!("no news: {other:?}"),
    }
}

fn publisher(store: &Store, key: &SigningKey) -> Publisher {
    let key = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
    Publisher::new(store.clone(), vec![key], [], None).unwrap()
}

fn reader(store: &Store, key: &SigningKey, scope: &str) -> Reader {
    let who = Subscriber { scope: scope.parse().unwrap(), node: "node".to_owned(), schema: 1 };
    Reader::new(store.clone(), Trust::Keys(key.public().into()), who, None)
}

fn draft(racer: u64) -> Draft {
    let author = format!("racer {racer}");
    Draft { resources: vec![serde_json::json!({"racer": racer})], author, ..Draft::default() }
}

fn content(scopes: u64, word: &str) -> Compiled {
    let scope = |scope: u64| {
        let policy = format!("{{\"scope\":{scope},\"word\":\"{word}\"}}").into_bytes();
        (format!("s{scope}").parse().unwrap(), ScopeContent { policy, facts: b"{}".to_vec() })
    };
    Compiled::new(1, (0..scopes).map(scope).collect::<BTreeMap<_, _>>())
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
