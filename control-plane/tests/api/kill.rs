//! A control plane that is killed at any moment.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::support::{ControlPlane, Folder, outrigger, push, service, succeeded, try_post};

/// How often it is killed.
const KILLS: usize = 50;

/// Longest life of a control plane before it is killed, in milliseconds.
const LIFE_MS_MAX: u64 = 300;

/// Pushes one service after the other until the control plane is gone; returns those that were acknowledged.
async fn push_until_gone(server: String, first: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in first.. {
        let name = format!("s{number}");
        let body = push("apply", &service(&name, 1), json!({}));
        match try_post(&format!("{server}/v1/resources"), &body).await {
            Ok((200, _)) => acknowledged.push(name),
            Ok((code, answer)) => panic!("{code}: {answer}"),
            Err(_) => break,
        }
    }
    acknowledged
}

#[tokio::test]
async fn killed_at_any_moment_it_comes_back_consistent() {
    let folder = Folder::new();
    let mut random = fastrand::Rng::with_seed(11);
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    for kill in 0..KILLS {
        let control_plane = ControlPlane::start(&folder, "one");
        let pushing = tokio::spawn(push_until_gone(control_plane.server(), kill * 1_000));
        // Not a wait for anything: the moment of death is what is drawn.
        tokio::time::sleep(Duration::from_millis(random.u64(1..LIFE_MS_MAX))).await;
        control_plane.kill();
        acknowledged.extend(pushing.await.unwrap());
    }
    assert!(acknowledged.len() > KILLS, "it lived too shortly for the test to say anything");
    let control_plane = ControlPlane::start(&folder, "one");
    let (_, found) = control_plane.fetch("/v1/resources").await;
    let names: BTreeSet<String> = found["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    let lost: Vec<&String> = acknowledged.difference(&names).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    control_plane.published(found["revision"].as_u64().unwrap()).await;
    let store = folder.store().display().to_string();
    let shown = succeeded(&outrigger(&["snapshot", "inspect", &store, "--service", "s0"]));
    assert!(acknowledged.iter().all(|name| shown.contains(&format!("default/{name}\""))));
}
