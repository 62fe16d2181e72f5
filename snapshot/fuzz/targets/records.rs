//! Stored bytes to signed records: as they are, and as the payload of an envelope that a trusted key has signed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use outrigger_snapshot::canonical;
use outrigger_snapshot::keys::{SigningKey, TrustedKeys};
use outrigger_snapshot::record::{Epoch, Heartbeat, Record, Release, Revision};
use outrigger_snapshot::signed::{self, SealError};
use serde_json::json;

/// The key of the golden snapshots, which are this target's seeds.
static KEY: LazyLock<(SigningKey, TrustedKeys)> = LazyLock::new(|| {
    let key =
        SigningKey::from_pem(include_str!("../../tests/golden/v1.key")).expect("the golden key is sound");
    let trusted = key.public().into();
    (key, trusted)
});

/// Whoever signed it; what is accepted can be signed, and is believed then.
fn exercise<R: Record>(data: &[u8]) -> Option<()> {
    let (key, trusted) = &*KEY;
    let believed = signed::open::<R>(data, trusted).is_ok();
    let enveloped = enveloped::<R>(data);
    let looked_at = |stored: &[u8]| signed::inspect::<R>(stored).ok();
    let record = match looked_at(data) {
        Some((record, _)) => record,
        None => {
            assert!(!believed, "what is believed can be looked at");
            looked_at(&enveloped?)?.0
        }
    };
    match signed::seal(&record, &[key]) {
        Ok(stored) => assert!(signed::open::<R>(&stored, trusted).is_ok(), "what was sealed can't be opened"),
        Err(SealError::TooLarge { .. }) => {}
        Err(error) => panic!("what was read can't be sealed: {error}"),
    }
    Some(())
}

/// `data` as a payload.
fn enveloped<R: Record>(data: &[u8]) -> Option<Vec<u8>> {
    let envelope = json!({"payload": std::str::from_utf8(data).ok()?, "signatures": []}).to_string();
    if R::KIND.compressed() {
        canonical::compress(envelope.as_bytes()).ok()
    } else {
        Some(envelope.into_bytes())
    }
}

fuzz_target!(|data: &[u8]| {
    exercise::<Epoch>(data);
    exercise::<Revision>(data);
    exercise::<Release>(data);
    exercise::<Heartbeat>(data);
});
