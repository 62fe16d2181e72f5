//! Several control planes on one store.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{ControlPlane, Folder, service};

/// Pushes of each replica.
const PUSHES: usize = 8;

/// Pushes services until each is acknowledged; returns the messages of the acknowledged pushes.
async fn push_many(control_plane: &ControlPlane, name: &str) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0..PUSHES {
        let message = format!("{name}-{number}");
        let yaml = service(&message, 1);
        loop {
            let (code, answer) = control_plane.push(&yaml, json!({"message": message})).await;
            match code {
                200 => break,
                409 => assert_eq!(answer["code"], "conflict", "{answer}"),
                // Nobody knows whether it was made; to apply it again changes nothing if it was.
                504 => {}
                _ => panic!("{code}: {answer}"),
            }
        }
        acknowledged.push(message);
    }
    acknowledged
}

#[tokio::test]
async fn three_replicas_lose_no_acknowledged_push() {
    let folder = Folder::new();
    let replicas = ["a", "b", "c"].map(|name| ControlPlane::start(&folder, name));
    let [a, b, c] = &replicas;
    let (one, two, three) = tokio::join!(push_many(a, "a"), push_many(b, "b"), push_many(c, "c"));
    let acknowledged: BTreeSet<String> = [one, two, three].concat().into_iter().collect();
    assert_eq!(acknowledged.len(), 3 * PUSHES);
    for replica in &replicas {
        replica.published(3 * PUSHES as u64).await;
        let (_, found) = replica.fetch("/v1/resources").await;
        let names = found["resources"].as_array().unwrap().iter();
        let names: BTreeSet<String> =
            names.map(|resource| resource["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names, acknowledged);
        let (_, history) = replica.fetch("/v1/history?limit=100").await;
        let messages: Vec<&Value> =
            history["revisions"].as_array().unwrap().iter().map(|revision| &revision["message"]).collect();
        assert_eq!(messages.len(), 3 * PUSHES, "each push is one revision");
    }
}

#[tokio::test]
async fn of_three_replicas_one_wins_on_one_base() {
    let folder = Folder::new();
    let replicas = ["a", "b", "c"].map(|name| ControlPlane::start(&folder, name));
    let [a, b, c] = &replicas;
    a.push(&service("x", 1), json!({})).await;
    for base in 1..=5 {
        let yaml = |name: &str| service(&format!("{name}-{base}"), 1);
        let (yaml_a, yaml_b, yaml_c) = (yaml("a"), yaml("b"), yaml("c"));
        let body = || json!({"base": base});
        let (one, two, three) =
            tokio::join!(a.push(&yaml_a, body()), b.push(&yaml_b, body()), c.push(&yaml_c, body()));
        let mut codes = [one.0, two.0, three.0];
        codes.sort_unstable();
        assert_eq!(codes, [200, 409, 409], "base {base}: {one:?} {two:?} {three:?}");
    }
    let (_, found) = c.fetch("/v1/resources").await;
    assert_eq!((&found["revision"], found["resources"].as_array().unwrap().len()), (&json!(6), 6));
}

#[tokio::test]
async fn replicas_publish_each_revision_once() {
    let folder = Folder::new();
    let replicas = ["a", "b", "c"].map(|name| ControlPlane::start(&folder, name));
    for number in 1..=5_u64 {
        replicas[0].push(&service("x", usize::try_from(number).unwrap()), json!({})).await;
        for replica in &replicas {
            assert!(replica.published(number).await <= number, "a release was made twice");
        }
    }
    for replica in &replicas {
        replica.turned(3).await;
        assert_eq!(replica.metric("release").await, 5);
    }
}
