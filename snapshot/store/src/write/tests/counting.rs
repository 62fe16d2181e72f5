//! Counts of callers: the one thing that is published again and again for one revision.

use outrigger_snapshot::layout;
use outrigger_snapshot::seats::Seats;

use super::*;
use crate::write::CountedPeers;

fn counted(time_ms: u64, callers: u32) -> Compiled {
    let mut peers = CountedPeers { time_ms, ..CountedPeers::default() };
    peers.counts.clusters.insert("default/cart:80".parse().unwrap(), callers);
    let seats = Seats::new((0..callers.into()).collect()).unwrap();
    peers.counts.seats.insert("default/cart:80".parse().unwrap(), seats);
    Compiled { peers: Some(peers), ..compiled("one", &format!("facts, {callers} callers")) }
}

#[tokio::test]
async fn later_counts_are_published_for_the_same_revision() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, revision) = mesh(&store, &key).await;
    let revision = revision.serial;
    let mut publish = async |compiled: &Compiled, compiler| {
        publisher.publish(compiled, revision, compiler, NOW).await.unwrap()
    };
    assert!(matches!(publish(&counted(10, 4), 1).await, Published::Released(_)));
    assert!(matches!(publish(&counted(10, 8), 1).await, Published::Superseded(_)), "as old");
    assert!(matches!(publish(&counted(9, 8), 1).await, Published::Superseded(_)), "older");
    assert!(matches!(publish(&compiled("one", "facts"), 1).await, Published::Superseded(_)), "uncounted");
    assert!(matches!(publish(&counted(11, 4), 1).await, Published::Identical(_)), "the same");
    assert!(matches!(publish(&counted(11, 8), 1).await, Published::Released(_)), "later");
    assert!(
        matches!(publish(&counted(10, 4), 2).await, Published::Superseded(_)),
        "newer compiler, older counts"
    );
    assert!(
        matches!(publish(&counted(11, 4), 2).await, Published::Released(_)),
        "newer compiler, same counts"
    );
    assert!(
        matches!(publish(&counted(99, 4), 1).await, Published::Identical(_)),
        "older compiler, same content"
    );
    assert!(matches!(publish(&counted(99, 2), 1).await, Published::Superseded(_)), "older compiler");
}

#[tokio::test]
async fn a_push_that_knows_only_older_counts_is_published_with_the_newer_ones() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, first) = mesh(&store, &key).await;
    publisher.publish(&counted(10, 4), first.serial, 1, NOW).await.unwrap();
    let second = push(&mut publisher, 1, "two").await.serial;
    let stale = Compiled { peers: None, ..compiled("two", "facts") };
    assert!(matches!(publisher.publish(&stale, second, 1, NOW).await, Ok(Published::Superseded(_))));
    let fresh = Compiled { peers: counted(10, 4).peers, ..compiled("two", "facts, 4 callers") };
    assert!(matches!(publisher.publish(&fresh, second, 1, NOW).await, Ok(Published::Released(_))));
}

#[tokio::test]
async fn another_replica_goes_on_from_them() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut one, revision) = mesh(&store, &key).await;
    let mut other = publisher(&store, &key);
    let release = other.head().await.unwrap().release.unwrap();
    assert_eq!(other.peers(&release).await.unwrap(), None);
    one.publish(&counted(10, 4), revision.serial, 1, NOW).await.unwrap();
    let release = other.head().await.unwrap().release.unwrap();
    assert_eq!(other.peers(&release).await.unwrap(), counted(10, 4).peers);
    // Kept by a collection, though no scope names them.
    let later = NOW + 1_000_000_000_000;
    other.collect(Keep::default(), later).await.unwrap();
    let mut third = publisher(&store, &key);
    assert_eq!(third.peers(&release).await.unwrap(), counted(10, 4).peers);
    // Lost with the store's disk: counted again, from then on.
    store.delete(&layout::object(release.peers.unwrap().counts.object)).await.unwrap();
    let mut fourth = publisher(&store, &key);
    let lost = fourth.peers(&release).await.unwrap().unwrap();
    assert_eq!((lost.time_ms, lost.counts.clusters.len()), (10, 0));
    let outcome = fourth.publish(&counted(10, 4), revision.serial, 1, later).await.unwrap();
    assert!(matches!(outcome, Published::Restored(_, 1)), "{outcome:?}");
}
