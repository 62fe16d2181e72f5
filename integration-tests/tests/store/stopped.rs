//! A replica that is stopped between reading the store and creating a release, and wakes up in another world.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use outrigger_integration_tests::{Process, eventually};
use outrigger_snapshot::record::Serial;
use outrigger_store::Store;
use outrigger_store::reader::{Held, Poll, Reader, Subscriber, Trust};
use outrigger_store::write::{Compiled, Draft, Published, Publisher, ScopeContent, keyfile};

const DEADLINE: Duration = Duration::from_secs(20);
const NOW: u64 = 1_700_000_000_000;

#[tokio::test]
async fn a_replica_that_was_stopped_before_creating_a_release_publishes_nothing_stale() {
    let scratch = tempfile::tempdir().unwrap();
    let key_file = scratch.path().join("key");
    let key = keyfile::create(&key_file).unwrap();
    let public = key.public();
    let root = scratch.path().join("store");
    let store = Store::open(root.to_str().unwrap()).unwrap();
    let mut publisher = Publisher::new(store.clone(), vec![key], [], None).unwrap();
    publisher.init(NOW).await.unwrap();
    push(&mut publisher, 0).await;

    let mut writer = Command::new(env!("CARGO_BIN_EXE_store-writer"));
    let mut replica = Process::start("replica", writer.arg("stop").args([&root, &key_file]));
    let stat = format!("/proc/{}/stat", replica.id());
    eventually(DEADLINE, "the replica stops itself", async || {
        assert!(replica.is_running(), "it ended: {}", replica.log());
        let stat = fs::read_to_string(&stat).unwrap();
        // Field 3, after the name in parentheses: the state (proc_pid_stat(5)).
        stat.rsplit_once(") ").unwrap().1.starts_with('T').then_some(())
    })
    .await;

    // The world goes on: two more revisions, both released.
    for base in 1..3 {
        let serial = push(&mut publisher, base).await;
        let published = publisher.publish(&content(base), serial, 1, NOW).await.unwrap();
        assert!(matches!(published, Published::Released(_)), "{published:?}");
    }
    publisher.heartbeat(NOW).await.unwrap();
    replica.unfreeze();
    assert!(replica.ended(DEADLINE).await.success(), "{}", replica.log());
    replica.says("outcome Superseded").await;

    let head = publisher.head().await.unwrap();
    let release = head.release.unwrap();
    assert_eq!((release.serial.n, release.revision), (2, 3));
    let who = Subscriber { scope: "cart".parse().unwrap(), node: String::new(), schema: 1 };
    let mut reader = Reader::new(store, Trust::Keys(public.into()), who, None);
    let Poll::New(found) = reader.poll(&Held::default()).await.unwrap() else { panic!("nothing to read") };
    assert_eq!(found.release.revision, 3);
}

async fn push(publisher: &mut Publisher, base: u64) -> Serial {
    let draft = Draft { resources: vec![serde_json::json!({"base": base})], ..Draft::default() };
    publisher.push_revision(base, draft, NOW).await.unwrap().serial
}

fn content(n: u64) -> Compiled {
    let content = ScopeContent { policy: format!("{{\"n\":{n}}}").into_bytes(), facts: b"{}".to_vec() };
    Compiled::new(1, BTreeMap::from([("cart".parse().unwrap(), content)]))
}
