use outrigger_snapshot::canonical;
use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::keys::SigningKey;
use outrigger_snapshot::layout;
use outrigger_snapshot::record::{Heartbeat, Index, RECORD_SCHEMA, Release};
use outrigger_snapshot::signed::{self, OpenError};

use super::*;
use crate::write::tests::interposed::Interposed;
use crate::write::tests::{
    NOW, compiled, memory, mesh, policy, publisher, push, reader, release, subscriber,
};

const EPOCH: u64 = NOW;

fn serial(n: u64) -> Serial {
    Serial { epoch: EPOCH, n }
}

fn seal(release: &Release, key: &SigningKey) -> bytes::Bytes {
    signed::seal(release, &[key]).unwrap().into()
}

async fn newest(store: &Store, key: &SigningKey) -> (Release, Digest) {
    let head = publisher(store, key).head().await.unwrap();
    let release = head.release.unwrap();
    let stored = store.read(&layout::release(release.serial), usize::MAX).await.unwrap().unwrap();
    (Release::clone(&release), Digest::of(&stored))
}

/// The release that would follow the newest one, with the same content.
async fn following(store: &Store, key: &SigningKey) -> Release {
    let (newest, digest) = newest(store, key).await;
    Release { serial: newest.serial.next().unwrap(), previous: Some(digest), ..newest }
}

/// A reader that took release 1 and then polls a store to which `stored` was added as release 2.
async fn refusal_of(store: &Store, follower: &mut Reader, stored: bytes::Bytes) -> Refusal {
    store.overwrite(&layout::release(serial(2)), stored).await.unwrap();
    let before = follower.position().cloned();
    let refused = follower.poll(&Held::default()).await.unwrap_err();
    assert_eq!(follower.position().cloned(), before, "a refusal changes nothing");
    match refused {
        ReadError::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_poll_without_news_costs_two_reads_and_no_listing() {
    let key = SigningKey::generate().unwrap();
    let (watch, store) = Interposed::store();
    mesh(&store, &key).await;
    let mut follower = reader(&store, &key);
    watch.forget();
    assert!(policy(&mut follower).await.is_some());
    assert_eq!(watch.lists(), 0, "the hint is enough to start with");
    watch.forget();
    assert!(policy(&mut follower).await.is_none());
    assert_eq!(watch.reads.lock().unwrap().len(), 2, "the heartbeat and the next release");
    assert_eq!(watch.lists(), 0);
}

#[tokio::test]
async fn without_state_and_hint_the_newest_release_is_listed() {
    let key = SigningKey::generate().unwrap();
    let (watch, store) = Interposed::store();
    let (mut publisher, _) = mesh(&store, &key).await;
    let second = push(&mut publisher, 1, "two").await.serial;
    release(&mut publisher, second, "two").await;
    for heartbeat in [None, Some("garbage")] {
        store.delete(layout::HEARTBEAT).await.unwrap();
        if let Some(garbage) = heartbeat {
            store.pulse(layout::HEARTBEAT, garbage.into()).await.unwrap();
        }
        watch.forget();
        assert_eq!(policy(&mut reader(&store, &key)).await.as_deref(), Some(r#"{"policy":"two"}"#));
        assert!(watch.lists() > 0);
    }
}

#[tokio::test]
async fn a_stale_hint_is_overtaken_and_a_hint_ahead_of_the_store_is_no_authority() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, _) = mesh(&store, &key).await;
    let mut follower = reader(&store, &key);
    policy(&mut follower).await;
    let mesh = follower.position().unwrap().mesh;
    let second = push(&mut publisher, 1, "two").await.serial;
    release(&mut publisher, second, "two").await;
    let third = push(&mut publisher, 2, "three").await.serial;
    release(&mut publisher, third, "three").await;
    for hinted in [1, 2, 9] {
        let heartbeat = Heartbeat { schema: RECORD_SCHEMA, mesh, newest: serial(hinted), time_ms: NOW };
        let stored = signed::seal(&heartbeat, &[&key]).unwrap();
        store.pulse(layout::HEARTBEAT, stored.into()).await.unwrap();
        let position = follower.position().cloned();
        for position in [None, position] {
            let trust = Trust::Keys(key.public().into());
            let mut reader = Reader::new(store.clone(), trust, subscriber(), position);
            assert_eq!(policy(&mut reader).await.as_deref(), Some(r#"{"policy":"three"}"#), "hint {hinted}");
            assert_eq!(policy(&mut reader).await, None, "hint {hinted}");
        }
    }
}

#[tokio::test]
async fn probing_is_bounded_and_goes_on_at_the_next_poll() {
    let key = SigningKey::generate().unwrap();
    let (watch, store) = Interposed::store();
    let (mut publisher, _) = mesh(&store, &key).await;
    let first = store.read(layout::HEARTBEAT, 4096).await.unwrap().unwrap();
    let mut follower = reader(&store, &key);
    policy(&mut follower).await;
    for n in 1..100 {
        let revision = push(&mut publisher, n, &n.to_string()).await.serial;
        release(&mut publisher, revision, &n.to_string()).await;
    }
    store.pulse(layout::HEARTBEAT, first).await.unwrap();
    watch.forget();
    assert!(policy(&mut follower).await.is_some());
    assert_eq!(follower.position().unwrap().release.n, 1 + PROBES_MAX as u64);
    assert!(watch.reads_of("releases") <= PROBES_MAX + 1);
    assert!(policy(&mut follower).await.is_some());
    assert_eq!(follower.position().unwrap().release.n, 100);
}

#[tokio::test]
async fn only_what_changed_is_fetched() {
    let key = SigningKey::generate().unwrap();
    let (watch, store) = Interposed::store();
    let (mut publisher, _) = mesh(&store, &key).await;
    let mut follower = reader(&store, &key);
    let Poll::New(first) = follower.poll(&Held::default()).await.unwrap() else { panic!("news") };
    let held = Held { policy: Some(first.policy.digest), facts: Some(first.facts.digest) };
    assert_eq!(first.facts.content.as_deref(), Some(&br#"{"facts":"facts"}"#[..]));
    let second = push(&mut publisher, 1, "two").await.serial;
    publisher.publish(&compiled("one", "moved"), second, 1, NOW).await.unwrap();
    watch.forget();
    let Poll::New(next) = follower.poll(&held).await.unwrap() else { panic!("news") };
    assert_eq!((next.policy.digest, next.policy.content), (first.policy.digest, None));
    assert_eq!(next.facts.content.as_deref(), Some(&br#"{"facts":"moved"}"#[..]));
    assert_eq!(watch.reads_of("objects/"), 1);
}

#[tokio::test]
async fn a_release_without_the_scope_is_told_and_passed() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, _) = mesh(&store, &key).await;
    let who = Subscriber { scope: "nobody".parse().unwrap(), ..subscriber() };
    let mut follower = Reader::new(store.clone(), Trust::Keys(key.public().into()), who, None);
    let Poll::ScopeMissing(info) = follower.poll(&Held::default()).await.unwrap() else { panic!("missing") };
    assert_eq!(info.serial.n, 1);
    assert!(matches!(follower.poll(&Held::default()).await, Ok(Poll::Unchanged)));
    let second = push(&mut publisher, 1, "two").await.serial;
    release(&mut publisher, second, "two").await;
    assert!(matches!(follower.poll(&Held::default()).await, Ok(Poll::ScopeMissing(_))));
}

#[tokio::test]
async fn damaged_records_are_refused_and_passed_by_the_next_good_one() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    mesh(&store, &key).await;
    let mut follower = reader(&store, &key);
    policy(&mut follower).await;
    let good = seal(&following(&store, &key).await, &key);
    let mut flipped = good.to_vec();
    flipped[good.len() / 2] ^= 1;
    let damaged: [(&str, bytes::Bytes); 6] = [
        ("empty", bytes::Bytes::new()),
        ("truncated", good.slice(..good.len() / 2)),
        ("flipped", flipped.into()),
        ("html", "<html>502 Bad Gateway</html>".into()),
        ("deep", "[".repeat(60_000).into()),
        ("binary", vec![0xff; 1000].into()),
    ];
    for (name, stored) in damaged {
        let refusal = refusal_of(&store, &mut follower, stored).await;
        assert!(matches!(refusal, Refusal::Record { .. }), "{name}: {refusal:?}");
    }
    let huge = refusal_of(&store, &mut follower, vec![b'{'; 70_000].into()).await;
    assert!(matches!(huge, Refusal::TooLarge { .. }), "{huge:?}");
    store.overwrite(&layout::release(serial(2)), good).await.unwrap();
    assert!(policy(&mut follower).await.is_some());
}

#[tokio::test]
async fn signed_records_are_still_held_to_the_rules_of_order() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, _) = mesh(&store, &key).await;
    let mut follower = reader(&store, &key);
    policy(&mut follower).await;
    let good = following(&store, &key).await;
    let (first, _) = newest(&store, &key).await;

    let replayed = refusal_of(&store, &mut follower, seal(&first, &key)).await;
    assert!(matches!(replayed, Refusal::Misplaced { .. }), "{replayed:?}");

    let rewritten = Release { previous: Some(Digest::of(b"another")), ..good.clone() };
    let rewritten = refusal_of(&store, &mut follower, seal(&rewritten, &key)).await;
    assert!(matches!(rewritten, Refusal::ChainBroken(_)), "{rewritten:?}");

    let foreign = Release { mesh: MeshId::random().unwrap(), ..good.clone() };
    let foreign = refusal_of(&store, &mut follower, seal(&foreign, &key)).await;
    assert!(matches!(foreign, Refusal::OtherMesh { .. }), "{foreign:?}");

    let stranger = SigningKey::generate().unwrap();
    let unsigned = refusal_of(&store, &mut follower, seal(&good, &stranger)).await;
    let Refusal::Record { source, .. } = unsigned else { panic!("{unsigned:?}") };
    assert!(matches!(*source, OpenError::Untrusted { .. }), "{source:?}");

    store.delete(&layout::release(serial(2))).await.unwrap();
    let second = push(&mut publisher, 1, "two").await.serial;
    release(&mut publisher, second, "two").await;
    policy(&mut follower).await;
    let back = Release { revision: 1, ..following(&store, &key).await };
    store.overwrite(&layout::release(serial(3)), seal(&back, &key)).await.unwrap();
    let back = follower.poll(&Held::default()).await.unwrap_err();
    assert!(matches!(back, ReadError::Refused(Refusal::RevisionLower { .. })), "{back:?}");
}

#[tokio::test]
async fn content_of_an_unknown_schema_is_refused_and_of_the_one_before_taken() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    mesh(&store, &key).await;
    for (schema, taken) in [(1, true), (2, true), (3, false)] {
        let who = Subscriber { schema, ..subscriber() };
        let mut reader = Reader::new(store.clone(), Trust::Keys(key.public().into()), who, None);
        match reader.poll(&Held::default()).await {
            Ok(Poll::New(_)) => assert!(taken, "{schema}"),
            Err(ReadError::Refused(Refusal::ContentSchema { .. })) => assert!(!taken, "{schema}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_record_of_a_future_schema_asks_for_an_upgrade() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    mesh(&store, &key).await;
    let mut follower = reader(&store, &key);
    policy(&mut follower).await;
    let good = following(&store, &key).await;
    // Sealed by a later version: same envelope, a field that we do not know.
    let payload =
        serde_json::to_string(&good).unwrap().replacen("\"schema\":1", "\"schema\":2,\"waves\":[]", 1);
    let message = [b"outrigger/release/v1", payload.as_bytes()].concat();
    let signature = base64_of(&key.sign(&message).unwrap());
    let envelope = serde_json::json!({
        "payload": payload,
        "signatures": [{"key_id": key.public().id(), "signature": signature}],
    });
    let refusal = refusal_of(&store, &mut follower, envelope.to_string().into()).await;
    let Refusal::Record { source, .. } = refusal else { panic!("{refusal:?}") };
    assert!(matches!(*source, OpenError::FutureSchema { found: 2, .. }), "{source:?}");
}

#[tokio::test]
async fn altered_objects_are_refused_and_bombs_cost_no_memory() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    mesh(&store, &key).await;
    let (release, _) = newest(&store, &key).await;
    let Some(Index::Inline(scopes)) = release.contents.get(&1) else { panic!("inline") };
    let object = scopes.values().next().unwrap().policies[0];
    let path = layout::object(object.object);
    let bomb = canonical::compress(&vec![0; 100 << 20]).unwrap();
    for stored in [b"".to_vec(), b"altered".to_vec(), bomb.clone(), vec![0; 17 << 20]] {
        store.overwrite(&path, stored.into()).await.unwrap();
        let refused = reader(&store, &key).poll(&Held::default()).await.unwrap_err();
        assert!(
            matches!(refused, ReadError::Refused(Refusal::Altered { .. } | Refusal::TooLarge { .. })),
            "{refused:?}"
        );
    }
    // A bomb that a trusted key named, with and without an honest size.
    for bytes in [object.bytes, 100 << 20, u64::MAX] {
        let bomb_object =
            outrigger_snapshot::record::ObjectRef { object: Digest::of(&bomb), bytes, ..object };
        store.overwrite(&layout::object(bomb_object.object), bomb.clone().into()).await.unwrap();
        let refused = store.object(&bomb_object).await.unwrap_err();
        assert!(
            matches!(refused, ReadError::Refused(Refusal::Content { .. } | Refusal::TooLarge { .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_canary_lane_gets_its_own_policy_and_the_same_facts() {
    let key = SigningKey::generate().unwrap();
    let store = memory();
    let (mut publisher, _) = mesh(&store, &key).await;
    let second = push(&mut publisher, 1, "two").await.serial;
    release(&mut publisher, second, "two").await;
    let first = publisher_release(&store, &key, 1).await;
    let mut mixed = following(&store, &key).await;
    mixed.lanes = [("canary", 30), ("stable", 70)]
        .map(|(name, percent)| outrigger_snapshot::record::Lane { name: name.to_owned(), percent })
        .to_vec();
    let old = scopes_of(&first);
    let Some(Index::Inline(scopes)) = mixed.contents.get_mut(&1) else { panic!("inline") };
    for (scope, entry) in scopes.iter_mut() {
        entry.policies.push(old[scope].policies[0]);
    }
    store.create(&layout::release(mixed.serial), seal(&mixed, &key)).await.unwrap();
    let mut canaries = 0;
    for node in 0..200 {
        let who = Subscriber { node: format!("node-{node}"), ..subscriber() };
        let mut reader = Reader::new(store.clone(), Trust::Keys(key.public().into()), who, None);
        let Poll::New(found) = reader.poll(&Held::default()).await.unwrap() else { panic!("news") };
        let canary = found.release.lane == "canary";
        canaries += usize::from(canary);
        let expected = if canary { r#"{"policy":"two"}"# } else { r#"{"policy":"one"}"# };
        assert_eq!(found.policy.content.as_deref(), Some(expected.as_bytes()));
    }
    assert!((35..85).contains(&canaries), "{canaries}");
}

async fn publisher_release(store: &Store, key: &SigningKey, n: u64) -> Release {
    let trusted = key.public().into();
    store.record::<Release>(&layout::release(serial(n)), &trusted).await.unwrap().unwrap().record
}

fn scopes_of(
    release: &Release,
) -> std::collections::BTreeMap<ServiceName, outrigger_snapshot::record::Entry> {
    match release.contents.get(&1) {
        Some(Index::Inline(scopes)) => scopes.clone(),
        other => panic!("{other:?}"),
    }
}

fn base64_of(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let group = chunk.iter().fold(0u32, |group, byte| (group << 8) | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            (0..4).map(move |position| {
                if position > chunk.len() {
                    '='
                } else {
                    char::from(ALPHABET[((group >> (18 - 6 * position)) & 63) as usize])
                }
            })
        })
        .collect()
}
