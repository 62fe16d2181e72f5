use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::name::ServiceName;

fn object(text: &str) -> ObjectRef {
    let digest = Digest::of(text.as_bytes());
    ObjectRef { object: digest, content: digest, bytes: 1 }
}

fn release() -> Release {
    let entry = Entry { policies: vec![object("p")], facts: object("f") };
    Release {
        schema: RECORD_SCHEMA,
        mesh: MeshId::random().unwrap(),
        serial: Serial { epoch: 1, n: 2 },
        previous: Some(Digest::of(b"1")),
        revision: 1,
        compiler: 1,
        shrink_allowed_at: None,
        rejected: false,
        time_ms: 5,
        attempt: AttemptId::random().unwrap(),
        trust: None,
        peers: None,
        lanes: lanes(&[10, 90]),
        meaning: Digest::of(b"meaning"),
        contents: BTreeMap::from([(1, Index::Inline(BTreeMap::from([("cart".parse().unwrap(), entry)])))]),
    }
}

/// Makes a good release a bad one.
type Break = fn(&mut Release);

fn lanes(percents: &[u8]) -> Vec<Lane> {
    percents.iter().map(|percent| Lane { name: format!("lane-{percent}"), percent: *percent }).collect()
}

#[test]
fn a_release_that_breaks_a_rule_is_refused() {
    assert_eq!(release().check(), Ok(()));
    let breaks: [(&str, Break); 9] = [
        ("schema", |release| release.schema = 2),
        ("numbers", |release| release.serial.n = 0),
        ("chain start", |release| release.serial.n = 1),
        ("chain", |release| release.previous = None),
        ("no lanes", |release| release.lanes = vec![]),
        ("percent", |release| release.lanes = lanes(&[10, 91])),
        ("no content", |release| release.contents.clear()),
        ("lane policies", |release| {
            let entry = Entry { policies: vec![], facts: object("f") };
            release.contents =
                BTreeMap::from([(1, Index::Inline(BTreeMap::from([("cart".parse().unwrap(), entry)])))]);
        }),
        ("shards", |release| {
            release.contents = BTreeMap::from([(1, Index::Shards(vec![object("s"); 3]))]);
        }),
    ];
    for (rule, breaking) in breaks {
        let mut release = release();
        breaking(&mut release);
        assert!(release.check().is_err(), "{rule}");
    }
}

#[test]
fn a_revision_names_the_one_before_it() {
    let mut revision = Revision {
        schema: RECORD_SCHEMA,
        mesh: MeshId::random().unwrap(),
        serial: Serial { epoch: 1, n: 3 },
        base: 2,
        resources: vec![],
        author: String::new(),
        message: String::new(),
        time_ms: 0,
        allow_shrink: false,
        attempt: AttemptId::random().unwrap(),
    };
    assert_eq!(revision.check(), Ok(()));
    revision.base = 1;
    assert!(revision.check().is_err());
}

#[test]
fn an_epoch_is_recovered_from_an_earlier_one() {
    let mut epoch = Epoch {
        schema: RECORD_SCHEMA,
        mesh: MeshId::random().unwrap(),
        epoch: 5,
        origin: Origin::Recovered(Serial { epoch: 4, n: 9 }),
    };
    assert_eq!(epoch.check(), Ok(()));
    epoch.epoch = 4;
    assert!(epoch.check().is_err());
}

#[test]
fn order_is_by_epoch_and_then_by_number() {
    assert!(Serial { epoch: 1, n: 900 } < Serial { epoch: 2, n: 1 });
    assert!(Serial { epoch: 2, n: 1 } < Serial { epoch: 2, n: 2 });
    assert_eq!(Serial { epoch: 1, n: u64::MAX }.next(), None);
}

#[test]
fn lanes_take_their_share_of_the_nodes() {
    let lanes = lanes(&[10, 90]);
    let canary = (0..10_000).filter(|node| lane_of(&format!("node-{node}"), &lanes) == 0).count();
    assert!((900..1100).contains(&canary), "{canary}");
}

proptest! {
    #[test]
    fn a_node_stays_in_a_lane_that_grows(node in "[a-z0-9-]{1,20}", small in 0u8..=100, growth in 0u8..=100) {
        let large = small.saturating_add(growth).min(100);
        let before = lane_of(&node, &lanes(&[small, 100 - small]));
        let after = lane_of(&node, &lanes(&[large, 100 - large]));
        prop_assert!(before != 0 || after == 0);
    }

    #[test]
    fn every_scope_has_a_shard(name in "[a-z]{1,20}", bits in 0u32..=6) {
        let scope: ServiceName = name.parse().unwrap();
        let count = 1usize << bits;
        let shard = shard_of(&scope, count);
        prop_assert!(shard < count);
        prop_assert_eq!(shard, shard_of(&scope, 64) >> (6 - bits));
    }
}
