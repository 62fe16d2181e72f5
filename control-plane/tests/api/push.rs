//! What happens to a push.

use serde_json::{Value, json};

use crate::support::{ControlPlane, Folder, SPLIT, failed, push, service, succeeded};

#[tokio::test]
async fn a_push_becomes_a_revision_and_is_published() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    let (_, status) = control_plane.fetch("/v1/status").await;
    assert_eq!((status["revision"].clone(), status["ready"].clone()), (Value::Null, json!(true)), "{status}");
    let (code, pushed) = control_plane.push(SPLIT, json!({"author": "ada", "message": "begin"})).await;
    assert_eq!((code, &pushed["revision"]), (200, &json!(1)), "{pushed}");
    assert_eq!(pushed["changes"].as_array().unwrap().len(), 3);
    assert!(pushed["notes"][0].as_str().unwrap().contains("store.key"), "{pushed}");
    control_plane.published(1).await;
    let (_, found) = control_plane.fetch("/v1/resources?kind=HTTPRoute").await;
    assert_eq!(found["resources"][0]["metadata"]["name"], "cart");
    let (_, history) = control_plane.fetch("/v1/history").await;
    assert_eq!(
        (&history["revisions"][0]["author"], &history["revisions"][0]["message"]),
        (&json!("ada"), &json!("begin"))
    );
}

#[tokio::test]
async fn a_stale_base_is_a_conflict_that_says_so() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        let (code, _) = control_plane.push(&service(name, 1), json!({"base": index})).await;
        assert_eq!(code, 200);
    }
    let (code, failure) = control_plane.push(&service("c", 1), json!({"base": 1})).await;
    assert_eq!(
        (code, &failure["code"], &failure["newest"]),
        (409, &json!("stale_base"), &json!(2)),
        "{failure}"
    );
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains("revision 1") && message.contains("2"), "{message}");
    let (_, found) = control_plane.fetch("/v1/resources").await;
    assert_eq!(found["resources"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn of_two_writers_on_one_base_one_wins() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    control_plane.push(&service("a", 1), json!({})).await;
    let (one, two) = (service("b", 1), service("b", 2));
    let (one, two) = tokio::join!(
        control_plane.push(&one, json!({"base": 1})),
        control_plane.push(&two, json!({"base": 1})),
    );
    let mut codes = [one.0, two.0];
    codes.sort_unstable();
    assert_eq!(codes, [200, 409]);
}

#[tokio::test]
async fn a_refused_push_applies_nothing_and_names_every_problem() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    control_plane.push(&service("a", 1), json!({})).await;
    let wrong = format!(
        "{}---\n{}",
        service("b", 1),
        SPLIT.replace("name: cart-v2, port", "name: cart-v3, port").replace("weight: 90", "wieght: 90")
    );
    let (code, failure) = control_plane.push(&wrong, json!({})).await;
    assert_eq!((code, &failure["code"]), (422, &json!("refused")), "{failure}");
    let problems = failure["problems"].as_array().unwrap();
    assert!(
        problems.iter().any(|problem| problem["nearest"] == "weight" && problem["line"].as_u64() > Some(0)),
        "{failure}"
    );
    let (_, found) = control_plane.fetch("/v1/resources").await;
    assert_eq!((&found["revision"], found["resources"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!(control_plane.metric("refusals_total").await, 1);
}

#[tokio::test]
async fn identical_content_makes_neither_revision_nor_release() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    control_plane.push(SPLIT, json!({})).await;
    let release = control_plane.published(1).await;
    let (code, pushed) = control_plane.push(SPLIT, json!({})).await;
    assert_eq!((code, &pushed["revision"], &pushed["changes"]), (200, &json!(1), &json!([])), "{pushed}");
    let beaten = control_plane.measure("heartbeat_timestamp_seconds").await;
    control_plane.turned(5).await;
    assert_eq!(control_plane.published(1).await, release);
    assert_eq!(control_plane.metric("publishes_total").await, 1);
    assert!(control_plane.measure("heartbeat_timestamp_seconds").await > beaten);
}

#[tokio::test]
async fn shrinking_needs_to_be_allowed() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    control_plane.push(&service("a", 10), json!({})).await;
    let (code, _) = control_plane.push(&service("a", 8), json!({})).await;
    assert_eq!(code, 200);
    let (code, failure) = control_plane.push(&service("a", 2), json!({})).await;
    assert_eq!((code, &failure["code"]), (422, &json!("shrinks")), "{failure}");
    assert!(failure["message"].as_str().unwrap().contains("--allow-shrink"), "{failure}");
    let (code, _) = control_plane.post("/v1/validate", &push("apply", &service("a", 2), json!({}))).await;
    assert_eq!(code, 422);
    let (_, difference) = control_plane.post("/v1/diff", &push("apply", &service("a", 2), json!({}))).await;
    assert!(!difference["shrinks"].as_array().unwrap().is_empty(), "{difference}");
    let (code, pushed) = control_plane.push(&service("a", 2), json!({"allow_shrink": true})).await;
    assert_eq!((code, &pushed["revision"]), (200, &json!(3)));
    control_plane.published(3).await;
}

#[tokio::test]
async fn a_rollback_is_a_new_revision_with_old_content() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    control_plane.push(&service("a", 1), json!({})).await;
    control_plane.push(&service("a", 2), json!({})).await;
    let (code, failure) = control_plane.post("/v1/rollback", &json!({})).await;
    assert_eq!(code, 422, "halving the endpoints must be allowed: {failure}");
    let (code, pushed) = control_plane.post("/v1/rollback", &json!({"allow_shrink": true})).await;
    assert_eq!((code, &pushed["revision"]), (200, &json!(3)), "{pushed}");
    let (_, first) = control_plane.fetch("/v1/resources?revision=1").await;
    let (_, third) = control_plane.fetch("/v1/resources").await;
    assert_eq!(first["resources"], third["resources"]);
    let (code, failure) = control_plane.post("/v1/rollback", &json!({"to": 9})).await;
    assert_eq!(code, 404, "{failure}");
    control_plane.published(3).await;
}

#[tokio::test]
async fn deleting_removes_and_refuses_what_is_not_there() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    control_plane.push(&format!("{}---\n{}", service("a", 1), service("b", 1)), json!({})).await;
    let delete = |name: &str| push("delete", &service(name, 1), json!({"allow_shrink": true}));
    let (code, pushed) = control_plane.post("/v1/resources", &delete("b")).await;
    assert_eq!((code, &pushed["changes"][0]["after"]), (200, &Value::Null), "{pushed}");
    let (code, failure) = control_plane.post("/v1/resources", &delete("b")).await;
    assert_eq!(code, 422, "{failure}");
    let (_, found) = control_plane.fetch("/v1/resources").await;
    assert_eq!(found["resources"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_command_line_says_the_same() {
    let folder = Folder::new();
    let control_plane = ControlPlane::start(&folder, "one");
    let file = folder.file("split.yaml", SPLIT);
    let applied = succeeded(&control_plane.outrigger("apply", &["-f", &file, "-m", "begin"]));
    assert!(
        applied.contains("added HTTPRoute default/cart") && applied.ends_with("revision 1\n"),
        "{applied}"
    );
    let again = succeeded(&control_plane.outrigger("apply", &["-f", &file]));
    assert_eq!(again, "nothing changed: revision 1 has this already\n");
    let table = succeeded(&control_plane.outrigger("get", &[]));
    assert_eq!(table.lines().count(), 4, "{table}");
    let yaml = succeeded(&control_plane.outrigger("get", &["HTTPRoute/cart", "-o", "yaml"]));
    assert!(yaml.contains("weight: 90"), "{yaml}");
    failed(&control_plane.outrigger("get", &["Service/nope"]), 1);
    let changed = folder.file("changed.yaml", &SPLIT.replace("weight: 90", "weight: 80"));
    let difference = control_plane.outrigger("diff", &["-f", &changed, "--exit-code"]);
    assert_eq!(difference.status.code(), Some(1));
    let difference = String::from_utf8(difference.stdout).unwrap();
    assert!(
        difference.lines().any(|line| line.starts_with('-') && line.contains("weight: 90")),
        "{difference}"
    );
    assert!(
        difference.lines().any(|line| line.starts_with('+') && line.contains("weight: 80")),
        "{difference}"
    );
    failed(&control_plane.outrigger("apply", &["-f", &changed, "--base", "7"]), 1);
    succeeded(&control_plane.outrigger("apply", &["-f", &changed, "--base", "1", "-m", "more canary"]));
    let history = succeeded(&control_plane.outrigger("history", &[]));
    assert!(history.lines().nth(1).unwrap().ends_with("more canary"), "{history}");
    succeeded(&control_plane.outrigger("rollback", &["--to", "1"]));
    control_plane.published(3).await;
    let status = succeeded(&control_plane.outrigger("status", &[]));
    assert!(status.contains("revision   3") && status.contains("trust key  ed25519:"), "{status}");
    succeeded(&control_plane.outrigger("delete", &["-f", &file, "--allow-shrink"]));
    let table = succeeded(&control_plane.outrigger("get", &[]));
    assert_eq!(table.lines().count(), 1, "{table}");
}
