use std::ops::Range;

use outrigger_snapshot::facts::Facts;
use outrigger_snapshot::seats::{SEATS_MAX, SEATS_TOTAL_MAX, Seats};

use super::*;

/// Services of so many endpoints each, and what else a policy says of `a`.
fn crowd(services: &[(&str, usize)], policy: &str) -> Compiled {
    let service = |(name, endpoints): &(&str, usize)| {
        let address = |nth| format!("{{address: 10.0.{}.{}}}", nth / 250, nth % 250 + 1);
        let listed: Vec<String> = (0..*endpoints).map(address).collect();
        format!(
            "{{apiVersion: outrigger.dev/v1alpha1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: 80, \
             protocol: HTTP}}], endpoints: {{static: [{}]}}}}}}",
            listed.join(", ")
        )
    };
    let policy = format!(
        "{{apiVersion: outrigger.dev/v1alpha1, kind: BackendPolicy, metadata: {{name: a}}, \
         spec: {{targetRefs: [{{kind: Service, name: a}}], {policy}}}}}"
    );
    let mut documents: Vec<String> = services.iter().map(service).collect();
    documents.push(policy);
    let text = documents.join("\n---\n");
    compile(&load(&[], &[Source { name: "mesh.yaml".into(), text }]).unwrap())
}

/// Callers of `a` that are heard, that have fallen silent lately, and all others that are known.
fn of_a(heard: Range<u64>, silent: Range<u64>, known: Range<u64>) -> Seen {
    let callers = Callers { heard: heard.collect(), silent: silent.collect() };
    Seen { callers: [(cluster("a"), callers)].into(), known: known.collect(), since_ms: 0 }
}

fn seated(counted: &CountedPeers, name: &str) -> Vec<u64> {
    counted.counts.seats.get(&cluster(name)).map(|seats| seats.callers().to_vec()).unwrap_or_default()
}

/// What is published with `seats` of `a`.
fn with_seats(seats: Range<u64>) -> CountedPeers {
    let count = (seats.end - seats.start) as u32;
    let mut counted = published(NOW, &[("a", count.next_power_of_two())]);
    counted.counts.seats = [(cluster("a"), Seats::new(seats.collect()).unwrap())].into();
    counted
}

#[test]
fn callers_have_seats_where_they_share_out_endpoints() {
    let anybody = "ejection: {panicPercent: 50}";
    for (callers, endpoints, policy, sits) in [
        (33, 47, anybody, true),
        (16, 125, anybody, false),
        (16, 126, anybody, true),
        (SEATS_MAX as u64, 47, anybody, true),
        (SEATS_MAX as u64 + 1, 47, anybody, false),
        (33, 100, "subset: {enabled: false}", false),
        (33, 100, "balance: {policy: ConsistentHash, hash: {header: x}}", false),
        (33, 100, "zonePreference: {enabled: true}", false),
    ] {
        let mut mesh = crowd(&[("a", endpoints)], policy);
        let counted = next(None, &of_a(0..callers, 0..0, 0..callers), &mesh, NOW);
        let seats = counted.as_ref().map(|counted| seated(counted, "a")).unwrap_or_default();
        let expected: Vec<u64> = if sits { (0..callers).collect() } else { Vec::new() };
        assert_eq!(seats, expected, "{callers} × {endpoints}, {policy}");
        // What is made of it is what proxies accept, and says the same.
        let Some(counted) = counted else { continue };
        mesh.count_peers(&counted.counts);
        let facts = Facts::decode(&serde_json::to_vec(&mesh.facts[0]).unwrap()).unwrap();
        assert_eq!(facts.clusters[&cluster("a")].seats.callers(), expected);
        assert_eq!(facts.features.contains("seats"), sits);
    }
}

#[test]
fn a_list_changes_for_an_eighth_after_a_minute_and_for_less_after_ten() {
    let mesh = crowd(&[("a", 100)], "ejection: {panicPercent: 50}");
    let before = with_seats(0..80);
    for (heard, silent, known, minutes, after) in [
        (0..89, 0..0, 0..89, 1, None),
        (0..90, 0..0, 0..90, 0, None),
        (0..90, 0..0, 0..90, 1, Some(0..90)),
        (0..81, 0..0, 0..81, 9, None),
        (0..81, 0..0, 0..81, 10, Some(0..81)),
        (0..80, 0..0, 0..80, 60, None),
        // Ten are not heard of for ten minutes, or say that they do not call any more.
        (0..70, 0..0, 0..80, 1, Some(0..70)),
        (0..71, 0..0, 0..80, 9, None),
        (0..71, 0..0, 0..80, 10, Some(0..71)),
        // Ten are silent.
        (0..70, 70..80, 0..80, 60, None),
        // Ten come, and as many leave.
        (5..85, 0..0, 0..85, 1, Some(5..85)),
        (3..83, 0..0, 0..83, 1, None),
        // All leave.
        (0..0, 0..0, 0..80, 1, Some(0..0)),
    ] {
        let seen = of_a(heard.clone(), silent.clone(), known);
        let next = next(Some(&before), &seen, &mesh, NOW + minutes * MINUTE_MS);
        // A count of 128 falls after ten minutes as well; it never falls below its seats.
        let seats = next.as_ref().map(|next| seated(next, "a"));
        assert_eq!(seats, after.map(|after| after.collect()), "{heard:?}, {silent:?}, {minutes} minutes");
    }
}

#[test]
fn a_replica_that_sees_less_takes_nobody_the_seat_before_counts_may_fall() {
    let mesh = crowd(&[("a", 100)], "ejection: {panicPercent: 50}");
    let before = with_seats(0..80);
    // It knows nothing of half of them.
    let half = of_a(40..80, 0..0, 40..80);
    assert_eq!(next(Some(&before), &half, &mesh, NOW + 9 * MINUTE_MS), None);
    // It has just started.
    let fresh = Seen { since_ms: NOW + 2 * MINUTE_MS, ..half.clone() };
    assert_eq!(next(Some(&before), &fresh, &mesh, NOW + 11 * MINUTE_MS), None);
    // It adds those of its own.
    let other = of_a(40..100, 0..0, 40..100);
    let both = next(Some(&before), &other, &mesh, NOW + MINUTE_MS).unwrap();
    assert_eq!(seated(&both, "a"), (0..100).collect::<Vec<u64>>());
    assert_eq!(both.counts.of(&cluster("a")), 128, "no fewer than sit there");
    let after = next(Some(&before), &half, &mesh, NOW + 10 * MINUTE_MS).unwrap();
    assert_eq!(seated(&after, "a"), (40..80).collect::<Vec<u64>>());
}

#[test]
fn replicas_that_hear_everybody_in_ten_minutes_agree() {
    let mesh = crowd(&[("a", 100)], "ejection: {panicPercent: 50}");
    let mut counted = with_seats(0..80);
    let mut changes = 0;
    // Each hears another half in each minute.
    for minute in 1..600 {
        let (one, other) = (of_a(0..40, 40..80, 0..80), of_a(40..80, 0..40, 0..80));
        for seen in [one, other] {
            if let Some(next) = next(Some(&counted), &seen, &mesh, NOW + minute * MINUTE_MS) {
                changes += 1;
                counted = next;
            }
        }
    }
    assert_eq!(changes, 0);
}

#[test]
fn seats_that_do_not_go_round_are_for_the_largest_and_those_who_have_them() {
    let names: Vec<String> = (0..9).map(|nth| format!("s{nth}")).collect();
    let services: Vec<(&str, usize)> = names.iter().zip(40..).map(|(name, count)| (&**name, count)).collect();
    let mesh = crowd(&[&[("a", 1)], &services[..]].concat(), "ejection: {panicPercent: 50}");
    let callers: Vec<(&str, u32)> = services.iter().map(|(name, _)| (*name, SEATS_MAX as u32)).collect();
    assert!(callers.len() * SEATS_MAX > SEATS_TOTAL_MAX);
    let all = next(None, &seen(&callers), &mesh, NOW).unwrap();
    let sitting = |counted: &CountedPeers| -> Vec<String> {
        counted.counts.seats.keys().map(|name| name.service.name().to_owned()).collect()
    };
    assert_eq!(sitting(&all), names[1..], "the one with the fewest endpoints has none");
    let mut first = published(NOW, &[]);
    first.counts.seats = [(cluster("s0"), Seats::new((0..SEATS_MAX as u64).collect()).unwrap())].into();
    let kept = next(Some(&first), &seen(&callers), &mesh, NOW + MINUTE_MS).unwrap();
    assert_eq!(sitting(&kept), [&names[..1], &names[2..]].concat());
}
