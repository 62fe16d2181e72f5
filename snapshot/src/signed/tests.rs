use proptest::prelude::*;

use super::*;
use crate::record::{AttemptId, Epoch, Heartbeat, MeshId, Origin, Revision, Serial};

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        schema: RECORD_SCHEMA,
        mesh: "00112233445566778899aabbccddeeff".parse().unwrap(),
        newest: Serial { epoch: 1, n: 2 },
        time_ms: 3,
    }
}

fn revision(resources: Vec<serde_json::Value>) -> Revision {
    Revision {
        schema: RECORD_SCHEMA,
        mesh: MeshId::random().unwrap(),
        serial: Serial { epoch: 1, n: 1 },
        base: 0,
        resources,
        author: "me".to_owned(),
        message: "first".to_owned(),
        time_ms: 0,
        allow_shrink: false,
        attempt: AttemptId::random().unwrap(),
    }
}

/// An envelope around any payload, signed as `kind`.
fn sealed(kind: Kind, payload: &str, key: &SigningKey) -> Vec<u8> {
    let signature = STANDARD.encode(key.sign(&message(kind, payload)).unwrap());
    let signatures = vec![Signature { key_id: key.public().id(), signature }];
    serde_json::to_vec(&Envelope { payload: payload.to_owned(), signatures }).unwrap()
}

#[test]
fn what_is_sealed_opens_with_each_of_its_keys() {
    let (old, new) = (key(), key());
    let stored = seal(&heartbeat(), &[&old, &new]).unwrap();
    for trusted in [old.public(), new.public()] {
        assert_eq!(open::<Heartbeat>(&stored, &trusted.into()).unwrap(), heartbeat());
    }
    let (seen, named) = inspect::<Heartbeat>(&stored).unwrap();
    assert_eq!((seen, named), (heartbeat(), vec![old.public().id(), new.public().id()]));
}

#[test]
fn another_key_is_not_believed() {
    let key_used = key();
    let stored = seal(&heartbeat(), &[&key_used]).unwrap();
    let refusal = open::<Heartbeat>(&stored, &key().public().into()).unwrap_err();
    let OpenError::Untrusted { named, .. } = refusal else { panic!("{refusal}") };
    assert_eq!(named, [key_used.public().id()]);
}

#[test]
fn a_stolen_key_id_does_not_help() {
    let (trusted, forger) = (key(), key());
    let text = String::from_utf8(seal(&heartbeat(), &[&forger]).unwrap()).unwrap();
    let forged = text.replace(&forger.public().id().to_string(), &trusted.public().id().to_string());
    let refusal = open::<Heartbeat>(forged.as_bytes(), &trusted.public().into()).unwrap_err();
    assert!(matches!(refusal, OpenError::Untrusted { .. }), "{refusal}");
}

#[test]
fn one_kind_never_passes_for_another() {
    let key = key();
    let payload = serde_json::to_string(&heartbeat()).unwrap();
    let stored = sealed(Kind::Release, &payload, &key);
    let refusal = open::<Heartbeat>(&stored, &key.public().into()).unwrap_err();
    assert!(matches!(refusal, OpenError::Untrusted { .. }), "{refusal}");
}

#[test]
fn what_is_signed_is_still_read_strictly() {
    let key = key();
    let trusted = key.public().into();
    let payload = serde_json::to_string(&heartbeat()).unwrap();
    let open = |payload: &str| open::<Heartbeat>(&sealed(Kind::Heartbeat, payload, &key), &trusted);
    assert!(open(&payload).is_ok());
    let future = payload.replace("\"schema\":1", "\"schema\":2").replace("\"newest\"", "\"latest\"");
    assert!(matches!(open(&future), Err(OpenError::FutureSchema { found: 2, .. })));
    assert!(matches!(open(&payload.replace("\"schema\":1", "\"schema\":0")), Err(OpenError::Invalid { .. })));
    let unknown = payload.replace("\"time_ms\"", "\"extra\":1,\"time_ms\"");
    assert!(matches!(open(&unknown), Err(OpenError::Payload { .. })));
    for payload in ["", "null", "[]", "{}", &"[".repeat(2000)] {
        assert!(matches!(open(payload), Err(OpenError::Payload { .. })), "{payload:?}");
    }
}

#[test]
fn a_bomb_in_a_revision_costs_no_memory() {
    let bomb = canonical::compress(&vec![b' '; Kind::Revision.bytes_max() + 1]).unwrap();
    let refusal = open::<Revision>(&bomb, &key().public().into()).unwrap_err();
    assert!(
        matches!(refusal, OpenError::Decompress { source: DecodeError::TooLarge { .. }, .. }),
        "{refusal}"
    );
}

#[test]
fn more_than_a_record_can_be_is_not_even_parsed() {
    let stored = vec![b'{'; Kind::Heartbeat.stored_bytes_max() + 1];
    let refusal = open::<Heartbeat>(&stored, &key().public().into()).unwrap_err();
    assert!(matches!(refusal, OpenError::TooLarge { .. }), "{refusal}");
}

#[test]
fn what_readers_would_refuse_is_not_signed() {
    let key = key();
    let epoch = Epoch {
        schema: RECORD_SCHEMA,
        mesh: MeshId::random().unwrap(),
        epoch: 1,
        origin: Origin::Recovered(Serial { epoch: 2, n: 1 }),
    };
    assert!(matches!(seal(&epoch, &[&key]), Err(SealError::Invalid { .. })));
    assert!(matches!(seal(&heartbeat(), &[]), Err(SealError::Keys(0))));
    let huge = revision(vec![serde_json::Value::String("x".repeat(Kind::Revision.bytes_max()))]);
    assert!(matches!(seal(&huge, &[&key]), Err(SealError::TooLarge { .. })));
}

#[test]
fn a_revision_keeps_what_people_wrote() {
    let key = key();
    let resources = vec![serde_json::json!({"kind": "Service", "metadata": {"name": "cart"}, "ratio": 1.5})];
    let written = revision(resources);
    let stored = seal(&written, &[&key]).unwrap();
    assert_eq!(open::<Revision>(&stored, &key.public().into()).unwrap(), written);
}

proptest! {
    #[test]
    fn no_altered_byte_goes_unnoticed(position in 0usize..10_000, flip in 1u8..=255) {
        let key = key();
        let mut stored = seal(&heartbeat(), &[&key]).unwrap();
        let position = position % stored.len();
        stored[position] ^= flip;
        if let Ok(record) = open::<Heartbeat>(&stored, &key.public().into()) {
            prop_assert_eq!(record, heartbeat());
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused(stored in proptest::collection::vec(any::<u8>(), 0..512)) {
        let trusted = key().public().into();
        prop_assert!(open::<Heartbeat>(&stored, &trusted).is_err());
        prop_assert!(open::<Revision>(&stored, &trusted).is_err());
        prop_assert!(inspect::<Epoch>(&stored).is_err());
    }
}
