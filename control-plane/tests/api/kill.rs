//! A control plane that is killed at any moment.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::{ControlPlane, Folder, eventually, outrigger, push, service, succeeded, try_post};

/// How often it is killed.
const KILLS: usize = 50;

/// Longest time until it is killed, in milliseconds: of every second one after its start, of the others after its first
/// acknowledged push.
const LIFE_MS_MAX: u64 = 60;

/// Pushes one service after the other until the control plane is gone; returns those that were acknowledged.
async fn push_until_gone(server: String, first: usize, count: Arc<AtomicUsize>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in first.. {
        let name = format!("s{number}");
        let body = push("apply", &service(&name, 1), json!({}));
        match try_post(&format!("{server}/v1/resources"), &body).await {
            Ok((200, _)) => {
                acknowledged.push(name);
                count.fetch_add(1, Ordering::Relaxed);
            }
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
        let count = Arc::new(AtomicUsize::new(0));
        let pushing = tokio::spawn(push_until_gone(control_plane.server(), kill * 1_000, Arc::clone(&count)));
        if kill % 2 == 0 {
            eventually(async || count.load(Ordering::Relaxed) > 0).await;
        }
        // Not a wait for anything: the moment of death is what is drawn.
        tokio::time::sleep(Duration::from_millis(random.u64(1..LIFE_MS_MAX))).await;
        control_plane.kill();
        acknowledged.extend(pushing.await.unwrap());
    }
    assert!(acknowledged.len() >= KILLS / 2);
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
