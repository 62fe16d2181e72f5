use super::*;
use crate::compile::compile;
use crate::config::{Source, load};

const MINUTE_MS: u64 = 60_000;
const NOW: u64 = 1_800_000_000_000;

fn mesh(services: &[&str]) -> Compiled {
    let service = |name: &&str| {
        format!(
            "{{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: 80, \
             protocol: HTTP}}], endpoints: {{static: [{{address: 10.0.0.1}}]}}}}}}"
        )
    };
    let text = services.iter().map(service).collect::<Vec<_>>().join("\n---\n");
    compile(&load(&[], &[Source { name: "mesh.yaml".into(), text }]).unwrap())
}

fn cluster(name: &str) -> ClusterName {
    format!("default/{name}:80").parse().unwrap()
}

/// So many callers of each, which are heard.
fn seen(callers: &[(&str, u32)]) -> Seen {
    let heard = |count: &u32| Callers { heard: (0..u64::from(*count)).collect(), ..Callers::default() };
    let callers = callers.iter().map(|(name, count)| (cluster(name), heard(count))).collect();
    Seen { callers, ..Seen::default() }
}

fn published(time_ms: u64, counts: &[(&str, u32)]) -> CountedPeers {
    let mut counted = CountedPeers { time_ms, ..CountedPeers::default() };
    counted.counts.clusters = counts.iter().map(|(name, count)| (cluster(name), *count)).collect();
    counted
}

mod seating;

#[test]
fn counts_are_rounded_up_to_powers_of_two() {
    let mesh = mesh(&["a", "b", "c", "d"]);
    let seen = seen(&[("a", 1), ("b", 3), ("c", 17), ("d", 16)]);
    let next = next(None, &seen, &mesh, NOW).unwrap();
    assert_eq!(
        next,
        published(NOW, &[("a", 1), ("b", 4), ("c", 32)]),
        "16 is what is taken without counting"
    );
}

#[test]
fn a_count_rises_after_a_minute_and_falls_after_ten() {
    let mesh = mesh(&["a"]);
    let before = published(NOW, &[("a", 8)]);
    for (callers, minutes, changed) in [
        (9, 0, None),
        (9, 1, Some(16)),
        (7, 60, None),
        (8, 60, None),
        (4, 1, None),
        (4, 9, None),
        (4, 10, Some(4)),
    ] {
        let next = next(Some(&before), &seen(&[("a", callers)]), &mesh, NOW + minutes * MINUTE_MS);
        let count = next.map(|next| next.counts.of(&cluster("a")));
        assert_eq!(count, changed, "{callers} callers after {minutes} minutes");
    }
}

#[test]
fn a_replica_that_has_just_started_lowers_nothing() {
    let mesh = mesh(&["a"]);
    let before = published(0, &[("a", 8)]);
    let fresh = |minutes: u64| Seen { since_ms: NOW - minutes * MINUTE_MS, ..seen(&[("a", 1)]) };
    assert_eq!(next(Some(&before), &fresh(9), &mesh, NOW), None);
    assert!(next(Some(&before), &fresh(10), &mesh, NOW).is_some());
    assert_eq!(next(Some(&before), &seen(&[]), &mesh, NOW), None, "nobody calls it: nobody needs a share");
}

#[test]
fn only_clusters_of_the_mesh_are_counted() {
    let mesh = mesh(&["a"]);
    let before = published(0, &[("gone", 64)]);
    assert_eq!(next(Some(&before), &seen(&[("gone", 128), ("unknown", 128)]), &mesh, NOW), None);
    let next = next(Some(&before), &seen(&[("a", 128), ("unknown", 128)]), &mesh, NOW).unwrap();
    assert_eq!(next, published(NOW, &[("a", 128)]));
}

#[test]
fn a_clock_that_is_ahead_of_this_one_holds_nothing_up() {
    let mesh = mesh(&["a"]);
    let before = published(NOW + 30 * MINUTE_MS, &[("a", 8)]);
    let next = next(Some(&before), &seen(&[("a", 20)]), &mesh, NOW).unwrap();
    assert_eq!(next, published(before.time_ms + 1, &[("a", 32)]), "and what replaces it is later");
}

#[test]
fn replicas_that_see_different_parts_make_few_releases() {
    let mesh = mesh(&["a"]);
    let (more, less) = (seen(&[("a", 60)]), seen(&[("a", 20)]));
    let mut counted: Option<CountedPeers> = None;
    let mut changes = 0;
    let mut minutes_at_64 = 0;
    for minute in 0..600 {
        let now_ms = NOW + minute * MINUTE_MS;
        for seen in [&more, &less] {
            if let Some(next) = next(counted.as_ref(), seen, &mesh, now_ms) {
                changes += 1;
                counted = Some(next);
            }
        }
        let count = counted.as_ref().map(|counted| counted.counts.of(&cluster("a")));
        minutes_at_64 += u32::from(count == Some(64));
    }
    assert!(changes <= 2 * 600 / 10, "{changes} in ten hours");
    assert!(minutes_at_64 >= 540, "{minutes_at_64} of 600 minutes by who sees more");
}
