use super::interposed::{Fault, Interposed};
use super::*;

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_caught() {
    let key = SigningKey::generate().unwrap();
    let (_, honest) = Interposed::store();
    publisher(&honest, &key).probe().await.unwrap();
    let (_, lying) = Interposed::lying();
    let refused = publisher(&lying, &key).probe().await.unwrap_err();
    assert!(matches!(refused, WriteError::ConditionIgnored(_)), "{refused}");
}

#[tokio::test]
async fn a_push_whose_answer_is_lost_knows_its_own_revision() {
    let key = SigningKey::generate().unwrap();
    for fault in [Fault::AnswerLost, Fault::RequestLost] {
        let (faults, store) = Interposed::store();
        let (mut publisher, _) = mesh(&store, &key).await;
        faults.next("revisions", fault);
        let pushed = push(&mut publisher, 1, "two").await;
        assert_eq!(pushed.serial.n, 2);
        assert_eq!(publisher.revision(2).await.unwrap(), pushed);
        assert!(matches!(publisher.revision(3).await, Err(WriteError::Absent(_))));
    }
}

#[tokio::test]
async fn a_push_that_loses_the_race_after_reading_is_a_conflict() {
    let key = SigningKey::generate().unwrap();
    let (faults, store) = Interposed::store();
    let (mut slow, _) = mesh(&store, &key).await;
    let mut fast = publisher(&store, &key);
    faults.next("revisions", Fault::After(Box::pin(async move { drop(push(&mut fast, 1, "fast").await) })));
    let refused = slow.push_revision(1, draft("slow"), NOW).await.unwrap_err();
    assert!(matches!(refused, PushError::Conflict { newest: 2, .. }), "{refused}");
    assert_eq!(slow.revision(2).await.unwrap().resources, draft("fast").resources);
}

#[tokio::test]
async fn a_push_that_never_gets_an_answer_says_that_nobody_knows() {
    let key = SigningKey::generate().unwrap();
    let (faults, store) = Interposed::store();
    let (mut publisher, _) = mesh(&store, &key).await;
    for _ in 0..3 {
        faults.next("revisions", Fault::RequestLost);
    }
    let refused = publisher.push_revision(1, draft("two"), NOW).await.unwrap_err();
    assert!(matches!(refused, PushError::Write(WriteError::Unsettled { .. })), "{refused}");
}

#[tokio::test]
async fn a_release_whose_answer_is_lost_is_made_once() {
    let key = SigningKey::generate().unwrap();
    for fault in [Fault::AnswerLost, Fault::RequestLost] {
        let (faults, store) = Interposed::store();
        let (mut publisher, _) = mesh(&store, &key).await;
        let revision = push(&mut publisher, 1, "two").await.serial;
        faults.next("releases", fault);
        let Published::Released(made) = release(&mut publisher, revision, "two").await else {
            panic!("not released")
        };
        assert_eq!(made.serial.n, 2);
        let head = publisher.head().await.unwrap();
        assert_eq!(head.release.unwrap(), made);
        assert_eq!(policy(&mut reader(&store, &key)).await.as_deref(), Some(r#"{"policy":"two"}"#));
    }
}

#[tokio::test]
async fn a_replica_that_wakes_up_late_discards_what_it_made() {
    let key = SigningKey::generate().unwrap();
    let (faults, store) = Interposed::store();
    let (mut slow, _) = mesh(&store, &key).await;
    let second = push(&mut slow, 1, "two").await.serial;
    let mut fast = publisher(&store, &key);
    let overtake = async move {
        let third = push(&mut fast, 2, "three").await.serial;
        assert!(matches!(release(&mut fast, third, "three").await, Published::Released(_)));
    };
    faults.next("releases", Fault::After(Box::pin(overtake)));
    let published = release(&mut slow, second, "two").await;
    let Published::Superseded(by) = published else { panic!("{published:?}") };
    assert_eq!((by.serial.n, by.revision), (2, 3));
    assert_eq!(slow.head().await.unwrap().release_number(), 2);
}

#[tokio::test]
async fn a_release_of_the_same_content_by_a_faster_replica_is_enough() {
    let key = SigningKey::generate().unwrap();
    let (faults, store) = Interposed::store();
    let (mut slow, _) = mesh(&store, &key).await;
    let second = push(&mut slow, 1, "two").await.serial;
    let mut fast = publisher(&store, &key);
    let overtake = async move { drop(release(&mut fast, second, "two").await) };
    faults.next("releases", Fault::After(Box::pin(overtake)));
    assert!(matches!(release(&mut slow, second, "two").await, Published::Identical(_)));
    assert_eq!(slow.head().await.unwrap().release_number(), 2);
}
