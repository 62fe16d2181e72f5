use std::sync::Arc;

use super::*;

fn revision(n: u64) -> Revision {
    Arc::new(outrigger_snapshot::record::Revision {
        schema: outrigger_snapshot::record::RECORD_SCHEMA,
        mesh: outrigger_snapshot::record::MeshId::random().unwrap(),
        serial: Serial { epoch: 1, n },
        base: n - 1,
        resources: Vec::new(),
        author: String::new(),
        message: String::new(),
        time_ms: 0,
        allow_shrink: false,
        attempt: outrigger_snapshot::record::AttemptId::random().unwrap(),
    })
}

#[test]
fn going_back_is_decided_once() {
    for (to, base, settled) in
        [(None, None, (4, 5)), (Some(2), None, (2, 5)), (None, Some(3), (4, 3)), (Some(2), Some(5), (2, 5))]
    {
        let (wish, base) = pinned(&Wish::Restore(to), base, Some(&revision(5))).unwrap();
        let Wish::Restore(Some(to)) = wish else { panic!("decided") };
        assert_eq!((to, base), (settled.0, Some(settled.1)));
    }
    assert!(matches!(pinned(&Wish::Restore(None), None, Some(&revision(1))), Err(MeshError::NothingBefore)));
}
