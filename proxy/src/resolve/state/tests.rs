use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);
const TTL: Duration = Duration::from_secs(60);

fn endpoints(ports: &[u16]) -> Vec<ResolvedEndpoint> {
    let endpoint = |port| ResolvedEndpoint { address: SocketAddr::from(([10, 0, 0, 1], port)), weight: 1 };
    ports.iter().copied().map(endpoint).collect()
}

fn found(ports: &[u16]) -> Answer {
    Answer::Found { records: endpoints(ports), ttl: TTL }
}

fn nothing() -> Answer {
    Answer::Nothing { reason: Nothing::NoSuchName, ttl: None }
}

fn failed() -> Answer {
    Answer::Failed(Failure::Timeout)
}

fn terms(on_empty: OnEmpty) -> Terms {
    Terms { on_empty, stale_ttl: HOUR, ttl_min: TTL_MIN }
}

/// A state of that name at time 0, by the shortest way; its endpoint, where it has one, is port 1.
fn state(name: &str) -> NameState {
    let keep = terms(OnEmpty::Keep);
    let mut state = NameState::new();
    let mut hear = |answer| state.answered(answer, keep, Duration::ZERO, 0);
    match name {
        "unresolved" => {}
        "remembered" => return NameState::remembered(endpoints(&[1]).into(), Duration::ZERO),
        "fresh" => drop(hear(found(&[1]))),
        "stale" => drop((hear(found(&[1])), hear(failed()))),
        "withdrawn" => drop((hear(found(&[1])), hear(nothing()))),
        "empty" => drop(hear(nothing())),
        other => panic!("no state {other:?}"),
    }
    assert_eq!(state.freshness().name(), name);
    state
}

fn documented_rows() -> Vec<[&'static str; 5]> {
    let section = include_str!("../../../../docs/DNS.md").split("## What an answer does").nth(1).unwrap();
    section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| before"))
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            cells.try_into().unwrap()
        })
        .collect()
}

#[test]
fn every_row_of_the_documented_table_holds() {
    let rows = documented_rows();
    for [before, answer, after, in_use, next] in &rows {
        let mut state = state(before);
        let on_empty = if answer.contains("drain") { OnEmpty::Drain } else { OnEmpty::Keep };
        let now = if answer.contains("for `stale_ttl`") { HOUR } else { Duration::from_secs(100) };
        let heard = match answer.split(',').next().unwrap() {
            "found" => found(&[2]),
            "nothing" => nothing(),
            "failed" => failed(),
            other => panic!("no answer {other:?}"),
        };
        let had = state.endpoints().to_vec();
        let wait_before = matches!(*before, "stale").then_some(RETRY_MIN);
        let step = state.answered(heard, terms(on_empty), now, 0);

        let row = format!("{before} | {answer}");
        assert_eq!(state.freshness().name(), *after, "{row}");
        let expected = match *in_use {
            "the answer" => endpoints(&[2]),
            "kept" => endpoints(&[1]),
            "none" => vec![],
            other => panic!("no endpoints {other:?}"),
        };
        assert_eq!(**state.endpoints(), *expected, "{row}");
        assert_eq!(step.changed, had != expected, "{row}");
        let wait = match *next {
            "ttl" => TTL,
            "negative ttl" => TTL_MIN,
            "backoff" => wait_before.unwrap_or(RETRY_MIN / 2),
            other => panic!("no wait {other:?}"),
        };
        assert_eq!(step.wait, wait, "{row}");
    }
    let pairs: std::collections::BTreeSet<_> =
        rows.iter().map(|row| (row[0], row[1].split(',').next())).collect();
    assert_eq!(pairs.len(), 6 * 3, "every state with every answer");
}

#[test]
fn waits_are_bounded_doubled_and_spread() {
    let mut state = NameState::new();
    let keep = terms(OnEmpty::Keep);
    let mut wait = |answer, random| state.answered(answer, keep, Duration::ZERO, random).wait;
    let of_ttl = |secs| Answer::Found { records: endpoints(&[1]), ttl: Duration::from_secs(secs) };
    assert_eq!(wait(of_ttl(0), 0), TTL_MIN);
    assert_eq!(wait(of_ttl(86_400), 0), TTL_MAX);
    assert!((Duration::from_secs(71)..=Duration::from_secs(72)).contains(&wait(of_ttl(60), u64::MAX)));
    let of_zone = |secs| Answer::Nothing { reason: Nothing::Empty, ttl: Some(Duration::from_secs(secs)) };
    assert_eq!(wait(of_zone(86_400), 0), NOTHING_TTL_MAX);
    let waits: Vec<_> = (0..9).map(|_| wait(failed(), 0).as_millis()).collect();
    assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
    wait(of_ttl(60), 0);
    assert_eq!(wait(failed(), 0), RETRY_MIN / 2, "an answer ends the row of failures");
}

#[test]
fn an_unbelieved_nothing_counts_from_the_first_through_failures() {
    let mut state = state("withdrawn");
    let keep = terms(OnEmpty::Keep);
    let almost = HOUR - Duration::from_secs(1);
    assert!(!state.answered(nothing(), keep, almost, 0).changed);
    assert!(!state.answered(failed(), keep, HOUR * 2, 0).changed, "a failure never removes");
    assert!(state.answered(nothing(), keep, HOUR * 2, 0).changed);
    assert!(state.endpoints().is_empty());
}

#[derive(Debug, Clone)]
enum Heard {
    Found(Vec<u16>),
    Nothing(Nothing),
    Failed(Failure),
}

fn heard() -> impl Strategy<Value = Heard> {
    prop_oneof![
        prop::collection::btree_set(0_u16..4, 0..4)
            .prop_map(|ports| Heard::Found(ports.into_iter().collect())),
        prop_oneof![Just(Nothing::Empty), Just(Nothing::NoSuchName)].prop_map(Heard::Nothing),
        prop::sample::select(&Failure::ALL[..]).prop_map(Heard::Failed),
    ]
}

proptest! {
    /// The model: a set, and when it was first denied.
    #[test]
    fn behaves_like_the_model(
        remembered in prop::collection::btree_set(0_u16..4, 0..3),
        drain: bool,
        story in prop::collection::vec((heard(), 0_u64..2_500, any::<u64>()), 0..60),
    ) {
        let terms = terms(if drain { OnEmpty::Drain } else { OnEmpty::Keep });
        let mut now = Duration::ZERO;
        let mut model = endpoints(&remembered.into_iter().collect::<Vec<_>>());
        let mut denied = None;
        let mut state = NameState::remembered(model.clone().into(), now);
        for (heard, pause_secs, random) in story {
            now += Duration::from_secs(pause_secs);
            let before = model.clone();
            let (answer, longest) = match &heard {
                Heard::Found(ports) => (found(ports), TTL_MAX.mul_f64(1.0 + TTL_JITTER)),
                Heard::Nothing(reason) => (Answer::Nothing { reason: *reason, ttl: None }, TTL_MAX),
                Heard::Failed(failure) => (Answer::Failed(*failure), RETRY_MAX),
            };
            match heard {
                Heard::Failed(_) => {}
                Heard::Found(ports) if !ports.is_empty() => (model, denied) = (endpoints(&ports), None),
                _ if drain || now - *denied.get_or_insert(now) >= HOUR => model = vec![],
                _ => {}
            }
            let step = state.answered(answer, terms, now, random);
            prop_assert_eq!(&**state.endpoints(), &*model);
            prop_assert_eq!(step.changed, before != model);
            prop_assert!(step.wait >= RETRY_MIN / 2 && step.wait <= longest);
        }
    }
}
