//! The source against real folders: what runs, what is refused, and what the next process starts with.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it set it up")]

#[path = "source/rig.rs"]
mod rig;

use std::time::Duration;

use outrigger_proxy::quarantine::Quarantine;
use outrigger_proxy::source::{Cause, StartError, Started, Trouble, end_in_order};
use outrigger_snapshot::keys::SigningKey;

use rig::{Applied, Mesh, Process, facts, policy, until};

/// Longer than any trial.
const A_WHILE: Duration = Duration::from_secs(40);

#[tokio::test(start_paused = true)]
async fn starts_with_what_the_store_offers_and_follows_it() {
    let mut mesh = Mesh::new().await;
    mesh.publish(policy(&["cart"]), facts(1)).await;
    let mut process = mesh.process();
    assert_eq!(process.start().await.unwrap(), Started::FromStore);
    let first = process.applied();
    assert_eq!((first.services, first.endpoints), (1, 1));
    mesh.publish(policy(&["cart"]), facts(2)).await;
    until(|| process.applied().endpoints == 2).await;
    mesh.publish(policy(&["cart", "shop"]), facts(2)).await;
    until(|| process.applied().services == 2).await;
    let view = process.view();
    let running = view.running.as_ref().unwrap();
    assert_eq!((running.taken.n, running.from_state, view.applies), (3, false, 3));
    assert!(view.refusals.is_empty() && view.reachable == Some(true), "{view:?}");
}

#[tokio::test(start_paused = true)]
async fn starts_from_the_state_folder_with_the_store_gone() {
    let mut mesh = Mesh::new().await;
    mesh.publish(policy(&["cart"]), facts(3)).await;
    let mut first = mesh.process();
    first.start().await.unwrap();
    first.die().await;
    std::fs::remove_dir_all(mesh.store()).unwrap();
    let mut second = mesh.process();
    assert_eq!(second.start().await.unwrap(), Started::FromState);
    assert_eq!((second.applied().services, second.applied().endpoints), (1, 3));
    assert!(second.view().running.unwrap().from_state);
    until(|| second.view().reachable == Some(false)).await;
    assert_eq!(second.applied().endpoints, 3);
    assert!(second.view().failures["unreachable"] >= 1);
}

#[tokio::test(start_paused = true)]
async fn without_store_and_state_it_says_what_to_do() {
    let mesh = Mesh::new().await;
    std::fs::remove_dir_all(mesh.store()).unwrap();
    std::fs::create_dir(mesh.store()).unwrap();
    let error = mesh.process().start().await.unwrap_err().to_string();
    assert!(error.contains("--state-dir") && error.contains("outrigger publish"), "{error}");
    std::fs::remove_dir_all(mesh.store()).unwrap();
    let error = mesh.process().start().await.unwrap_err().to_string();
    assert!(error.contains("--store") && error.contains("does not exist"), "{error}");
    let mut mesh = Mesh::new().await;
    mesh.publish(policy(&["cart"]), facts(1)).await;
    let other = SigningKey::generate().unwrap().public();
    let error = mesh.process_trusting(vec![other]).start().await.unwrap_err();
    let StartError::NoSnapshot { trouble, .. } = &error;
    assert_eq!(*trouble, Trouble::Refused(Cause::Untrusted));
    assert!(error.to_string().contains("--trust-key"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_believed_at_first_sight_is_the_only_one_from_then_on() {
    let mut mesh = Mesh::new().await;
    mesh.publish(policy(&["cart"]), facts(1)).await;
    let mut first = mesh.process_trusting(Vec::new());
    first.start().await.unwrap();
    first.die().await;
    let mut stranger = Mesh::new().await;
    stranger.publish(policy(&["cart", "evil"]), facts(1)).await;
    std::fs::remove_dir_all(mesh.store()).unwrap();
    std::fs::rename(stranger.store(), mesh.store()).unwrap();
    let mut second = mesh.process_trusting(Vec::new());
    assert_eq!(second.start().await.unwrap(), Started::FromState);
    until(|| !second.view().refusals.is_empty()).await;
    assert_eq!(second.applied().services, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_counted_once_and_the_rest_moves_on() {
    let mut mesh = Mesh::new().await;
    mesh.publish(policy(&["cart"]), facts(1)).await;
    let mut process = mesh.process();
    process.start().await.unwrap();
    mesh.publish(b"{\"schema\":99}".to_vec(), facts(2)).await;
    until(|| process.applied().endpoints == 2).await;
    let later = policy(&["cart", "late"]);
    let later = String::from_utf8(later).unwrap().replace("\"schema\":1", "\"schema\":7").into_bytes();
    mesh.publish(later, facts(2)).await;
    until(|| process.view().refusals.contains_key(&Cause::FutureSchema)).await;
    tokio::time::sleep(A_WHILE).await;
    let view = process.view();
    assert_eq!((view.refusals[&Cause::Malformed], view.refusals[&Cause::FutureSchema]), (1, 1));
    assert_eq!(process.applied().services, 1);
    mesh.publish(policy(&["cart", "shop"]), facts(2)).await;
    until(|| process.applied().services == 2).await;
    assert_eq!(process.view().last_refusal, None);
}

#[tokio::test(start_paused = true)]
async fn what_no_plan_can_be_built_from_leaves_everything_as_it_was() {
    let mut mesh = Mesh::new().await;
    mesh.publish(policy(&["cart"]), facts(1)).await;
    let mut process = mesh.process();
    process.start().await.unwrap();
    process.refuse_services(2);
    mesh.publish(policy(&["cart", "shop"]), facts(4)).await;
    until(|| process.applied().endpoints == 4).await;
    assert_eq!(process.view().refusals[&Cause::Plan], 1);
    assert_eq!(process.applied().services, 1);
    assert_eq!(process.view().running.unwrap().taken.n, 1);
    process.die().await;
    let mut next = mesh.process();
    next.start().await.unwrap();
    until(|| next.applied().services == 2).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_emptied_unless_someone_says_so() {
    let mut mesh = Mesh::new().await;
    mesh.publish(policy(&["cart"]), facts(1)).await;
    let mut process = mesh.process();
    process.start().await.unwrap();
    mesh.publish(policy(&[]), facts(0)).await;
    until(|| process.view().refusals.get(&Cause::Emptied) == Some(&2)).await;
    assert_eq!((process.applied().services, process.applied().endpoints), (1, 1));
    mesh.publish_shrunk(policy(&[]), facts(2)).await;
    until(|| process.applied() == (Applied { services: 0, endpoints: 2 })).await;
    mesh.publish_shrunk(policy(&[]), facts(0)).await;
    until(|| process.applied().endpoints == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_release_without_the_scope_changes_nothing() {
    let mut mesh = Mesh::new().await;
    mesh.publish(policy(&["cart"]), facts(1)).await;
    let mut process = mesh.process();
    process.start().await.unwrap();
    mesh.publish_for("other", policy(&["cart", "x"]), facts(2)).await;
    until(|| process.view().scope_missing).await;
    assert_eq!(process.applied().services, 1);
    let mut late = mesh.process_at("late");
    assert_eq!(late.start().await.unwrap(), Started::Waiting);
    mesh.publish(policy(&["cart"]), facts(2)).await;
    until(|| process.applied().endpoints == 2 && late.is_running()).await;
    assert!(!process.view().scope_missing && !late.view().scope_missing);
}

#[tokio::test(start_paused = true)]
async fn altered_objects_and_lost_stores_leave_everything_as_it_was() {
    let mut mesh = Mesh::new().await;
    mesh.publish(policy(&["cart"]), facts(1)).await;
    let mut process = mesh.process();
    process.start().await.unwrap();
    let known = mesh.objects();
    let away = mesh.folder().join("away");
    std::fs::rename(mesh.store(), &away).unwrap();
    until(|| process.view().reachable == Some(false)).await;
    mesh.publish_into(&away, policy(&["cart", "shop"]), facts(1)).await;
    for object in Mesh::objects_in(&away)
        .into_iter()
        .filter(|object| !known.contains(&object.file_name().unwrap().to_owned()))
    {
        let mut bytes = std::fs::read(&object).unwrap();
        bytes.pop();
        std::fs::write(&object, bytes).unwrap();
    }
    std::fs::rename(&away, mesh.store()).unwrap();
    until(|| process.view().refusals.contains_key(&Cause::Altered)).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(
        process.view().refusals[&Cause::Altered],
        1,
        "it was met at every look and counted at the first"
    );
    assert_eq!(process.applied().services, 1);
    mesh.publish(policy(&["cart", "shop", "new"]), facts(1)).await;
    until(|| process.applied().services == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_digest_that_kills_twice_gives_way_to_the_one_before() {
    let mut mesh = Mesh::new().await;
    mesh.publish(policy(&["cart"]), facts(1)).await;
    let mut process = mesh.process();
    process.start().await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    mesh.publish(policy(&["cart", "bad"]), facts(1)).await;
    until(|| process.applied().services == 2).await;
    process.die().await;
    let mut second = mesh.process();
    second.start().await.unwrap();
    assert_eq!(second.applied().services, 2, "one death may be chance");
    second.die().await;
    let mut third = mesh.process();
    assert_eq!(third.start().await.unwrap(), Started::FromState);
    assert_eq!(third.applied().services, 1);
    assert_eq!(third.view().quarantined.len(), 1);
    mesh.publish(policy(&["cart", "bad"]), facts(5)).await;
    until(|| third.applied().endpoints == 5).await;
    assert_eq!(third.applied().services, 1, "facts go on while the policy is in quarantine");
    third.state().write(&Quarantine::default()).unwrap();
    until(|| third.applied().services == 2).await;
    assert!(third.view().quarantined.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_is_no_death_and_a_panic_counts_at_once() {
    let mut mesh = Mesh::new().await;
    mesh.publish(policy(&["cart"]), facts(1)).await;
    let mut process = mesh.process();
    process.start().await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    mesh.publish(policy(&["cart", "new"]), facts(1)).await;
    until(|| process.applied().services == 2).await;
    for _ in 0..3 {
        end_in_order(&process.state());
        process.die().await;
        process = mesh.process();
        process.start().await.unwrap();
        assert_eq!(process.applied().services, 2);
    }
    std::fs::write(process.state().path().join("panicked"), "").unwrap();
    process.die().await;
    let mut last = mesh.process();
    last.start().await.unwrap();
    assert_eq!(last.applied().services, 1);
}

#[tokio::test(start_paused = true)]
async fn with_nothing_before_it_a_fatal_snapshot_yields_to_a_newer_one_only() {
    let mut mesh = Mesh::new().await;
    mesh.publish(policy(&["bad"]), facts(1)).await;
    for _ in 0..2 {
        let mut process = mesh.process();
        process.start().await.unwrap();
        assert_eq!(process.applied().services, 1);
        process.die().await;
    }
    let mut third = mesh.process();
    assert_eq!(third.start().await.unwrap(), Started::FromStore, "the store is asked first");
    assert_eq!(third.applied().services, 1, "still better than nothing");
    third.die().await;
    mesh.publish(policy(&["bad", "mended"]), facts(1)).await;
    let mut fourth = mesh.process();
    fourth.start().await.unwrap();
    assert_eq!(fourth.applied().services, 2);
    assert_eq!(fourth.applied_count(), 1, "the fatal one was not tried again");
}

#[tokio::test(start_paused = true)]
async fn damaged_state_is_left_out_and_the_store_asked_again() {
    for (file, text) in
        [("snapshot.json", "{"), ("snapshot.json", ""), ("applying.json", "[]"), ("quarantine.json", "x")]
    {
        let mut mesh = Mesh::new().await;
        mesh.publish(policy(&["cart"]), facts(1)).await;
        let mut process = mesh.process();
        process.start().await.unwrap();
        let path = process.state().path().join(file);
        process.die().await;
        std::fs::write(&path, text).unwrap();
        let mut next = mesh.process();
        next.start().await.unwrap();
        assert_eq!(next.applied().services, 1, "{file}");
    }
    let mut mesh = Mesh::new().await;
    mesh.publish(policy(&["cart"]), facts(1)).await;
    let mut process = mesh.process();
    process.start().await.unwrap();
    let objects = process.state().path().join("objects");
    process.die().await;
    for object in std::fs::read_dir(objects).unwrap() {
        std::fs::write(object.unwrap().path(), "{}").unwrap();
    }
    let mut next = mesh.process();
    assert_eq!(next.start().await.unwrap(), Started::FromStore);
    assert_eq!(next.applied().services, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_to_look_is_served_at_once() {
    let mut mesh = Mesh::new().await;
    mesh.publish(policy(&["cart"]), facts(1)).await;
    let mut process: Process = mesh.process_polling(Duration::from_secs(3_600));
    process.start().await.unwrap();
    mesh.publish(policy(&["cart"]), facts(2)).await;
    let before = tokio::time::Instant::now();
    process.poll_now();
    until(|| process.applied().endpoints == 2).await;
    assert!(before.elapsed() < Duration::from_secs(600), "{:?}", before.elapsed());
}
